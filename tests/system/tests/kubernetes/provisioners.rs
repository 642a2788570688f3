//! May the one who makes environments die at any moment, or be there twice? Afterwards each environment
//! that was promised runs once, and nothing else is there.
//!
//! `PORTREEVE_KILL_SEED` repeats a run's choices.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use events::env::Status;
use harness::child::Child;
use harness::{Api, eventually, free_ports, programs};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use system::kubernetes::Kubernetes;
use system::ledger::Ledger;
use system::world::{World, ask, delete, until_deleted, until_status};
use uuid::Uuid;

const CREATIONS: usize = 10;
/// Before the first kill after a request, and after the next start began.
const PAUSE_MS: std::ops::Range<u64> = 0..2_500;
const STARTING_MS: std::ops::Range<u64> = 0..3_000;
/// A request finds somebody who answers within.
const ANSWERED_AT_MOST: Duration = Duration::from_secs(60);
const SETTLED_AT_MOST: Duration = Duration::from_secs(120);

fn tiny(number: usize) -> Value {
    json!({"name": format!("tiny-{number}"), "resources": {"cpu": 0.1, "memory": 0.125, "storage": 1}})
}

/// Asks under one key until somebody has answered.
async fn promised(api: Api, number: usize) -> anyhow::Result<String> {
    let key = Uuid::new_v4().to_string();
    eventually(&format!("creation {number} is answered"), ANSWERED_AT_MOST, || async {
        let answer = api.post_once("/api/environments", &tiny(number), &key).await;
        let answer = answer.map_err(|error| format!("{error:#}"))?;
        let answer = answer.expect(202).map_err(|error| format!("{error:#}"))?;
        answer.text("env_id").map(str::to_owned).map_err(|error| format!("{error:#}"))
    })
    .await
}

/// Waits until the log has settled, everything promised runs, and the cluster has that and no more.
async fn until_settled(world: &World<Kubernetes>, promised: &BTreeSet<String>) -> anyhow::Result<()> {
    eventually("log and cluster agree", SETTLED_AT_MOST, || async {
        let ledger = Ledger::read(&world.installation).await.map_err(|error| format!("{error:#}"))?;
        let mut wrong = ledger.unsettled();
        if ledger.with_status(&[Status::Running]) != *promised || ledger.living() != *promised {
            wrong.push(format!("{:?} live, {promised:?} were promised", ledger.living()));
        }
        let there = world.engine.labelled("app=dev-env").await.map_err(|error| format!("{error:#}"))?;
        let expected: BTreeSet<String> = promised.iter().flat_map(|env| objects_of(env)).collect();
        let there: BTreeSet<String> = there.into_iter().collect();
        wrong.extend(there.symmetric_difference(&expected).map(|name| format!("{name}: there or expected")));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    })
    .await
}

/// As kubectl names them.
fn objects_of(env: &str) -> [String; 6] {
    [
        format!("statefulset.apps/{env}"),
        format!("service/{env}"),
        format!("secret/{env}"),
        format!("persistentvolumeclaim/code-{env}"),
        format!("persistentvolumeclaim/output-{env}"),
        format!("pod/{env}-0"),
    ]
}

async fn delete_all(world: &World<Kubernetes>, made: &BTreeSet<String>) -> anyhow::Result<()> {
    let api = world.api()?;
    for env in made {
        delete(&api, env).await?;
    }
    for env in made {
        until_deleted(&api, env).await?;
    }
    until_settled(world, &BTreeSet::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_twenty_points_of_ten_creations() {
    let mut world = World::on_kubernetes("kills").await.unwrap();
    let result = kills(&mut world).await;
    world.blame(result).unwrap();
}

async fn kills(world: &mut World<Kubernetes>) -> anyhow::Result<()> {
    let given = std::env::var("PORTREEVE_KILL_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| rand::random::<u32>().into());
    println!("{} kills; PORTREEVE_KILL_SEED={seed}", 2 * CREATIONS);
    let mut rng = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut asked = Vec::new();
    for number in 0..CREATIONS {
        asked.push(tokio::spawn(promised(world.api()?, number)));
        tokio::time::sleep(Duration::from_millis(rng.random_range(PAUSE_MS))).await;
        world.kill();
        let mut starting = world.installation.spawn()?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(STARTING_MS))).await;
        starting.kill_everything();
        drop(starting);
        world.up_again().await?;
    }
    let mut made = BTreeSet::new();
    for answer in asked {
        made.insert(answer.await??);
    }
    println!("{} kills in {:.0} s", 2 * CREATIONS, began.elapsed().as_secs_f32());
    until_settled(world, &made).await?;
    println!("settled after {:.0} s", began.elapsed().as_secs_f32());
    delete_all(world, &made).await
}

/// Environments that two provisioners bring up, stop, start and delete.
const SHARED: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_provisioners_do_no_harm() {
    let world = World::on_kubernetes("two").await.unwrap();
    let story = async {
        let api = world.api()?;
        let mut second = second_provisioner(&world).await?;
        let mut made = BTreeSet::new();
        for number in 0..SHARED {
            made.insert(promised(api.clone(), number).await?);
        }
        until_settled(&world, &made).await?;
        for env in &made {
            ask(&api, env, "stop").await?;
        }
        for env in &made {
            until_status(&api, env, "stopped").await?;
            ask(&api, env, "start").await?;
        }
        until_settled(&world, &made).await?;
        anyhow::ensure!(second.ended().is_none(), "the second one ended: {}", second.log_tail());
        delete_all(&world, &made).await
    };
    world.blame(story.await).unwrap();
}

/// Beside the one of `up`: the same log, the same keys, the same cluster.
async fn second_provisioner(world: &World<Kubernetes>) -> anyhow::Result<Child> {
    let installation = &world.installation;
    let data = installation.data_dir();
    let instance = std::fs::read_to_string(data.join("instance"))?;
    let (health, sentries) = (free_ports::one()?, free_ports::one()?);
    let password = installation.nats_password("provisioner")?;
    let nats = installation.nats_url()?;
    let ports = &installation.setup().ports;
    let child = Child::start(programs::built("portreeve")?, &installation.log(), |command| {
        command.arg("provisioner").args(["--instance", instance.trim(), "--nats", &nats]);
        command.arg("--ports").arg(format!("{}-{}", ports.start(), ports.end()));
        command.arg("--health-listen").arg(format!("127.0.0.1:{health}"));
        command.envs(world.engine.settings());
        // later than the settings it shares: an address of its own, and the quick looks of the story
        command.envs(installation.setup().variables.iter().map(|(name, value)| (name, value)));
        command.env("PORTREEVE_SENTRY_LISTEN", format!("0.0.0.0:{sentries}"));
        command.env("PORTREEVE_NATS_PASSWORD", &password);
        command.env("PORTREEVE_MASTER_KEY_FILE", data.join("master.key"));
    })?;
    let api = Api::new(format!("http://127.0.0.1:{health}"), None)?;
    eventually("the second provisioner is ready", ANSWERED_AT_MOST, || async {
        let answer = api.get("/readyz").await.map_err(|error| format!("{error:#}"))?;
        answer.expect(200).map(drop).map_err(|error| format!("{error:#}"))
    })
    .await
    .context("see the product's last words")?;
    Ok(child)
}
