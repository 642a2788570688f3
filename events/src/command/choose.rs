//! By which way does a command go to its server? The relay that the server names, else one of those that serve it
//! by zone and labels, else directly.

use crate::ids::RelayId;
use crate::relay::RelaySettings;
use crate::server::Settings;

/// Commands lost or timed out in a row with a relay; from then on others come first.
pub const TROUBLES_MAX: u32 = 3;

/// A relay that may connect.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'c> {
    pub id: &'c RelayId,
    pub settings: &'c RelaySettings,
    pub connected: bool,
    /// Commands that it has now.
    pub in_flight: u32,
    /// Commands lost or timed out with it since one ended well.
    pub troubles: u32,
    /// Grows with each use; 0 when it never was.
    pub used: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Relay(RelayId),
    Direct,
    /// All that serve the server have as much as they take.
    Busy,
    /// None that serves the server is connected.
    NoRelay,
}

pub fn choose<'c>(server: &Settings, relays: impl IntoIterator<Item = Candidate<'c>>) -> Choice {
    let serving: Vec<_> = relays.into_iter().filter(|one| serves(one.id, one.settings, server)).collect();
    if serving.is_empty() && server.relay.is_none() {
        return Choice::Direct;
    }
    let connected: Vec<_> = serving.into_iter().filter(|one| one.connected).collect();
    if connected.is_empty() {
        return Choice::NoRelay;
    }
    let free = connected.iter().filter(|one| one.in_flight < one.settings.in_flight_max);
    let best = free.min_by_key(|one| (one.troubles >= TROUBLES_MAX, one.in_flight, one.used, one.id));
    best.map_or(Choice::Busy, |one| Choice::Relay(one.id.clone()))
}

/// A relay without zone and labels serves those that name it, and nobody else.
pub fn serves(id: &RelayId, relay: &RelaySettings, server: &Settings) -> bool {
    if let Some(named) = &server.relay {
        return named == id;
    }
    let says_whom = relay.zone.is_some() || !relay.labels.is_empty();
    let zone = relay.zone.is_none() || relay.zone == server.zone;
    says_whom && zone && relay.labels.iter().all(|(key, value)| server.labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::ids::Tag;
    use crate::relay::testing::settings as relay_settings;
    use crate::server::testing::settings as server_settings;

    fn id(number: u128) -> RelayId {
        RelayId::from_seed(&Uuid::from_u128(number))
    }

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    fn of_zone(zone: &str) -> RelaySettings {
        RelaySettings { zone: Some(tag(zone)), ..relay_settings() }
    }

    fn in_zone(zone: &str) -> Settings {
        Settings { zone: Some(tag(zone)), labels: [(tag("env"), tag("prod"))].into(), ..server_settings() }
    }

    fn one<'c>(id: &'c RelayId, settings: &'c RelaySettings) -> Candidate<'c> {
        Candidate { id, settings, connected: true, in_flight: 0, troubles: 0, used: 0 }
    }

    #[test]
    fn a_server_is_served_by_whom_it_names_then_by_zone_and_labels_then_directly() {
        let (dmz, lan, mute) = (of_zone("dmz"), of_zone("lan"), relay_settings());
        let prod = RelaySettings { labels: [(tag("env"), tag("prod"))].into(), ..of_zone("dmz") };
        let test = RelaySettings { labels: [(tag("env"), tag("test"))].into(), ..of_zone("dmz") };
        let (a, b) = (id(1), id(2));
        let chosen = |server: &Settings, relay| choose(server, [one(&a, relay)]);
        assert_eq!(chosen(&in_zone("dmz"), &dmz), Choice::Relay(a.clone()));
        assert_eq!(chosen(&in_zone("dmz"), &prod), Choice::Relay(a.clone()));
        for relay in [&lan, &mute, &test] {
            assert_eq!(chosen(&in_zone("dmz"), relay), Choice::Direct);
        }
        assert_eq!(chosen(&server_settings(), &dmz), Choice::Direct, "no zone is no zone of a relay");
        let named = Settings { relay: Some(b.clone()), ..in_zone("dmz") };
        assert_eq!(chosen(&named, &dmz), Choice::NoRelay, "another one is named");
        assert_eq!(choose(&named, [one(&a, &dmz), one(&b, &mute)]), Choice::Relay(b.clone()));
        let away = Candidate { connected: false, ..one(&a, &dmz) };
        assert_eq!(choose(&in_zone("dmz"), [away]), Choice::NoRelay, "never directly past a relay");
    }

    #[test]
    fn the_least_busy_comes_first_then_the_least_recently_used_and_troubled_ones_last() {
        let (dmz, server) = (of_zone("dmz"), in_zone("dmz"));
        let ids = [id(1), id(2), id(3)];
        let [a, b, c] = ids.each_ref().map(|id| one(id, &dmz));
        let of = |relays: [Candidate<'_>; 3]| choose(&server, relays);
        let busy = |relay, in_flight| Candidate { in_flight, ..relay };
        let used = |relay, used| Candidate { used, ..relay };
        assert_eq!(of([busy(a, 2), busy(b, 1), busy(c, 3)]), Choice::Relay(ids[1].clone()));
        assert_eq!(of([used(a, 9), used(b, 8), used(c, 7)]), Choice::Relay(ids[2].clone()));
        let troubled = |relay| Candidate { troubles: TROUBLES_MAX, ..relay };
        assert_eq!(of([troubled(a), busy(b, 3), troubled(c)]), Choice::Relay(ids[1].clone()));
        assert!(matches!(of([troubled(a), troubled(b), troubled(c)]), Choice::Relay(_)), "better than none");
        assert_eq!(of([busy(a, 4), busy(b, 4), busy(c, 5)]), Choice::Busy);
    }

    proptest! {
        #[test]
        fn nothing_goes_to_whom_it_must_not(
            relays in prop::collection::vec((any::<bool>(), 0u32..6, 0u32..5, 0u64..9, 0usize..3), 0..6)
        ) {
            let zones = [of_zone("dmz"), of_zone("lan"), relay_settings()];
            let ids: Vec<_> = (0..relays.len() as u128).map(id).collect();
            let candidates: Vec<_> = relays.iter().zip(&ids).map(|(&(connected, in_flight, troubles, used, zone), id)| {
                Candidate { id, settings: &zones[zone], connected, in_flight, troubles, used }
            }).collect();
            let chosen = choose(&in_zone("dmz"), candidates.clone());
            let serving = candidates.iter().filter(|one| one.settings.zone == Some(tag("dmz")));
            match &chosen {
                Choice::Relay(id) => {
                    let found = candidates.iter().find(|one| one.id == id).unwrap();
                    prop_assert!(found.connected && found.in_flight < found.settings.in_flight_max);
                    prop_assert_eq!(&found.settings.zone, &Some(tag("dmz")));
                }
                Choice::Direct => prop_assert_eq!(serving.count(), 0),
                Choice::Busy => prop_assert!(serving.filter(|one| one.connected).all(|one| one.in_flight >= 4)),
                Choice::NoRelay => prop_assert!(serving.clone().count() > 0 && !serving.clone().any(|one| one.connected)),
            }
        }
    }
}
