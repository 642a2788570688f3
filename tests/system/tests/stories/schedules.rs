//! Is what is due begun once, also when everything is killed around that moment? Also the command line.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use events::Event;
use events::batch::BatchEvent;
use events::ids::BatchId;
use events::schedule::ScheduleEvent;
use harness::{Api, EngineDouble, Sshd, eventually};
use serde_json::{Value, json};
use system::entrances::another_api;
use system::ledger::Ledger;
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
const SOON: Duration = Duration::from_secs(60);
/// How long before, or after, the due time everything is killed, in milliseconds; a round each.
const KILLS_MS: [i64; 5] = [-150, 150, 500, 800, 1_100];
/// From setting to being due.
const AHEAD_MS: i64 = 2_500;
const SCHEDULES: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_begun_once_whatever_is_killed() {
    let mut world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    let result = story(&mut world).await;
    world.blame(result).unwrap();
}

async fn story(world: &mut World<EngineDouble>) -> anyhow::Result<()> {
    let target = Sshd::start(PASSWORD, "MaxStartups 100").await?;
    let body = json!({
        "name": "target", "host": "127.0.0.1", "port": target.port, "username": harness::sshd::USER,
        "password": PASSWORD, "test": false,
    });
    let server = world.api()?.post("/api/servers", &body).await?.expect(201)?;
    let server = server.text("server_id")?.to_owned();
    let mut tokens = HashMap::new();
    for (round, kill_ms) in KILLS_MS.into_iter().enumerate() {
        let (mut other, _) = another_api(world).await?;
        let api = world.api()?;
        let due_at = Utc::now() + TimeDelta::milliseconds(AHEAD_MS);
        for number in 0..SCHEDULES {
            let token = format!("{round}-{number}");
            let run = json!({"command": format!("echo {token} >> count"), "servers": [server]});
            let asked = json!({"name": token, "at": due_at.to_rfc3339(), "run": run});
            let set = api.post("/api/schedules", &asked).await?.expect(201)?;
            tokens.insert(set.text("schedule_id")?.to_owned(), token);
        }
        until(due_at + TimeDelta::milliseconds(kill_ms)).await;
        other.kill_everything();
        world.kill();
        world.up_again().await?;
    }
    let api = world.api()?;
    let mut outcomes = HashMap::new();
    for id in tokens.keys() {
        outcomes.insert(id.clone(), ended(&api, id).await?);
    }
    once_each(world, &tokens).await?;
    let path = target.folder().join("home").join(harness::sshd::USER).join("count");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut good = 0;
    for (id, token) in &tokens {
        let ran = text.lines().filter(|line| line == token).count();
        let outcome = &outcomes[id];
        ensure!(ran <= 1, "{token} ran {ran} times: {outcome}");
        ensure!(outcome["outcome"] != "succeeded" || ran == 1, "{token} did not run: {outcome}");
        good += ran;
    }
    // what a hub was at when it was killed is lost, and is not run again
    ensure!(good * 2 > tokens.len(), "{good} of {} ran", tokens.len());
    println!("{good} of {} ran once, the others not at all", tokens.len());
    by_line(world, &server)
}

/// The moment that everything is killed at.
async fn until(time: DateTime<Utc>) {
    let wait = (time - Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(wait).await;
}

/// The one run of a schedule, once it has its outcome.
async fn ended(api: &Api, id: &str) -> anyhow::Result<Value> {
    let runs = eventually("its run has ended", SOON, || async {
        let shown = api.get(&format!("/api/schedules/{id}")).await.map_err(|error| error.to_string())?.body;
        let runs = shown["runs"].as_array().cloned().unwrap_or_default();
        let is_over = !runs.is_empty() && runs.iter().all(|run| run["outcome"] != "running");
        if is_over { Ok(runs) } else { Err(shown.to_string()) }
    })
    .await?;
    ensure!(runs.len() == 1 && runs[0]["batch_id"].is_string(), "{id}: {runs:?}");
    runs.into_iter().next().context("one run")
}

/// One fact and one batch for each.
async fn once_each(world: &World<EngineDouble>, tokens: &HashMap<String, String>) -> anyhow::Result<()> {
    let ledger = Ledger::read(&world.installation).await?;
    let (mut begun, mut batches) = (HashMap::new(), Vec::new());
    for recorded in &ledger.events {
        if let Event::Schedule(ScheduleEvent::ScheduleFired(fired)) = &recorded.event {
            let named = BatchId::of_schedule(&recorded.subject.id.parse()?, fired.due_at);
            ensure!(named == fired.batch_id, "{recorded:?}");
            let before = begun.insert(recorded.subject.id.clone(), named);
            ensure!(before.is_none(), "twice: {recorded:?}");
        }
        let is_skip = matches!(&recorded.event, Event::Schedule(ScheduleEvent::ScheduleSkipped(_)));
        ensure!(!is_skip, "skipped: {recorded:?}");
        if let Event::Batch(BatchEvent::BatchRequested(_)) = &recorded.event {
            batches.push(recorded.subject.id.clone());
        }
    }
    ensure!(begun.len() == tokens.len(), "{} of {} were begun", begun.len(), tokens.len());
    for (id, batch) in &begun {
        let count = batches.iter().filter(|found| *found == batch.as_str()).count();
        ensure!(count == 1, "{id} has {count} batches");
    }
    Ok(())
}

fn by_line(world: &World<EngineDouble>, server: &str) -> anyhow::Result<()> {
    let line = |arguments: &[&str]| -> anyhow::Result<String> {
        let said = world.installation.client_command(&[&["schedule"][..], arguments].concat())?.output()?;
        let (out, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        ensure!(said.status.success(), "{arguments:?}: {out}{errors}");
        Ok(out.into_owned())
    };
    let zone = ["--cron", "0 3 * * *", "--time-zone", "Europe/Berlin"];
    line(&[&["add", "nightly"][..], &zone[..], &["-s", server, "--", "echo", "-n", "--at"][..]].concat())?;
    let listed = line(&["list"])?;
    ensure!(listed.contains("nightly") && listed.contains("0 3 * * *"), "{listed}");
    let shown = line(&["show", "nightly"])?;
    ensure!(shown.contains("Europe/Berlin") && shown.contains("echo -n --at"), "{shown}");
    ensure!(line(&["show", "0-0"])?.contains("bat-"), "what it began");
    line(&["pause", "nightly"])?;
    ensure!(line(&["show", "nightly"])?.contains("paused"));
    ensure!(line(&["resume", "nightly"])?.contains("next due"));
    line(&["remove", "nightly"])?;
    ensure!(!line(&["list"])?.contains("nightly"));
    let wrong = ["add", "x", "--cron", "0 25 * * *", "-s", server, "--", "true"];
    let said = world.installation.client_command(&[&["schedule"][..], &wrong[..]].concat())?.output()?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(!said.status.success() && errors.contains("must be 0 to 23"), "{errors}");
    Ok(())
}
