//! Is this server the one that it was? The first key is believed, then no other until somebody says so.

use super::{
    HostKey, HostKeyAccepted, HostKeyChangeSeen, HostKeyPinned, Server, ServerEvent, ServerRefusal, Settings,
};
use crate::aggregate::Decision;

/// A server showed this key to somebody who connected with these settings.
pub fn shown(state: &Server, tried: &Settings, key: &HostKey) -> Decision<ServerEvent, ServerRefusal> {
    let settings = state.there().ok_or(ServerRefusal::NotFound)?;
    if !settings.same_place(tried) {
        // it leads elsewhere by now: this says nothing of the new place
        return Ok(None);
    }
    Ok(match &state.host_key {
        None => Some(HostKeyPinned { host_key: key.clone() }.into()),
        Some(pinned) if pinned.line == key.line => None,
        Some(_) if state.host_key_seen.as_ref() == Some(key) => None,
        Some(pinned) => {
            let pinned = pinned.fingerprint.clone();
            Some(HostKeyChangeSeen { pinned, seen: key.clone() }.into())
        }
    })
}

/// `fingerprint` names the key that is meant: another one may have been shown meanwhile.
pub fn accept(state: &Server, fingerprint: &str) -> Decision<ServerEvent, ServerRefusal> {
    state.there().ok_or(ServerRefusal::NotFound)?;
    match &state.host_key_seen {
        Some(seen) if seen.fingerprint == fingerprint => {
            Ok(Some(HostKeyAccepted { host_key: seen.clone() }.into()))
        }
        Some(seen) => Err(ServerRefusal::AnotherKeyWaits(seen.fingerprint.clone())),
        None if state.host_key.as_ref().is_some_and(|key| key.fingerprint == fingerprint) => Ok(None),
        None => Err(ServerRefusal::NoKeyToAccept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{key, server, settings};

    fn seen(name: &str) -> ServerEvent {
        HostKeyChangeSeen { pinned: "SHA256:one".into(), seen: key(name) }.into()
    }

    fn pinned() -> ServerEvent {
        HostKeyPinned { host_key: key("one") }.into()
    }

    #[test]
    fn the_first_key_is_pinned_and_another_one_is_told_once() {
        assert_eq!(shown(&server(vec![]), &settings(), &key("one")), Ok(Some(pinned())));
        let known = server(vec![pinned()]);
        assert_eq!(shown(&known, &settings(), &key("one")), Ok(None));
        assert_eq!(shown(&known, &settings(), &key("two")), Ok(Some(seen("two"))));
        let changed = server(vec![pinned(), seen("two")]);
        assert_eq!(shown(&changed, &settings(), &key("two")), Ok(None));
        assert_eq!(shown(&changed, &settings(), &key("three")), Ok(Some(seen("three"))));
        assert_eq!(changed.host_key, Some(key("one")), "seeing is not believing");
    }

    #[test]
    fn a_key_of_another_place_says_nothing() {
        let elsewhere = Settings { host: "10.9.9.9".into(), ..settings() };
        assert_eq!(shown(&server(vec![]), &elsewhere, &key("one")), Ok(None));
    }

    #[test]
    fn only_the_key_that_was_seen_is_accepted() {
        assert_eq!(accept(&server(vec![pinned()]), "SHA256:two"), Err(ServerRefusal::NoKeyToAccept));
        let changed = server(vec![pinned(), seen("two")]);
        let refused = ServerRefusal::AnotherKeyWaits("SHA256:two".into());
        assert_eq!(accept(&changed, "SHA256:three"), Err(refused));
        let event = accept(&changed, "SHA256:two").unwrap().unwrap();
        let accepted = server(vec![pinned(), seen("two"), event]);
        assert_eq!((&accepted.host_key, &accepted.host_key_seen), (&Some(key("two")), &None));
        assert_eq!(accept(&accepted, "SHA256:two"), Ok(None), "it is so already");
        assert_eq!(accept(&Server::default(), "x"), Err(ServerRefusal::NotFound));
    }
}
