//! What may have happened to servers and to who may use them? Part of the histories of `story`.

use chrono::{DateTime, TimeDelta};
use events::Decision;
use events::access::pattern::Pattern;
use events::access::{
    Access, Commands, Grant, Grantee, GrantsSet, PeopleGroupSet, Right, Scope, set_grants, set_people,
};
use events::credential::SecretRef;
use events::ids::{ServerId, Tag, TenantId};
use events::server::facts::Address;
use events::server::{
    self, AccountAction, AccountChangeAsked, ConnectionTested, Credential, Facts, HostKey, Method, Server,
    ServerEvent, ServerRefusal, Settings,
};
use uuid::Uuid;

use crate::story::{Story, owner};

impl Story {
    pub fn step_of_server(&mut self, what: u8, which: u8, tenant: &TenantId) {
        if what.is_multiple_of(5) {
            return self.step_of_access(which, tenant);
        }
        let id = server(which);
        self.decide::<Server, _>(tenant, id.as_str(), |state, _| {
            let settings = state.there().cloned().unwrap_or_else(|| settings(which, &id));
            let key = HostKey { line: format!("ssh-ed25519 {}", which % 4), fingerprint: "SHA256:x".into() };
            match what % 11 {
                0..=2 => server::register::register(state, settings),
                3 | 4 => {
                    let host = which.is_multiple_of(3).then(|| format!("10.0.0.{which}"));
                    let groups = which.is_multiple_of(2).then(|| [tag("web"), tag("db")].into());
                    let zone = which.is_multiple_of(4).then_some(None);
                    let credential = which.is_multiple_of(6).then(|| settings.credential.clone());
                    let asked =
                        server::change::Change { host, groups, zone, credential, ..Default::default() };
                    server::change::change(state, &asked)
                }
                5 | 6 => server::host_key::shown(state, &settings, &key),
                7 => server::host_key::accept(state, "SHA256:x"),
                8 | 9 => server::test::tested(state, &settings, outcome(which)),
                _ if which.is_multiple_of(7) => server::remove::remove(state),
                _ if which.is_multiple_of(2) => server::facts::gathered(state, &settings, facts(which)),
                _ => account(state, which),
            }
        });
    }

    fn step_of_access(&mut self, which: u8, tenant: &TenantId) {
        self.decide::<Access, _>(tenant, tenant.as_str(), |state, now| {
            if which.is_multiple_of(3) {
                let members = (0..which % 4).map(owner).collect();
                return set_people::set_people(state, PeopleGroupSet { group: tag("ops"), members });
            }
            let servers = match which % 4 {
                0 => Scope::Server(server(which)),
                1 => Scope::Zone(tag("dmz")),
                2 => Scope::Group(tag("web")),
                _ => Scope::Label { key: tag("env"), value: tag("prod") },
            };
            let grant = |number| Grant {
                to: Grantee::User(owner(number)),
                may: [Right::Terminal].into(),
                commands: Commands {
                    deny: [Pattern::parse("*rm \u{1f6a2}*").unwrap()].into(),
                    ..Commands::default()
                },
                from: None,
                until: Some(now + TimeDelta::days(1)),
            };
            let grants = (0..which % 3).map(grant).collect();
            set_grants::set_grants(state, GrantsSet { servers, grants })
        });
    }
}

/// One of twelve; like an environment it always has the same tenant.
pub fn server(which: u8) -> ServerId {
    ServerId::from_seed(&Uuid::from_u128(u128::from(which % 12) + 1))
}

pub fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// What is said of a server in these stories.
pub fn settings(which: u8, id: &ServerId) -> Settings {
    Settings {
        name: format!("server 'quoted\" {}", which % 12),
        host: "\u{1f6a2}.example.org".into(),
        port: 22,
        username: "deploy".into(),
        credential: Credential {
            method: Method::Password,
            secret: Some(SecretRef::server_login(id, Uuid::nil())),
        },
        zone: which.is_multiple_of(2).then(|| tag("dmz")),
        relay: None,
        groups: if which.is_multiple_of(3) { [tag("web")].into() } else { [].into() },
        labels: if which.is_multiple_of(2) { [(tag("env"), tag("prod"))].into() } else { [].into() },
    }
}

fn facts(which: u8) -> Facts {
    let address = Address { interface: None, address: "10.0.0.1".into() };
    Facts { hostname: format!("host \u{1f6a2} {which}"), addresses: vec![address], ..Facts::default() }
}

/// A change of an account is asked for, or ends.
fn account(state: &Server, which: u8) -> Decision<ServerEvent, ServerRefusal> {
    let name = "alice".to_owned();
    match state.accounts.get(&name).and_then(|account| account.pending.as_ref()) {
        None => {
            let change_id = Uuid::from_u128(which.into());
            let (keys, deadline) = (["ssh-ed25519 A".to_owned()].into(), DateTime::UNIX_EPOCH);
            let action = AccountAction::Push;
            server::account::ask(
                state,
                AccountChangeAsked { change_id, account: name, action, keys, deadline },
            )
        }
        Some(_) => server::account::expire(state, DateTime::UNIX_EPOCH),
    }
}

fn outcome(which: u8) -> ConnectionTested {
    let ok = which.is_multiple_of(2);
    ConnectionTested {
        host: "10.0.0.1".into(),
        port: 22,
        username: "deploy".into(),
        ok,
        class: (!ok).then(|| "auth_failed".into()),
        reason: (!ok).then(|| format!("refused {which}")),
        suggestion: None,
        step: "authentication".into(),
        identification: Some("SSH-2.0-x".into()),
        duration_ms: which.into(),
    }
}
