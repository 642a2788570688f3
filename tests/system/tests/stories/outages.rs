//! What becomes of those who are in when an API, an environment or the log goes away? Each session has one end,
//! and each recording what was on the screen.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::real_engine::podman;
use harness::terminal::Opening;
use harness::{Api, RealEngine, Ssh, Terminal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use system::entrances::{another_api, another_gateway};
use system::ledger::Ledger;
use system::screen::{Shell, cast, record, recordings, said};
use system::talk::Talk;
use system::world::{Created, DONE_AT_MOST, World, create_running, door, gateway_door, small, until_listed};

/// The log is away for so long.
const LOG_AWAY_FOR: Duration = Duration::from_secs(60);

async fn place(name: &str) -> anyhow::Result<(World<RealEngine>, Created)> {
    let world = World::on_real().await?;
    let created = world.blame(create_running(&world.api()?, &small(name)).await)?;
    Ok((world, created))
}

async fn terminal(api: &Api, created: &Created, more: &str) -> anyhow::Result<Terminal> {
    Opening::of(api, &created.env_id, more).await?.binary().ready(api).await
}

/// Once all have ended: each was opened once and closed once, by the log.
async fn each_has_one_end(
    world: &World<RealEngine>,
    created: &Created,
    sessions: usize,
) -> anyhow::Result<Vec<Value>> {
    let path = format!("/api/environments/{}/sessions", created.env_id);
    let listed = until_listed(&world.api()?, &path, "every session has its end", |items| {
        items.len() == sessions && items.iter().all(|item| !item["closed_at"].is_null())
    })
    .await?;
    let counted = Ledger::read(&world.installation).await?.sessions();
    ensure!(counted.len() == sessions, "{sessions} sessions were expected: {counted:?}");
    ensure!(counted.values().all(|times| *times == (1, 1)), "opened and closed: {counted:?}");
    Ok(listed)
}

fn of_entrance<'a>(items: &'a [Value], entrance: &str) -> anyhow::Result<&'a Value> {
    let found = items.iter().find(|item| item["entrance"] == entrance);
    found.with_context(|| format!("nothing of {entrance}: {items:#?}"))
}

async fn shown_in(api: &Api, recording: &Value, texts: &[&str]) -> anyhow::Result<()> {
    let shown = said(&cast(api, recording).await?.1, "o");
    for text in texts {
        ensure!(shown.contains(text), "{text} is missing: {shown:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_is_killed_takes_its_own_terminals_along_and_nobody_else() {
    let (world, created) = place("api").await.unwrap();
    world.blame(killed_api(&world, &created).await).unwrap();
}

async fn killed_api(world: &World<RealEngine>, created: &Created) -> anyhow::Result<()> {
    let (api, env) = (world.api()?, created.env_id.as_str());
    record(&api, true).await?;
    let mut shell = Shell::open(&gateway_door(world, created))?;
    shell.types("PS1=; echo at-the-gateway-$((40+2))\n").await?;
    shell.shows("at-the-gateway-42").await?;
    let (process, other) = another_api(world).await?;
    let mut browser = terminal(&other, created, "").await?;
    browser.runs("export KEPT=$$; echo before-$((40+1))").await?;
    // a connection that breaks leads back to the same shell, and into the same recording
    let (session, offset) = (browser.session.clone().context("a session")?, browser.offset);
    let back = format!("&session={session}&offset={offset}");
    browser.drop_connection()?;
    let mut browser = terminal(&other, created, &back).await?;
    ensure!(browser.runs("test $KEPT = $$ && echo the same").await? == "the same\n");
    browser.runs("echo after-$((40+2))").await?;
    recordings(&api, env, "the browser's beginning is vouched for", |items| {
        let bytes = |entrance| of_entrance(items, entrance).ok().and_then(|item| item["bytes"].as_u64());
        items.len() == 2 && bytes("web_terminal") > Some(0)
    })
    .await?;
    // dropped is `kill -9`
    let offset = browser.offset;
    drop(process);
    browser.until("its connection broke", |terminal| terminal.closed.is_some()).await?;
    ensure!(browser.closed.as_ref().is_some_and(|(code, _)| *code == 1006), "{:?}", browser.closed);
    // the shell was that API's: the others say so, and give a new one
    let back = format!("&session={session}&offset={offset}");
    let mut gone = Opening::of(&api, env, &back).await?.binary().open(&api).await?;
    gone.fails("session_unknown", 4404).await?;
    let mut new = terminal(&api, created, "").await?;
    ensure!(new.runs("echo $KEPT").await? == "\n");
    new.types("exit\r").await?;
    new.until("it ends", |terminal| terminal.closed.is_some()).await?;
    // nobody at the gateway noticed
    shell.types("echo still-$((40+3)); exit\n").await?;
    shell.shows("still-43").await?;
    shell.ends().await?;
    let listed = each_has_one_end(world, created, 3).await?;
    let reason = |session: &str| listed.iter().find(|item| item["session_id"] == session);
    ensure!(reason(&session).is_some_and(|item| item["reason"] == "interrupted"), "{listed:#?}");
    ensure!(listed.iter().filter(|item| item["reason"] == "interrupted").count() == 1, "{listed:#?}");
    let listed = recordings(&api, env, "each recording has its end", |items| {
        items.len() == 3 && items.iter().all(|item| !item["ended_at"].is_null())
    })
    .await?;
    let of_session = |session: &str| listed.iter().find(|item| item["session_id"] == session);
    let cut = of_session(&session).context("no recording of what was killed")?;
    ensure!(cut["complete"] == false, "{cut}");
    shown_in(&api, cut, &["before-41"]).await?;
    let whole = of_entrance(&listed, "gateway")?;
    ensure!(whole["complete"] == true, "{whole}");
    shown_in(&api, whole, &["at-the-gateway-42", "still-43"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_the_log_ends_nobody_and_nobody_comes_in_unseen() {
    let (world, created) = place("minute").await.unwrap();
    world.blame(a_minute(&world, &created).await).unwrap();
}

async fn a_minute(world: &World<RealEngine>, created: &Created) -> anyhow::Result<()> {
    let (api, env) = (world.api()?, created.env_id.as_str());
    record(&api, true).await?;
    let gateway = gateway_door(world, created);
    let (mut leaving, mut staying) = (Shell::open(&gateway)?, Shell::open(&gateway)?);
    for shell in [&mut leaving, &mut staying] {
        shell.types("PS1=; echo before-$((40+1))\n").await?;
        shell.shows("before-41").await?;
    }
    let mut browser = terminal(&api, created, "").await?;
    browser.runs("echo before-$((40+1))").await?;
    let mut direct = Talk::start(&door(created))?;
    direct.says("before").await?;
    let waiting = Opening::of(&api, env, "").await?;
    let nats = world.product.as_ref().and_then(|product| product.child("nats-server")).context("NATS")?;
    let nats = Pid::from_raw(i32::try_from(nats.pid)?);
    kill(nats, Signal::SIGSTOP)?;
    let frozen = Instant::now();
    let away = async {
        // whose end cannot be recorded now leaves all the same
        leaving.types("echo leaving-$((40+2)); exit\n").await?;
        leaving.shows("leaving-42").await?;
        leaving.ends().await?;
        waiting.open(&api).await?.fails("log_unavailable", 4503).await?;
        let told = gateway.run("true").await?;
        ensure!(!told.success && told.stderr.contains("cannot be checked at the moment"), "{told:?}");
        // its door decides by itself, and tells later
        door(created).run("true").await?.expect_success().context("the port")?;
        while frozen.elapsed() < LOG_AWAY_FOR {
            ensure!(browser.runs("echo goes on; sleep 1").await? == "goes on\n");
            direct.says("goes on").await?;
        }
        staying.types("echo meanwhile-$((40+2))\n").await?;
        staying.shows("meanwhile-42").await
    };
    let seen = away.await;
    kill(nats, Signal::SIGCONT)?;
    seen?;
    until_listed(&api, "/api/environments", "the log is back", |items| !items.is_empty()).await?;
    staying.types("echo after-$((40+3)); exit\n").await?;
    staying.shows("after-43").await?;
    staying.ends().await?;
    browser.runs("echo after-$((40+3))").await?;
    browser.types("exit\r").await?;
    browser.until("it ends", |terminal| terminal.closed.is_some()).await?;
    direct.says("after").await?;
    drop(direct);
    // two shells, one browser, two visits to the port; who was refused was never in
    let listed = each_has_one_end(world, created, 5).await?;
    ensure!(listed.iter().all(|item| item["reason"] != "interrupted"), "{listed:#?}");
    let listed = recordings(&api, env, "each recording has its end", |items| {
        items.len() == 3 && items.iter().all(|item| !item["ended_at"].is_null())
    })
    .await?;
    ensure!(listed.iter().all(|item| item["complete"] == true), "{listed:#?}");
    shown_in(&api, of_entrance(&listed, "web_terminal")?, &["before-41", "goes on", "after-43"]).await?;
    let of_gateway: Vec<&Value> = listed.iter().filter(|item| item["entrance"] == "gateway").collect();
    // the newest first, and they came at the same time
    let mut stayed = 0;
    for recording in of_gateway {
        let shown = said(&cast(&api, recording).await?.1, "o");
        let whole = shown.contains("meanwhile-42") && shown.contains("after-43");
        ensure!(shown.contains("before-41") && (whole || shown.contains("leaving-42")), "{shown:?}");
        stayed += usize::from(whole);
    }
    ensure!(stayed == 1, "{listed:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_that_is_killed_ends_each_session_once_whatever_its_entrance() {
    let (world, created) = place("blow").await.unwrap();
    world.blame(killed_environment(&world, &created).await).unwrap();
}

async fn killed_environment(world: &World<RealEngine>, created: &Created) -> anyhow::Result<()> {
    let api = world.api()?;
    // one to look who is there lets in whom the first one does
    let (process, other) = another_gateway(world, &gateway_door(world, created)).await?;
    let doors: [Ssh; 3] = [gateway_door(world, created), other, door(created)];
    let mut talks = Vec::new();
    for door in &doors {
        let mut talk = Talk::start(door)?;
        talk.says("before").await?;
        talks.push(talk);
    }
    let mut browser = terminal(&api, created, "").await?;
    browser.runs("true").await?;
    podman(&["kill", "--signal", "KILL", &format!("portreeve-{}", created.env_id)])?;
    browser.until("it ends", |terminal| terminal.closed.is_some()).await?;
    ensure!(browser.newest("error").is_some(), "no typed error: {:?}", browser.told);
    for talk in &mut talks {
        let ended = tokio::time::timeout(DONE_AT_MOST, talk.process.wait()).await.context("it goes on")??;
        ensure!(!ended.success());
    }
    // with the visit of whoever looked whether the other gateway is there
    let listed = each_has_one_end(world, created, 5).await?;
    ensure!(of_entrance(&listed, "direct_port").is_ok(), "{listed:#?}");
    drop(process);
    Ok(())
}
