//! What does each event change in the fold? Also: whose policy, so whose bell rings.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use events::credential::{Credential, CredentialEvent, PasswordIssued, PasswordReset};
use events::env::{Env, EnvEvent};
use events::ids::{EnvId, PoolName, SessionId, TenantId, UserName};
use events::ports::parse_port_id;
use events::ports::pool::Pool;
use events::quota::QuotaEvent;
use events::session::SessionEvent;
use events::ssh_key::SshKeyEvent;
use events::tenant::TenantEvent;
use events::{Aggregate, Event, Recorded};
use ipnet::IpNet;
use tokio::sync::watch;

use crate::doors::Doors;
use crate::fleet::{Member, Origin};

pub struct Known {
    pub member: Member,
    pub bell: watch::Sender<u64>,
}

pub struct Fold {
    pub pool_name: PoolName,
    pub pool: Pool,
    pub known: HashMap<EnvId, Known>,
    pub keys: HashMap<(TenantId, UserName), BTreeMap<String, String>>,
    pub allow_lists: HashMap<TenantId, Vec<IpNet>>,
    pub claims: HashMap<(TenantId, EnvId), DateTime<Utc>>,
    /// Ports that this process is trying to allocate now.
    pub tried: HashSet<u16>,
}

impl Fold {
    pub fn new(pool_name: PoolName, pool: Pool) -> Self {
        Self {
            pool_name,
            pool,
            known: HashMap::new(),
            keys: HashMap::new(),
            allow_lists: HashMap::new(),
            claims: HashMap::new(),
            tried: HashSet::new(),
        }
    }

    pub fn apply(&mut self, recorded: &Recorded) {
        let (subject, at) = (&recorded.subject, recorded.meta.time);
        match &recorded.event {
            Event::Env(event) => self.env(recorded, event),
            Event::Port(event) => {
                if let Some((pool, port)) = parse_port_id(&subject.id)
                    && pool == self.pool_name
                {
                    self.pool.apply(port, event, at);
                    self.tried.remove(&port);
                }
            }
            Event::Credential(event) => self.credential(&subject.id, event, at),
            Event::SshKey(event) => self.ssh_key(recorded, event),
            Event::Login(event) => {
                if let Some(known) = self.get(&subject.id)
                    && known.member.doors.apply(event, at)
                {
                    known.ring();
                }
            }
            Event::Session(event) => self.session(&subject.id, event),
            Event::Tenant(TenantEvent::TenantAllowListSet(set)) => {
                self.allow_lists.insert(subject.tenant.clone(), set.ranges.clone());
                self.known
                    .values()
                    .filter(|known| known.member.tenant == subject.tenant)
                    .for_each(Known::ring);
            }
            Event::Quota(QuotaEvent::QuotaClaimed(claimed)) => {
                self.claims.insert((subject.tenant.clone(), claimed.env.clone()), at);
            }
            Event::Quota(QuotaEvent::QuotaReleased(released)) => {
                self.claims.remove(&(subject.tenant.clone(), released.env.clone()));
            }
            Event::Tenant(TenantEvent::TenantRegistered(_) | TenantEvent::TenantRecordingSet(_))
            | Event::Quota(QuotaEvent::QuotaSet(_))
            | Event::User(_)
            | Event::Token(_)
            | Event::SignIn(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }

    fn get(&mut self, env: &str) -> Option<&mut Known> {
        self.known.get_mut(&EnvId::parse(env).ok()?)
    }

    fn env(&mut self, recorded: &Recorded, event: &EnvEvent) {
        let Ok(env) = EnvId::parse(recorded.subject.id.as_str()) else { return };
        if matches!(event, EnvEvent::EnvDeleted(_)) {
            self.known.remove(&env);
            return;
        }
        let known = self.known.entry(env).or_insert_with(|| Known::new(recorded));
        known.member.env.evolve(event, recorded.meta.time);
        match event {
            EnvEvent::EnvRequested(_)
            | EnvEvent::EnvStartRequested(_)
            | EnvEvent::EnvStopRequested(_)
            | EnvEvent::EnvDeleteRequested(_)
            | EnvEvent::PodLost(_)
            | EnvEvent::EnvEndsSoon(_)
            | EnvEvent::AllowListSet(_) => {
                known.member.origin = Origin::of(recorded);
                known.ring();
            }
            EnvEvent::PortBound(_)
            | EnvEvent::PodCreated(_)
            | EnvEvent::PodReady(_)
            | EnvEvent::EnvProgressed(_)
            | EnvEvent::EnvFailed(_)
            | EnvEvent::JobMarked(_)
            | EnvEvent::EnvStopped(_)
            | EnvEvent::EnvDeleted(_) => {}
        }
    }

    fn credential(&mut self, env: &str, event: &CredentialEvent, at: DateTime<Utc>) {
        let Some(known) = self.get(env) else { return };
        known.member.credential.evolve(event, at);
        match event {
            CredentialEvent::PasswordIssued(PasswordIssued { secret_ref })
            | CredentialEvent::PasswordReset(PasswordReset { secret_ref, .. }) => {
                known.member.passwords.push(secret_ref.clone());
                known.ring();
            }
            CredentialEvent::PasswordApplied(_)
            | CredentialEvent::PasswordRevealed(_)
            | CredentialEvent::KeysAttached(_) => {}
        }
    }

    fn ssh_key(&mut self, recorded: &Recorded, event: &SshKeyEvent) {
        let tenant = &recorded.subject.tenant;
        let owner = match event {
            SshKeyEvent::SshKeyAdded(added) => {
                let keys = self.keys.entry((tenant.clone(), added.owner.clone())).or_default();
                keys.insert(recorded.subject.id.clone(), added.public_key.clone());
                &added.owner
            }
            SshKeyEvent::SshKeyRemoved(removed) => {
                if let Some(keys) = self.keys.get_mut(&(tenant.clone(), removed.owner.clone())) {
                    keys.remove(&recorded.subject.id);
                }
                &removed.owner
            }
        };
        let theirs =
            |known: &&Known| known.member.tenant == *tenant && known.member.env.owner() == Some(owner);
        self.known.values().filter(theirs).for_each(Known::ring);
    }

    fn session(&mut self, id: &str, event: &SessionEvent) {
        let Ok(session) = SessionId::parse(id) else { return };
        match event {
            SessionEvent::SessionOpened(opened) => {
                if let Some(known) = opened.place.env().and_then(|env| self.known.get_mut(env)) {
                    known.member.sessions.insert(session);
                }
            }
            SessionEvent::SessionClosed(closed) => {
                if let Some(known) = closed.place.env().and_then(|env| self.known.get_mut(env)) {
                    known.member.sessions.remove(&session);
                }
            }
            SessionEvent::RecordingStarted(_)
            | SessionEvent::RecordingKept(_)
            | SessionEvent::RecordingEnded(_)
            | SessionEvent::RecordingViewed(_) => {}
            // who else looks on is no connection to the environment
            SessionEvent::SessionShared(_)
            | SessionEvent::SessionUnshared(_)
            | SessionEvent::SessionJoined(_)
            | SessionEvent::SessionLeft(_) => {}
        }
    }
}

impl Known {
    fn new(recorded: &Recorded) -> Self {
        let member = Member {
            tenant: recorded.subject.tenant.clone(),
            env: Env::default(),
            credential: Credential::default(),
            passwords: Vec::new(),
            doors: Doors::default(),
            sessions: BTreeSet::new(),
            origin: Origin::of(recorded),
        };
        Self { member, bell: watch::Sender::new(0) }
    }

    fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Origin {
    fn of(recorded: &Recorded) -> Self {
        Self {
            event: recorded.meta.id,
            correlation: recorded.meta.correlation,
            traceparent: recorded.meta.traceparent.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::HashSet;

    use super::*;
    use crate::testing::{acme, bound, env_id, fleet_of, locked, pool_name, recorded, t};
    use events::Kind;
    use events::credential::{PasswordApplied, SecretRef};
    use events::env::{EnvDeleted, PodReady, PortPurpose, Status};
    use events::ports::{PortAllocated, PortReleased, port_id};
    use events::quota::{QuotaClaimed, QuotaReleased};
    use events::session::{SessionClosed, SessionOpened};
    use events::ssh_key::{SshKeyAdded, SshKeyRemoved};
    use events::tenant::TenantAllowListSet;
    use uuid::Uuid;

    fn owner() -> UserName {
        UserName::parse("alice").unwrap()
    }

    #[test]
    fn the_bell_rings_exactly_when_the_policy_changes() {
        let fleet = fleet_of(2);
        let (one, two) = (env_id(1), env_id(2));
        let bell = fleet.bell(&one).unwrap();
        let secret_ref = SecretRef { owner: one.to_string(), name: "password".into(), version: Uuid::nil() };
        let key = SshKeyAdded {
            owner: owner(),
            name: "laptop".into(),
            public_key: "ssh-ed25519 AAAA".into(),
            fingerprint: "SHA256:x".into(),
        };
        let id = |env: &EnvId| env.to_string();
        let events: Vec<(bool, Kind, String, Event)> = vec![
            (true, Kind::Credential, id(&one), CredentialEvent::from(PasswordIssued { secret_ref }).into()),
            (false, Kind::Credential, id(&one), CredentialEvent::from(PasswordApplied { number: 1 }).into()),
            (false, Kind::Env, id(&one), EnvEvent::from(PodReady::default()).into()),
            (true, Kind::SshKey, "key-a".into(), SshKeyEvent::from(key).into()),
            (true, Kind::SshKey, "key-a".into(), SshKeyEvent::from(SshKeyRemoved { owner: owner() }).into()),
            (
                true,
                Kind::Tenant,
                "acme".into(),
                TenantEvent::from(TenantAllowListSet { ranges: vec![] }).into(),
            ),
            (true, Kind::Login, id(&one), locked("203.0.113.9", 900).into()),
            (false, Kind::Login, id(&two), locked("203.0.113.9", 900).into()),
        ];
        for (seq, (rings, kind, id, event)) in (10..).zip(events) {
            let before = *bell.borrow();
            let name = event.event_type();
            fleet.apply(&recorded(seq, &acme(), kind, &id, event));
            assert_eq!(*bell.borrow() != before, rings, "{name} of {id}");
        }
        fleet.apply(&recorded(20, &acme(), Kind::Env, one.as_str(), EnvEvent::from(EnvDeleted {})));
        assert!(bell.has_changed().is_err(), "the bell of a deleted environment is gone");
        assert_eq!((fleet.count(), fleet.folded()), (1, 20));
    }

    #[test]
    fn a_port_is_tried_by_one_at_a_time_and_an_own_one_first() {
        let (fleet, none) = (fleet_of(3), HashSet::new());
        let try_port = |number| fleet.try_port(&env_id(number), PortPurpose::Ssh, &none, t(100));
        assert_eq!((try_port(1), try_port(2)), (Some(30000), Some(30001)));
        fleet.give_back(30000);
        assert_eq!(try_port(3), Some(30000), "given back");
        let allocated = PortAllocated { tenant: acme(), env: env_id(3), purpose: PortPurpose::Ssh };
        let id = port_id(&pool_name(), 30000);
        let event = events::ports::PortEvent::from(allocated);
        fleet.apply(&recorded(10, &TenantId::system(), Kind::Port, &id, event));
        assert_eq!(try_port(3), Some(30000), "its own, from a try that broke off");
        assert_eq!(
            fleet.try_port(&env_id(3), PortPurpose::Ssh, &HashSet::from([30000]), t(100)),
            Some(30002)
        );
        assert_eq!(try_port(1), None, "30001 is being tried");
        let event = events::ports::PortEvent::from(PortReleased { env: env_id(3) });
        fleet.apply(&recorded(11, &TenantId::system(), Kind::Port, &id, event));
        assert_eq!(fleet.try_port(&env_id(1), PortPurpose::Ssh, &none, t(50)), None, "30000 rests");
        assert_eq!(fleet.try_port(&env_id(1), PortPurpose::Ssh, &none, t(71)), Some(30000));
    }

    #[test]
    fn sessions_claims_and_deadlines_are_known() {
        let (fleet, env) = (fleet_of(1), env_id(1));
        let opened = SessionOpened {
            place: env.clone().into(),
            ip: "203.0.113.9".parse().unwrap(),
            entrance: events::login::Entrance::DirectPort,
            user: "developer".into(),
            method: "password".into(),
            client: None,
            at: t(1),
        };
        let closed = SessionClosed {
            place: env.clone().into(),
            bytes_in: 0,
            bytes_out: 0,
            reason: "x".into(),
            at: t(2),
        };
        let session = SessionId::parse("ses-a").unwrap();
        fleet.apply(&recorded(2, &acme(), Kind::Session, "ses-a", SessionEvent::from(opened)));
        assert_eq!(fleet.session_holder(&session), Some(env.clone()));
        fleet.apply(&recorded(3, &acme(), Kind::Session, "ses-a", SessionEvent::from(closed)));
        assert_eq!(fleet.session_holder(&session), None);

        let claimed = QuotaClaimed { env: env.clone(), resources: Default::default() };
        fleet.apply(&recorded(4, &acme(), Kind::Quota, "acme", QuotaEvent::from(claimed)));
        assert_eq!(fleet.claims(), [(acme(), env.clone(), t(4))]);
        let released = QuotaEvent::from(QuotaReleased { env: env.clone() });
        fleet.apply(&recorded(5, &acme(), Kind::Quota, "acme", released));
        assert_eq!(fleet.claims(), []);

        assert_eq!((fleet.due(t(299)), fleet.due(t(300))), (vec![], vec![(env.clone(), acme())]));
        fleet.apply(&recorded(6, &acme(), Kind::Env, env.as_str(), bound(30000)));
        fleet.apply(&recorded(7, &acme(), Kind::Env, env.as_str(), EnvEvent::from(PodReady::default())));
        assert_eq!((fleet.due(t(300)), fleet.status_of(&env)), (vec![], Some(Status::Running)));
    }
}
