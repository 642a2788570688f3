//! May what is said of a relay be changed? As long as it is not revoked.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Relay, RelayChanged, RelayEvent, RelayRefusal, RelaySettings};
use crate::aggregate::Decision;
use crate::ids::Tag;

/// What shall be otherwise; what is left out stays. The inner `None` takes the zone away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub name: Option<String>,
    pub zone: Option<Option<Tag>>,
    pub labels: Option<BTreeMap<Tag, Tag>>,
    pub addresses: Option<Vec<IpNet>>,
    pub in_flight_max: Option<u32>,
}

pub fn change(state: &Relay, asked: &Change) -> Decision<RelayEvent, RelayRefusal> {
    let before = state.settings.as_ref().ok_or(RelayRefusal::NotFound)?;
    if state.revoked {
        return Err(RelayRefusal::Revoked);
    }
    let after = asked.applied(before);
    Ok((after != *before).then(|| RelayChanged { settings: after }.into()))
}

impl Change {
    /// To everything that they say.
    pub fn to(settings: RelaySettings) -> Self {
        let RelaySettings { name, zone, labels, addresses, in_flight_max } = settings;
        Self {
            name: Some(name),
            zone: Some(zone),
            labels: Some(labels),
            addresses: Some(addresses),
            in_flight_max: Some(in_flight_max),
        }
    }

    fn applied(&self, before: &RelaySettings) -> RelaySettings {
        RelaySettings {
            name: self.name.clone().unwrap_or_else(|| before.name.clone()),
            zone: self.zone.clone().unwrap_or_else(|| before.zone.clone()),
            labels: self.labels.clone().unwrap_or_else(|| before.labels.clone()),
            addresses: self.addresses.clone().unwrap_or_else(|| before.addresses.clone()),
            in_flight_max: self.in_flight_max.unwrap_or(before.in_flight_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::testing::{registered, settings};
    use crate::relay::{RelayRegistered, RelayRevoked};
    use crate::testing::given;

    fn addresses(ranges: &[&str]) -> Vec<IpNet> {
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_left_out_stays_and_what_is_as_it_was_is_no_change() {
        let there = given::<Relay>(vec![(0, registered("a").into())]);
        assert_eq!(change(&there, &Change::default()), Ok(None));
        let near = addresses(&["10.0.0.0/8"]);
        let limit = Change { addresses: Some(near.clone()), ..Change::default() };
        let limited = RelaySettings { addresses: near, ..settings() };
        let changed = change(&there, &limit).unwrap().unwrap();
        assert_eq!(changed, RelayChanged { settings: limited.clone() }.into());
        let after = given::<Relay>(vec![(0, registered("a").into()), (1, changed)]);
        assert_eq!((after.settings.as_ref(), &after.digest), (Some(&limited), &there.digest));
        assert_eq!((change(&after, &limit), change(&after, &Change::to(limited))), (Ok(None), Ok(None)));
        let open = Change { addresses: Some(vec![]), ..Change::default() };
        assert_eq!(change(&after, &open), Ok(Some(RelayChanged { settings: settings() }.into())));
    }

    #[test]
    fn one_that_waits_is_changed_and_one_that_is_gone_is_not() {
        let named = Change { name: Some("other".into()), ..Change::default() };
        assert_eq!(change(&Relay::default(), &named), Err(RelayRefusal::NotFound));
        let asked = RelayRegistered { pending: true, ..registered("a") };
        let waiting = given::<Relay>(vec![(0, asked.into())]);
        let other = RelaySettings { name: "other".into(), ..settings() };
        assert_eq!(change(&waiting, &named), Ok(Some(RelayChanged { settings: other }.into())));
        let gone = given::<Relay>(vec![(0, registered("a").into()), (1, RelayRevoked {}.into())]);
        assert_eq!(change(&gone, &named), Err(RelayRefusal::Revoked));
    }
}
