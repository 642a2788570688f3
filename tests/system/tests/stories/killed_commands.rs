//! Has every command one outcome, whatever is killed while it runs? Relays of each kind, hubs, NATS, the whole
//! product and the servers themselves end at random moments of a busy run; afterwards a file on each server tells
//! how often each command ran there.
//!
//! `PORTREEVE_TARGETS` and `PORTREEVE_BATCHES` say how much is run, `PORTREEVE_KILL_SEED` repeats a run's choices.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use events::Event;
use events::command::{CommandEvent, Outcome};
use futures_util::future::try_join_all;
use harness::child::Child;
use harness::{Api, EngineDouble, Sshd, eventually};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::kill_anywhere::number;
use system::foreign_relay::{ForeignRelay, Kind, Manner, Registered, is_connected, register};
use system::ledger::Ledger;
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
const TARGETS: usize = 10;
const BATCHES: usize = 40;
/// Batches that one person has under way at once.
const OPEN_AT_ONCE: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(20);
/// So long after its time a command has its outcome, and so has everything after the last kill.
const OVERDUE_AT_MOST: Duration = Duration::from_secs(10);
/// The pause between two kills, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 200..1_500;
/// A relay that hangs does so for so long, in milliseconds; a hub misses it or does not.
const HANG_MS: std::ops::Range<u64> = 500..4_000;
/// Numbers that a command counts up to; more than 64 KiB of text when they are many.
const COUNT_TO: std::ops::Range<usize> = 1..20_000;
/// One in so many commands writes more than a line.
const LONG_EACH: usize = 8;

const MANNERS: [Manner; 6] = [
    Manner::new(Kind::Agent, "auth", "websocket"),
    Manner::new(Kind::Python, "auth", "websocket"),
    Manner::new(Kind::Node4, "auth", "websocket"),
    Manner::new(Kind::Agent, "auth", "websocket"),
    Manner::new(Kind::Node2, "query", "websocket"),
    Manner::new(Kind::Go, "auth", "websocket"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_each_command_has_one_outcome_and_none_runs_twice() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    let mut stage = Stage::set(world).await.unwrap();
    let result = story(&mut stage).await;
    stage.world.blame(result).unwrap();
}

struct Stage {
    world: World<EngineDouble>,
    hub: SecondHub,
    targets: Vec<Target>,
    relays: Vec<Relay>,
    /// The longest time without the product.
    down: Duration,
}

struct Target {
    sshd: Sshd,
    server: String,
}

struct Relay {
    manner: Manner,
    registered: Registered,
    url: String,
    running: ForeignRelay,
}

/// Beside that of `up`.
struct SecondHub {
    listen: String,
    health: String,
    running: Child,
}

impl SecondHub {
    fn start(world: &World<EngineDouble>) -> anyhow::Result<Self> {
        let [listen, health] = [harness::free_ports::one()?, harness::free_ports::one()?]
            .map(|port| format!("127.0.0.1:{port}"));
        let running = Self::run(world, &listen, &health)?;
        Ok(Self { listen, health, running })
    }

    fn run(world: &World<EngineDouble>, listen: &str, health: &str) -> anyhow::Result<Child> {
        world.installation.service("relay", &["--relay-listen", listen, "--health-listen", health])
    }

    fn kill(&mut self, world: &World<EngineDouble>) -> anyhow::Result<()> {
        self.running.kill_everything();
        self.running = Self::run(world, &self.listen, &self.health)?;
        Ok(())
    }
}

impl Stage {
    async fn set(world: World<EngineDouble>) -> anyhow::Result<Self> {
        let api = world.api()?;
        let hub = SecondHub::start(&world)?;
        let targets =
            try_join_all((0..number("PORTREEVE_TARGETS", TARGETS)).map(|index| target(&api, index))).await?;
        let urls = [world.installation.url(), format!("http://{}", hub.listen)];
        let mut relays = Vec::new();
        for (index, manner) in MANNERS.into_iter().enumerate() {
            let registered =
                register(&api, &json!({"name": format!("{manner} {index}"), "zone": "dmz"})).await?;
            let url = urls[index % urls.len()].clone();
            let running = ForeignRelay::start(manner, &url, &registered)?;
            is_connected(&api, &registered, true).await?;
            relays.push(Relay { manner, registered, url, running });
        }
        Ok(Self { world, hub, targets, relays, down: Duration::ZERO })
    }
}

async fn target(api: &Api, index: usize) -> anyhow::Result<Target> {
    let sshd = Sshd::start(PASSWORD, "MaxStartups 100").await?;
    let body = json!({
        "name": format!("target {index}"), "host": "127.0.0.1", "port": sshd.port, "zone": "dmz",
        "username": harness::sshd::USER, "password": PASSWORD, "test": false,
    });
    let server = api.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned();
    Ok(Target { sshd, server })
}

/// A batch that was answered with 202.
struct Begun {
    id: String,
    /// What each of its commands writes into the file that counts, and what it says.
    token: String,
    says: String,
    idempotent: bool,
    /// By server.
    commands: BTreeMap<String, String>,
}

async fn story(stage: &mut Stage) -> anyhow::Result<()> {
    let seed = number("PORTREEVE_KILL_SEED", rand::random::<u32>() as usize) as u64;
    let batches = number("PORTREEVE_BATCHES", BATCHES);
    println!("{batches} batches on {} servers; PORTREEVE_KILL_SEED={seed}", stage.targets.len());
    let began = Instant::now();
    let api = stage.world.api()?;
    let servers = stage.targets.iter().map(|target| target.server.clone()).collect();
    let done = Arc::new(AtomicBool::new(false));
    let person =
        tokio::spawn(work(api.clone(), servers, batches, StdRng::seed_from_u64(!seed), Arc::clone(&done)));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    while !done.load(Ordering::SeqCst) {
        pause(&mut rng, PAUSE_MS).await;
        kill(stage, &mut rng).await?;
        kills += 1;
    }
    let batches = person.await??;
    let busy_for = began.elapsed();
    for batch in &batches {
        eventually("a batch has ended", TIMEOUT + OVERDUE_AT_MOST, || is_open(&api, &batch.id)).await?;
    }
    let outcomes = one_outcome_each(stage, &batches).await?;
    ran_as_told(stage, &batches, &outcomes)?;
    let same = said_as_written(&api, &batches, &outcomes).await?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in outcomes.values() {
        *counts.entry(outcome.name()).or_default() += 1;
    }
    println!(
        "{kills} kills in {:.0} s; {} commands: {counts:?}; {same} results compared byte by byte",
        busy_for.as_secs_f32(),
        outcomes.len()
    );
    ensure!(same * 2 > outcomes.len(), "too little came to its end: {counts:?}");
    Ok(())
}

async fn pause(rng: &mut StdRng, range_ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(range_ms))).await;
}

/// Begins one batch after the other, a few at once, each repeated under its key until it is answered.
async fn work(
    api: Api,
    servers: Vec<String>,
    batches: usize,
    mut rng: StdRng,
    done: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Begun>> {
    let mut begun = Vec::new();
    let result = async {
        for index in 0..batches {
            begun.push(begin(&api, &servers, index, &mut rng).await?);
            if let Some(oldest) = (index + 1).checked_sub(OPEN_AT_ONCE) {
                let at_most = TIMEOUT * 4;
                eventually("an older batch has ended", at_most, || is_open(&api, &begun[oldest].id)).await?;
            }
        }
        Ok(())
    };
    let result: anyhow::Result<()> = result.await;
    done.store(true, Ordering::SeqCst);
    result.map(|()| begun)
}

async fn begin(api: &Api, servers: &[String], index: usize, rng: &mut StdRng) -> anyhow::Result<Begun> {
    let count_to = if index.is_multiple_of(LONG_EACH) { rng.random_range(COUNT_TO) } else { 1 };
    let (token, idempotent) = (format!("b{index}"), rng.random());
    let command =
        format!("echo {token} >> count; sleep 0.{}; seq 1 {count_to}; echo ü{token}", rng.random_range(1..9));
    let numbers: String = (1..=count_to).map(|number| format!("{number}\n")).collect();
    let body = json!({
        "command": command, "servers": servers, "idempotent": idempotent, "timeout_ms": TIMEOUT.as_millis(),
    });
    let answer = eventually("a batch is begun", TIMEOUT * 4, || async {
        let answer =
            api.post_once("/api/commands", &body, &token).await.map_err(|error| error.to_string())?;
        answer.expect(202).map_err(|error| error.to_string())
    })
    .await?;
    let of = |command: &Value| {
        let text = |field: &str| Some(command[field].as_str()?.to_owned());
        Some((text("server_id")?, text("command_id")?))
    };
    let commands = answer.body["commands"].as_array().context("commands")?.iter().filter_map(of).collect();
    let says = format!("{numbers}ü{token}\n");
    Ok(Begun { id: answer.text("batch_id")?.to_owned(), token, says, idempotent, commands })
}

/// Fails as long as it is.
async fn is_open(api: &Api, batch: &str) -> Result<(), String> {
    let shown = api.get(&format!("/api/batches/{batch}")).await.map_err(|error| error.to_string())?;
    if shown.body["status"] == "ended" { Ok(()) } else { Err(shown.body["counts"].to_string()) }
}

async fn kill(stage: &mut Stage, rng: &mut StdRng) -> anyhow::Result<()> {
    match rng.random_range(0..100) {
        0..35 => {
            let index = rng.random_range(0..stage.relays.len());
            let relay = &mut stage.relays[index];
            relay.running.process.kill_everything();
            relay.running = ForeignRelay::start(relay.manner, &relay.url, &relay.registered)?;
        }
        35..50 => {
            let relay = &stage.relays[rng.random_range(0..stage.relays.len())].running.process;
            relay.signal(Signal::SIGSTOP)?;
            pause(rng, HANG_MS).await;
            relay.signal(Signal::SIGCONT)?;
        }
        50..75 => {
            let index = rng.random_range(0..stage.targets.len());
            stage.targets[index].sshd.kill_and_start().await?;
        }
        75..85 => stage.hub.kill(&stage.world)?,
        85..93 => {
            let product = stage.world.product.as_ref().context("the product is down")?;
            let killed =
                || std::future::ready(product.kill_child("nats-server").map_err(|error| error.to_string()));
            eventually("nats-server runs", TIMEOUT, killed).await?;
        }
        _ => {
            let began = Instant::now();
            stage.world.kill();
            stage.world.up_again().await?;
            stage.down = stage.down.max(began.elapsed());
        }
    }
    Ok(())
}

/// By command. None is missing, none has two, and none has it long after its time.
async fn one_outcome_each(stage: &Stage, batches: &[Begun]) -> anyhow::Result<HashMap<String, Outcome>> {
    let ledger = Ledger::read(&stage.world.installation).await?;
    let mut outcomes = HashMap::new();
    let mut deadlines: HashMap<&str, DateTime<Utc>> = HashMap::new();
    let overdue_at_most = chrono::TimeDelta::from_std(OVERDUE_AT_MOST + stage.down)?;
    for recorded in &ledger.events {
        let (id, Event::Command(event)) = (recorded.subject.id.as_str(), &recorded.event) else { continue };
        let outcome = match event {
            CommandEvent::CommandRequested(requested) => {
                deadlines.insert(id, requested.start_by);
                continue;
            }
            CommandEvent::CommandDispatched(dispatched) => {
                deadlines.insert(id, dispatched.deadline);
                continue;
            }
            CommandEvent::CommandAnsweredLate(_) => continue,
            CommandEvent::CommandCompleted(_) => Outcome::Completed,
            CommandEvent::CommandFailed(_) => Outcome::Failed,
            CommandEvent::CommandTimedOut(_) => Outcome::TimedOut,
            CommandEvent::CommandLost(_) => Outcome::Lost,
            CommandEvent::CommandCancelled(_) => Outcome::Cancelled,
        };
        let before = outcomes.insert(id.to_owned(), outcome);
        ensure!(before.is_none(), "{id} has two outcomes: {before:?}, then {outcome:?} at {}", recorded.seq);
        let deadline = deadlines.get(id).with_context(|| format!("{id} ends before it begins"))?;
        let overdue = recorded.meta.time - *deadline;
        ensure!(overdue <= overdue_at_most, "{id} is {outcome:?} {overdue} after its time");
    }
    for id in batches.iter().flat_map(|batch| batch.commands.values()) {
        ensure!(outcomes.contains_key(id), "{id} has no outcome");
    }
    Ok(outcomes)
}

/// The files on the servers say the same as the log.
fn ran_as_told(stage: &Stage, batches: &[Begun], outcomes: &HashMap<String, Outcome>) -> anyhow::Result<()> {
    for target in &stage.targets {
        let path = target.sshd.folder().join("home").join(harness::sshd::USER).join("count");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut runs: HashMap<&str, usize> = HashMap::new();
        for line in text.lines() {
            *runs.entry(line).or_default() += 1;
        }
        for batch in batches {
            let id = batch.commands.get(&target.server).context("a command for each server")?;
            let (ran, outcome) = (runs.get(batch.token.as_str()).copied().unwrap_or(0), outcomes[id]);
            let at_most = match (batch.idempotent, outcome) {
                (false, Outcome::Failed) => 0,
                (false, _) => 1,
                (true, _) => usize::MAX,
            };
            ensure!(ran <= at_most, "{id} of {} is {outcome:?} and ran {ran} times", batch.token);
        }
    }
    Ok(())
}

/// How many came to their end, each with all that it said.
async fn said_as_written(
    api: &Api,
    batches: &[Begun],
    outcomes: &HashMap<String, Outcome>,
) -> anyhow::Result<usize> {
    let mut same = 0;
    for batch in batches {
        for id in batch.commands.values().filter(|id| outcomes[*id] == Outcome::Completed) {
            let shown = api.get(&format!("/api/commands/{id}")).await?.expect(200)?.body;
            // so relays of others say that they did not get through, or that it broke off
            if shown["exit_code"] != 0 {
                continue;
            }
            let said = api.get(&format!("/api/commands/{id}/stdout")).await?.expect(200)?;
            ensure!(said.body.as_str() == Some(&batch.says), "{id} of {}: {shown}", batch.token);
            same += 1;
        }
    }
    Ok(same)
}
