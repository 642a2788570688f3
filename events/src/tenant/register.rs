//! May this tenant come into being? Once under its id.

use super::{Tenant, TenantEvent, TenantRefusal, TenantRegistered};
use crate::aggregate::Decision;

pub fn register(state: &Tenant, name: &str) -> Decision<TenantEvent, TenantRefusal> {
    match &state.name {
        None => Ok(Some(TenantRegistered { name: name.to_owned() }.into())),
        Some(taken) => Err(TenantRefusal::Exists(taken.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;

    #[test]
    fn a_tenant_is_registered_once() {
        let event = register(&Tenant::default(), "acme").unwrap().unwrap();
        let there = given::<Tenant>(vec![(0, event)]);
        assert_eq!(register(&there, "acme"), Err(TenantRefusal::Exists("acme".into())));
    }
}
