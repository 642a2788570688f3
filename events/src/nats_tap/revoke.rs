//! May the tap be revoked? Once.

use super::{NatsTap, NatsTapEvent, NatsTapRefusal, NatsTapRevoked};
use crate::aggregate::Decision;

pub fn revoke(state: &NatsTap) -> Decision<NatsTapEvent, NatsTapRefusal> {
    if state.issued.is_none() {
        Err(NatsTapRefusal::NotFound)
    } else {
        Ok((!state.revoked).then(|| NatsTapRevoked {}.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats_tap::testing::issued;
    use crate::testing::given;

    #[test]
    fn a_revoked_tap_shows_nothing_and_stays_revoked() {
        assert_eq!(revoke(&NatsTap::default()), Err(NatsTapRefusal::NotFound));
        let there = (0, NatsTapEvent::from(issued(&["env"])));
        assert!(given::<NatsTap>(vec![there.clone()]).valid().is_some());
        let revoked = revoke(&given(vec![there.clone()])).unwrap().unwrap();
        let state = given::<NatsTap>(vec![there, (1, revoked)]);
        assert_eq!((state.valid(), revoke(&state)), (None, Ok(None)));
    }
}
