//! What does the log say, and does everything else agree with it? The whole log is folded with the
//! product's own rules' states, then compared with the engine and the read models.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use anyhow::{Context, bail};
use events::credential::CredentialEvent;
use events::env::{Env, EnvEvent, Status};
use events::ports::PortEvent;
use events::quota::{Quota, QuotaEvent};
use events::session::SessionEvent;
use events::{Aggregate, AggregateEvent, Event, Recorded};
use harness::Installation;
use nats::{Connection, Start, Tailed};

/// Messages asked for at once, and how long one chunk may take to come.
const CHUNK: usize = 2_000;
const CHUNK_WAIT: Duration = Duration::from_secs(2);
/// This many chunks without the end of the log is too many.
const CHUNKS_MAX: usize = 10_000;

/// Everything that was ever recorded.
pub struct Ledger {
    pub events: Vec<Recorded>,
    pub head: u64,
    pub envs: BTreeMap<String, Env>,
    /// Port (with its pool) to holder.
    pub ports_held: BTreeMap<String, String>,
    /// Tenant and environment of every claim.
    pub claims: BTreeSet<(String, String)>,
}

/// Connects as one of the services.
pub async fn connect(installation: &Installation, user: &str) -> anyhow::Result<Connection> {
    let config = nats::Config {
        url: installation.nats_url()?,
        user: user.to_owned(),
        password: installation.nats_password(user)?.into(),
        name: "story".to_owned(),
    };
    Ok(nats::connect(&config).await?)
}

impl Ledger {
    pub async fn read(installation: &Installation) -> anyhow::Result<Self> {
        Self::read_from(&connect(installation, "audit").await?).await
    }

    pub async fn read_from(connection: &Connection) -> anyhow::Result<Self> {
        let log = connection.log();
        let head = log.head().await?;
        let mut tail = log.tail(Start::Sequence(1), vec!["ev.>".to_owned()]);
        let mut events = Vec::new();
        for _ in 0..CHUNKS_MAX {
            if events.last().map_or(0, |last: &Recorded| last.seq) >= head {
                return Self::fold(events, head);
            }
            for tailed in tail.next_chunk(CHUNK, CHUNK_WAIT).await? {
                match tailed {
                    Tailed::Event(event) => events.push(*event),
                    Tailed::Unreadable { seq, subject, why, .. } => {
                        bail!("message {seq} of {subject} is not readable: {why}")
                    }
                }
            }
        }
        bail!("the log does not end at {head}")
    }

    fn fold(events: Vec<Recorded>, head: u64) -> anyhow::Result<Self> {
        let mut ledger = Self {
            head,
            envs: BTreeMap::new(),
            ports_held: BTreeMap::new(),
            claims: BTreeSet::new(),
            events: Vec::new(),
        };
        let mut ids = HashSet::new();
        let mut quotas: BTreeMap<String, Quota> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            anyhow::ensure!(
                event.seq == index as u64 + 1,
                "sequence {} stands at place {}",
                event.seq,
                index + 1
            );
            anyhow::ensure!(
                ids.insert(event.meta.id),
                "event id {} is there twice, again at {}",
                event.meta.id,
                event.seq
            );
            let (id, at) = (event.subject.id.clone(), event.meta.time);
            match &event.event {
                Event::Env(change) => ledger.envs.entry(id).or_default().evolve(change, at),
                Event::Port(change) => ledger.port_changed(&id, change, event.seq)?,
                Event::Quota(change) => quotas.entry(id).or_default().evolve(change, at),
                Event::Tenant(_)
                | Event::Credential(_)
                | Event::SshKey(_)
                | Event::Login(_)
                | Event::Session(_)
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
        for (tenant, quota) in &quotas {
            ledger.claims.extend(quota.claims.keys().map(|env| (tenant.clone(), env.to_string())));
        }
        ledger.events = events;
        Ok(ledger)
    }

    /// A port that is held is given to nobody else.
    fn port_changed(&mut self, id: &str, change: &PortEvent, seq: u64) -> anyhow::Result<()> {
        match change {
            PortEvent::PortAllocated(allocated) => {
                let before = self.ports_held.insert(id.to_owned(), allocated.env.to_string());
                anyhow::ensure!(
                    before.is_none(),
                    "port {id} was allocated twice, again at {seq}: held by {before:?}"
                );
            }
            PortEvent::PortReleased(_) => {
                self.ports_held.remove(id);
            }
            PortEvent::PortBlocked(_) => {}
        }
        Ok(())
    }

    /// How often each session was opened and closed, by its id.
    pub fn sessions(&self) -> BTreeMap<String, (usize, usize)> {
        let mut sessions: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for recorded in &self.events {
            let opened = matches!(recorded.event, Event::Session(SessionEvent::SessionOpened(_)));
            let closed = matches!(recorded.event, Event::Session(SessionEvent::SessionClosed(_)));
            if opened || closed {
                let times = sessions.entry(recorded.subject.id.clone()).or_default();
                *times = (times.0 + usize::from(opened), times.1 + usize::from(closed));
            }
        }
        sessions
    }

    /// Environments that are not deleted.
    pub fn living(&self) -> BTreeSet<String> {
        self.envs.iter().filter(|(_, env)| env.exists()).map(|(id, _)| id.clone()).collect()
    }

    pub fn with_status(&self, statuses: &[Status]) -> BTreeSet<String> {
        self.envs.iter().filter(|(_, env)| statuses.contains(&env.status)).map(|(id, _)| id.clone()).collect()
    }

    /// What is still on its way, or held by nobody who lives; empty when all is settled.
    pub fn unsettled(&self) -> Vec<String> {
        let mut found = Vec::new();
        let living = self.living();
        for (id, env) in &self.envs {
            if env.status.is_pending() {
                found.push(format!("{id} is {}", env.status.name()));
            }
            if env.status == Status::Failed && env.delete_requested() {
                found.push(format!("{id} failed to be deleted"));
            }
        }
        for (port, env) in &self.ports_held {
            let bound = self.envs.get(env).is_some_and(|env| {
                env.ports.values().any(|(_, number)| port.ends_with(&format!("-{number}")))
            });
            if !living.contains(env) || !bound {
                found.push(format!("port {port} is held by {env}, which does not have it"));
            }
        }
        let claimed: BTreeSet<String> = self.claims.iter().map(|(_, env)| env.clone()).collect();
        for env in claimed.symmetric_difference(&living) {
            found.push(format!("{env} is claimed or living, not both"));
        }
        found
    }

    pub fn has_event(&self, env: &str, is: impl Fn(&EnvEvent) -> bool) -> bool {
        self.of(env).any(|event| matches!(&event.event, Event::Env(event) if is(event)))
    }

    pub fn resets(&self, env: &str) -> usize {
        self.of(env)
            .filter(|event| matches!(&event.event, Event::Credential(CredentialEvent::PasswordReset(_))))
            .count()
    }

    pub fn of(&self, id: &str) -> impl Iterator<Item = &Recorded> {
        self.events.iter().filter(move |event| event.subject.id == id)
    }

    pub fn quota_events(&self) -> impl Iterator<Item = &QuotaEvent> {
        self.events.iter().filter_map(|event| QuotaEvent::from_event(&event.event))
    }
}

/// The newest sequence of the log.
pub async fn head(installation: &Installation) -> anyhow::Result<u64> {
    connect(installation, "audit").await?.log().head().await.context("the head of the log")
}

/// What the comparison must notice, noticed on forged logs.
#[cfg(test)]
mod forged {
    #![allow(clippy::unwrap_used)]
    use chrono::{DateTime, Utc};
    use events::env::PortPurpose;
    use events::ids::{EnvId, EventId, TenantId};
    use events::ports::{PortAllocated, PortReleased};
    use events::quota::QuotaClaimed;
    use events::{Cause, Kind, Resources, Subject};
    use uuid::Uuid;

    use super::*;

    fn env(number: u128) -> EnvId {
        EnvId::from_seed(&Uuid::from_u128(number))
    }

    fn recorded(seq: u64, tenant: TenantId, kind: Kind, id: &str, event: Event) -> Recorded {
        let at = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap();
        let meta = Cause::new(Uuid::from_u128(seq.into()), "service:story").meta(0, at);
        Recorded { seq, subject: Subject::new(tenant, kind, id), meta, event }
    }

    fn allocated(seq: u64, number: u128) -> Recorded {
        let tenant = TenantId::parse("default").unwrap();
        let event = PortEvent::from(PortAllocated { tenant, env: env(number), purpose: PortPurpose::Ssh });
        recorded(seq, TenantId::system(), Kind::Port, "main-30000", event.into())
    }

    fn released(seq: u64) -> Recorded {
        let event = PortEvent::from(PortReleased { env: env(1) });
        recorded(seq, TenantId::system(), Kind::Port, "main-30000", event.into())
    }

    fn refusal(events: Vec<Recorded>) -> String {
        Ledger::fold(events, 9).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_port_given_out_twice_is_noticed() {
        assert!(refusal(vec![allocated(1, 1), allocated(2, 2)]).contains("allocated twice"));
        assert_eq!(refusal(vec![allocated(1, 1), released(2), allocated(3, 2)]), "");
    }

    #[test]
    fn a_gap_and_a_repeated_event_are_noticed() {
        assert!(refusal(vec![allocated(1, 1), released(3)]).contains("stands at place 2"));
        let mut again = released(2);
        again.meta.id = EventId::derive(&Uuid::from_u128(1), 0);
        assert!(refusal(vec![allocated(1, 1), again]).contains("is there twice"));
    }

    #[test]
    fn what_nobody_lives_for_is_noticed() {
        let tenant = TenantId::parse("default").unwrap();
        let claim = QuotaEvent::from(QuotaClaimed { env: env(1), resources: Resources::default() });
        let claimed = recorded(2, tenant, Kind::Quota, "default", claim.into());
        let ledger = Ledger::fold(vec![allocated(1, 1), claimed], 2).unwrap();
        let unsettled = ledger.unsettled().join("; ");
        assert!(unsettled.contains("port main-30000 is held"), "{unsettled}");
        assert!(unsettled.contains("is claimed or living, not both"), "{unsettled}");
    }
}
