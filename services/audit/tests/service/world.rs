//! A log, read models that follow it, and who writes anchors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use audit::export::Range;
use audit::offline::{Known, OfflineError};
use audit::verdict::Report;
use audit::{Config, Pace};
use events::ids::{EnvId, TenantId};
use events::quota::claim::claim;
use events::{Cause, Milli, Resources};
use harness::bare_nats::BareNats;
use harness::eventually;
use harness::nats::{NatsServer, password_of};
use harness::postgres::Postgres;
use kit::health::Health;
use nats::{Connection, MasterKeys, Start, Tailed};
use projections::{Chunk, Projections, Unreadable};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The longest any test waits for what should happen soon.
pub const SOON: Duration = Duration::from_secs(30);
/// Events of one anchor.
pub const PACE: Pace = Pace { every_events: 10, every_s: 1 };

pub struct World {
    pub nats: NatsServer,
    pub postgres: Postgres,
    pub api: Connection,
    pub projections: Projections,
    pub keys: MasterKeys,
    pub folder: tempfile::TempDir,
    appended: u32,
}

/// Somebody who writes anchors.
pub struct Writing {
    pub health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), audit::RunError>>,
}

impl Writing {
    pub async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Wherever it is.
    pub fn kill(&self) {
        self.task.abort();
    }
}

/// The product's configuration, and somebody who may do anything with the log.
pub fn with_root() -> String {
    let root = format!("users: [ {{ user: root, password: \"{}\" }} ]", password_of("root"));
    nats::SERVER_CONF.replacen("jetstream: enabled\n", &format!("jetstream: enabled\n{root}\n"), 1)
}

impl World {
    pub async fn start() -> Self {
        let nats = NatsServer::start_with_users(&with_root()).await.unwrap();
        connect(&nats, "setup").await.setup(1).await.unwrap();
        let postgres = Postgres::start().await.unwrap();
        let projections = Projections::connect(&postgres.url()).await.unwrap();
        projections.migrate().await.unwrap();
        let api = connect(&nats, "api").await;
        let (keys, _) = MasterKeys::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { nats, postgres, api, projections, keys, folder, appended: 0 }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("anchors.ndjson")
    }

    /// With the file that records are written out to.
    pub fn write(&self) -> Writing {
        self.write_with(PACE, Some(self.file()))
    }

    pub fn write_with(&self, pace: Pace, file: Option<PathBuf>) -> Writing {
        let nats = config(&self.nats, "audit");
        let config = Config { nats, master_keys: self.keys.clone(), pace, file };
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        health.not_ready("audit", "not begun");
        let task = tokio::spawn(audit::run(config, health.clone(), shutdown.clone()));
        Writing { health, shutdown, task }
    }

    /// Each is the first event of its own aggregate.
    pub async fn append(&mut self, count: u32) -> u64 {
        let mut last = 0;
        for _ in 0..count {
            self.appended += 1;
            last = append(&self.api, self.appended).await;
        }
        last
    }

    /// An anchor has everything.
    pub async fn anchored(&self) {
        let head = self.api.log().head().await.unwrap();
        audit::wishes::anchor(&self.api.anchors(), head, None).await.unwrap();
    }

    /// The read models have everything.
    pub async fn fed(&self) {
        let head = self.api.log().head().await.unwrap();
        let mut position = self.projections.position().await.unwrap();
        let mut tail = self.api.log().tail(Start::Sequence(position + 1), vec![]);
        while position < head {
            let mut chunk = Chunk::after(position);
            for tailed in tail.next_chunk(500, Duration::from_millis(200)).await.unwrap() {
                match tailed {
                    Tailed::Event(event) => chunk.push(*event).unwrap(),
                    Tailed::Unreadable { seq, subject, why, .. } => {
                        chunk.push_unreadable(Unreadable { seq, subject, reason: why }).unwrap();
                    }
                }
            }
            position = chunk.to;
            self.projections.feed_chunk(&chunk).await.unwrap();
        }
    }

    pub async fn verify(&self) -> Report {
        audit::live::verify(&self.api.log(), &self.api.anchors(), &self.projections).await
    }

    /// All three hold, and the anchors reach so far at least.
    pub async fn holds(&self) -> Report {
        self.fed().await;
        let report = self.verify().await;
        assert!(report.ok, "{report:#?}");
        report
    }

    pub async fn export(&self, range: Range) -> Vec<u8> {
        let (give, mut take) = tokio::sync::mpsc::channel(16);
        let (log, anchors, projections) = (self.api.log(), self.api.anchors(), self.projections.clone());
        let writing = tokio::spawn(async move {
            audit::export::export(&log, &anchors, &projections, range, give).await;
        });
        let mut bundle = Vec::new();
        while let Some(piece) = take.recv().await {
            bundle.extend_from_slice(&piece);
        }
        writing.await.unwrap();
        bundle
    }

    /// Somebody who may do anything with the log.
    pub async fn root(&self) -> BareNats {
        BareNats::connect(self.nats.port(), "root", &password_of("root")).await.unwrap()
    }
}

pub async fn append(api: &Connection, number: u32) -> u64 {
    let env = EnvId::from_seed(&Uuid::from_u128(number.into()));
    let cause = Cause::new(Uuid::from_u128(number.into()), "service:test");
    let resources = Resources { cpu: Milli::from_thousandths(number.into()), ..Resources::default() };
    let tenant = TenantId::parse(format!("t{number}")).unwrap();
    let log = api.log();
    let id = tenant.to_string();
    eventually("an event is appended", SOON, || async {
        let decided = log.decide(&tenant, &id, &cause, 0, |quota| claim(quota, &env, resources)).await;
        decided.map(|decided| decided.seq).map_err(|error| error.to_string())
    })
    .await
    .unwrap()
}

pub async fn ready(writing: &Writing) {
    eventually("anchors are written", SOON, || {
        let failing = writing.health.failing();
        async move { if failing.is_empty() { Ok(()) } else { Err(format!("{failing:?}")) } }
    })
    .await
    .unwrap();
}

fn config(nats: &NatsServer, user: &str) -> nats::Config {
    let (user, name) = (user.to_owned(), format!("test-{user}"));
    nats::Config { url: nats.url(), password: password_of(&user).into(), user, name }
}

pub async fn connect(nats: &NatsServer, user: &str) -> Connection {
    nats::connect(&config(nats, user)).await.unwrap()
}

pub fn offline(bundle: &[u8]) -> Result<Report, OfflineError> {
    audit::offline::verify(bundle, &Known::default())
}

pub fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The first sequences at which integrity, completeness and fidelity fail.
pub fn firsts(report: &Report) -> [Option<u64>; 3] {
    [&report.integrity, &report.completeness, &report.fidelity.verdict].map(|verdict| verdict.first_sequence)
}
