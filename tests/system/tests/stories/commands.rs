//! Do commands run where no relay leads, and is each outcome the right one? Also the command line, isolation, and
//! that nothing is held up by a server that is slow.

use std::time::Duration;

use harness::{Api, EngineDouble, Sshd};
use serde_json::{Value, json};
use system::foreign_relay::{begin, ended};
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
const SOON: Duration = Duration::from_secs(20);

async fn server(api: &Api, port: u16, password: &str, labels: Value) -> anyhow::Result<String> {
    let body = json!({
        "name": format!("target {port}"), "host": "127.0.0.1", "port": port, "username": harness::sshd::USER,
        "password": password, "labels": labels, "test": false,
    });
    Ok(api.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_ends_in_the_outcome_that_is_true() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(outcomes(&world).await).unwrap();
}

async fn outcomes(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let target = Sshd::start(PASSWORD, "").await?;
    let good = server(&api, target.port, PASSWORD, json!({"env": "test"})).await?;
    let locked = server(&api, target.port, "wrong", json!({})).await?;
    let dead = server(&api, harness::free_ports::one()?, PASSWORD, json!({})).await?;
    let (batch, ids) =
        begin(&api, "printf 'a\\377\\000b'; echo err >&2; exit 7", &[&good, &locked, &dead], json!({}))
            .await?;
    let ran = ended(&api, &ids[0], SOON).await?;
    assert_eq!((&ran["status"], &ran["exit_code"]), (&json!("completed"), &json!(7)), "{ran}");
    assert_eq!(
        (&ran["stdout_base64"], &ran["stderr"]),
        (&json!("Yf8AYg=="), &json!("err\n")),
        "byte by byte: {ran}"
    );
    assert!(ran["relay_id"].is_null() && ran["times"]["ended_at"].is_string(), "{ran}");
    for (id, class) in [(&ids[1], "auth_failed"), (&ids[2], "connection_refused")] {
        let failed = ended(&api, id, SOON).await?;
        assert_eq!((&failed["status"], &failed["class"]), (&json!("failed"), &json!(class)), "{failed}");
        assert!(failed["reason"].is_string() && failed["suggestion"].is_string(), "{failed}");
    }
    let whole = api.get(&format!("/api/batches/{batch}")).await?.expect(200)?.body;
    assert_eq!((&whole["status"], &whole["counts"]["failed"]), (&json!("ended"), &json!(2)), "{whole}");

    long_output(&api, &good).await?;
    let (_, slow) = begin(&api, "sleep 60", &[&good], json!({"timeout_ms": 1000})).await?;
    assert_eq!(ended(&api, &slow[0], SOON).await?["status"], "timed_out");
    let (batch, called_off) = begin(&api, "sleep 60", &[&good], json!({})).await?;
    api.post(&format!("/api/batches/{batch}/cancel"), &json!({})).await?.expect(202)?;
    assert_eq!(ended(&api, &called_off[0], SOON).await?["status"], "cancelled");
    let selected = json!({"command": "true", "selector": {"labels": {"env": "test"}}});
    let begun = api.post("/api/commands", &selected).await?.expect(202)?.body;
    assert_eq!(begun["commands"].as_array().map(Vec::len), Some(1), "{begun}");
    assert_eq!(begun["commands"][0]["server_id"], good.as_str());
    too_much_goes_wrong(&api).await?;
    once_and_by_line(world, &api, &good).await
}

/// One after the other, and no more after the second that failed.
async fn too_much_goes_wrong(api: &Api) -> anyhow::Result<()> {
    let mut dead = Vec::new();
    for _ in 0..5 {
        dead.push(server(api, harness::free_ports::one()?, PASSWORD, json!({})).await?);
    }
    let dead: Vec<&str> = dead.iter().map(String::as_str).collect();
    let carefully = json!({"concurrency": 1, "stop_after_failures": 2});
    let (batch, ids) = begin(api, "true", &dead, carefully).await?;
    for id in &ids {
        ended(api, id, SOON).await?;
    }
    let shown = api.get(&format!("/api/batches/{batch}")).await?.expect(200)?.body;
    assert_eq!(
        (&shown["counts"]["failed"], &shown["counts"]["cancelled"]),
        (&json!(2), &json!(3)),
        "{shown}"
    );
    assert!(shown["stopped_at"].is_string() && shown["cancelled_at"].is_null(), "{shown}");
    Ok(())
}

/// All of it can be read, up to a limit; what is cut is said to be.
async fn long_output(api: &Api, good: &str) -> anyhow::Result<()> {
    for (bytes, kept) in [(1_500_000, 1_500_000), (20 << 20, 16 << 20)] {
        let (_, id) =
            begin(api, &format!("yes ab | head -c {bytes}"), &[good], json!({"timeout_ms": 120_000})).await?;
        let much = ended(api, &id[0], Duration::from_secs(120)).await?;
        assert_eq!((&much["stdout_bytes"], &much["truncated"]), (&json!(bytes), &json!(bytes > kept)));
        let whole = api.get(&format!("/api/commands/{}/stdout", id[0])).await?.expect(200)?;
        let expected: String = "ab\n".chars().cycle().take(kept).collect();
        assert!(whole.body.as_str() == Some(&expected), "byte by byte, {kept} of {bytes}");
    }
    Ok(())
}

async fn once_and_by_line(world: &World<EngineDouble>, api: &Api, good: &str) -> anyhow::Result<()> {
    let body = json!({"command": "echo x >> twice", "servers": [good]});
    let first = api.post_once("/api/commands", &body, "key-1").await?.expect(202)?.body;
    let again = api.post_once("/api/commands", &body, "key-1").await?.expect(202)?.body;
    assert_eq!((&first["batch_id"], &first["commands"]), (&again["batch_id"], &again["commands"]));
    let id = first["commands"][0]["command_id"].as_str().unwrap_or_default();
    assert_eq!(ended(api, id, SOON).await?["status"], "completed");
    let said =
        world.installation.client_command(&["run", "-s", good, "--", "wc", "-l", "<", "twice"])?.output()?;
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.contains("completed") && text.trim_end().ends_with('1'), "{text}");
    let said = world.installation.client_command(&["run", "-s", good, "--", "exit", "4"])?.output()?;
    assert_eq!(said.status.code(), Some(1), "{}", String::from_utf8_lossy(&said.stderr));
    where_it_failed(world, api, good).await
}

/// What a batch ran is run again, on those servers alone where it did not end with 0.
async fn where_it_failed(world: &World<EngineDouble>, api: &Api, good: &str) -> anyhow::Result<()> {
    let dead = server(api, harness::free_ports::one()?, PASSWORD, json!({})).await?;
    let (batch, ids) = begin(api, "echo again", &[good, &dead], json!({"timeout_ms": 9_000})).await?;
    for id in &ids {
        ended(api, id, SOON).await?;
    }
    let said = world
        .installation
        .client_command(&["run", "--json", "--again", batch.as_str(), "--failed"])?
        .output()?;
    assert_eq!(said.status.code(), Some(1), "{}", String::from_utf8_lossy(&said.stderr));
    let shown: Value = serde_json::from_slice(&said.stdout)?;
    assert_eq!((&shown["command"], &shown["timeout_ms"]), (&json!("echo again"), &json!(9_000)), "{shown}");
    assert_eq!((&shown["servers"], &shown["commands"][0]["server_id"]), (&json!(1), &json!(dead)), "{shown}");
    let everywhere = &["run", "--json", "--again", batch.as_str(), "--no-wait"];
    let said = world.installation.client_command(everywhere)?.output()?;
    let begun: Value = serde_json::from_slice(&said.stdout)?;
    assert_eq!(begun["commands"].as_array().map(Vec::len), Some(2), "{begun}");
    let (batch, ids) = begin(api, "true", &[good], json!({})).await?;
    ended(api, &ids[0], SOON).await?;
    let said =
        world.installation.client_command(&["run", "--again", batch.as_str(), "--failed"])?.output()?;
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && text.contains("ended with 0 everywhere"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_neither_names_nor_sees_nor_stops_anything() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(isolation(&world).await).unwrap();
}

async fn isolation(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let target = Sshd::start(PASSWORD, "").await?;
    let good = server(&api, target.port, PASSWORD, json!({})).await?;
    let (batch, ids) = begin(&api, "echo secret", &[&good], json!({})).await?;
    ended(&api, &ids[0], SOON).await?;
    let relay = api.post("/api/relays", &json!({"name": "one"})).await?.expect(201)?;
    let relay = relay.text("relay_id")?.to_owned();
    let other = api.post("/api/tenants", &json!({"name": "other"})).await?.expect(201)?;
    let tenant = other.text("tenant_id")?;
    for role in ["operator", "developer"] {
        let token = json!({"name": role, "tenant_id": tenant, "role": role});
        let token = api.post("/api/tokens", &token).await?.expect(201)?;
        let stranger = api.as_caller(token.text("token")?);
        for path in [
            format!("/api/batches/{batch}"),
            format!("/api/batches/{batch}/events"),
            format!("/api/batches/{batch}/commands"),
            format!("/api/commands/{}", ids[0]),
            format!("/api/relays/{relay}"),
        ] {
            assert_eq!(stranger.get(&path).await?.status, 404, "{role} {path}");
        }
        assert_eq!(stranger.post(&format!("/api/batches/{batch}/cancel"), &json!({})).await?.status, 404);
        assert_eq!(stranger.delete(&format!("/api/relays/{relay}")).await?.status, 404);
        assert_eq!(stranger.post(&format!("/api/relays/{relay}/rotate-key"), &json!({})).await?.status, 404);
        let refused = stranger
            .post("/api/commands", &json!({"command": "id", "servers": [good]}))
            .await?
            .expect(422)?;
        assert_eq!(refused.body["errors"][0]["field"], "servers[0]", "{refused:?}");
        assert!(stranger.list("/api/batches").await?.is_empty());
    }
    let token = json!({"name": "dev", "role": "developer"});
    let token = api.post("/api/tokens", &token).await?.expect(201)?;
    let developer = api.as_caller(token.text("token")?);
    let refused = developer.post("/api/commands", &json!({"command": "id", "servers": [good]})).await?;
    assert_eq!(refused.status, 422, "a server without a grant does not exist: {refused:?}");
    let grants = json!({"grants": [{"role": "developer", "may": ["command"]}]});
    api.put(&format!("/api/servers/{good}/grants"), &grants).await?.expect(200)?;
    let (_, own) = begin(&developer, "echo mine", &[&good], json!({})).await?;
    assert_eq!(ended(&developer, &own[0], SOON).await?["stdout"], "mine\n");
    assert_eq!(developer.get(&format!("/api/commands/{}", ids[0])).await?.status, 404, "another's");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_servers_hold_nobody_up() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(slow(&world).await).unwrap();
}

async fn slow(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let (slow, quick) = (Sshd::start(PASSWORD, "").await?, Sshd::start(PASSWORD, "").await?);
    let slow = server(&api, slow.port, PASSWORD, json!({})).await?;
    let quick_id = server(&api, quick.port, PASSWORD, json!({})).await?;
    for _ in 0..8 {
        begin(&api, "sleep 60", &[&slow], json!({})).await?;
    }
    let (_, ids) = begin(&api, "echo quick", &[&slow, &quick_id], json!({})).await?;
    let began = std::time::Instant::now();
    let ran = ended(&api, &ids[1], SOON).await?;
    assert_eq!(ran["stdout"], "quick\n", "{ran}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let waiting = api.get(&format!("/api/commands/{}", ids[0])).await?.body;
    assert_eq!(waiting["status"], "queued", "the slow server has as many as it takes: {waiting}");
    Ok(())
}
