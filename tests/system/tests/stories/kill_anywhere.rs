//! May it be killed at any moment? `kill -9` of everything, of NATS alone, of PostgreSQL alone, at
//! random points of a busy run; afterwards the log, the engine and the read models must agree.
//!
//! `PORTREEVE_KILL_POINTS` and `PORTREEVE_KILL_POINTS_REAL` say how many points, `PORTREEVE_KILL_SEED`
//! repeats a run's choices.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use events::env::{EnvEvent, Status};
use harness::{EngineDouble, RealEngine, eventually};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::busy_people::{Asked, Person, Promise};
use crate::left_behind::one_server;
use system::ledger::Ledger;
use system::world::{Engine, World};

const POINTS: usize = 200;
const POINTS_REAL: usize = 20;
const PEOPLE: u64 = 3;
/// The pause before a kill, in milliseconds: between nothing and a create's whole way.
const PAUSE_MS: std::ops::Range<u64> = 0..900;
/// Likewise while it starts, up to about ready.
const STARTING_MS: std::ops::Range<u64> = 0..2_000;
/// Everything has found its place again.
const SETTLED_AT_MOST: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// Twice: while people work, and while it starts again.
    Everything,
    Nats,
    Postgres,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_nothing_promised_is_lost() {
    let ports = harness::free_ports::range(400).unwrap();
    let mut world = World::on_double(ports).await.unwrap();
    let points = number("PORTREEVE_KILL_POINTS", POINTS);
    let result = story(&mut world, points).await;
    world.blame(result).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_with_real_containers() {
    let mut world = World::on_real().await.unwrap();
    let points = number("PORTREEVE_KILL_POINTS_REAL", POINTS_REAL);
    let result = story(&mut world, points).await;
    world.blame(result).unwrap();
}

pub fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What the engine holds, by environment.
pub struct Held {
    running: BTreeSet<String>,
    containers: BTreeSet<String>,
    volumes: BTreeSet<String>,
}

trait Inspect: Engine {
    async fn hold(&self, instance: &str) -> anyhow::Result<Held>;
}

impl Inspect for EngineDouble {
    async fn hold(&self, _instance: &str) -> anyhow::Result<Held> {
        let state = self.state().await?;
        let of = |container: &harness::engine_double::DoubleContainer| {
            container.env_id.clone().unwrap_or_default()
        };
        Ok(Held {
            running: state.containers.iter().filter(|container| container.running).map(of).collect(),
            containers: state.containers.iter().map(of).collect(),
            volumes: state.volumes.iter().filter_map(|volume| env_of_volume(&volume.name)).collect(),
        })
    }
}

impl Inspect for RealEngine {
    async fn hold(&self, instance: &str) -> anyhow::Result<Held> {
        let mine = |container: &&Value| container["Labels"]["portreeve.instance"] == instance;
        let containers = self.containers()?;
        let containers: Vec<&Value> = containers.iter().filter(mine).collect();
        let of =
            |container: &&Value| container["Labels"]["portreeve.env"].as_str().unwrap_or_default().to_owned();
        let volumes = harness::real_engine::volumes_of(instance)?;
        Ok(Held {
            running: containers.iter().filter(|container| container["State"] == "running").map(of).collect(),
            containers: containers.iter().map(of).collect(),
            volumes: volumes.iter().filter_map(|name| env_of_volume(name)).collect(),
        })
    }
}

/// `portreeve-<env>-code` or `-state`.
fn env_of_volume(name: &str) -> Option<String> {
    let (env, _) = name.strip_prefix("portreeve-")?.rsplit_once('-')?;
    Some(env.to_owned())
}

async fn story<E: Inspect>(world: &mut World<E>, points: usize) -> anyhow::Result<()> {
    let seed = number("PORTREEVE_KILL_SEED", rand::random::<u32>() as usize) as u64;
    println!("{points} kills; PORTREEVE_KILL_SEED={seed}");
    let began = Instant::now();
    let promises = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let people: Vec<_> = (0..PEOPLE)
        .map(|number| {
            let rng = StdRng::seed_from_u64(seed ^ number << 32);
            let person = Person::new(world.api()?, Arc::clone(&promises), Arc::clone(&stop), rng);
            Ok(tokio::spawn(person.work()))
        })
        .collect::<anyhow::Result<_>>()?;

    let mut rng = StdRng::seed_from_u64(seed);
    let result = kill_points(world, points, &mut rng).await;
    stop.store(true, Ordering::SeqCst);
    for person in people {
        person.await?;
    }
    result?;
    let killed_after = began.elapsed();
    if world.product.as_mut().is_none_or(|product| product.ended().is_some()) {
        world.up_again().await?;
    }
    let promises = promises.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let ledger = until_settled(world).await?;
    for promise in &promises {
        keep(&ledger, promise)?;
    }
    resets_kept(&ledger, &promises)?;
    same_as_rebuilt(world).await?;
    println!(
        "{points} kills in {:.0} s, settled after {:.0} s; {} promises kept, {} events, {} environments, {} live",
        killed_after.as_secs_f32(),
        began.elapsed().as_secs_f32(),
        promises.len(),
        ledger.events.len(),
        ledger.envs.len(),
        ledger.living().len(),
    );
    anyhow::ensure!(promises.len() >= points / 2, "too little was going on: {} promises", promises.len());
    Ok(())
}

async fn kill_points<E: Inspect>(
    world: &mut World<E>,
    points: usize,
    rng: &mut StdRng,
) -> anyhow::Result<()> {
    let mut done = 0;
    while done < points {
        let mut block = [Victim::Everything, Victim::Nats, Victim::Postgres];
        block.shuffle(rng);
        for victim in block {
            if done < points {
                pause(rng, PAUSE_MS).await;
                done += kill(world, victim, rng).await?;
            }
        }
    }
    Ok(())
}

async fn pause(rng: &mut StdRng, range_ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(range_ms))).await;
}

/// How many points it was. The next one comes without waiting for a single server to be back.
async fn kill<E: Inspect>(world: &mut World<E>, victim: Victim, rng: &mut StdRng) -> anyhow::Result<usize> {
    let program = match victim {
        Victim::Everything => {
            world.kill();
            let mut starting = world.installation.spawn()?;
            pause(rng, STARTING_MS).await;
            starting.kill_everything();
            world.up_again().await?;
            one_server(world)?;
            return Ok(2);
        }
        Victim::Nats => "nats-server",
        Victim::Postgres => "postgres",
    };
    let Some(product) = world.product.as_mut() else { anyhow::bail!("it is down") };
    if let Some(status) = product.ended() {
        anyhow::bail!("portreeve up ended by itself with {status}:\n{}", product.log_tail());
    }
    eventually(&format!("{program} runs"), Duration::from_secs(30), || {
        std::future::ready(product.kill_child(program).map_err(|error| format!("{error:#}")))
    })
    .await?;
    Ok(1)
}

/// Waits until nothing is on its way, and engine and log say the same.
async fn until_settled<E: Inspect>(world: &World<E>) -> anyhow::Result<Ledger> {
    let instance = std::fs::read_to_string(world.installation.data_dir().join("instance"))?;
    eventually("log and engine agree", SETTLED_AT_MOST, || async {
        let ledger = Ledger::read(&world.installation).await.map_err(|error| format!("{error:#}"))?;
        let held = world.engine.hold(instance.trim()).await.map_err(|error| format!("{error:#}"))?;
        let mut wrong = ledger.unsettled();
        wrong.extend(disagreements(&ledger, &held));
        if wrong.is_empty() { Ok(ledger) } else { Err(format!("{} things: {wrong:?}", wrong.len())) }
    })
    .await
}

fn disagreements(ledger: &Ledger, held: &Held) -> Vec<String> {
    let living = ledger.living();
    let running = ledger.with_status(&[Status::Running]);
    // Where nobody could ever log in there are no files to keep.
    let was_ready = |env: &&String| ledger.has_event(env, |event| matches!(event, EnvEvent::PodReady(_)));
    let with_data: BTreeSet<String> = living.iter().filter(was_ready).cloned().collect();
    let mut wrong = Vec::new();
    wrong.extend(
        held.running
            .symmetric_difference(&running)
            .map(|env| format!("{env} runs in the engine or in the log")),
    );
    wrong.extend(
        held.containers.difference(&living).map(|env| format!("{env} has a container and does not live")),
    );
    wrong.extend(held.volumes.difference(&living).map(|env| format!("{env} has volumes and does not live")));
    wrong.extend(with_data.difference(&held.volumes).map(|env| format!("{env} has lost its volumes")));
    wrong
}

/// A request answered with 2xx is in the log.
fn keep(ledger: &Ledger, promise: &Promise) -> anyhow::Result<()> {
    let env = promise.env.as_str();
    let kept = match promise.asked {
        Asked::Create => ledger.has_event(env, |event| matches!(event, EnvEvent::EnvRequested(_))),
        Asked::Reset => ledger.resets(env) > 0,
        // What was so already needs no event.
        Asked::Stop => ledger.has_event(env, |event| matches!(event, EnvEvent::EnvStopRequested(_))),
        Asked::Start => ledger.has_event(env, |event| matches!(event, EnvEvent::EnvRequested(_))),
        Asked::Delete => ledger.has_event(env, |event| matches!(event, EnvEvent::EnvDeleteRequested(_))),
    };
    anyhow::ensure!(kept, "{promise:?} is not in the log");
    let position = promise.position.unwrap_or(0);
    anyhow::ensure!(
        (1..=ledger.head).contains(&position),
        "{promise:?} names a place outside the log (1 to {})",
        ledger.head
    );
    Ok(())
}

/// Each reset had its own key, so each answered one is an event of its own.
fn resets_kept(ledger: &Ledger, promises: &[Promise]) -> anyhow::Result<()> {
    let envs: BTreeSet<&str> = promises.iter().map(|promise| promise.env.as_str()).collect();
    for env in envs {
        let promised =
            promises.iter().filter(|promise| promise.asked == Asked::Reset && promise.env == env).count();
        anyhow::ensure!(
            ledger.resets(env) >= promised,
            "{env}: {promised} resets were answered, {} are in the log",
            ledger.resets(env)
        );
    }
    Ok(())
}

/// The read models are what the log says, row by row.
async fn same_as_rebuilt<E: Inspect>(world: &World<E>) -> anyhow::Result<()> {
    crate::projectors::same_as_rebuilt(&world.installation).await
}
