//! Does the web terminal lead into real environments, by the rules of the other entrances, and say how it ends?

use std::time::Duration;

use anyhow::{Context, ensure};
use harness::real_engine::podman;
use harness::terminal::Opening;
use harness::{Api, Proof, RealEngine, Ssh, Terminal, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use system::world::{
    Created, DONE_AT_MOST, World, ask, create_running, gateway_door, small, until_listed, until_status,
};

/// Failures that close the entrances to an address.
const FAILURES_MAX: usize = 5;
/// The log is away for so long.
const LOG_AWAY_FOR: Duration = Duration::from_secs(20);

async fn place(name: &str) -> anyhow::Result<(World<RealEngine>, Created)> {
    let world = World::on_real().await?;
    let created = world.blame(create_running(&world.api()?, &small(name)).await)?;
    Ok((world, created))
}

async fn terminal(api: &Api, created: &Created, binary: bool) -> anyhow::Result<Terminal> {
    let opening = Opening::of(api, &created.env_id, "&cols=90&rows=30").await?;
    let opening = if binary { opening.binary() } else { opening };
    opening.ready(api).await
}

async fn session_of(api: &Api, created: &Created, session: &str) -> anyhow::Result<Value> {
    let path = format!("/api/environments/{}/sessions", created.env_id);
    let is_ended = |item: &Value| item["session_id"] == session && !item["closed_at"].is_null();
    let listed =
        until_listed(api, &path, "the session has its end", |items| items.iter().any(is_ended)).await?;
    listed.into_iter().find(is_ended).context("it was there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_gets_a_shell_and_its_session_is_recorded() {
    let (world, created) = place("terminal").await.unwrap();
    let story = async {
        let api = world.api()?;
        for binary in [false, true] {
            let mut terminal = terminal(&api, &created, binary).await?;
            ensure!(terminal.runs("id -un; stty size").await? == "developer\n30 90\n");
            terminal.resize(120, 40).await?;
            ensure!(terminal.runs("stty size; echo 中文 ✓").await? == "40 120\n中文 ✓\n");
            let session = terminal.session.clone().context("a session")?;
            // the connection breaks, and the shell is still the same one
            terminal.runs("cd /tmp; export KEPT=1").await?;
            let offset = terminal.offset;
            terminal.drop_connection()?;
            let more = format!("&session={session}&offset={offset}");
            let opening = Opening::of(&api, &created.env_id, &more).await?;
            let mut terminal = if binary { opening.binary() } else { opening }.ready(&api).await?;
            ensure!(terminal.begins_at == offset);
            ensure!(terminal.runs("pwd; echo $KEPT").await? == "/tmp\n1\n");
            terminal.types("exit 9\r").await?;
            terminal.until("it ends", |terminal| terminal.closed.is_some()).await?;
            ensure!(terminal.newest("exit") == Some(&json!({"type": "exit", "code": 9})));
            let row = session_of(&api, &created, &session).await?;
            ensure!(row["entrance"] == "web_terminal" && row["reason"] == "exited", "{row}");
            ensure!(
                row["bytes_out"] == json!(terminal.offset) && row["bytes_in"].as_u64() > Some(0),
                "{row}"
            );
        }
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_the_gateway_close_the_web_terminal_to_their_address() {
    let (world, created) = place("closed").await.unwrap();
    let story = async {
        let (api, env) = (world.api()?, created.env_id.as_str());
        let gateway = Ssh { from: Some("127.0.0.2".to_owned()), ..gateway_door(&world, &created) };
        let guessing = Ssh { proof: Proof::Password("wrong-Password-1".to_owned()), ..gateway.clone() };
        let there = async |address: &str| -> anyhow::Result<Opening> {
            let from = Some(address.parse()?);
            Ok(Opening { from, ..Opening::of(&api, env, "").await? })
        };
        there("127.0.0.2").await?.ready(&api).await.context("before")?;
        for _ in 1..FAILURES_MAX {
            guessing.run("true").await?.expect_refused()?;
        }
        let last = guessing.run("true").await?;
        ensure!(last.stderr.contains("closed for another"), "{last:?}");
        let error = there("127.0.0.2").await?.open(&api).await?.fails("address_locked", 4423).await?;
        ensure!(error["reason"].as_str().is_some_and(|why| why.contains("closed for another")), "{error}");
        there("127.0.0.1").await?.ready(&api).await.context("another address")?;
        ensure!(api.post(&format!("/api/environments/{env}/unlock"), &json!({})).await?.is_success());
        there("127.0.0.2").await?.ready(&api).await.context("unlocked")?;
        let list = format!("/api/environments/{env}/allow-list");
        ensure!(api.put(&list, &json!({"ranges": ["203.0.113.0/24"]})).await?.is_success());
        there("127.0.0.2").await?.open(&api).await?.fails("address_not_allowed", 4403).await?;
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_that_is_killed_or_stopped_says_so_in_its_terminals() {
    let (world, created) = place("killed").await.unwrap();
    let story = async {
        let (api, env) = (world.api()?, created.env_id.as_str());
        let mut killed = terminal(&api, &created, true).await?;
        killed.runs("true").await?;
        podman(&["kill", "--signal", "KILL", &format!("portreeve-{env}")])?;
        killed.until("it ends", |terminal| terminal.closed.is_some()).await?;
        let error = killed.newest("error").context("a typed error")?;
        // whichever is faster: the connection that breaks, or who saw the container go
        ensure!(
            ["environment_lost", "environment_stopped"].contains(&error["code"].as_str().unwrap_or("")),
            "{error}"
        );
        // it is brought up again
        let mut stopped = eventually("a terminal opens again", DONE_AT_MOST, || async {
            terminal(&api, &created, false).await.map_err(|error| format!("{error:#}"))
        })
        .await?;
        ask(&api, env, "stop").await?;
        let error = stopped.fails("environment_stopped", 4410).await?;
        ensure!(error["retryable"] == false, "{error}");
        until_status(&api, env, "stopped").await?;
        let opening = Opening::of(&api, env, "").await?;
        opening.open(&api).await?.fails("environment_not_running", 4409).await?;
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_there_when_the_server_ends_is_told_and_every_session_has_its_end() {
    let (mut world, created) = place("drain").await.unwrap();
    let story = async {
        let mut told = terminal(&world.api()?, &created, true).await?;
        told.runs("true").await?;
        Ok((told.session.clone().context("a session")?, told))
    };
    let (drained, mut told) = world.blame(story.await).unwrap();
    let product = world.product.take().unwrap();
    let (stopped, error) = tokio::join!(product.stop(), told.fails("server_restarting", 4503));
    stopped.unwrap();
    assert_eq!(error.unwrap()["retryable"], true);
    world.up_again().await.unwrap();
    let story = async {
        let row = session_of(&world.api()?, &created, &drained).await?;
        ensure!(row["reason"] == "server_stopped", "{row}");
        let mut cut = terminal(&world.api()?, &created, true).await?;
        cut.runs("true").await?;
        cut.session.clone().context("a session")
    };
    let killed = world.blame(story.await).unwrap();
    world.kill();
    world.up_again().await.unwrap();
    let story = async {
        let row = session_of(&world.api()?, &created, &killed).await?;
        ensure!(row["reason"] == "interrupted", "{row}");
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_is_away_a_shell_goes_on_and_its_end_is_recorded_later() {
    let (world, created) = place("away").await.unwrap();
    let story = async {
        let api = world.api()?;
        let mut terminal = terminal(&api, &created, true).await?;
        terminal.runs("true").await?;
        let waiting = Opening::of(&api, &created.env_id, "").await?;
        let nats = world.product.as_ref().and_then(|product| product.child("nats-server")).context("NATS")?;
        let pid = Pid::from_raw(i32::try_from(nats.pid)?);
        kill(pid, Signal::SIGSTOP)?;
        let frozen = std::time::Instant::now();
        let refused = waiting.open(&api).await?.fails("log_unavailable", 4503).await;
        while frozen.elapsed() < LOG_AWAY_FOR {
            ensure!(terminal.runs("echo goes on; sleep 1").await? == "goes on\n");
        }
        terminal.types("exit\r").await?;
        terminal.until("it ends", |terminal| terminal.closed.is_some()).await?;
        kill(pid, Signal::SIGCONT)?;
        refused?;
        let session = terminal.session.clone().context("a session")?;
        let row = session_of(&api, &created, &session).await?;
        ensure!(row["reason"] == "exited", "{row}");
        Ok(())
    };
    world.blame(story.await).unwrap();
}
