//! May the relay that registered itself connect? Once an operator says so; a revoked one stays so.

use super::{Relay, RelayAccepted, RelayEvent, RelayRefusal};
use crate::aggregate::Decision;

pub fn accept(state: &Relay) -> Decision<RelayEvent, RelayRefusal> {
    if state.settings.is_none() {
        return Err(RelayRefusal::NotFound);
    }
    if state.revoked {
        return Err(RelayRefusal::Revoked);
    }
    Ok(state.pending.then(|| RelayAccepted {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HubId;
    use crate::relay::RelayRevoked;
    use crate::relay::connect::{Knock, connect};
    use crate::relay::testing::registered;
    use crate::testing::{given, t};

    #[test]
    fn one_that_registered_itself_waits_for_an_operator() {
        let asked = || crate::relay::RelayRegistered { pending: true, ..registered("a") };
        let hub = HubId::from_seed(&uuid::Uuid::nil());
        let knock = Knock { hub, digest: "a".into(), address: None, client: None, tunnels: None };
        let waiting = given::<Relay>(vec![(0, asked().into())]);
        assert_eq!(connect(&waiting, &knock, t(1)), Err(RelayRefusal::Pending));
        assert!(waiting.there().is_none());
        let accepted = accept(&waiting).unwrap().unwrap();
        let relay = given::<Relay>(vec![(0, asked().into()), (1, accepted)]);
        assert!(connect(&relay, &knock, t(2)).unwrap().is_some() && relay.there().is_some());
        assert_eq!(accept(&relay), Ok(None));
        let gone = given::<Relay>(vec![(0, asked().into()), (1, RelayRevoked {}.into())]);
        assert_eq!(accept(&gone), Err(RelayRefusal::Revoked));
        assert_eq!(accept(&Relay::default()), Err(RelayRefusal::NotFound));
    }
}
