//! What may have happened? Valid histories: the rules of `events` decide each step.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::credential::{CredentialEvent, KeysAttached, PasswordIssued, SecretRef};
use events::env::{
    self, Env, EnvFailed, EnvProgressed, InnerDoor, Phase, PodCreated, PortBound, PortPurpose, RequestCause,
};
use events::ids::{EnvId, NatsTapId, SessionId, TenantId, TokenId};
use events::login::{Entrance, LoginFailed, LoginLocked, LoginSucceeded, LoginUnlocked, LoginsRefused};
use events::nats_tap::{self, NatsTap, NatsTapIssued};
use events::ports::{self, Port, PortAllocated, PortBlocked, port_id};
use events::quota::{self, Quota, QuotaSet};
use events::session::{
    self, RecordingEnded, RecordingKept, RecordingStarted, Session, SessionClosed, SessionOpened,
};
use events::ssh_key::{self, SshKey, SshKeyAdded};
use events::tenant::{self, Tenant, TenantRegistered};
use events::token::{self, Token, TokenIssued};
use events::user::{self, Role, User, UserRegistered};
use events::{Aggregate, AggregateEvent, Cause, Event, Kind, Limits, Milli, Recorded, Subject};
use uuid::Uuid;

pub use crate::cast::{asked, env, owner, requested, tenant};
use crate::cast::{ip, place, pool, ranges, resources};

/// Instants are whole microseconds, as the log writes them.
pub fn instant(second: u64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + i64::try_from(second).unwrap(), 123_456_000).unwrap()
}

/// A log as it grows.
#[derive(Default)]
pub struct Story {
    pub log: Vec<Recorded>,
    states: BTreeMap<Subject, Box<dyn std::any::Any + Send>>,
}

impl Story {
    /// A step for each pair: what is done, to which of a few aggregates.
    pub fn play(steps: impl IntoIterator<Item = (u8, u8)>) -> Self {
        let mut story = Self::default();
        for (what, which) in steps {
            story.step(what, which);
        }
        story
    }

    /// Always the same history of at least this many events.
    pub fn long(events: usize) -> Vec<Recorded> {
        let (mut story, mut state) = (Self::default(), 0x2545_f491_4f6c_dd1d_u64);
        while story.log.len() < events {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let bytes = state.to_be_bytes();
            story.step(bytes[0], bytes[1]);
        }
        story.log
    }

    pub fn now(&self) -> DateTime<Utc> {
        instant(self.log.len() as u64)
    }

    /// Appends an event that no rule decided.
    pub fn append(&mut self, tenant: &TenantId, id: &str, event: impl Into<Event>) {
        let event = event.into();
        let seq = self.log.len() as u64 + 1;
        let cause = Cause::new(Uuid::from_u128(u128::from(seq)), "user:alice");
        let meta = cause.meta(0, self.now());
        let subject = Subject::new(tenant.clone(), event.kind(), id);
        self.log.push(Recorded { seq, subject, meta, event });
    }

    /// Looks at the aggregate, and appends what the rule decides.
    pub fn decide<A: Aggregate, R: std::fmt::Debug>(
        &mut self,
        tenant: &TenantId,
        id: &str,
        rule: impl FnOnce(&A, DateTime<Utc>) -> events::Decision<A::Event, R>,
    ) {
        let subject = Subject::new(tenant.clone(), A::Event::KIND, id);
        let now = self.now();
        let state = self.states.entry(subject).or_insert_with(|| Box::new(A::default()));
        let state = state.downcast_mut::<A>().unwrap();
        if let Ok(Some(event)) = rule(state, now) {
            state.evolve(&event, now);
            self.append(tenant, id, event);
        }
    }

    /// The fold of one aggregate's events in the log.
    pub fn fold<A: Aggregate>(log: &[Recorded], subject: &Subject) -> A {
        A::fold(
            log.iter()
                .filter(|recorded| recorded.subject == *subject)
                .filter_map(|recorded| Some((A::Event::from_event(&recorded.event)?, recorded.meta.time))),
        )
    }

    /// The subjects of one kind that occur.
    pub fn subjects(log: &[Recorded], kind: Kind) -> Vec<Subject> {
        let mut found: Vec<Subject> =
            log.iter().map(|event| event.subject.clone()).filter(|subject| subject.kind == kind).collect();
        found.sort();
        found.dedup();
        found
    }

    fn step(&mut self, what: u8, which: u8) {
        let tenant = tenant(which);
        let env = env(which);
        match what % 30 {
            _ if (160..170).contains(&what) => self.step_of_subscription(what - 160, which, &tenant),
            _ if (170..180).contains(&what) => self.step_of_schedule(what - 170, which, &tenant),
            _ if (180..210).contains(&what) => self.step_of_command(what - 180, which, &tenant),
            _ if what >= 210 => self.step_of_server(what, which, &tenant),
            0..=11 => self.step_of_env(what % 30, which, &tenant, &env),
            12..=14 => self.step_of_port(what % 30, which, &tenant, &env),
            15..=17 => self.step_of_quota(what % 30, which, &tenant, &env),
            18..=21 => self.step_of_login(what % 30, which, &tenant, &env),
            _ => self.step_of_people(what % 30, which, &tenant, &env),
        }
    }

    fn step_of_env(&mut self, what: u8, which: u8, tenant: &TenantId, env: &EnvId) {
        let purpose = if which.is_multiple_of(2) { PortPurpose::Ssh } else { PortPurpose::Jupyter };
        self.decide::<Env, _>(tenant, env.as_str(), |state, now| match what {
            0 | 1 => env::request::request(state, asked(which, now)),
            2 => env::bind_port::bind_port(
                state,
                PortBound { pool: pool(), port: 30_000 + u16::from(which), purpose },
            ),
            3 => env::observe::created(state, PodCreated { engine_ref: format!("c{which}") }),
            4 if which.is_multiple_of(2) => {
                let message = format!("the image is being pulled \u{1f6a2} {}", which % 16);
                let said = EnvProgressed {
                    phase: Phase::Image,
                    code: "pulling".into(),
                    message,
                    trouble: which.is_multiple_of(4),
                };
                env::progress::progress(state, said)
            }
            4 | 5 => {
                let addr = ([10, 0, 0, which], 2022).into();
                env::observe::ready(state, Some(InnerDoor { addr, host_key: "ssh-ed25519 AAAA".into() }))
            }
            6 => env::observe::lost(state, "it ended", now),
            7 => {
                let reason = "the image \u{1f6a2} is missing".to_owned();
                env::fail::fail(
                    state,
                    EnvFailed { phase: Phase::Image, code: "image_missing".into(), reason },
                )
            }
            9 if which.is_multiple_of(5) => env::job::mark(state, u64::from(which), "a job", now),
            9 if which.is_multiple_of(3) => env::idle::idle(state, now - TimeDelta::days(1), now),
            9 if which.is_multiple_of(7) => env::expire::expire(state, now + TimeDelta::days(1)),
            8 if which.is_multiple_of(2) => env::stop::request_stop(state, RequestCause::Asked, now),
            8 => env::stop::stopped(state),
            9 => env::start::request_start(state, now),
            10 if which.is_multiple_of(3) => env::delete::request_delete(state, RequestCause::Asked, now),
            10 => env::delete::deleted(state),
            _ => env::allow_list::set_allow_list(state, ranges(which)),
        });
    }

    fn step_of_port(&mut self, what: u8, which: u8, tenant: &TenantId, env: &EnvId) {
        let id = port_id(&pool(), 30_000 + u16::from(which % 8));
        self.decide::<Port, _>(&TenantId::system(), &id, |state, now| match what {
            12 => {
                let asked =
                    PortAllocated { tenant: tenant.clone(), env: env.clone(), purpose: PortPurpose::Ssh };
                ports::allocate::allocate(state, asked, TimeDelta::seconds(3), now)
            }
            13 => match &state.holder {
                Some(holder) => ports::release::release(state, &holder.env.clone()),
                None => Ok(None),
            },
            _ => Ok(which
                .is_multiple_of(5)
                .then(|| PortBlocked { reason: "in use".into(), until: now + TimeDelta::seconds(5) }.into())),
        });
    }

    fn step_of_quota(&mut self, what: u8, which: u8, tenant: &TenantId, env: &EnvId) {
        if what == 17 && which.is_multiple_of(2) {
            self.decide::<Tenant, _>(tenant, tenant.as_str(), |state, _| {
                if state.name.is_some() {
                    return tenant::recording::set_recording(state, which.is_multiple_of(4)).map_err(drop);
                }
                Ok::<_, ()>(
                    state.name.is_none().then(|| TenantRegistered { name: tenant.to_string() }.into()),
                )
            });
            return;
        }
        self.decide::<Quota, _>(tenant, tenant.as_str(), |state, _| match what {
            15 => quota::claim::claim(state, env, resources(which)),
            16 => quota::release::release(state, env),
            _ => {
                let limits = Limits {
                    environments: Some(u32::from(which)),
                    cpu: Some(Milli::from_thousandths(64_500)),
                    ..Limits::default()
                };
                Ok(Some(QuotaSet { limits }.into()))
            }
        });
    }

    fn step_of_login(&mut self, what: u8, which: u8, tenant: &TenantId, env: &EnvId) {
        let (ip, user) = (ip(which), "developer".to_owned());
        let (at, id) = (self.now() - TimeDelta::seconds(1), env.as_str());
        let entrance = if which.is_multiple_of(2) { Entrance::DirectPort } else { Entrance::Gateway };
        let event = match what {
            18 => LoginSucceeded {
                ip,
                user,
                method: "publickey".into(),
                key_fingerprint: Some("SHA256:x".into()),
                entrance,
                session: SessionId::from_seed(&Uuid::from_u128(which.into())),
                at,
                reported: None,
            }
            .into(),
            19 => {
                let (method, class) = ("password".into(), "wrong_password".into());
                LoginFailed { ip, user, method, class, entrance, at, reported: None }.into()
            }
            20 if which.is_multiple_of(3) => {
                let (count, from) = (u64::from(which) + 1, at - TimeDelta::seconds(59));
                LoginsRefused { ip, entrance, count, from, to: at, reported: None }.into()
            }
            20 => LoginLocked { ip, until: at + TimeDelta::seconds(1_800) }.into(),
            _ => LoginUnlocked { ip: which.is_multiple_of(2).then_some(ip) }.into(),
        };
        self.append(tenant, id, Event::Login(event));
    }

    /// A session has up to three recordings; its session id is that of the steps of people.
    fn step_of_recording(&mut self, what: u8, which: u8, tenant: &TenantId, env: &EnvId) {
        let seed = Uuid::new_v5(&Uuid::nil(), format!("{tenant}{}", self.log.len() / 40).as_bytes());
        let (id, at) = (SessionId::from_seed(&seed), self.now());
        let (place, recording) = (place(which, env), u32::from(which % 3) + 1);
        self.decide::<Session, _>(tenant, id.as_str(), |state, _| {
            let Some(before) = state.recordings.get(&recording) else {
                let (user, entrance) = ("alice".into(), Entrance::Gateway);
                let started = RecordingStarted { place, recording, user, entrance, cols: 80, rows: 24, at };
                return session::record::start(state, started);
            };
            let (chunks, bytes) = (before.chunks + 1, before.bytes + u64::from(which) + 1);
            let sha256 = format!("digest {bytes}");
            if what == 22 {
                return session::record::keep(
                    state,
                    RecordingKept { place, recording, chunks, bytes, sha256 },
                );
            }
            let (duration_ms, lost_bytes, complete) = (7, u64::from(which % 2), which.is_multiple_of(2));
            let ended = RecordingEnded {
                place,
                recording,
                chunks,
                bytes,
                sha256,
                duration_ms,
                lost_bytes,
                complete,
                at,
            };
            session::record::end(state, ended)
        });
    }

    fn step_of_people(&mut self, what: u8, which: u8, tenant: &TenantId, env: &EnvId) {
        let system = TenantId::system();
        let (owner, at) = (owner(which), self.now());
        match what {
            22 | 23 if which.is_multiple_of(5) => self.step_of_recording(what, which, tenant, env),
            22 | 23 => {
                let seed = Uuid::new_v5(&Uuid::nil(), format!("{tenant}{}", self.log.len() / 40).as_bytes());
                let id = SessionId::from_seed(&seed);
                let (place, ip, user) = (place(which, env), ip(which), "developer".to_owned());
                self.decide::<Session, _>(tenant, id.as_str(), |state, _| {
                    if what == 22 {
                        let (entrance, method) = (Entrance::WebTerminal, "certificate".into());
                        let client = which.is_multiple_of(2).then(|| format!("client {which}"));
                        session::open::open(
                            state,
                            SessionOpened { place, ip, entrance, user, method, client, at },
                        )
                    } else {
                        let (bytes_in, bytes_out) = (which.into(), u64::MAX - u64::from(which));
                        let reason = "client_left".into();
                        session::close::close(state, SessionClosed { place, bytes_in, bytes_out, reason, at })
                    }
                });
            }
            24 | 25 => {
                let id = format!("key-{}", which % 12);
                let (name, fingerprint) = (format!("laptop {which}"), format!("SHA256:{which}"));
                let public_key = "ssh-ed25519 AAAA".to_owned();
                self.decide::<SshKey, _>(tenant, &id, |state, _| {
                    if what == 24 {
                        ssh_key::add::add(state, SshKeyAdded { owner, name, public_key, fingerprint })
                    } else {
                        ssh_key::remove::remove(state)
                    }
                });
            }
            26 => self.decide::<User, _>(&system, owner.as_str(), |state, _| {
                if which.is_multiple_of(3) {
                    return user::disable::disable(state);
                }
                let secret =
                    SecretRef { owner: owner.to_string(), name: "password".into(), version: Uuid::nil() };
                let asked =
                    UserRegistered { tenant: tenant.clone(), role: Role::Developer, password_ref: secret };
                user::register::register(state, asked)
            }),
            27 if which.is_multiple_of(5) => {
                let id = NatsTapId::from_seed(&Uuid::from_u128(which.into()));
                self.decide::<NatsTap, _>(tenant, id.as_str(), |state, _| {
                    if state.issued.is_some() {
                        return nats_tap::revoke::revoke(state);
                    }
                    let kinds = ["env", "session"].map(str::to_owned).into();
                    let issued = NatsTapIssued { name: "dw".into(), kinds, by: owner, digest: "00".into() };
                    nats_tap::issue::issue(state, issued)
                });
            }
            27 => {
                let id = TokenId::from_seed(&Uuid::from_u128((which % 8).into()));
                self.decide::<Token, _>(&system, id.as_str(), |state, now| {
                    if which.is_multiple_of(3) {
                        return token::revoke::revoke(state);
                    }
                    let issued = TokenIssued {
                        tenant: tenant.clone(),
                        name: "ci".into(),
                        role: Role::Operator,
                        owner,
                        digest: "00".into(),
                        expires_at: which.is_multiple_of(2).then_some(now + TimeDelta::days(1)),
                    };
                    token::issue::issue(state, issued)
                });
            }
            28 => {
                let secret_ref =
                    SecretRef { owner: env.to_string(), name: "password".into(), version: Uuid::nil() };
                self.append(tenant, env.as_str(), CredentialEvent::from(PasswordIssued { secret_ref }));
            }
            _ => {
                let fingerprints = vec!["SHA256:x".to_owned()];
                self.append(tenant, env.as_str(), CredentialEvent::from(KeysAttached { fingerprints }));
            }
        }
    }
}
