//! May the tap be issued? Once per request, because its password is shown once; for kinds that may leave.

use super::leave::leaving;
use super::{NatsTap, NatsTapEvent, NatsTapIssued, NatsTapRefusal};
use crate::aggregate::Decision;

pub fn issue(state: &NatsTap, asked: NatsTapIssued) -> Decision<NatsTapEvent, NatsTapRefusal> {
    if let Some(there) = &state.issued {
        return if *there == asked { Ok(None) } else { Err(NatsTapRefusal::ShownBefore) };
    }
    if asked.kinds.is_empty() {
        return Err(NatsTapRefusal::NoKinds);
    }
    match asked.kinds.iter().find(|kind| leaving(kind).is_none()) {
        Some(kind) => Err(NatsTapRefusal::Stays(kind.clone())),
        None => Ok(Some(asked.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats_tap::testing::issued;
    use crate::testing::given;

    #[test]
    fn kinds_that_stay_are_refused_by_name() {
        for (kinds, refusal) in [
            (vec!["env", "credential"], NatsTapRefusal::Stays("credential".into())),
            (vec!["env", "*"], NatsTapRefusal::Stays("*".into())),
            (vec![">"], NatsTapRefusal::Stays(">".into())),
            (vec![], NatsTapRefusal::NoKinds),
        ] {
            assert_eq!(issue(&NatsTap::default(), issued(&kinds)), Err(refusal));
        }
    }

    #[test]
    fn once() {
        let first = issued(&["env", "session"]);
        let event = issue(&NatsTap::default(), first.clone()).unwrap().unwrap();
        let state = given::<NatsTap>(vec![(0, event)]);
        assert_eq!(issue(&state, first.clone()), Ok(None));
        let other = NatsTapIssued { digest: "00".into(), ..first };
        assert_eq!(issue(&state, other), Err(NatsTapRefusal::ShownBefore));
    }
}
