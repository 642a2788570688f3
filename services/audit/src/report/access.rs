//! `access`: who had access to what, from when until when, and which event began and ended it? What was given before
//! the range and held in it is there too.

use events::access::AccessEvent;
use events::credential::CredentialEvent;
use events::env::EnvEvent;
use events::ids::{Tag, TenantId};
use events::nats_tap::NatsTapEvent;
use events::session::SessionEvent;
use events::ssh_key::SshKeyEvent;
use events::tenant::TenantEvent;
use events::token::TokenEvent;
use events::user::UserEvent;
use events::{Event, Kind, Recorded};

use super::accounts::Accounts;
use super::intervals::{COLUMNS, Held, Intervals};
use super::rows::Rows;
use super::{Fold, Report, grants, words};

pub const REPORT: Report = Report {
    name: "access",
    about: "who had access to what, from when until when",
    version: 1,
    columns: COLUMNS,
    kinds: &[
        Kind::Tenant,
        Kind::Env,
        Kind::Credential,
        Kind::SshKey,
        Kind::Session,
        Kind::Server,
        Kind::Access,
        Kind::User,
        Kind::Token,
        Kind::NatsTap,
    ],
    fold: || Box::<Access>::default(),
};

/// What is held; what belongs together stands together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Of an environment.
    Owner(String),
    /// A key of one environment: the environment, and the fingerprint.
    Attached(String, String),
    AllowList(String),
    TenantAllowList(TenantId),
    /// A person's key, in all their environments.
    Personal(String),
    /// Tenant, group and name.
    Member(TenantId, Tag, String),
    /// Tenant, place and what it says.
    Grant(TenantId, events::access::Scope, String),
    /// Server and account.
    Account(String, String),
    User(String),
    Token(String),
    NatsTap(String),
    /// Session, and the so-manieth guest.
    Guest(String, u64),
}

#[derive(Default)]
struct Access {
    held: Intervals<Key>,
    accounts: Accounts,
}

impl Fold for Access {
    fn take(&mut self, event: &Recorded, rows: &mut Rows) {
        let held = &mut self.held;
        match &event.event {
            Event::Tenant(said) => of_tenant(held, event, said, rows),
            Event::Env(said) => of_env(held, event, said, rows),
            Event::Credential(said) => of_credential(held, event, said, rows),
            Event::SshKey(said) => of_ssh_key(held, event, said, rows),
            Event::Session(said) => of_session(held, event, said, rows),
            Event::Server(said) => self.accounts.take(held, event, said, rows),
            Event::Access(AccessEvent::GrantsSet(set)) => grants::set(held, event, set, rows),
            Event::Access(AccessEvent::PeopleGroupSet(set)) => grants::set_people(held, event, set, rows),
            Event::User(said) => of_user(held, event, said, rows),
            Event::Token(said) => of_token(held, event, said, rows),
            Event::NatsTap(said) => of_nats_tap(held, event, said, rows),
            Event::Quota(_)
            | Event::Port(_)
            | Event::Login(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::SignIn(_)
            | Event::Request(_) => {}
        }
    }

    fn finish(&mut self, rows: &mut Rows) {
        self.held.finish(rows);
    }
}

/// In the event's tenant, from the event on.
fn held(event: &Recorded, what: &'static str, who: String, on: String, may: &str) -> Held {
    let (tenant, may) = (event.subject.tenant.clone(), may.to_owned());
    Held { tenant, what, who, on, may, detail: String::new(), from: None, until: None }
}

fn of_tenant(intervals: &mut Intervals<Key>, event: &Recorded, said: &TenantEvent, rows: &mut Rows) {
    let who = match said {
        TenantEvent::TenantRegistered(_) => words::ranges::<String>(&[]),
        TenantEvent::TenantAllowListSet(set) => words::ranges(&set.ranges),
        TenantEvent::TenantRecordingSet(_) => return,
    };
    let list = held(event, "allow_list", who, "every environment".to_owned(), "connect");
    intervals.begin(Key::TenantAllowList(event.subject.tenant.clone()), list, event, rows);
}

fn of_env(intervals: &mut Intervals<Key>, event: &Recorded, said: &EnvEvent, rows: &mut Rows) {
    let env = event.subject.id.as_str();
    let on = format!("environment {env}");
    match said {
        EnvEvent::EnvRequested(asked) => {
            let owner = held(event, "environment", format!("user {}", asked.owner), on.clone(), "own");
            let owner = Held { detail: asked.name.clone(), ..owner };
            intervals.begin(Key::Owner(env.to_owned()), owner, event, rows);
            let list = held(event, "allow_list", words::ranges(&asked.allow_list), on, "connect");
            intervals.begin(Key::AllowList(env.to_owned()), list, event, rows);
        }
        EnvEvent::AllowListSet(set) => {
            let list = held(event, "allow_list", words::ranges(&set.ranges), on, "connect");
            intervals.begin(Key::AllowList(env.to_owned()), list, event, rows);
        }
        EnvEvent::EnvDeleted(_) => {
            intervals.end(&Key::Owner(env.to_owned()), event, rows);
            intervals.end(&Key::AllowList(env.to_owned()), event, rows);
            attached(intervals, event, &[], rows);
        }
        EnvEvent::PortBound(_)
        | EnvEvent::PodCreated(_)
        | EnvEvent::PodReady(_)
        | EnvEvent::PodLost(_)
        | EnvEvent::EnvProgressed(_)
        | EnvEvent::EnvFailed(_)
        | EnvEvent::EnvStopRequested(_)
        | EnvEvent::EnvStopped(_)
        | EnvEvent::EnvStartRequested(_)
        | EnvEvent::EnvDeleteRequested(_)
        | EnvEvent::EnvEndsSoon(_)
        | EnvEvent::JobMarked(_) => {}
    }
}

fn of_credential(intervals: &mut Intervals<Key>, event: &Recorded, said: &CredentialEvent, rows: &mut Rows) {
    match said {
        CredentialEvent::KeysAttached(keys) => attached(intervals, event, &keys.fingerprints, rows),
        CredentialEvent::PasswordIssued(_)
        | CredentialEvent::PasswordReset(_)
        | CredentialEvent::PasswordApplied(_)
        | CredentialEvent::PasswordRevealed(_) => {}
    }
}

/// The environment accepts exactly these keys.
fn attached(intervals: &mut Intervals<Key>, event: &Recorded, keys: &[String], rows: &mut Rows) {
    let env = &event.subject.id;
    let first = Key::Attached(env.clone(), String::new());
    let belongs = |key: &Key| matches!(key, Key::Attached(of, _) if of == env);
    let goes_on = |key: &Key| matches!(key, Key::Attached(_, known) if keys.contains(known));
    intervals.end_those(&first, belongs, goes_on, event, rows);
    for key in keys {
        let one = held(event, "attached_key", format!("key {key}"), format!("environment {env}"), "log_in");
        intervals.begin(Key::Attached(env.clone(), key.clone()), one, event, rows);
    }
}

fn of_ssh_key(intervals: &mut Intervals<Key>, event: &Recorded, said: &SshKeyEvent, rows: &mut Rows) {
    let key = Key::Personal(event.subject.id.clone());
    match said {
        SshKeyEvent::SshKeyAdded(added) => {
            let on = format!("environments of {}", added.owner);
            let one = held(event, "ssh_key", format!("key {}", added.fingerprint), on, "log_in");
            intervals.begin(key, Held { detail: added.name.clone(), ..one }, event, rows);
        }
        SshKeyEvent::SshKeyRemoved(_) => intervals.end(&key, event, rows),
    }
}

fn of_session(intervals: &mut Intervals<Key>, event: &Recorded, said: &SessionEvent, rows: &mut Rows) {
    let session = &event.subject.id;
    match said {
        SessionEvent::SessionJoined(joined) => {
            let on = format!("terminal {session} on {}", joined.place);
            let guest = held(event, "guest", format!("user {}", joined.user), on, joined.mode.name());
            intervals.begin(Key::Guest(session.clone(), joined.guest), guest, event, rows);
        }
        SessionEvent::SessionLeft(left) => {
            intervals.end(&Key::Guest(session.clone(), left.guest), event, rows);
        }
        SessionEvent::SessionClosed(_) => {
            let belongs = |key: &Key| matches!(key, Key::Guest(of, _) if of == session);
            intervals.end_those(&Key::Guest(session.clone(), 0), belongs, |_| false, event, rows);
        }
        SessionEvent::SessionOpened(_)
        | SessionEvent::RecordingStarted(_)
        | SessionEvent::RecordingKept(_)
        | SessionEvent::RecordingEnded(_)
        | SessionEvent::RecordingViewed(_)
        | SessionEvent::SessionShared(_)
        | SessionEvent::SessionUnshared(_) => {}
    }
}

/// People and tokens lie under the system's tenant and belong to the one that they name.
fn of_user(intervals: &mut Intervals<Key>, event: &Recorded, said: &UserEvent, rows: &mut Rows) {
    let name = &event.subject.id;
    match said {
        UserEvent::UserRegistered(registered) => {
            let on = format!("tenant {}", registered.tenant);
            let one = held(event, "user", format!("user {name}"), on, registered.role.name());
            let one = Held { tenant: registered.tenant.clone(), ..one };
            intervals.begin(Key::User(name.clone()), one, event, rows);
        }
        UserEvent::UserDisabled(_) => intervals.end(&Key::User(name.clone()), event, rows),
    }
}

fn of_token(intervals: &mut Intervals<Key>, event: &Recorded, said: &TokenEvent, rows: &mut Rows) {
    let id = &event.subject.id;
    match said {
        TokenEvent::TokenIssued(issued) => {
            let on = format!("tenant {}", issued.tenant);
            let one = held(event, "token", format!("user {}", issued.owner), on, issued.role.name());
            let detail = format!("{id} {}", issued.name);
            let one = Held { tenant: issued.tenant.clone(), detail, until: issued.expires_at, ..one };
            intervals.begin(Key::Token(id.clone()), one, event, rows);
        }
        TokenEvent::TokenRevoked(_) => intervals.end(&Key::Token(id.clone()), event, rows),
    }
}

/// Whoever has its password follows the tenant's events of these kinds.
fn of_nats_tap(intervals: &mut Intervals<Key>, event: &Recorded, said: &NatsTapEvent, rows: &mut Rows) {
    let id = &event.subject.id;
    match said {
        NatsTapEvent::NatsTapIssued(issued) => {
            let on = format!("events of {}", words::joined(&issued.kinds));
            let one = held(event, "nats_tap", format!("user {}", issued.by), on, "follow");
            let one = Held { detail: format!("{id} {}", issued.name), ..one };
            intervals.begin(Key::NatsTap(id.clone()), one, event, rows);
        }
        NatsTapEvent::NatsTapRevoked(_) => intervals.end(&Key::NatsTap(id.clone()), event, rows),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::credential::KeysAttached;
    use events::env::{AllowListSet, EnvDeleted, EnvRequested};
    use events::ids::UserName;
    use events::nats_tap::{NatsTapIssued, NatsTapRevoked};
    use events::token::TokenIssued;
    use events::user::Role;

    use super::super::testing::{ENV, at, cells, columns, of, shown, t};
    use super::*;

    fn env(sequence: u64, event: impl Into<EnvEvent>) -> Recorded {
        let event: EnvEvent = event.into();
        at(sequence, Kind::Env, ENV, event)
    }

    fn asked() -> EnvRequested {
        EnvRequested {
            name: "one".into(),
            owner: UserName::parse("alice").unwrap(),
            image: String::new(),
            resources: events::Resources::default(),
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

    fn keys(sequence: u64, fingerprints: &[&str]) -> Recorded {
        let fingerprints = fingerprints.iter().map(|key| (*key).to_owned()).collect();
        let attached = CredentialEvent::KeysAttached(KeysAttached { fingerprints });
        at(sequence, Kind::Credential, ENV, attached)
    }

    #[test]
    fn an_environment_has_an_owner_a_list_and_keys_as_long_as_it_is_there() {
        let ranges = vec!["10.0.0.0/8".parse().unwrap()];
        let all = [
            env(1, asked()),
            keys(2, &["SHA256:a", "SHA256:b"]),
            env(3, AllowListSet { ranges }),
            keys(4, &["SHA256:b"]),
            env(5, EnvDeleted {}),
        ];
        let rows = cells(&REPORT, 1, None, &all);
        let seen = columns(&REPORT, &rows, &["what", "who", "began_sequence", "ended_sequence"]);
        let expected = [
            ["environment", "user alice", "1", "5"],
            ["allow_list", "everyone", "1", "3"],
            ["attached_key", "key SHA256:a", "2", "4"],
            ["attached_key", "key SHA256:b", "2", "5"],
            ["allow_list", "10.0.0.0/8", "3", "5"],
        ];
        let sorted = |mut rows: Vec<Vec<String>>| {
            rows.sort();
            rows
        };
        let expected = expected.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(sorted(seen), sorted(expected));
        // rows are in the order in which they began
        let began = columns(&REPORT, &rows, &["began_sequence"]).concat();
        assert!(began.is_sorted(), "{began:?}");
        // in a range where nothing happens, what goes on is there
        assert_eq!(cells(&REPORT, 5, None, &all[..4]).len(), 3);
    }

    #[test]
    fn a_token_is_its_tenants_and_ends_by_itself() {
        let issued = TokenIssued {
            tenant: TenantId::parse("blue").unwrap(),
            name: "ci".into(),
            role: Role::Operator,
            owner: UserName::parse("alice").unwrap(),
            digest: "d".into(),
            expires_at: Some(t(50)),
        };
        let all = [of("_sys", 1, Kind::Token, "tok-abcdefghijkl", TokenEvent::TokenIssued(issued))];
        let rows = cells(&REPORT, 1, Some("blue"), &all);
        let seen = columns(&REPORT, &rows, &["who", "on", "may", "detail", "until"]);
        let until = shown(50);
        assert_eq!(seen, [["user alice", "tenant blue", "operator", "tok-abcdefghijkl ci", until.as_str()]]);
        assert!(cells(&REPORT, 1, Some("red"), &all).is_empty());
    }

    #[test]
    fn a_tap_of_nats_is_held_until_it_is_revoked() {
        let issued = NatsTapIssued {
            name: "warehouse".into(),
            kinds: ["env", "session"].map(str::to_owned).into(),
            by: UserName::parse("alice").unwrap(),
            digest: "d".into(),
        };
        let tap = |sequence, said: NatsTapEvent| at(sequence, Kind::NatsTap, "tap-abcdefghijkl", said);
        let all = [tap(1, issued.into()), tap(2, NatsTapRevoked {}.into())];
        let names = ["what", "who", "on", "may", "detail", "ended_sequence"];
        let seen = |all: &[Recorded]| columns(&REPORT, &cells(&REPORT, 1, None, all), &names);
        let row = |ended| {
            let (on, detail) = ("events of env session", "tap-abcdefghijkl warehouse");
            [["nats_tap", "user alice", on, "follow", detail, ended]]
        };
        assert_eq!(seen(&all[..1]), row(""));
        assert_eq!(seen(&all[..]), row("2"));
    }
}
