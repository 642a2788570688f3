//! What do the tests of this crate start from? One environment as its events left it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use chrono::{DateTime, Utc};
use events::env::{EnvEvent, EnvRequested, PortBound, PortPurpose};
use events::envelope::Meta;
use events::ids::{EnvId, EventId, PoolName, TenantId, UserName};
use events::login::{LoginEvent, LoginLocked};
use events::ports::pool::Pool;
use events::{Event, Kind, Milli, Recorded, Resources, Subject};
use uuid::Uuid;

use crate::compute::{Published, Spec};
use crate::fleet::{Fleet, Truth};

/// The instant `second` seconds into the story.
pub fn t(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

pub fn env_id(number: u128) -> EnvId {
    EnvId::from_seed(&Uuid::from_u128(number))
}

pub fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn pool_name() -> PoolName {
    PoolName::parse("main").unwrap()
}

pub fn asked() -> EnvRequested {
    EnvRequested {
        name: "one".into(),
        owner: UserName::parse("alice").unwrap(),
        image: String::new(),
        resources: Default::default(),
        ssh_public_keys: vec![],
        jupyter: false,
        ttl_s: None,
        idle_s: None,
        allow_list: vec![],
        datasets: vec![],
        gateway_only: false,
        deadline: t(300),
    }
}

pub fn bound(port: u16) -> EnvEvent {
    PortBound { pool: pool_name(), port, purpose: PortPurpose::Ssh }.into()
}

pub fn locked(ip: &str, until: i64) -> LoginEvent {
    LoginLocked { ip: ip.parse().unwrap(), until: t(until) }.into()
}

/// `event` as the `seq`-th of the log, at that second.
pub fn recorded(seq: u64, tenant: &TenantId, kind: Kind, id: &str, event: impl Into<Event>) -> Recorded {
    Recorded {
        seq,
        subject: Subject::new(tenant.clone(), kind, id),
        meta: Meta {
            id: EventId(Uuid::from_u128(seq.into())),
            time: t(i64::try_from(seq).unwrap()),
            actor: "service:test".into(),
            correlation: Uuid::nil(),
            causation: None,
            traceparent: None,
        },
        event: event.into(),
    }
}

pub fn fleet() -> Fleet {
    Fleet::new(pool_name(), Pool::new(30000..=30002, chrono::TimeDelta::seconds(60)))
}

/// A fleet with the environments 1 to `count`, just asked for.
pub fn fleet_of(count: u128) -> Fleet {
    let fleet = fleet();
    for number in 1..=count {
        let event = EnvEvent::from(asked());
        let seq = u64::try_from(number).unwrap();
        fleet.apply(&recorded(seq, &acme(), Kind::Env, env_id(number).as_str(), event));
    }
    fleet
}

pub fn truth() -> Truth {
    fleet_of(1).truth(&env_id(1)).unwrap()
}

/// With both ports and a GPU.
pub fn spec() -> Spec {
    Spec {
        env: env_id(0),
        tenant: acme(),
        image: "one".into(),
        resources: Resources {
            cpu: Milli::from_thousandths(500),
            memory: Milli::from_thousandths(2000),
            gpu: 1,
            ..Resources::default()
        },
        datasets: vec![],
        ports: vec![
            Published { purpose: PortPurpose::Ssh, port: 30000 },
            Published { purpose: PortPurpose::Jupyter, port: 30001 },
        ],
        token: "hidden".into(),
    }
}
