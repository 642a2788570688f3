//! What happened before? Histories for the tests of the fold and of the plan.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use chrono::{DateTime, TimeDelta, Utc};
use events::batch::{
    ApprovalAsked, BatchApproved, BatchCancelled, BatchEvent, BatchExpired, BatchRejected, BatchRequested,
    BatchStopped,
};
use events::command::{CommandCompleted, CommandDispatched, CommandEvent, CommandRequested, Output, Via};
use events::envelope::Cause;
use events::ids::{BatchId, CommandId, HubId, RelayId, ServerId, Tag, TenantId, UserName};
use events::relay::{
    RelayChanged, RelayConnected, RelayDisconnected, RelayEvent, RelayKeyRotated, RelayRegistered,
    RelaySettings,
};
use events::server::{Credential, Method, ServerEvent, ServerRegistered, Settings};
use events::user::Role;
use events::{Event, Kind, Recorded, Subject};
use uuid::Uuid;

use crate::desk::Desk;

pub fn t(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

pub fn hub(number: u128) -> HubId {
    HubId::from_seed(&Uuid::from_u128(number))
}

pub fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn server(name: &str) -> ServerId {
    ServerId::from_seed(&Uuid::new_v5(&Uuid::nil(), name.as_bytes()))
}

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

pub fn settings(zone: Option<&str>) -> Settings {
    Settings {
        name: "one".into(),
        host: "10.0.0.1".into(),
        port: 22,
        username: "deploy".into(),
        credential: Credential { method: Method::Certificate, secret: None },
        zone: zone.map(|zone| Tag::parse(zone).unwrap()),
        relay: None,
        groups: [].into(),
        labels: [].into(),
    }
}

fn relay_settings(zone: Option<&str>) -> RelaySettings {
    RelaySettings {
        name: "relay".into(),
        zone: zone.map(|zone| Tag::parse(zone).unwrap()),
        labels: [].into(),
        addresses: vec![],
        in_flight_max: 2,
    }
}

/// A desk and what happens, each at `second`.
pub struct Story {
    pub desk: Desk,
    pub second: i64,
    seq: u64,
}

impl Story {
    pub fn new() -> Self {
        Self { desk: Desk::default(), second: 0, seq: 0 }
    }

    pub fn tell(&mut self, kind: Kind, id: &str, event: impl Into<Event>) {
        self.seq += 1;
        let meta = Cause::new(Uuid::from_u128(self.seq.into()), "user:alice").meta(0, t(self.second));
        let subject = Subject::new(acme(), kind, id);
        self.desk.apply(&Recorded { seq: self.seq, subject, meta, event: event.into() });
    }

    pub fn server(&mut self, name: &str, zone: Option<&str>) {
        let event = ServerEvent::from(ServerRegistered { settings: settings(zone) });
        self.tell(Kind::Server, server(name).as_str(), event);
    }

    pub fn relay(&mut self, number: u128, zone: Option<&str>) -> RelayId {
        let id = RelayId::from_seed(&Uuid::from_u128(number));
        let settings = relay_settings(zone);
        let event = RelayEvent::from(RelayRegistered { settings, digest: "d".into(), pending: false });
        self.tell(Kind::Relay, id.as_str(), event);
        id
    }

    /// From where it may connect.
    pub fn limit(&mut self, relay: &RelayId, range: &str) {
        let settings = RelaySettings { addresses: vec![range.parse().unwrap()], ..relay_settings(None) };
        self.tell(Kind::Relay, relay.as_str(), RelayEvent::from(RelayChanged { settings }));
    }

    pub fn rotate(&mut self, relay: &RelayId, digest: &str, until: i64) {
        let rotated = RelayKeyRotated { digest: digest.into(), previous_until: t(until) };
        self.tell(Kind::Relay, relay.as_str(), RelayEvent::from(rotated));
    }

    pub fn connect(&mut self, relay: &RelayId, epoch: u64) {
        let connected = RelayConnected {
            epoch,
            hub: hub(1),
            address: None,
            client: None,
            previous_key: false,
            tunnels: None,
        };
        self.tell(Kind::Relay, relay.as_str(), RelayEvent::from(connected));
    }

    pub fn disconnect(&mut self, relay: &RelayId, epoch: u64) {
        let event = RelayEvent::from(RelayDisconnected { epoch, reason: "relay_left".into() });
        self.tell(Kind::Relay, relay.as_str(), event);
    }

    pub fn batch(&mut self, servers: &[&str], idempotent: bool) -> BatchId {
        self.batch_with(servers, idempotent, None)
    }

    /// One that waits for a second person, until 100.
    pub fn dangerous(&mut self, servers: &[&str]) -> BatchId {
        let asked = ApprovalAsked { until: t(100), role: Role::Developer, patterns: [].into() };
        self.batch_with(servers, false, Some(asked))
    }

    fn batch_with(&mut self, servers: &[&str], idempotent: bool, approval: Option<ApprovalAsked>) -> BatchId {
        let id = BatchId::from_seed(&Uuid::from_u128(self.seq.into()));
        let requested = BatchRequested {
            command: "uptime".into(),
            servers: servers.iter().map(|name| server(name)).collect(),
            timeout_ms: 10_000,
            idempotent,
            concurrency: 3,
            stop_after_failures: Some(2),
            approval,
            by: user("alice"),
            at: t(0),
        };
        self.tell(Kind::Batch, id.as_str(), BatchEvent::from(requested));
        id
    }

    pub fn cancel(&mut self, batch: &BatchId) {
        self.tell(Kind::Batch, batch.as_str(), BatchEvent::from(BatchCancelled {}));
    }

    pub fn approve(&mut self, batch: &BatchId, second: i64) {
        let approved = BatchApproved { by: user("bob"), at: t(second) };
        self.tell(Kind::Batch, batch.as_str(), BatchEvent::from(approved));
    }

    pub fn reject(&mut self, batch: &BatchId) {
        let rejected = BatchRejected { by: user("bob"), reason: None };
        self.tell(Kind::Batch, batch.as_str(), BatchEvent::from(rejected));
    }

    pub fn expire(&mut self, batch: &BatchId) {
        self.tell(Kind::Batch, batch.as_str(), BatchEvent::from(BatchExpired {}));
    }

    pub fn stop(&mut self, batch: &BatchId) {
        self.tell(Kind::Batch, batch.as_str(), BatchEvent::from(BatchStopped { failures: 2 }));
    }

    pub fn command(&self, batch: &BatchId, name: &str) -> CommandId {
        CommandId::of(batch, &server(name), t(0))
    }

    pub fn request(&mut self, id: &CommandId) {
        let entry = &self.desk.commands[id];
        let asked = CommandRequested {
            batch: entry.batch.clone(),
            server: entry.server.clone(),
            timeout_ms: 10_000,
            idempotent: self.desk.batches[&entry.batch].requested.idempotent,
            start_by: t(3_600),
        };
        self.tell(Kind::Command, id.as_str(), CommandEvent::from(asked));
    }

    pub fn direct(&self, number: u128) -> Via {
        Via::Direct { hub: hub(number) }
    }

    pub fn by(&self, relay: &RelayId, epoch: u64) -> Via {
        Via::Relay { relay: relay.clone(), epoch }
    }

    pub fn dispatch(&mut self, id: &CommandId, via: Via) {
        let dispatched = CommandDispatched {
            via,
            host: "10.0.0.1".into(),
            port: 22,
            username: "deploy".into(),
            attempt: 1,
            deadline: t(self.second + 10),
        };
        self.tell(Kind::Command, id.as_str(), CommandEvent::from(dispatched));
    }

    pub fn complete(&mut self, id: &CommandId) {
        self.end_with(id, 0);
    }

    pub fn end_with(&mut self, id: &CommandId, exit_code: i32) {
        let none = Output::default();
        let completed = CommandCompleted { exit_code, stdout: none.clone(), stderr: none };
        self.tell(Kind::Command, id.as_str(), CommandEvent::from(completed));
    }
}
