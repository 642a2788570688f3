//! Do relays of others work, as they are? Python, Node and Go, by query and by auth, over WebSocket and polling; refused
//! readably; back after our restart and theirs; and nothing that may do harm runs twice, whoever is killed when.

use std::time::Duration;

use anyhow::Context;
use harness::{Api, EngineDouble, Sshd, eventually};
use serde_json::{Value, json};
use system::foreign_relay::{ForeignRelay, Kind, Manner, Registered, begin, ended, is_connected, register};
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
/// A command that ends at once has its outcome by then.
const SOON: Duration = Duration::from_secs(20);

/// Every way in which a relay of others comes.
const MANNERS: [Manner; 9] = [
    Manner::new(Kind::Python, "auth", "websocket"),
    Manner::new(Kind::Python, "query", "websocket"),
    Manner::new(Kind::Python, "auth", "polling"),
    Manner::new(Kind::Node4, "auth", "websocket"),
    Manner::new(Kind::Node4, "query", "polling"),
    Manner::new(Kind::Node2, "query", "websocket"),
    Manner::new(Kind::Node2, "query", "polling"),
    Manner::new(Kind::Go, "auth", "websocket"),
    Manner::new(Kind::Go, "query", "websocket"),
];

struct Stage {
    world: World<EngineDouble>,
    target: Sshd,
    api: Api,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let world = World::on_double(harness::free_ports::range(20)?).await?;
        let target = Sshd::start(PASSWORD, "MaxStartups 100").await?;
        let api = world.api()?;
        Ok(Self { world, target, api })
    }

    fn url(&self) -> String {
        self.world.installation.url()
    }

    /// The target as a server of this zone.
    async fn server(&self, zone: &str) -> anyhow::Result<String> {
        let body = json!({
            "name": format!("target {zone}"), "host": "127.0.0.1", "port": self.target.port, "zone": zone,
            "username": harness::sshd::USER, "password": PASSWORD, "test": false,
        });
        Ok(self.api.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned())
    }

    /// A relay of this zone that is connected, and the target in it.
    async fn pair(&self, manner: Manner, zone: &str) -> anyhow::Result<(ForeignRelay, Registered, String)> {
        let registered =
            register(&self.api, &json!({"name": format!("{manner} (ä/%)"), "zone": zone})).await?;
        let relay = ForeignRelay::start(manner, &self.url(), &registered)?;
        relay.says("connected", 1).await?;
        is_connected(&self.api, &registered, true).await?;
        Ok((relay, registered, self.server(zone).await?))
    }

    /// Lines that the commands left on the target.
    fn lines(&self, file: &str) -> usize {
        let path = self.target.folder().join("home").join(harness::sshd::USER).join(file);
        std::fs::read_to_string(path).unwrap_or_default().lines().count()
    }

    async fn lines_reach(&self, file: &str, count: usize) -> anyhow::Result<()> {
        eventually("the command runs on the target", SOON, || async {
            let lines = self.lines(file);
            if lines >= count { Ok(()) } else { Err(format!("{lines} lines")) }
        })
        .await
    }

    async fn one(&self, command: &str, server: &str, more: Value) -> anyhow::Result<Value> {
        let (_, ids) = begin(&self.api, command, &[server], more).await?;
        ended(&self.api, &ids[0], SOON).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_connect_and_run_commands_and_are_refused_readably() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(connect_and_run(&stage).await).unwrap();
}

async fn connect_and_run(stage: &Stage) -> anyhow::Result<()> {
    for (number, manner) in MANNERS.into_iter().enumerate() {
        let (relay, registered, server) = stage.pair(manner, &format!("zone{number}")).await?;
        let command = "echo out ü; echo err >&2; exit 3";
        let ran = stage.one(command, &server, json!({})).await;
        let ran = ran.with_context(|| format!("{manner}: {}", relay.log()))?;
        assert_eq!(ran["status"], "completed", "{manner}: {ran}\n{}", relay.log());
        assert_eq!(
            (&ran["exit_code"], &ran["stdout"], &ran["stderr"]),
            (&json!(3), &json!("out ü\n"), &json!("err\n"))
        );
        assert_eq!(ran["relay_id"], registered.id.as_str(), "{manner}");
        relay.says("received", 1).await?;
        drop(relay);
        if manner.transport == "websocket" {
            // of one that polls it shows after a while that it is gone
            is_connected(&stage.api, &registered, false).await?;
        }
        let stranger = Registered { key: "prk_wrong".to_owned(), ..registered };
        let refused = ForeignRelay::start(manner, &stage.url(), &stranger)?;
        refused.says("refused", 1).await?;
        assert!(refused.log().contains("key_refused: proxyId and apiKey"), "{manner}: {}", refused.log());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_with_an_overlap_and_revoked_at_once() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(rotate_and_revoke(&stage).await).unwrap();
}

async fn rotate_and_revoke(stage: &Stage) -> anyhow::Result<()> {
    let manner = Manner::new(Kind::Python, "auth", "websocket");
    let (relay, registered, _) = stage.pair(manner, "dmz").await?;
    let path = format!("/api/relays/{}", registered.id);
    let rotated =
        stage.api.post(&format!("{path}/rotate-key"), &json!({"overlap_s": 3600})).await?.expect(200)?;
    let newer = Registered { key: rotated.text("api_key")?.to_owned(), ..registered.clone() };
    drop(relay);
    for known in [&registered, &newer] {
        ForeignRelay::start(manner, &stage.url(), known)?.says("connected", 1).await?;
    }
    stage.api.post(&format!("{path}/rotate-key"), &json!({"overlap_s": 0})).await?.expect(200)?;
    let over = ForeignRelay::start(manner, &stage.url(), &newer)?;
    over.says("refused", 1).await?;
    drop(over);
    let again = stage.api.post(&format!("{path}/rotate-key"), &json!({})).await?.expect(200)?;
    let newest = Registered { key: again.text("api_key")?.to_owned(), ..registered.clone() };
    let connected = ForeignRelay::start(manner, &stage.url(), &newest)?;
    connected.says("connected", 1).await?;
    stage.api.delete(&path).await?.expect(200)?;
    connected.says("disconnected", 1).await?;
    connected.says("refused", 1).await?;
    assert!(connected.log().contains("relay_revoked"), "{}", connected.log());
    let listed = stage.api.list("/api/relays").await?;
    assert!(listed.is_empty(), "{listed:?}");
    let all = stage.api.get("/api/relays?revoked=true").await?.body.to_string();
    for secret in [&registered.key, &newer.key, &newest.key] {
        assert!(!all.contains(secret.as_str()), "a key is shown once");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_back_after_our_restart_and_theirs() {
    let mut stage = Stage::set().await.unwrap();
    let result = come_back(&mut stage).await;
    stage.world.blame(result).unwrap();
}

async fn come_back(stage: &mut Stage) -> anyhow::Result<()> {
    let mut relays = Vec::new();
    for (zone, kind) in
        [("python", Kind::Python), ("node4", Kind::Node4), ("node2", Kind::Node2), ("go", Kind::Go)]
    {
        let by = if kind == Kind::Node2 { "query" } else { "auth" };
        let manner = Manner::new(kind, by, "websocket");
        let (relay, registered, server) = stage.pair(manner, zone).await?;
        relays.push((manner, relay, registered, server));
    }
    stage.world.kill();
    stage.world.up_again().await?;
    for (manner, relay, registered, server) in &mut relays {
        relay.says("connected", 2).await?;
        is_connected(&stage.api, registered, true).await?;
        let ran = stage.one("echo one", server, json!({})).await?;
        assert_eq!(
            (&ran["status"], &ran["stdout"]),
            (&json!("completed"), &json!("one\n")),
            "{manner}: {ran}"
        );
        *relay = ForeignRelay::start(*manner, &stage.url(), registered)?;
        relay.says("connected", 1).await?;
        let ran = stage.one("echo two", server, json!({})).await?;
        assert_eq!(
            (&ran["status"], &ran["stdout"]),
            (&json!("completed"), &json!("two\n")),
            "{manner}: {ran}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_may_do_harm_runs_twice_when_the_hub_is_killed() {
    let mut stage = Stage::set().await.unwrap();
    let result = kill_the_hub(&mut stage).await;
    stage.world.blame(result).unwrap();
}

/// Between dispatch and result: the relay goes on, comes back, and says how it ended.
async fn kill_the_hub(stage: &mut Stage) -> anyhow::Result<()> {
    let manner = Manner::new(Kind::Python, "auth", "websocket");
    let (relay, _, server) = stage.pair(manner, "dmz").await?;
    let mut begun = Vec::new();
    for number in 0..4 {
        let command = format!("echo x >> once{number}; sleep {number}; echo done");
        let (_, ids) = begin(&stage.api, &command, &[&server], json!({})).await?;
        begun.push((number, ids[0].clone()));
    }
    for number in 0..4 {
        stage.lines_reach(&format!("once{number}"), 1).await?;
    }
    stage.world.kill();
    stage.world.up_again().await?;
    relay.says("connected", 2).await?;
    for (number, id) in &begun {
        let shown = ended(&stage.api, id, SOON).await?;
        let known = shown["status"] == "completed" || shown["status"] == "lost";
        assert!(known, "{shown}");
        let said = if shown["status"] == "completed" { &shown["stdout"] } else { &shown["late"]["stdout"] };
        println!("command {number}: {}, {said}", shown["status"]);
        assert_eq!(stage.lines(&format!("once{number}")), 1, "{number}: it ran once");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_relay_had_is_lost_or_goes_to_another() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(kill_a_relay(&stage).await).unwrap();
}

async fn kill_a_relay(stage: &Stage) -> anyhow::Result<()> {
    let manner = Manner::new(Kind::Python, "auth", "websocket");
    let (relay, first, server) = stage.pair(manner, "dmz").await?;
    let (_, harm) = begin(&stage.api, "echo x >> harm; sleep 60", &[&server], json!({})).await?;
    let safe = json!({"idempotent": true});
    let (_, safe) = begin(&stage.api, "echo x >> safe; sleep 5; echo done", &[&server], safe).await?;
    stage.lines_reach("harm", 1).await?;
    stage.lines_reach("safe", 1).await?;
    let node = Manner::new(Kind::Node4, "query", "websocket");
    let second = register(&stage.api, &json!({"name": "second", "zone": "dmz"})).await?;
    let other = ForeignRelay::start(node, &stage.url(), &second)?;
    other.says("connected", 1).await?;
    drop(relay);
    let shown = ended(&stage.api, &safe[0], SOON).await?;
    assert_eq!((&shown["status"], &shown["stdout"]), (&json!("completed"), &json!("done\n")), "{shown}");
    assert_eq!((&shown["attempts"], &shown["relay_id"]), (&json!(2), &json!(second.id)), "{shown}");
    let shown = ended(&stage.api, &harm[0], SOON).await?;
    assert_eq!((&shown["status"], &shown["relay_id"]), (&json!("lost"), &json!(first.id)), "{shown}");
    assert_eq!((stage.lines("harm"), stage.lines("safe")), (1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_is_over_on_our_side_and_what_comes_later_is_shown_beside() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(time_over(&stage).await).unwrap();
}

async fn time_over(stage: &Stage) -> anyhow::Result<()> {
    let manner = Manner::new(Kind::Node2, "query", "websocket");
    let (relay, _, server) = stage.pair(manner, "dmz").await?;
    let began = std::time::Instant::now();
    let shown = stage.one("sleep 30", &server, json!({"timeout_ms": 1_000})).await?;
    assert_eq!(shown["status"], "timed_out", "{shown}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    relay.says("answered", 1).await?;
    let id = shown["command_id"].as_str().unwrap_or_default();
    let late = eventually("the late answer is shown", SOON, || async {
        let shown = stage.api.get(&format!("/api/commands/{id}")).await.map_err(|error| error.to_string())?;
        if shown.body["late"].is_object() { Ok(shown.body) } else { Err(shown.body.to_string()) }
    })
    .await?;
    assert_eq!((&late["status"], &late["late"]["exit_code"]), (&json!("timed_out"), &json!(1)), "{late}");
    relay.says("received true", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connections_of_one_relay_the_newer_counts() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(newer_counts(&stage).await).unwrap();
}

async fn newer_counts(stage: &Stage) -> anyhow::Result<()> {
    let manner = Manner::new(Kind::Node4, "auth", "websocket");
    let (older, registered, server) = stage.pair(manner, "dmz").await?;
    // stopped, so that it does not come back and take the place again
    older.process.signal(nix::sys::signal::Signal::SIGSTOP)?;
    let newer = ForeignRelay::start(manner, &stage.url(), &registered)?;
    newer.says("connected", 1).await?;
    let ran = stage.one("echo here", &server, json!({})).await?;
    assert_eq!(ran["status"], "completed", "{ran}");
    assert!(newer.log().contains("execute") && !older.log().contains("execute"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_side_by_side_send_each_others_commands_and_miss_each_other() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(side_by_side(&stage).await).unwrap();
}

async fn side_by_side(stage: &Stage) -> anyhow::Result<()> {
    let [listen, health] =
        [harness::free_ports::one()?, harness::free_ports::one()?].map(|port| format!("127.0.0.1:{port}"));
    let flags = ["--relay-listen", &listen, "--health-listen", &health];
    let mut other = stage.world.installation.service("relay", &flags)?;
    let registered = register(&stage.api, &json!({"name": "at the other hub", "zone": "dmz"})).await?;
    let manner = Manner::new(Kind::Python, "auth", "polling");
    let relay = ForeignRelay::start(manner, &format!("http://{listen}"), &registered)?;
    relay.says("connected", 1).await?;
    is_connected(&stage.api, &registered, true).await?;
    let server = stage.server("dmz").await?;
    for _ in 0..5 {
        assert_eq!(stage.one("true", &server, json!({})).await?["status"], "completed");
    }
    let (_, ids) = begin(&stage.api, "echo x >> once; sleep 60", &[&server], json!({})).await?;
    stage.lines_reach("once", 1).await?;
    other.kill_everything();
    let shown = ended(&stage.api, &ids[0], SOON).await?;
    assert_eq!((&shown["status"], stage.lines("once")), (&json!("lost"), 1), "{shown}");
    is_connected(&stage.api, &registered, false).await?;
    let shown = stage.api.get(&format!("/api/relays/{}", registered.id)).await?.body;
    assert_eq!(shown["reason"], "hub_lost", "{shown}");
    Ok(())
}
