//! Are the terminals of this tenant's environments recorded? Only when it asks for it.

use super::{Tenant, TenantEvent, TenantRecordingSet, TenantRefusal};
use crate::aggregate::Decision;

pub fn set_recording(state: &Tenant, enabled: bool) -> Decision<TenantEvent, TenantRefusal> {
    if state.name.is_none() {
        Err(TenantRefusal::NotFound)
    } else {
        Ok((state.records != enabled).then(|| TenantRecordingSet { enabled }.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::TenantRegistered;
    use crate::testing::given;

    #[test]
    fn nothing_is_recorded_until_the_tenant_asks() {
        assert_eq!(set_recording(&Tenant::default(), true), Err(TenantRefusal::NotFound));
        let registered = TenantRegistered { name: "acme".into() }.into();
        let quiet = given::<Tenant>(vec![(0, registered)]);
        assert!(!quiet.records);
        assert_eq!(set_recording(&quiet, false), Ok(None), "it is so already");
        let on = set_recording(&quiet, true).unwrap().unwrap();
        let registered = TenantRegistered { name: "acme".into() }.into();
        let recorded = given::<Tenant>(vec![(0, registered), (1, on)]);
        assert!(recorded.records);
        assert!(set_recording(&recorded, false).unwrap().is_some());
    }
}
