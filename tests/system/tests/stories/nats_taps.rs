//! Does a stock client of NATS follow a tenant's events, as they happen and on from where it was, and nothing else?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::child::Child;
use harness::{Api, EngineDouble, eventually, programs};
use serde_json::{Value, json};
use system::world::{World, create, small};

/// What happened is heard within, and what was revoked has ended.
const SOON: Duration = Duration::from_secs(30);

/// The client in Python with a tap's answer, beside the installation.
struct Client {
    folder: tempfile::TempDir,
}

impl Client {
    fn of(tap: &Value) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("tap.json"), tap.to_string())?;
        Ok(Self { folder })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, log: &str, arguments: &[&str]) -> anyhow::Result<Child> {
        let libraries = programs::tools().join("taps-python");
        ensure!(libraries.is_dir(), "what the client is made of is missing: tests/taps/install.sh");
        Child::start("/usr/bin/python3", &self.log(log), |command| {
            command.arg(programs::repository().join("tests/taps/follow.py"));
            command.arg(self.folder.path().join("tap.json")).args(arguments).env("PYTHONPATH", &libraries);
        })
    }

    /// Every whole line that it said.
    fn said(&self, log: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log(log)).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Runs it to its end.
    async fn run(&self, log: &str, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        let mut child = self.start(log, arguments)?;
        let ended = eventually("the client ends", SOON, || {
            std::future::ready(child.ended().ok_or_else(|| child.log_tail()))
        });
        let status = ended.await?;
        ensure!(status.success(), "{arguments:?} ended with {status}: {}", child.log_tail());
        Ok(self.said(log))
    }
}

async fn issue(api: &Api, body: &Value) -> anyhow::Result<Value> {
    Ok(api.post("/api/nats-taps", body).await?.expect(201)?.body)
}

fn types(said: &[Value]) -> Vec<&str> {
    said.iter().filter_map(|line| line["type"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_follows_its_tenant_and_goes_on_where_it_was() {
    let world = World::on_double(harness::free_ports::range(10).unwrap()).await.unwrap();
    world.blame(story(&world).await).unwrap();
}

async fn story(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let first = create(&api, &small("before")).await?;
    let tap = issue(&api, &json!({"name": "warehouse", "kinds": ["env", "quota"]})).await?;
    let (client, id) = (Client::of(&tap)?, tap["tap_id"].as_str().context("an id")?.to_owned());

    // everything there was, from the first event on, and then what comes, each once
    let seen = client.run("first", &["resume", "2"]).await?;
    ensure!(types(&seen) == ["QuotaClaimed", "EnvRequested"], "{seen:?}");
    ensure!(seen[1]["subject"] == format!("ev.default.env.{}", first.env_id), "{seen:?}");
    let shown = api.get(&format!("/api/nats-taps/{id}")).await?.expect(200)?;
    ensure!(shown.body["progress"]["acknowledged"] == seen[1]["sequence"], "{}", shown.body);
    ensure!(shown.body["progress"]["pending"].as_u64() > Some(0), "it is behind: {}", shown.body);
    let rest = client.run("second", &["resume", "1"]).await?;
    ensure!(rest[0]["sequence"].as_u64() > seen[1]["sequence"].as_u64(), "{rest:?}");

    // as it happens
    let listening = client.start("live", &["live"])?;
    let listens = eventually("it listens", SOON, || async {
        let said = client.said("live");
        if said.iter().any(|line| line["listening"] == true) { Ok(()) } else { Err(listening.log_tail()) }
    });
    listens.await?;
    let second = create(&api, &small("after")).await?;
    let subject = format!("stored.default.env.{}", second.env_id);
    let heard = eventually("the new environment is heard of", SOON, || async {
        let said = client.said("live");
        let requested = said.iter().any(|line| line["subject"] == subject && line["type"] == "EnvRequested");
        if requested { Ok(said) } else { Err(listening.log_tail()) }
    });
    let heard = heard.await?;
    let others = heard.iter().filter_map(|line| line["subject"].as_str()).filter(|subject| {
        !subject.starts_with("stored.default.env.") && !subject.starts_with("stored.default.quota.")
    });
    ensure!(others.count() == 0, "{heard:?}");

    // what it may not do is refused and changes nothing; that of another tenant is not there
    let refused = client.run("refused", &["refused"]).await?;
    ensure!(refused.len() == 2, "{refused:?}");
    for way in &refused {
        ensure!(way["heard"] == json!([]) && way["violations"].as_u64() > Some(10), "{way}");
    }
    drop(listening);
    ends_when_it_is_revoked(&api, &client, &id, &first.env_id).await
}

/// Whoever is cut off does not hear of what happens now.
async fn still_hears(api: &Api, client: &Client, env: &str, round: u8) -> Result<(), String> {
    let ranges = json!({"ranges": [format!("10.0.{round}.0/24")]});
    let set = api.put(&format!("/api/environments/{env}/allow-list"), &ranges).await;
    set.and_then(|answer| answer.expect(200)).map_err(|error| format!("{error:#}"))?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let heard = client.said("until").into_iter().find(|line| line["data"]["ranges"] == ranges["ranges"]);
    heard.map_or(Ok(()), |line| Err(format!("it still hears: {line}")))
}

async fn ends_when_it_is_revoked(api: &Api, client: &Client, id: &str, env: &str) -> anyhow::Result<()> {
    let mut listening = client.start("until", &["live"])?;
    let listens = eventually("it listens again", SOON, || async {
        if client.said("until").is_empty() { Err(listening.log_tail()) } else { Ok(()) }
    });
    listens.await?;
    let mut round = 0;
    let hears = eventually("it hears what happens", SOON, || {
        round += 1;
        let hears = still_hears(api, client, env, round);
        async { if hears.await.is_err() { Ok(()) } else { Err("it does not hear") } }
    });
    hears.await?;
    api.delete(&format!("/api/nats-taps/{id}")).await?.expect(200)?;
    let ends = eventually("nobody is connected by it", SOON, || {
        round += 1;
        still_hears(api, client, env, round)
    });
    ends.await?;
    listening.kill_everything();
    let mut late = client.start("late", &["resume", "1"])?;
    let ended = eventually("a revoked tap lets nobody in", SOON, || {
        std::future::ready(late.ended().ok_or_else(|| late.log_tail()))
    });
    ensure!(!ended.await?.success(), "{}", late.log_tail());
    Ok(())
}
