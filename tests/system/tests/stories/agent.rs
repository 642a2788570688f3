//! Does our own agent do what relays of others do, and what they cannot: tell failures by class, carry bytes that are
//! no text, keep results over a loss of the hub, run nothing twice over its own restart, register itself, and run in
//! a container?

use std::time::Duration;

use anyhow::ensure;
use harness::real_engine::{podman, remove_leftovers};
use harness::{EngineDouble, Sshd, programs};
use serde_json::{Value, json};
use system::foreign_relay::{ForeignRelay, Kind, Manner, Registered, begin, ended, is_connected, register};
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
const SOON: Duration = Duration::from_secs(20);
const AGENT: Manner = Manner::new(Kind::Agent, "auth", "websocket");

async fn server(
    world: &World<EngineDouble>,
    port: u16,
    username: &str,
    password: &str,
) -> anyhow::Result<String> {
    let body = json!({
        "name": "target", "host": "127.0.0.1", "port": port, "zone": "dmz", "username": username,
        "password": password, "test": false,
    });
    Ok(world.api()?.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_failures_by_class_as_the_direct_way_does() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(classes(&world).await).unwrap();
}

async fn classes(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let target = Sshd::start(PASSWORD, "").await?;
    let registered = register(&api, &json!({"name": "ours", "zone": "dmz"})).await?;
    let agent = ForeignRelay::start(AGENT, &world.installation.url(), &registered)?;
    is_connected(&api, &registered, true).await?;
    let good = server(world, target.port, harness::sshd::USER, PASSWORD).await?;
    let one = async |command: &str, server: &str, more: Value| -> anyhow::Result<Value> {
        let (_, ids) = begin(&api, command, &[server], more).await?;
        ended(&api, &ids[0], SOON).await
    };
    let ran = one("printf 'a\\377\\000b'; echo err >&2; exit 7", &good, json!({})).await?;
    assert_eq!(
        (&ran["status"], &ran["exit_code"]),
        (&json!("completed"), &json!(7)),
        "{ran}\n{}",
        agent.log()
    );
    assert_eq!((&ran["stdout_base64"], &ran["stderr"]), (&json!("Yf8AYg=="), &json!("err\n")), "{ran}");
    assert_eq!(ran["relay_id"], registered.id.as_str());
    for (port, user, password, class) in [
        (target.port, harness::sshd::USER, "wrong", "auth_failed"),
        (harness::free_ports::one()?, harness::sshd::USER, PASSWORD, "connection_refused"),
    ] {
        let failing = server(world, port, user, password).await?;
        let failed = one("true", &failing, json!({})).await?;
        assert_eq!((&failed["status"], &failed["class"]), (&json!("failed"), &json!(class)), "{failed}");
        assert!(failed["suggestion"].is_string(), "{failed}");
    }
    // one login for many commands
    for _ in 0..5 {
        assert_eq!(one("true", &good, json!({})).await?["exit_code"], 0);
    }
    let logins = std::fs::read_to_string(target.folder().join("log"))?.matches("Accepted password").count();
    assert_eq!(logins, 1, "{}", target.log());
    let tested = api.post(&format!("/api/servers/{good}/test"), &json!({})).await?.expect(200)?;
    assert_eq!((&tested.body["ok"], &tested.body["step"]), (&json!(true), &json!("shell")), "{tested:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_outlive_the_hub_and_nothing_runs_twice() {
    let mut world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    let result = outlive(&mut world).await;
    world.blame(result).unwrap();
}

async fn outlive(world: &mut World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let target = Sshd::start(PASSWORD, "").await?;
    let registered = register(&api, &json!({"name": "ours", "zone": "dmz"})).await?;
    let agent = ForeignRelay::start(AGENT, &world.installation.url(), &registered)?;
    is_connected(&api, &registered, true).await?;
    let good = server(world, target.port, harness::sshd::USER, PASSWORD).await?;
    let (_, ids) = begin(&api, "echo x >> once; sleep 2; echo done", &[&good], json!({})).await?;
    let counter = target.folder().join("home").join(harness::sshd::USER).join("once");
    harness::eventually("it runs", SOON, || async { counter.exists().then_some(()).ok_or("not yet") })
        .await?;
    world.kill();
    // it ends while nobody is there to hear of it
    let spooled = agent.folder().join("spool").join(format!("{}.json", ids[0]));
    harness::eventually("the result is kept", SOON, || async {
        spooled.exists().then_some(()).ok_or("not yet")
    })
    .await?;
    world.up_again().await?;
    let shown = ended(&api, &ids[0], SOON).await?;
    let said = if shown["status"] == "completed" { &shown["stdout"] } else { &shown["late"]["stdout"] };
    assert_eq!(said, "done\n", "{shown}\n{}", agent.log());
    assert_eq!(std::fs::read_to_string(counter)?, "x\n", "it ran once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_registers_itself_is_let_in_once_it_is_accepted() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(register_itself(&world).await).unwrap();
}

async fn register_itself(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let (api, url) = (world.api()?, world.installation.url());
    let asked = json!({"name": "relays of the dmz", "role": "enroller", "expires_in_s": 600});
    let issued = api.post("/api/tokens", &asked).await?.expect(201)?;
    let (id, token) = (issued.text("token_id")?, issued.text("token")?);
    let enroller = api.as_caller(token);
    for path in ["/api/environments", "/api/relays", "/api/servers", "/api/events", "/api/me"] {
        let refused = enroller.get(path).await?.expect(403)?;
        assert_eq!(refused.code(), "forbidden", "{path}: {refused:?}");
    }
    enroller.post("/api/servers", &json!({})).await?.expect(403)?;

    let mut agent = ForeignRelay::enroll(&url, token, "self made", "dmz")?;
    let relay = harness::eventually("it has registered itself", SOON, || async {
        let listed = api.list("/api/relays").await.map_err(|error| error.to_string())?;
        listed.into_iter().next().ok_or_else(|| agent.log())
    })
    .await?;
    assert_eq!(
        (&relay["name"], &relay["zone"], &relay["pending"]),
        (&json!("self made"), &json!("dmz"), &json!(true))
    );
    agent.says("relay_pending", 1).await?;
    // nobody is led through it yet: a password goes where it went before
    let beside = Sshd::start(PASSWORD, "").await?;
    let before = server(world, beside.port, harness::sshd::USER, PASSWORD).await?;
    let diagnosed = api.post(&format!("/api/servers/{before}/doctor"), &json!({})).await?;
    assert!(diagnosed.is_success(), "{diagnosed:?}");
    for number in 1..100 {
        let body = json!({"name": format!("flood {number}"), "zone": "dmz"});
        enroller.post("/api/relays", &body).await?.expect(201)?;
    }
    let full = harness::eventually("no more wait", SOON, || async {
        let answer = enroller.post("/api/relays", &json!({"name": "one more"})).await;
        answer.and_then(|answer| answer.expect(409)).map_err(|error| error.to_string())
    })
    .await?;
    assert_eq!(full.code(), "too_many_pending", "{full:?}");
    let relay_id = relay["relay_id"].as_str().unwrap_or_default();
    enroller.post(&format!("/api/relays/{relay_id}/accept"), &json!({})).await?.expect(403)?;
    api.post(&format!("/api/relays/{relay_id}/accept"), &json!({})).await?.expect(200)?;
    let registered = Registered { id: relay_id.to_owned(), key: String::new() };
    is_connected(&api, &registered, true).await?;

    // its key is its own from now on: the token is needed no more
    api.delete(&format!("/api/tokens/{id}")).await?.expect(200)?;
    agent.process.kill_everything();
    is_connected(&api, &registered, false).await?;
    agent.start_again(&url)?;
    is_connected(&api, &registered, true).await?;
    let target = Sshd::start(PASSWORD, "").await?;
    let good = server(world, target.port, harness::sshd::USER, PASSWORD).await?;
    let (_, ids) = begin(&api, "echo here", &[&good], json!({})).await?;
    let ran = ended(&api, &ids[0], SOON).await?;
    assert_eq!((&ran["stdout"], &ran["relay_id"]), (&json!("here\n"), &json!(relay_id)), "{ran}");

    let stranger = ForeignRelay::enroll(&url, token, "too late", "dmz")?;
    stranger.says("unauthorized", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_in_a_container_as_nobody_in_particular() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(contained(&world).await).unwrap();
}

/// Gone with its volume when dropped.
struct Contained(String);

impl Contained {
    async fn start(url: &str, relay: &Registered) -> anyhow::Result<Self> {
        let mut build = tokio::process::Command::new(programs::repository().join("deploy/image/services.sh"));
        build.args(["--only", "agent", "--portreeve"]).arg(programs::built("portreeve")?);
        let built = build.output().await?;
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let contained = Self(format!("agent-{}", relay.id));
        let name = contained.0.as_str();
        let label = format!("portreeve.instance={name}");
        contained.podman(&["volume", "create", "--label", &label, name])?;
        let health = harness::free_ports::one()?;
        let variables = [
            format!("PORTREEVE_URL={url}"),
            format!("PORTREEVE_PROXY_ID={}", relay.id),
            format!("PORTREEVE_API_KEY={}", relay.key),
            format!("PORTREEVE_HEALTH_LISTEN=127.0.0.1:{health}"),
        ];
        let volume = format!("{name}:/var/lib/portreeve-agent");
        let mut run = vec!["run", "--detach", "--name", name, "--label", &label, "--volume", &volume];
        // Podman's own limits are higher than some machines allow
        run.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        run.extend(["--network", "host", "--read-only", "--cap-drop", "all"]);
        run.extend(variables.iter().flat_map(|variable| ["--env", variable.as_str()]));
        run.push("portreeve/agent:dev");
        contained.podman(&run)?;
        Ok(contained)
    }

    fn podman(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = podman(arguments)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: podman {}: {error}", self.0, arguments[0]);
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        remove_leftovers(&self.0);
    }
}

async fn contained(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let registered = register(&api, &json!({"name": "in a container", "zone": "dmz"})).await?;
    let agent = Contained::start(&world.installation.url(), &registered).await?;
    is_connected(&api, &registered, true).await?;
    let pid = agent.podman(&["inspect", "--format", "{{.State.Pid}}", &agent.0])?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    assert!(status.contains("Uid:\t10001\t") && status.contains("CapEff:\t0000000000000000"), "{status}");
    let target = Sshd::start(PASSWORD, "").await?;
    let good = server(world, target.port, harness::sshd::USER, PASSWORD).await?;
    let (_, ids) = begin(&api, "echo from inside", &[&good], json!({})).await?;
    let ran = ended(&api, &ids[0], SOON).await?;
    assert_eq!((&ran["stdout"], &ran["relay_id"]), (&json!("from inside\n"), &json!(registered.id)), "{ran}");
    // what it keeps lies in the volume, and it comes back to it
    agent.podman(&["restart", "--time", "5", &agent.0])?;
    harness::eventually("it is connected again", SOON, || async {
        let shown =
            api.get(&format!("/api/relays/{}", registered.id)).await.map_err(|error| error.to_string())?;
        let again = shown.body["connected"] == true && shown.body["epoch"] == 2;
        if again { Ok(()) } else { Err(shown.body.to_string()) }
    })
    .await
}
