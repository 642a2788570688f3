//! What does somebody say of a relay? The fields of a registration and of a change, with their limits.

use std::collections::BTreeSet;

use events::ids::Tag;
use events::relay::RelaySettings;
use events::relay::change::Change;
use ipnet::IpNet;
use serde_json::Value;
use utoipa::ToSchema;

use crate::fields::{self, Fields};
use crate::problem::Problem;
use crate::readers;
use crate::server_fields::labels;

const ADDRESSES_MAX: usize = 32;
/// Commands that a relay is given at once.
const IN_FLIGHT: (u64, u64) = (1, 1_000);
const IN_FLIGHT_DEFAULT: u32 = 32;

#[derive(ToSchema)]
#[schema(as = RelayAsked, example = json!({"name": "dmz one", "zone": "dmz", "addresses": ["203.0.113.0/24"]}))]
#[allow(dead_code)] // a description; what is read becomes `RelaySettings`
pub struct AskedShape {
    /// Any text of 1 to 63 characters; not unique.
    name: String,
    /// It serves the servers of this zone.
    #[schema(value_type = Option<String>)]
    zone: Option<Tag>,
    /// It serves servers that have all of these.
    labels: Option<std::collections::HashMap<String, String>>,
    /// From where it may connect; anywhere when absent.
    addresses: Option<Vec<String>>,
    /// Commands that it is given at once, 1 to 1000; 32 when absent.
    in_flight_max: Option<u32>,
}

/// What changes of a relay; what is left out stays.
#[derive(ToSchema)]
#[schema(as = RelayChange, example = json!({"addresses": ["203.0.113.0/24"]}))]
#[allow(dead_code)] // a description; what is read becomes a `Change`
pub struct ChangeShape {
    /// Any text of 1 to 63 characters; not unique.
    name: Option<String>,
    /// `null`: it serves no zone.
    #[schema(value_type = Option<String>)]
    zone: Option<Tag>,
    /// All of them; none when empty.
    labels: Option<std::collections::HashMap<String, String>>,
    /// All from where it may connect; anywhere when empty.
    addresses: Option<Vec<String>>,
    /// Commands that it is given at once, 1 to 1000.
    in_flight_max: Option<u32>,
}

pub fn asked(body: &Value) -> Result<RelaySettings, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::label);
    let zone = fields.optional("zone", fields::id(Tag::parse));
    let labels = fields.optional("labels", labels).unwrap_or_default();
    let addresses = addresses(&mut fields);
    let in_flight_max = in_flight_max(&mut fields).unwrap_or(IN_FLIGHT_DEFAULT);
    fields.finish(name.map(|name| RelaySettings { name, zone, labels, addresses, in_flight_max }))
}

/// As a registration, but everything may be left out; `null` takes the zone away.
pub fn change(body: &Value) -> Result<Change, Problem> {
    let mut fields = Fields::of(body);
    let addresses_said = fields.has("addresses");
    let addresses = addresses(&mut fields);
    let change = Change {
        name: fields.optional("name", readers::label),
        zone: fields.nullable("zone", fields::id(Tag::parse)),
        labels: fields.optional("labels", labels),
        addresses: addresses_said.then_some(addresses),
        in_flight_max: in_flight_max(&mut fields),
    };
    fields.finish(Some(change))
}

/// Each once, in order, so that the same ones said otherwise are no change.
fn addresses(fields: &mut Fields<'_>) -> Vec<IpNet> {
    let ranges: BTreeSet<_> = fields.list("addresses", ADDRESSES_MAX, readers::range).into_iter().collect();
    ranges.into_iter().collect()
}

fn in_flight_max(fields: &mut Fields<'_>) -> Option<u32> {
    let most = fields.optional("in_flight_max", fields::whole(IN_FLIGHT.0, IN_FLIGHT.1));
    most.and_then(|most| u32::try_from(most).ok())
}
