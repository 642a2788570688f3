//! Who and what takes part in the histories? A few of each, by number.

use chrono::{DateTime, Utc};
use events::env::{self, EnvEvent, EnvRequested};
use events::ids::{EnvId, PoolName, TenantId, UserName};
use events::{Event, Milli, Resources, session};
use uuid::Uuid;

use crate::server_story::server;

/// One of two tenants; an environment always has the same.
pub fn tenant(which: u8) -> TenantId {
    TenantId::parse(if (which % 12).is_multiple_of(2) { "acme" } else { "umbrella" }).unwrap()
}

/// One of twelve.
pub fn env(which: u8) -> EnvId {
    EnvId::from_seed(&Uuid::from_u128(u128::from(which % 12) + 1))
}

pub fn place(which: u8, env: &EnvId) -> session::Place {
    if which.is_multiple_of(7) { server(which).into() } else { env.clone().into() }
}

pub fn owner(which: u8) -> UserName {
    UserName::parse(format!("user{}", which % 5)).unwrap()
}

pub fn pool() -> PoolName {
    PoolName::parse("main").unwrap()
}

pub fn ip(which: u8) -> std::net::IpAddr {
    if which.is_multiple_of(2) {
        [203, 0, 113, which].into()
    } else {
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, which.into()].into()
    }
}

pub fn ranges(which: u8) -> Vec<ipnet::IpNet> {
    (0..which % 3).map(|n| format!("10.{n}.{which}.0/24").parse().unwrap()).collect()
}

pub fn resources(which: u8) -> Resources {
    Resources {
        cpu: Milli::from_thousandths(u64::from(which) * 250),
        memory: Milli::from_thousandths(500),
        gpu: u32::from(which % 3),
        storage: Milli::MAX,
    }
}

/// What is asked for in these stories.
pub fn asked(which: u8, now: DateTime<Utc>) -> EnvRequested {
    EnvRequested {
        name: format!("env 'quoted\" {which}"),
        owner: owner(which),
        image: if which.is_multiple_of(2) { String::new() } else { "registry/image:1".into() },
        resources: resources(which),
        ssh_public_keys: vec!["ssh-ed25519 AAAA".into()],
        jupyter: which.is_multiple_of(3),
        ttl_s: match which % 3 {
            0 => None,
            1 => Some(3_600),
            _ => Some(u64::MAX),
        },
        idle_s: which.is_multiple_of(2).then_some(3_600),
        allow_list: ranges(which),
        datasets: vec![],
        gateway_only: false,
        deadline: env::deadlines::create(now),
    }
}

/// An event of an environment that is `asked` for as the story's twelve are.
pub fn requested(which: u8, now: DateTime<Utc>) -> Event {
    Event::Env(EnvEvent::from(asked(which, now)))
}
