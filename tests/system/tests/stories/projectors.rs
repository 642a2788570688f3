//! Do the read models stay whole? Two projectors at once, one of them killed; rebuilds while people
//! write and read; in the end every row is the one that the log gives.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use harness::child::Child;
use harness::{Api, EngineDouble, Installation, eventually, programs};
use nats::{Start, Tail, Tailed};
use projections::rebuild::Source;
use projections::{Chunk, NAMES, Projections, Unreadable};
use serde_json::{Value, json};

use system::ledger::{connect, head};
use system::world::{DONE_AT_MOST, World, ask, create_running, delete, environments, small};

/// How long a source waits for more.
const SOURCE_WAIT: Duration = Duration::from_millis(500);
/// The read models have everything by then.
const CAUGHT_UP_AT_MOST: Duration = Duration::from_secs(120);
const ENVIRONMENTS: usize = 12;
/// Logins that sentries report at once, and how often.
const REPORTS: usize = 200;
const ROUNDS: usize = 10;
const REBUILDS: usize = 6;

/// The log as the comparison reads it.
struct FromLog {
    tail: Tail,
    position: u64,
}

impl Source for FromLog {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn std::error::Error + Send + Sync>> {
        let mut chunk = Chunk::after(self.position);
        for tailed in self.tail.next_chunk(max, SOURCE_WAIT).await? {
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

/// Every row of every projection is the one that the whole log gives.
pub async fn same_as_rebuilt(installation: &Installation) -> anyhow::Result<()> {
    let connection = connect(installation, "projector").await?;
    let projections = Projections::connect(&installation.database_url()?).await?;
    let head = connection.log().head().await?;
    let caught_up = projections.wait_for(head, CAUGHT_UP_AT_MOST).await?;
    anyhow::ensure!(caught_up, "the read models are not at {head} but at {}", projections.position().await?);
    for name in NAMES {
        let tail = connection.log().tail(Start::Sequence(1), vec!["ev.>".to_owned()]);
        let comparison = projections.compare(name, &mut FromLog { tail, position: 0 }).await?;
        anyhow::ensure!(comparison.is_equal(), "{name} is not what the log gives: {comparison:#?}");
        anyhow::ensure!(comparison.position >= head, "{name} was compared at {} only", comparison.position);
    }
    Ok(())
}

async fn world() -> World<EngineDouble> {
    World::on_double(harness::free_ports::range(100).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_projectors_make_no_gap_and_no_duplicate() {
    let world = world().await;
    world.blame(two(&world).await).unwrap();
}

async fn two(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let mut second = Second::start(&world.installation).await?;
    let mut names = Vec::new();
    for number in 0..ENVIRONMENTS {
        let created = create_running(&api, &small(&format!("env-{number}"))).await?;
        names.push(created.env_id);
    }
    for round in 0..ROUNDS {
        for env in &names {
            world.engine.report(&format!("portreeve-{env}"), &visits(round, REPORTS / ENVIRONMENTS)).await?;
        }
        ask(&api, &names[round % names.len()], "reset-password").await?;
        if round == ROUNDS / 2 {
            // it goes without a word, in the middle of what it was doing
            second.process.kill_everything();
            second = Second::start(&world.installation).await?;
        }
    }
    let expected = ROUNDS * (REPORTS / ENVIRONMENTS) * ENVIRONMENTS;
    until_visits(world, expected).await?;
    delete(&api, &names[0]).await?;
    same_as_rebuilt(&world.installation).await?;
    let audit = api.list("/api/audit").await?.len() as u64;
    let head = head(&world.installation).await?;
    println!("two projectors: {head} events, {audit} rows of the audit log");
    assert!(audit <= head && audit + 20 >= head, "{audit} rows for {head} events");
    Ok(())
}

/// Waits until all reported visits are in the log.
async fn until_visits(world: &World<EngineDouble>, expected: usize) -> anyhow::Result<()> {
    eventually("all visits are in the log", CAUGHT_UP_AT_MOST, || async {
        let ledger =
            system::ledger::Ledger::read(&world.installation).await.map_err(|error| format!("{error:#}"))?;
        let logins =
            ledger.events.iter().filter(|event| event.event.event_type() == "LoginSucceeded").count();
        if logins == expected { Ok(()) } else { Err(format!("{logins} of {expected}")) }
    })
    .await
}

/// What a sentry saw: people who came.
fn visits(round: usize, count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| {
            let session = format!("ses-{:012x}", rand::random::<u64>() >> 16);
            json!({
                "report": "login_succeeded", "ip": format!("10.0.{round}.{}", number % 250), "user": "developer",
                "method": "password", "key_fingerprint": null, "session_id": session,
            })
        })
        .collect()
}

/// A projector of its own beside the one in `up`.
struct Second {
    process: Child,
}

impl Second {
    async fn start(installation: &Installation) -> anyhow::Result<Self> {
        let port = harness::free_ports::one()?;
        let log: PathBuf = installation.data_dir().with_file_name("projector.log");
        let password = installation.nats_password("projector")?;
        let (nats, database) = (installation.nats_url()?, installation.database_url()?);
        let process = Child::start(programs::built("portreeve")?, &log, |command| {
            command.arg("projector");
            command.env("PORTREEVE_NATS_URL", nats).env("PORTREEVE_NATS_PASSWORD", password);
            command.env("PORTREEVE_DATABASE_URL", database);
            command.env("PORTREEVE_HEALTH_LISTEN", format!("127.0.0.1:{port}"));
        })?;
        let api = Api::new(format!("http://127.0.0.1:{port}"), None)?;
        eventually("the second projector is ready", DONE_AT_MOST, || async {
            match api.get("/readyz").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await
        .with_context(|| process.log_tail())?;
        Ok(Self { process })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_is_never_seen_half_built() {
    let world = world().await;
    world.blame(rebuild(&world).await).unwrap();
}

async fn rebuild(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let mut first = BTreeSet::new();
    for number in 0..ENVIRONMENTS {
        first.insert(create_running(&api, &small(&format!("env-{number}"))).await?.env_id);
    }
    let busiest = first.first().context("there are some")?.clone();
    world.engine.report(&format!("portreeve-{busiest}"), &visits(0, REPORTS * ROUNDS)).await?;
    until_visits(world, REPORTS * ROUNDS).await?;
    let logins = format!("/api/environments/{busiest}/logins");
    let listed = api.list(&logins).await?.len();
    assert_eq!(listed, REPORTS * ROUNDS);

    let stop = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicUsize::new(0));
    let of_environments =
        tokio::spawn(watch_environments(api.clone(), first, Arc::clone(&stop), Arc::clone(&looks)));
    let of_logins =
        tokio::spawn(watch_logins(api.clone(), logins, listed, Arc::clone(&stop), Arc::clone(&looks)));
    for round in 1..=REBUILDS {
        for name in ["environments", "logins"] {
            let asked = api.post(&format!("/api/projections/{name}/rebuild"), &json!({})).await?;
            anyhow::ensure!(asked.is_success(), "{asked:?}");
        }
        world.engine.report(&format!("portreeve-{busiest}"), &visits(round, REPORTS)).await?;
        ask(&api, &busiest, "reset-password").await?;
        eventually("both rebuilds are done", CAUGHT_UP_AT_MOST, || async {
            let shown = api.get("/api/projections").await.map_err(|error| format!("{error:#}"))?;
            let items = shown.body["items"].as_array().or(shown.body.as_array()).cloned().unwrap_or_default();
            let live = !items.is_empty() && items.iter().all(|item| item["state"] == "live");
            if live { Ok(()) } else { Err(shown.body.to_string()) }
        })
        .await?;
    }
    stop.store(true, Ordering::SeqCst);
    of_environments.await??;
    of_logins.await??;
    println!("{} looks during {} rebuilds", looks.load(Ordering::SeqCst), REBUILDS * 2);
    same_as_rebuilt(&world.installation).await
}

/// Looks all the time; nothing that was there is ever missing.
async fn watch_environments(
    api: Api,
    first: BTreeSet<String>,
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let shown = environments(&api, None).await?;
        let shown: BTreeSet<&str> = shown.iter().filter_map(|env| env["env_id"].as_str()).collect();
        let missing: Vec<_> = first.iter().filter(|env| !shown.contains(env.as_str())).collect();
        anyhow::ensure!(missing.is_empty(), "not shown any more: {missing:?}");
        looks.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// Looks all the time; the list only grows.
async fn watch_logins(
    api: Api,
    path: String,
    mut least: usize,
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let listed = api.list(&path).await?.len();
        anyhow::ensure!(listed >= least, "{listed} logins are listed, and there were {least}");
        least = listed;
        looks.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}
