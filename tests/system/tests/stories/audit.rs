//! Can an auditor prove what happened, with the commands that people have, and without a server at all?

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use harness::{EngineDouble, Installation};
use serde_json::Value;

use system::world::{World, create, delete, small, until_listed};

const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";

/// Exit status, and what was said.
fn run(installation: &Installation, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
    let output = installation.client_command(arguments)?.output()?;
    let said = [output.stdout, output.stderr].concat();
    let status = output.status.code().context("it was killed")?;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

fn holds(installation: &Installation, arguments: &[&str]) -> anyhow::Result<String> {
    let (status, said) = run(installation, arguments)?;
    ensure!(status == 0, "{arguments:?} ended with {status}: {said}");
    Ok(said)
}

fn report(installation: &Installation, arguments: &[&str]) -> anyhow::Result<(i32, Value)> {
    let output = installation.client_command(arguments)?.arg("--json").output()?;
    let report = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code().context("it was killed")?, report))
}

fn sql(installation: &Installation, statement: &str) -> anyhow::Result<()> {
    let mut command = Command::new(PSQL);
    let output = command.arg(installation.database_url()?).args(["-c", statement]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_can_be_proven_and_what_was_changed_is_found() {
    let mut world = World::on_double(harness::free_ports::range(10).unwrap()).await.unwrap();
    let result = proven(&mut world).await;
    world.blame(result).unwrap();
}

async fn proven(world: &mut World<EngineDouble>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let bundle = |name: &str| folder.path().join(name).display().to_string();
    let api = world.api()?;
    let created = create(&api, &small("one")).await?;
    holds(&world.installation, &["audit", "verify"])?;
    holds(&world.installation, &["audit", "anchor"])?;
    holds(&world.installation, &["audit", "export", "--out", &bundle("first")])?;

    // however it ends, it goes on with the same chain, and with another key
    for round in 0..3 {
        world.kill();
        world.up_again().await?;
        let said = holds(&world.installation, &["audit", "verify"])?;
        ensure!(said.contains("integrity     holds"), "{said}");
        create(&world.api()?, &small(&format!("again-{round}"))).await?;
        holds(&world.installation, &["audit", "rotate-key"])?;
    }
    let api = world.api()?;
    let then = api.get(&format!("/api/environments/{}", created.env_id)).await?;
    let held = then.position.context("a position")?;
    delete(&api, &created.env_id).await?;
    until_listed(&api, "/api/environments?status=deleted", "the one that goes", |items| {
        items.iter().any(|item| item["env_id"] == created.env_id)
    })
    .await?;
    travelled(world, &created.env_id, held)?;
    let rebuilt = api.post("/api/projections/environments/rebuild", &serde_json::json!({})).await?;
    ensure!(rebuilt.status == 202, "{}", rebuilt.body);
    holds(&world.installation, &["audit", "verify"])?;
    holds(&world.installation, &["audit", "export", "--out", &bundle("second")])?;
    let (_, keys) = report(&world.installation, &["audit", "keys"])?;
    let keys = keys["items"].as_array().context("keys")?.clone();
    ensure!(keys.len() == 4, "{keys:?}");
    let first = keys[0]["fingerprint"].as_str().context("a fingerprint")?.to_owned();

    // a row that somebody changed where nobody should
    sql(&world.installation, "UPDATE environments SET owner = 'nobody' WHERE name = 'again-1'")?;
    let (status, changed) = report(&world.installation, &["audit", "verify"])?;
    let difference = &changed["fidelity"]["differences"][0];
    ensure!(status == 1 && changed["fidelity"]["verdict"] == "fails", "{status} {changed}");
    ensure!(changed["integrity"]["ok"] == true && changed["completeness"]["ok"] == true, "{changed}");
    ensure!(difference["live"]["owner"] == "nobody" && difference["table"] == "environments", "{changed}");
    ensure!(changed["fidelity"]["first_sequence"] == difference["log"]["seq"], "{changed}");
    let (status, said) = run(&world.installation, &["audit", "export", "--out", &bundle("changed")])?;
    ensure!(status == 1 && said.contains("fidelity      FAILS"), "{status} {said}");

    // without any server
    let witness = world.installation.data_dir().join("audit/anchors.ndjson").display().to_string();
    world.kill();
    for name in ["first", "second"] {
        holds(&world.installation, &["audit", "verify", &bundle(name)])?;
        let known = ["audit", "verify", &bundle(name), "--key", &first, "--witness", &witness];
        holds(&world.installation, &known)?;
    }
    let (status, said) = run(&world.installation, &["audit", "verify", &bundle("changed")])?;
    ensure!(status == 1 && said.contains("fidelity      FAILS"), "{status} {said}");
    let (status, said) = tampered(&world.installation, Path::new(&bundle("second")))?;
    ensure!(status == 1 && said.contains("integrity     FAILS at event 9"), "{status} {said}");
    let (status, said) = run(&world.installation, &["audit", "verify", &bundle("none")])?;
    ensure!(status == 2, "{status} {said}");
    let (status, said) = run(&world.installation, &["audit", "verify", PSQL])?;
    ensure!(status == 2, "{status} {said}");
    Ok(())
}

/// Who held the port, what changed since, why, and what else happened: with the commands that people have.
fn travelled(world: &World<EngineDouble>, id: &str, held: u64) -> anyhow::Result<()> {
    let (_, then) =
        report(&world.installation, &["audit", "replay", "--at", &held.to_string(), "--env", id])?;
    let port = then["ports"]["items"][0]["port"].as_u64().context("a port")?.to_string();
    let at = ["audit", "replay", "--at", &held.to_string(), "--port", &port];
    let said = holds(&world.installation, &at)?;
    ensure!(said.contains(id) && said.contains("one"), "{said}");
    let said = holds(&world.installation, &["audit", "replay", "--at", "23:59:59", "--port", &port]);
    ensure!(said.as_ref().is_err_and(|error| error.to_string().contains("future")), "{said:?}");
    let (_, found) = report(&world.installation, &["audit", "diff", "--from", &held.to_string()])?;
    let items = found["items"].as_array().context("items")?;
    let gone = items.iter().find(|item| item["id"] == *id).context("it went")?;
    ensure!(gone["change"] == "went" && gone["before"]["status"] == "running", "{gone}");
    let (_, line) = report(&world.installation, &["audit", "timeline", "--env", id, "--limit", "500"])?;
    let events = line["items"].as_array().context("items")?;
    let released = events.iter().find(|event| event["type"] == "PortReleased").context("a release")?;
    let event = released["event_id"].as_str().context("an id")?;
    let said = holds(&world.installation, &["audit", "explain", event])?;
    ensure!(said.contains("decided again: same") && said.contains("ports/release.rs"), "{said}");
    for event in events {
        let sequence = event["seq"].to_string();
        let (_, said) = report(&world.installation, &["audit", "explain", &sequence])?;
        ensure!(said["rule"]["again"]["outcome"] == "same", "{said}");
    }
    Ok(())
}

/// Another user name in the ninth event.
fn tampered(installation: &Installation, bundle: &Path) -> anyhow::Result<(i32, String)> {
    let text = std::fs::read_to_string(bundle)?;
    let changed = text.replacen(
        "{\"line\":\"event\",\"sequence\":9,\"subject\":\"ev.",
        "{\"line\":\"event\",\"sequence\":9,\"subject\":\"eV.",
        1,
    );
    ensure!(changed != text, "there is no ninth event");
    let path = bundle.with_extension("tampered");
    std::fs::write(&path, changed)?;
    run(installation, &["audit", "verify", &path.display().to_string()])
}
