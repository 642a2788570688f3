//! May this be the relay's connection? With its key, from its addresses, for as long as both count; the newest wins
//! and fences the older.

use std::net::{IpAddr, SocketAddr};

use chrono::{DateTime, Utc};

use super::{Relay, RelayConnected, RelayDisconnected, RelayEvent, RelayRefusal};
use crate::aggregate::Decision;
use crate::ids::HubId;

/// Somebody who says to be a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    pub hub: HubId,
    /// SHA-256 of the key that was shown, hexadecimal.
    pub digest: String,
    pub address: Option<IpAddr>,
    pub client: Option<String>,
    /// It carries tunnels, and here they are asked for.
    pub tunnels: Option<SocketAddr>,
}

/// May they be connected now? Asked when they come, and as long as they stay; answers whether it is by the key before.
/// Who is no relay and who shows a wrong key are told the same.
pub fn admit(state: &Relay, knock: &Knock, now: DateTime<Utc>) -> Result<bool, RelayRefusal> {
    let settings = state.settings.as_ref().ok_or(RelayRefusal::KeyRefused)?;
    let previous = state.previous.as_ref();
    let previous_key = previous.is_some_and(|(digest, until)| *digest == knock.digest && now < *until);
    if state.digest != knock.digest && !previous_key {
        return Err(RelayRefusal::KeyRefused);
    }
    if state.revoked {
        return Err(RelayRefusal::Revoked);
    }
    if state.pending {
        return Err(RelayRefusal::Pending);
    }
    if let Some(address) = knock.address
        && !settings.addresses.is_empty()
        && !settings.addresses.iter().any(|range| range.contains(&address))
    {
        return Err(RelayRefusal::AddressRefused(address));
    }
    Ok(previous_key)
}

pub fn connect(state: &Relay, knock: &Knock, now: DateTime<Utc>) -> Decision<RelayEvent, RelayRefusal> {
    let previous_key = admit(state, knock, now)?;
    let connected = RelayConnected {
        epoch: state.epoch + 1,
        hub: knock.hub.clone(),
        address: knock.address,
        client: knock.client.clone(),
        previous_key,
        tunnels: knock.tunnels,
    };
    Ok(Some(connected.into()))
}

/// The connection of this epoch ended; an older one ended when it was fenced.
pub fn disconnect(state: &Relay, epoch: u64, reason: &str) -> Decision<RelayEvent, RelayRefusal> {
    if state.epoch != epoch || state.connected.is_none() {
        return Ok(None);
    }
    Ok(Some(RelayDisconnected { epoch, reason: reason.to_owned() }.into()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::relay::testing::{registered, settings};
    use crate::relay::{RelayKeyRotated, RelayRegistered, RelayRevoked, RelaySettings};
    use crate::testing::{given, t};

    fn knock(digest: &str) -> Knock {
        let hub = HubId::from_seed(&Uuid::nil());
        Knock { hub, digest: digest.into(), address: Some([10, 0, 0, 7].into()), client: None, tunnels: None }
    }

    fn epoch(decision: Decision<RelayEvent, RelayRefusal>) -> Result<u64, RelayRefusal> {
        match decision? {
            Some(RelayEvent::RelayConnected(connected)) => Ok(connected.epoch),
            other => panic!("{other:?}"),
        }
    }

    fn after(past: Vec<RelayEvent>) -> Relay {
        given(std::iter::once(registered("a").into()).chain(past).map(|event| (0, event)).collect())
    }

    #[test]
    fn each_connection_fences_the_one_before() {
        let mut relay = after(vec![]);
        for expected in 1..4 {
            let event = connect(&relay, &knock("a"), t(0)).unwrap().unwrap();
            crate::Aggregate::evolve(&mut relay, &event, t(0));
            assert_eq!(relay.epoch, expected);
        }
        assert_eq!(disconnect(&relay, 2, "x"), Ok(None), "it was fenced");
        let ended = disconnect(&relay, 3, "x").unwrap().unwrap();
        crate::Aggregate::evolve(&mut relay, &ended, t(1));
        assert_eq!((relay.connected.clone(), disconnect(&relay, 3, "x")), (None, Ok(None)));
        assert_eq!(epoch(connect(&relay, &knock("a"), t(2))), Ok(4), "epochs never come again");
    }

    #[test]
    fn only_the_key_opens_and_the_one_before_for_a_while() {
        assert_eq!(connect(&Relay::default(), &knock("a"), t(0)), Err(RelayRefusal::KeyRefused));
        assert_eq!(connect(&after(vec![]), &knock("b"), t(0)), Err(RelayRefusal::KeyRefused));
        let rotated = RelayKeyRotated { digest: "b".into(), previous_until: t(60) };
        let relay = after(vec![rotated.into()]);
        assert_eq!(epoch(connect(&relay, &knock("a"), t(59))), Ok(1));
        assert_eq!(epoch(connect(&relay, &knock("b"), t(99))), Ok(1));
        assert_eq!(connect(&relay, &knock("a"), t(60)), Err(RelayRefusal::KeyRefused));
        // who is there by it may stay as long
        assert_eq!(admit(&relay, &knock("a"), t(59)), Ok(true));
        assert_eq!(admit(&relay, &knock("b"), t(99)), Ok(false));
        assert_eq!(admit(&relay, &knock("a"), t(60)), Err(RelayRefusal::KeyRefused));
        let gone = after(vec![RelayRevoked {}.into()]);
        assert_eq!(connect(&gone, &knock("a"), t(0)), Err(RelayRefusal::Revoked));
        assert_eq!(connect(&gone, &knock("b"), t(0)), Err(RelayRefusal::KeyRefused));
    }

    #[test]
    fn addresses_bind_when_there_are_some() {
        let addresses = vec!["10.0.0.0/30".parse().unwrap()];
        let settings = RelaySettings { addresses, ..settings() };
        let relay = given::<Relay>(vec![(0, RelayRegistered { settings, ..registered("a") }.into())]);
        let refused = RelayRefusal::AddressRefused([10, 0, 0, 7].into());
        assert_eq!(connect(&relay, &knock("a"), t(0)), Err(refused));
        let near = Knock { address: Some([10, 0, 0, 2].into()), ..knock("a") };
        assert_eq!(epoch(connect(&relay, &near, t(0))), Ok(1));
    }
}
