//! How does a report's test read? Given these events, these are the rows.
#![allow(clippy::unwrap_used)]

use chrono::{DateTime, TimeDelta, Utc};
use events::catalogue::EventType;
use events::ids::TenantId;
use events::{Cause, Event, Kind, Recorded, Subject};
use uuid::Uuid;

use super::Report;
use super::rows::Rows;

pub const ENV: &str = "env-abcdefghijkl";
pub const SERVER: &str = "srv-abcdefghijkl";

/// `t(s)`: the instant `s` seconds into the story.
pub fn t(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_700_000_000 + seconds)
}

/// As the reports show it.
pub fn shown(seconds: i64) -> String {
    super::rows::Cell::from(t(seconds)).text().into_owned()
}

/// The event of a sequence, recorded so many seconds into the story, in the tenant acme.
pub fn at(sequence: u64, kind: Kind, id: &str, event: impl Into<Event>) -> Recorded {
    of("acme", sequence, kind, id, event)
}

pub fn of(tenant: &str, sequence: u64, kind: Kind, id: &str, event: impl Into<Event>) -> Recorded {
    let time = t(i64::try_from(sequence).unwrap());
    let cause = Cause::new(Uuid::from_u128(sequence.into()), "user:olga");
    Recorded {
        seq: sequence,
        subject: Subject::new(TenantId::parse(tenant).unwrap(), kind, id),
        meta: cause.meta(0, time),
        event: event.into(),
    }
}

/// The golden payload of an event, where it belongs.
pub fn golden(sequence: u64, row: &EventType) -> Recorded {
    let wire = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/wire");
    let payload = std::fs::read(format!("{wire}/{}.v{}.json", row.name, row.version)).unwrap();
    let event = Event::from_wire(row.kind, row.name, row.version, &payload).unwrap();
    let (tenant, id) = match row.kind {
        Kind::Tenant | Kind::Quota | Kind::Access => ("acme", "acme"),
        Kind::Env | Kind::Credential | Kind::Login => ("acme", ENV),
        Kind::Port => ("_sys", "main-30000"),
        Kind::SshKey => ("acme", "key-abcdefghijklmnop"),
        Kind::Session => ("acme", "ses-abcdefghijkl"),
        Kind::Server => ("acme", SERVER),
        Kind::Relay => ("acme", "rel-abcdefghijkl"),
        Kind::Batch => ("acme", "bat-abcdefghijkl"),
        Kind::Command => ("acme", "cmd_1_abcdefghijkl"),
        Kind::Schedule => ("acme", "sch-abcdefghijkl"),
        Kind::Subscription => ("acme", "sub-abcdefghijkl"),
        Kind::User => ("_sys", "alice"),
        Kind::SignIn => ("acme", "sgn-abcdefghijkl"),
        Kind::Token => ("_sys", "tok-abcdefghijkl"),
        Kind::NatsTap => ("acme", "tap-abcdefghijkl"),
        Kind::Request => ("acme", "req-abcdefghijkl"),
    };
    of(tenant, sequence, row.kind, id, event)
}

/// The texts of the rows of a range that begins with `from`, for one tenant or for all. Messages are stored when they
/// are recorded.
pub fn cells(report: &Report, from: u64, tenant: Option<&str>, events: &[Recorded]) -> Vec<Vec<String>> {
    let mut rows = Rows::new(tenant.map(|tenant| TenantId::parse(tenant).unwrap()), from);
    let mut fold = (report.fold)();
    for event in events {
        rows.passes(event.seq, event.meta.time);
        fold.take(event, &mut rows);
    }
    fold.finish(&mut rows);
    let text = |row: Vec<super::rows::Cell>| row.iter().map(|cell| cell.text().into_owned()).collect();
    rows.finish().into_iter().map(text).collect()
}

/// Of each row the cells of these columns.
pub fn columns(report: &Report, rows: &[Vec<String>], names: &[&str]) -> Vec<Vec<String>> {
    let place = |name: &&str| report.columns.iter().position(|column| column == name).unwrap();
    let places: Vec<usize> = names.iter().map(place).collect();
    rows.iter().map(|row| places.iter().map(|place| row[*place].clone()).collect()).collect()
}
