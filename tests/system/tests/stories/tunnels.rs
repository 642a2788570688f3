//! Does everything that goes to a server directly go through our own relay likewise, and is what stands in the way the
//! same at both? Terminals, facts, the doctor, accounts, certificates; and what does not end when a way ends?

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use harness::terminal::Opening;
use harness::{Api, EngineDouble, Sshd, eventually};
use serde_json::{Value, json};
use system::foreign_relay::{ForeignRelay, Kind, Manner, Registered, begin, ended, is_connected, register};
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
const SOON: Duration = Duration::from_secs(20);
const ZONE: &str = "dmz";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPg/Ks5tPPuMzKJqbHXeEY2R+qDaB2ZbKN8C3lNKpMCX";

async fn relay(
    world: &World<EngineDouble>,
    kind: Kind,
    zone: &str,
) -> anyhow::Result<(Registered, ForeignRelay)> {
    let api = world.api()?;
    let registered = register(&api, &json!({"name": zone, "zone": zone})).await?;
    let relay =
        ForeignRelay::start(Manner::new(kind, "auth", "websocket"), &world.installation.url(), &registered)?;
    is_connected(&api, &registered, true).await?;
    Ok((registered, relay))
}

async fn server(api: &Api, settings: &Value, zone: Option<&str>) -> anyhow::Result<String> {
    let mut body = json!({"name": "target", "host": "127.0.0.1", "password": PASSWORD,
        "username": harness::sshd::USER, "zone": zone, "test": false});
    for (name, value) in settings.as_object().context("settings are an object")? {
        body[name] = value.clone();
    }
    if body["certificate"] == true {
        body.as_object_mut().map(|body| body.remove("password"));
    }
    Ok(api.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned())
}

/// Somebody who says this and then ends, or stays silent.
fn speaker(words: &'static [u8], stays: bool) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((mut socket, _)) = listener.accept() {
            socket.write_all(words).ok();
            if stays {
                kept.push(socket);
            }
        }
    });
    Ok(port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_the_same_directly_and_through_a_relay() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(same_classes(&world).await).unwrap();
}

async fn same_classes(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let (_registered, _agent) = relay(world, Kind::Agent, ZONE).await?;
    let sshd = Sshd::start(PASSWORD, "").await?;
    let special = join_all(
        [
            "Ciphers aes128-cbc",
            "Match all\nPasswordAuthentication no",
            "MaxAuthTries 1",
            "Match all\nMaxSessions 0",
            "ForceCommand /no/such/program",
        ]
        .map(|more| Sshd::start(PASSWORD, more)),
    )
    .await
    .into_iter()
    .collect::<anyhow::Result<Vec<_>>>()?;
    let nologin = Sshd::start(PASSWORD, "").await?;
    nologin.run_inside(&["usermod", "--shell", "/usr/sbin/nologin", harness::sshd::USER]).await?;
    let at = |port: u16| json!({"port": port});
    // the last says whether a command meets the same: to a command a shell that refuses it is an exit code
    let rows = [
        (at(harness::free_ports::one()?), "connection_refused", "network", true),
        (json!({"port": 22, "host": "no-such-host.invalid"}), "dns_failed", "network", true),
        (at(speaker(b"", true)?), "banner_timeout", "identification", true),
        (at(speaker(b"HTTP/1.1 400 no\r\n", false)?), "not_ssh", "identification", true),
        (at(speaker(b"Exceeded MaxStartups\r\n", false)?), "too_many_connections", "identification", true),
        (at(speaker(b"", false)?), "reset_in_ident", "identification", true),
        (at(speaker(b"SSH-2.0-stalls\r\n", true)?), "kex_timeout", "key_exchange", true),
        (at(special[0].port), "kex_failed", "key_exchange", true),
        (json!({"port": sshd.port, "password": "wrong"}), "auth_failed", "authentication", true),
        (json!({"port": sshd.port, "username": "Developer"}), "auth_failed", "authentication", true),
        (at(special[1].port), "auth_method_unavailable", "authentication", true),
        (json!({"port": special[2].port, "password": "wrong"}), "too_many_auth", "authentication", true),
        (at(special[3].port), "channel_refused", "shell", true),
        (at(special[4].port), "command_not_found", "shell", false),
        (at(nologin.port), "shell_unusable", "shell", false),
    ];
    let mut looked = Vec::new();
    for (settings, class, step, commands_too) in rows {
        for zone in [None, Some(ZONE)] {
            let id = server(&api, &settings, zone).await?;
            looked.push(look(api.clone(), id, zone, class, step, commands_too));
        }
    }
    for looked in join_all(looked).await {
        looked?;
    }
    let id = server(&api, &at(sshd.port), Some(ZONE)).await?;
    changed_host_key(&api, &id, &sshd).await
}

async fn look(
    api: Api,
    id: String,
    zone: Option<&str>,
    class: &str,
    step: &str,
    commands_too: bool,
) -> anyhow::Result<()> {
    let tested = api.post(&format!("/api/servers/{id}/test"), &json!({})).await?.expect(200)?.body;
    anyhow::ensure!(tested["class"] == class && tested["step"] == step, "{class} by {zone:?}: {tested}");
    anyhow::ensure!(tested["suggestion"].is_string(), "{tested}");
    if commands_too {
        let (_, ids) = begin(&api, "true", &[&id], json!({})).await?;
        let failed = ended(&api, &ids[0], SOON).await?;
        anyhow::ensure!(
            failed["status"] == "failed" && failed["class"] == class,
            "{class} by {zone:?}: {failed}"
        );
    }
    Ok(())
}

/// Pinned through the relay, and another one is refused there before the password is sent.
async fn changed_host_key(api: &Api, id: &str, sshd: &Sshd) -> anyhow::Result<()> {
    let path = format!("/api/servers/{id}");
    let tested = api.post(&format!("{path}/test"), &json!({})).await?.expect(200)?;
    assert_eq!(tested.body["ok"], true, "{tested:?}");
    let folder = sshd.folder().join("host_key");
    sshd.run_inside(&[
        "sh",
        "-ec",
        &format!("rm -f {0} {0}.pub; ssh-keygen -q -t ed25519 -N '' -f {0}", folder.display()),
    ])
    .await?;
    sshd.reload().await?;
    let refused = api.post(&format!("{path}/test"), &json!({})).await?.expect(200)?;
    assert_eq!(
        (&refused.body["class"], &refused.body["step"]),
        (&json!("host_key_mismatch"), &json!("host_key")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_facts_doctor_accounts_and_certificates_go_through_a_relay() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(everything(&world).await).unwrap();
}

async fn everything(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let (registered, agent) = relay(world, Kind::Agent, ZONE).await?;
    let authority = api.get("/api/server-authority").await?.expect(200)?;
    let sshd = Sshd::start(PASSWORD, "PermitRootLogin yes\nTrustedUserCAKeys {folder}/authority").await?;
    std::fs::write(sshd.folder().join("authority"), authority.text("public_key")?)?;
    sshd.run_inside(&["mount", "-t", "tmpfs", "tmpfs", "/home"]).await?;
    let as_root = json!({"port": sshd.port, "username": "root", "certificate": true});
    let id = server(&api, &as_root, Some(ZONE)).await?;
    let path = format!("/api/servers/{id}");
    let post = async |what: &str, body: Value| api.post(&format!("{path}/{what}"), &body).await?.expect(200);

    let tested = post("test", json!({})).await?.body;
    assert_eq!((&tested["ok"], &tested["step"]), (&json!(true), &json!("shell")), "{tested}");
    let facts = post("facts", json!({})).await?.body;
    assert!(facts["facts"]["cpus"].as_u64().is_some_and(|cpus| cpus > 0), "{facts}");
    let diagnosis = post("doctor", json!({})).await?.body;
    assert_eq!(diagnosis["test"]["ok"], true, "{diagnosis}");
    let pushed = post("accounts", json!({"account": "alice", "public_keys": [KEY]})).await?.body;
    assert_eq!(pushed["outcome"], "done", "{pushed}");
    let (_, ids) = begin(&api, "echo by certificate", &[&id], json!({})).await?;
    let ran = ended(&api, &ids[0], SOON).await?;
    assert_eq!(
        (&ran["stdout"], &ran["relay_id"]),
        (&json!("by certificate\n"), &json!(registered.id)),
        "{ran}"
    );

    // all of it came from the relay's machine, with our certificates, and nothing of it was ever told to the relay
    assert!(sshd.log().contains("Accepted publickey for root"), "{}", sshd.log());
    let mut terminal = Opening::of_server(&api, &id, "").await?.binary().ready(&api).await?;
    assert_eq!(terminal.runs("echo $((6 * 7))").await?.trim(), "42");
    let much = terminal.runs("head -c 3000000 /dev/zero | tr '\\0' x | fold -w 1000 | sha256sum").await?;
    assert!(much.len() > 64, "{much}");
    terminal.types("seq 1 200000; echo en''d\n").await?;
    terminal.until_shows("end").await?;
    drop(agent);
    terminal.fails("server_lost", 4502).await?;
    let away = Opening::of_server(&api, &id, "").await?;
    away.binary().open(&api).await?.fails("relay_unavailable", 4502).await?;
    eventually("the session has its end", SOON, async || {
        let sessions = api.list(&format!("{path}/sessions")).await.map_err(|error| error.to_string())?;
        let open = sessions.iter().any(|session| session["closed_at"].is_null());
        if open || sessions.is_empty() { Err(format!("{sessions:?}")) } else { Ok(()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_of_others_is_asked_by_commands_and_opens_no_terminal() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(commands_alone(&world).await).unwrap();
}

async fn commands_alone(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let (_registered, _relay) = relay(world, Kind::Python, ZONE).await?;
    let sshd = Sshd::start(PASSWORD, "PermitRootLogin yes").await?;
    let inside = format!("echo root:{PASSWORD} | chpasswd; mount -t tmpfs tmpfs /home");
    sshd.run_inside(&["sh", "-ec", &inside]).await?;
    let id = server(&api, &json!({"port": sshd.port}), Some(ZONE)).await?;
    everything_by_commands(&api, sshd.port).await?;
    let opening = Opening::of_server(&api, &id, "").await?;
    opening.binary().open(&api).await?.fails("behind_relay", 4502).await?;
    // one of ours beside it, and everything goes
    let (_ours, _agent) = relay(world, Kind::Agent, ZONE).await?;
    let mut terminal = Opening::of_server(&api, &id, "").await?.binary().ready(&api).await?;
    assert_eq!(terminal.runs("echo $((6 * 7))").await?.trim(), "42");
    terminal.leave().await
}

/// What can be asked by commands is.
async fn everything_by_commands(api: &Api, port: u16) -> anyhow::Result<()> {
    let root = json!({"port": port, "username": "root"});
    let id = server(api, &root, Some(ZONE)).await?;
    let path = format!("/api/servers/{id}");
    let post = async |what: &str, body: Value| api.post(&format!("{path}/{what}"), &body).await?.expect(200);
    let facts = post("facts", json!({})).await?.body;
    assert!(facts["facts"]["cpus"].is_u64(), "{facts}");
    let diagnosis = post("doctor", json!({"account": "root"})).await?.body;
    assert_eq!(diagnosis["test"]["ok"], true, "{diagnosis}");
    let home = diagnosis["findings"].as_array().into_iter().flatten().find(|found| found["step"] == "home");
    assert!(home.is_some(), "{diagnosis}");
    let pushed = post("accounts", json!({"account": "alice", "public_keys": [KEY]})).await?.body;
    assert_eq!(pushed["outcome"], "done", "{pushed}");
    Ok(())
}
