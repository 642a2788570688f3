//! A log, a database, and projectors between them.

use std::time::Duration;

use chrono::Utc;
use events::credential::{CredentialEvent, PasswordRevealed};
use events::env::{EnvEvent, EnvRequested, PodReady, deadlines};
use events::ids::{EnvId, TenantId, UserName};
use events::{Cause, Event, Resources, Subject};
use harness::nats::{NatsServer, password_of};
use harness::postgres::Postgres;
use kit::health::Health;
use nats::{Connection, Start, Tail, Tailed};
use projections::rebuild::Source;
use projections::{Chunk, NAMES, Projections, Unreadable};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The read models have everything by then.
pub const CAUGHT_UP_AT_MOST: Duration = Duration::from_secs(60);

pub struct World {
    pub nats: NatsServer,
    pub postgres: Postgres,
    pub api: Connection,
}

pub struct Running {
    pub health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), projector::RunError>>,
}

impl Running {
    pub async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl World {
    pub async fn start() -> Self {
        let nats = NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap();
        let setup = nats::connect(&config(&nats, "setup")).await.unwrap();
        setup.setup(1).await.unwrap();
        let api = nats::connect(&config(&nats, "api")).await.unwrap();
        let postgres = Postgres::start().await.unwrap();
        Self { nats, postgres, api }
    }

    pub fn projector(&self) -> Running {
        let config =
            projector::Config { nats: config(&self.nats, "projector"), database_url: self.postgres.url() };
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let task = tokio::spawn(projector::run(config, health.clone(), shutdown.clone()));
        Running { health, shutdown, task }
    }

    pub async fn projections(&self) -> Projections {
        let projections = Projections::connect(&self.postgres.url()).await.unwrap();
        projections.migrate().await.unwrap();
        projections
    }

    /// Every row is the one that the log gives, and all of the log is in the rows.
    pub async fn assert_followed(&self, projections: &Projections) {
        let head = self.api.log().head().await.unwrap();
        let caught_up = projections.wait_for(head, CAUGHT_UP_AT_MOST).await.unwrap();
        assert!(caught_up, "at {:?} instead of {head}", projections.position().await);
        for name in NAMES {
            let mut source = Whole { tail: self.api.log().tail(Start::Sequence(1), vec![]), position: 0 };
            let comparison = projections.compare(name, &mut source).await.unwrap();
            assert!(comparison.is_equal(), "{name}: {comparison:#?}");
            assert!(comparison.position >= head);
        }
    }
}

fn config(nats: &NatsServer, user: &str) -> nats::Config {
    let (user, name) = (user.to_owned(), format!("test-{user}"));
    nats::Config { url: nats.url(), password: password_of(&user).into(), user, name }
}

/// Appends the events of so many environments, three each; what is unclear is appended again.
pub async fn append_environments(connection: &Connection, numbers: std::ops::Range<u128>) {
    let tenant = TenantId::parse("acme").unwrap();
    for number in numbers {
        let env = EnvId::from_seed(&Uuid::from_u128(number));
        let subject = |kind| Subject::new(tenant.clone(), kind, env.as_str());
        append(connection, &subject(events::Kind::Env), 0, EnvEvent::from(asked()).into()).await;
        append(connection, &subject(events::Kind::Env), 1, EnvEvent::from(PodReady::default()).into()).await;
        let revealed = CredentialEvent::from(PasswordRevealed { number: 1 });
        append(connection, &subject(events::Kind::Credential), 0, revealed.into()).await;
    }
}

async fn append(connection: &Connection, subject: &Subject, index: u32, event: Event) {
    let command = Uuid::new_v5(&Uuid::nil(), subject.to_string().as_bytes());
    let meta = Cause::new(command, "user:alice").meta(index, Utc::now());
    let log = connection.log();
    harness::eventually("the event is appended", CAUGHT_UP_AT_MOST, || async {
        let expected = match index {
            0 => 0,
            _ => log.load::<events::env::Env>(&subject.tenant, &subject.id).await.map_err(show)?.seq,
        };
        match log.append(subject, expected, &meta, &event).await {
            Ok(_) | Err(nats::AppendError::Duplicate { .. } | nats::AppendError::Lost { .. }) => Ok(()),
            Err(error) => Err(show(error)),
        }
    })
    .await
    .unwrap();
}

fn show(error: impl std::error::Error) -> String {
    format!("{error}: {:?}", error.source().map(ToString::to_string))
}

fn asked() -> EnvRequested {
    EnvRequested {
        name: "one".into(),
        owner: UserName::parse("alice").unwrap(),
        image: String::new(),
        resources: Resources::default(),
        ssh_public_keys: vec![],
        jupyter: false,
        ttl_s: None,
        idle_s: None,
        allow_list: vec![],
        datasets: vec![],
        gateway_only: false,
        deadline: deadlines::create(Utc::now()),
    }
}

struct Whole {
    tail: Tail,
    position: u64,
}

impl Source for Whole {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn std::error::Error + Send + Sync>> {
        let mut chunk = Chunk::after(self.position);
        for tailed in self.tail.next_chunk(max, Duration::from_millis(300)).await? {
            match tailed {
                Tailed::Event(event) => chunk.push(*event)?,
                Tailed::Unreadable { seq, subject, why, .. } => {
                    chunk.push_unreadable(Unreadable { seq, subject, reason: why })?;
                }
            }
        }
        self.position = chunk.to;
        Ok(chunk)
    }
}
