//! May what is said of a server be changed? Yes; but a stored secret goes to the place that it was given for.
//!
//! A password is sent to whoever answers at host and port, and a relay is handed any secret. Who may change the
//! place could otherwise read what nobody is shown.

use std::collections::{BTreeMap, BTreeSet};

use super::{Credential, Method, Server, ServerChanged, ServerEvent, ServerRefusal, Settings};
use crate::aggregate::Decision;
use crate::ids::{RelayId, Tag};

/// What shall be otherwise; what is left out stays. The inner `None` takes a value away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub name: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub username: Option<String>,
    pub credential: Option<Credential>,
    pub zone: Option<Option<Tag>>,
    pub relay: Option<Option<RelayId>>,
    pub groups: Option<BTreeSet<Tag>>,
    pub labels: Option<BTreeMap<Tag, Tag>>,
}

pub fn change(state: &Server, asked: &Change) -> Decision<ServerEvent, ServerRefusal> {
    let before = state.there().ok_or(ServerRefusal::NotFound)?;
    let after = asked.applied(before);
    if after == *before {
        return Ok(None);
    }
    let is_kept = asked.credential.is_none();
    if is_kept && !after.same_place(before) && goes_along(before, &after) {
        return Err(ServerRefusal::CredentialNeeded { method: before.credential.method.name() });
    }
    Ok(Some(ServerChanged { settings: after }.into()))
}

/// Whether somebody at the new place would be told the secret. A key is proven, not told, except to a relay.
fn goes_along(before: &Settings, after: &Settings) -> bool {
    match before.credential.method {
        Method::Password => true,
        Method::PrivateKey => before.relay != after.relay && after.relay.is_some(),
        Method::Certificate => false,
    }
}

impl Change {
    fn applied(&self, before: &Settings) -> Settings {
        let other = |asked: &Option<String>, before: &str| asked.clone().unwrap_or_else(|| before.to_owned());
        Settings {
            name: other(&self.name, &before.name),
            host: other(&self.host, &before.host),
            port: self.port.unwrap_or(before.port),
            username: other(&self.username, &before.username),
            credential: self.credential.clone().unwrap_or_else(|| before.credential.clone()),
            zone: self.zone.clone().unwrap_or_else(|| before.zone.clone()),
            relay: self.relay.clone().unwrap_or_else(|| before.relay.clone()),
            groups: self.groups.clone().unwrap_or_else(|| before.groups.clone()),
            labels: self.labels.clone().unwrap_or_else(|| before.labels.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Aggregate;
    use crate::server::testing::{key, server, settings, tested};
    use crate::server::{HostKeyPinned, ServerRegistered, ServerRemoved};
    use crate::testing::{given, t};

    fn known() -> Server {
        server(vec![HostKeyPinned { host_key: key("one") }.into(), tested(true).into()])
    }

    fn after(state: &Server, asked: &Change) -> Server {
        let event = change(state, asked).unwrap().unwrap();
        let mut after = state.clone();
        after.evolve(&event, t(1));
        after
    }

    fn host(name: &str) -> Change {
        Change { host: Some(name.into()), ..Change::default() }
    }

    #[test]
    fn what_is_left_out_stays_and_the_same_again_is_nothing() {
        let asked = Change {
            zone: Some(Some(Tag::parse("dmz").unwrap())),
            labels: Some([(Tag::parse("env").unwrap(), Tag::parse("prod").unwrap())].into()),
            ..Change::default()
        };
        let labelled = after(&known(), &asked);
        let settings = labelled.there().unwrap();
        assert_eq!((settings.host.as_str(), settings.labels.len()), ("10.0.0.1", 1));
        assert_eq!(change(&labelled, &asked), Ok(None));
        assert!(labelled.tested.is_some() && labelled.host_key.is_some(), "it is the same machine");
        let without = after(&labelled, &Change { zone: Some(None), ..Change::default() });
        assert_eq!(without.there().unwrap().zone, None);
    }

    #[test]
    fn a_stored_password_is_not_sent_elsewhere() {
        let needed = Err(ServerRefusal::CredentialNeeded { method: "password" });
        assert_eq!(change(&known(), &host("10.0.0.2")), needed);
        assert_eq!(change(&known(), &Change { port: Some(2222), ..Change::default() }), needed);
        let relay = Some(Some(RelayId::parse("rel-a").unwrap()));
        assert_eq!(change(&known(), &Change { relay, ..Change::default() }), needed);
        let with = Change { credential: Some(settings().credential), ..host("10.0.0.2") };
        let moved = after(&known(), &with);
        assert_eq!((moved.host_key, moved.tested), (None, None), "nothing is known of the new machine");
        let renamed = after(&known(), &Change { username: Some("other".into()), ..Change::default() });
        assert!(renamed.tested.is_none() && renamed.host_key.is_some());
    }

    #[test]
    fn a_key_is_proven_and_not_told_except_to_a_relay() {
        let credential = Credential { method: Method::PrivateKey, ..settings().credential };
        let registered = ServerRegistered { settings: Settings { credential, ..settings() } };
        let with_key = given::<Server>(vec![(0, registered.into())]);
        assert!(change(&with_key, &host("10.0.0.2")).unwrap().is_some());
        let relay = Some(Some(RelayId::parse("rel-a").unwrap()));
        let asked = Change { relay, ..Change::default() };
        let needed = ServerRefusal::CredentialNeeded { method: "private_key" };
        assert_eq!(change(&with_key, &asked), Err(needed));
    }

    #[test]
    fn what_is_gone_is_not_changed() {
        let gone = server(vec![ServerRemoved {}.into()]);
        assert_eq!(change(&gone, &host("x")), Err(ServerRefusal::NotFound));
        assert_eq!(change(&Server::default(), &host("x")), Err(ServerRefusal::NotFound));
    }
}
