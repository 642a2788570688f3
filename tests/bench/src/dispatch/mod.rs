//! How many commands a second go through hub and log? A relay of ours answers each at once, so nothing but giving away
//! and recording is left; beside acknowledged publishes of the same events, which is what the disk allows.
//!
//! A command is three events, one after the other: it waits (`CommandRequested`), it is given away
//! (`CommandDispatched`), it has ended (`CommandCompleted`). Theirs is the same three payloads, each published when the
//! one before is acknowledged, with as many commands in flight, to a stream with the same settings that nobody reads.
//! Between two events of ours the hub has the first read back from the log, plans, looks up server and secret, and
//! speaks with the relay; meanwhile the same two cores feed the read models, anchor the log and answer over HTTP.
//!
//! Beside it: how long one command takes on a real server, over our agent with its login open, beside ssh over a
//! shared connection.

mod relay;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use events::Kind;
use futures_util::{StreamExt, TryStreamExt, stream};
use harness::{Api, Installation, ssh};
use nats::Log;
use serde_json::json;
use tokio::process::Command;
use uuid::Uuid;

use crate::Effort;
use crate::batch::asking::{Asking, COMMAND};
use crate::batch::stage::{Stage, is_connected, register};
use crate::report::{Better, Report, Run, percentile};
use relay::QuickRelay;

/// Commands in flight on both sides: as many steps as the hub takes at once.
const IN_FLIGHT: usize = 256;
/// Servers of a batch, and batches of a round; sides take turns batch by batch.
const SERVERS: usize = 500;
const BATCHES: usize = 4;
/// Registered at once.
const REGISTERED_AT_ONCE: usize = 16;
/// Events of a command that ends well.
const EVENTS: u64 = 3;
/// Commands one after the other on a real server.
const SINGLES: usize = 200;
/// A third of what the disk allows. A decided append alone costs a fifth of it (`append_256`, goal 0.8); here each
/// event is also read by hub and read models before the next can follow, on the processors that the raw publishes
/// have for themselves.
const GOAL: f64 = 0.3;
const ZONE: &str = "played";

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let stage = Stage::set(1).await?;
    let (asking, singles) = (Asking::of(stage.up.admin()), effort.of(SINGLES));
    let (single, shared) = (ours_single(&stage, &asking, singles).await?, ssh_single(&stage, singles).await?);
    let mut hub = Hub::set(&stage, asking, effort.of(SERVERS)).await?;
    let count = hub.servers.len();
    // both sides once for nothing; what ours appended is what theirs publishes
    let from = hub.log.head().await? + 1;
    hub.batch().await?;
    let payloads = payloads(&hub.log, from).await?;
    hub.publishes(&payloads).await?;
    let (mut runs, mut appended) = (Vec::new(), 0);
    for _ in 0..effort.rounds {
        let (mut ours_s, mut theirs_s) = (0.0, 0.0);
        for _ in 0..BATCHES {
            let before = hub.log.head().await?;
            ours_s += hub.batch().await?;
            appended += hub.log.head().await? - before;
            theirs_s += hub.publishes(&payloads).await?;
        }
        let done = (count * BATCHES) as f64;
        runs.push(Run { ours: done / ours_s, theirs: done / theirs_s });
    }
    let commands = (count * BATCHES * effort.rounds) as f64;
    let against = "acknowledged publishes of the same events, one after the other for each command";
    let report = Report::new("dispatch", "commands/s", against, (Better::Higher, GOAL), runs);
    Ok(report
        .with("in_flight", IN_FLIGHT)
        .with("commands_per_batch", count)
        .with("events_per_command", appended as f64 / commands)
        .with("single", json!({"p50_ms": percentile(single.clone(), 50), "p99_ms": percentile(single, 99)}))
        .with(
            "ssh_single",
            json!({"p50_ms": percentile(shared.clone(), 50), "p99_ms": percentile(shared, 99)}),
        ))
}

/// Milliseconds from the request to the first byte of the result, each.
async fn ours_single(stage: &Stage, asking: &Asking, count: usize) -> anyhow::Result<Vec<f64>> {
    let servers = stage.servers();
    asking.run(&servers, 1).await?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        took.push(asking.run(&servers, 1).await? * 1e3);
    }
    Ok(took)
}

async fn ssh_single(stage: &Stage, count: usize) -> anyhow::Result<Vec<f64>> {
    let target = stage.targets.first().context("no server")?;
    let mut took = Vec::with_capacity(count);
    for number in 0..=count {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(stage.ssh_config()).args([&target.name, COMMAND]).env_remove("SSH_AUTH_SOCK");
        let began = Instant::now();
        ssh::output(command).await?.expect_success()?;
        // the first one opens the connection
        if number > 0 {
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(took)
}

/// A relay that is quick, servers that nobody ever reaches, and the log.
struct Hub {
    api: Api,
    asking: Asking,
    relay: QuickRelay,
    servers: Vec<String>,
    log: Log,
    theirs: async_nats::jetstream::Context,
}

impl Hub {
    async fn set(stage: &Stage, asking: Asking, count: usize) -> anyhow::Result<Self> {
        let api = stage.up.admin().clone();
        let registered = register(&api, ZONE, IN_FLIGHT).await?;
        let relay = QuickRelay::connect(&stage.installation.url(), &registered).await?;
        is_connected(&api, &registered, || "it is played".to_owned()).await?;
        let servers = stream::iter(0..count)
            .map(|number| server(&api, number))
            .buffered(REGISTERED_AT_ONCE)
            .try_collect()
            .await?;
        let (log, theirs) = connect(&stage.installation).await?;
        Ok(Self { api, asking, relay, servers, log, theirs })
    }

    /// Seconds from the request until the last result is on record.
    async fn batch(&mut self) -> anyhow::Result<f64> {
        let all = self.relay.recorded()? + self.servers.len();
        let body = json!({"command": COMMAND, "servers": self.servers, "concurrency": IN_FLIGHT});
        let began = Instant::now();
        self.api.post("/api/commands", &body).await?.expect(202)?;
        self.relay.has_recorded(all).await?;
        let took = began.elapsed().as_secs_f64();
        self.asking.settled(self.log.head().await?).await?;
        Ok(took)
    }

    /// Seconds for the events of as many commands.
    async fn publishes(&self, payloads: &[Bytes]) -> anyhow::Result<f64> {
        let began = Instant::now();
        stream::iter(0..self.servers.len())
            .map(|_| async {
                let subject = format!("parked.projector.{}", Uuid::new_v4());
                for payload in payloads {
                    self.theirs.publish(subject.clone(), payload.clone()).await?.await?;
                }
                anyhow::Ok(())
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        Ok(began.elapsed().as_secs_f64())
    }
}

async fn server(api: &Api, number: usize) -> anyhow::Result<String> {
    let body = json!({
        "name": format!("played {number}"), "host": "127.0.0.1", "username": "nobody",
        "password": "unused-Password-1", "zone": ZONE, "test": false,
    });
    Ok(api.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned())
}

/// The log, and the bare library on the same server.
async fn connect(installation: &Installation) -> anyhow::Result<(Log, async_nats::jetstream::Context)> {
    let config = nats::Config {
        url: installation.nats_url()?,
        user: "audit".to_owned(),
        password: installation.nats_password("audit")?.into(),
        name: "bench".to_owned(),
    };
    let password = installation.nats_password("projector")?;
    let options = async_nats::ConnectOptions::with_user_and_password("projector".into(), password);
    let raw = async_nats::jetstream::new(options.connect(installation.nats_url()?).await?);
    Ok((nats::connect(&config).await?.log(), raw))
}

/// What the log has of one command that ran after `from`, event by event.
async fn payloads(log: &Log, from: u64) -> anyhow::Result<Vec<Bytes>> {
    let mut reader = log.stored(from);
    let mut commands: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    let kind = format!(".{}.", Kind::Command.wire_name());
    loop {
        let messages = reader.next().await?;
        if messages.is_empty() {
            break;
        }
        for message in messages.into_iter().filter(|message| message.subject.contains(&kind)) {
            commands.entry(message.subject).or_default().push(message.payload);
        }
    }
    let (_, payloads) = commands.into_iter().next().context("the log has no command")?;
    ensure!(payloads.len() as u64 == EVENTS, "a command is {} events", payloads.len());
    Ok(payloads)
}
