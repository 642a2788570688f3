//! Does a command run that grants do not let through, or that waits for a second person? What is marked dangerous runs
//! once and after somebody else said so, whatever is killed meanwhile.

use std::time::Duration;

use anyhow::{Context, ensure};
use harness::{Api, EngineDouble, Sshd, eventually};
use serde_json::{Value, json};
use system::foreign_relay::{begin, ended};
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
const SENTENCE: &str = "a long sentence";
const SOON: Duration = Duration::from_secs(20);
/// What alice may run and what counts; it is dangerous.
const RISKY: &str = "echo x >> count";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dangerous_runs_once_and_after_a_second_person_said_so() {
    let mut world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    let result = story(&mut world).await;
    world.blame(result).unwrap();
}

async fn person(api: &Api, name: &str, role: &str) -> anyhow::Result<Api> {
    let user = json!({"username": name, "password": SENTENCE, "tenant_id": "default", "role": role});
    api.post("/api/users", &user).await?.expect(201)?;
    let login = json!({"username": name, "password": SENTENCE});
    let signed = api.post("/api/auth/login", &login).await?.expect(200)?;
    Ok(api.as_caller(signed.text("token")?))
}

struct Cast {
    alice: Api,
    olga: Api,
    sshd: Sshd,
    server: String,
}

impl Cast {
    /// How often the risky command ran.
    fn count(&self) -> usize {
        let home = self.sshd.folder().join("home").join(harness::sshd::USER);
        std::fs::read_to_string(home.join("count")).unwrap_or_default().lines().count()
    }

    async fn waiting(&self, more: Value) -> anyhow::Result<(String, String)> {
        let (batch, commands) = begin(&self.alice, RISKY, &[&self.server], more).await?;
        shown_as(&self.alice, &batch, "awaiting_approval").await?;
        Ok((batch, commands.into_iter().next().context("a command")?))
    }
}

/// The batch once it is shown with this status.
async fn shown_as(who: &Api, batch: &str, status: &str) -> anyhow::Result<Value> {
    eventually(&format!("the batch is {status}"), SOON, || async {
        let shown = who.get(&format!("/api/batches/{batch}")).await.map_err(|error| error.to_string())?;
        if shown.body["status"] == status { Ok(shown.body) } else { Err(shown.body.to_string()) }
    })
    .await
}

async fn say(who: &Api, batch: &str, what: &str, body: Value) -> anyhow::Result<harness::Answer> {
    who.post(&format!("/api/batches/{batch}/{what}"), &body).await
}

async fn story(world: &mut World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let sshd = Sshd::start(PASSWORD, "").await?;
    let body = json!({
        "name": "target", "host": "127.0.0.1", "port": sshd.port, "username": harness::sshd::USER,
        "password": PASSWORD, "test": false,
    });
    let server = api.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned();
    let alice = person(&api, "alice", "developer").await?;
    let olga = person(&api, "olga", "operator").await?;
    let cast = Cast { alice, olga, sshd, server };
    let commands = json!({"allow": ["echo *", "echo x >> *"], "deny": ["*secret*"], "dangerous": ["*>>*"]});
    let grants = json!({"grants": [{"user": "alice", "may": ["command"], "commands": commands}]});
    api.put(&format!("/api/servers/{}/grants", cast.server), &grants).await?.expect(200)?;

    refused(&cast).await?;
    killed_while_it_waits(world, &cast).await?;
    rejected_or_expired(world, &cast).await?;
    by_line(world, &cast).await
}

async fn refused(cast: &Cast) -> anyhow::Result<()> {
    let (_, hello) = begin(&cast.alice, "echo hello", &[&cast.server], json!({})).await?;
    assert_eq!(ended(&cast.alice, &hello[0], SOON).await?["stdout"], "hello\n");
    for command in ["echo hello; echo x >> count", "echo $(echo x >> count)", "echo secret", "id"] {
        let asked = json!({"command": command, "servers": [cast.server]});
        let answer = cast.alice.post("/api/commands", &asked).await?.expect(403)?;
        assert_eq!(answer.code(), "command_refused", "{command}");
    }
    assert_eq!(cast.count(), 0);
    Ok(())
}

/// Everything is killed while it waits, and again once it was approved: it runs once.
async fn killed_while_it_waits(world: &mut World<EngineDouble>, cast: &Cast) -> anyhow::Result<()> {
    let (batch, command) = cast.waiting(json!({})).await?;
    assert_eq!(say(&cast.alice, &batch, "approve", json!({})).await?.code(), "own_request");
    world.kill();
    world.up_again().await?;
    // the hub has read the log again, and takes what may run
    let (_, hello) = begin(&cast.alice, "echo again", &[&cast.server], json!({})).await?;
    ended(&cast.alice, &hello[0], SOON).await?;
    let shown = cast.alice.get(&format!("/api/commands/{command}")).await?.expect(200)?.body;
    assert_eq!((&shown["status"], cast.count()), (&json!("awaiting_approval"), 0), "{shown}");
    say(&cast.olga, &batch, "approve", json!({})).await?.expect(200)?;
    say(&cast.olga, &batch, "approve", json!({})).await?.expect(200)?;
    let ran = ended(&cast.alice, &command, SOON).await?;
    assert_eq!(
        (&ran["status"], &ran["exit_code"], cast.count()),
        (&json!("completed"), &json!(0), 1),
        "{ran}"
    );
    world.kill();
    world.up_again().await?;
    let whole = shown_as(&cast.alice, &batch, "ended").await?;
    assert_eq!((&whole["approval"]["by"], cast.count()), (&json!("olga"), 1), "{whole}");
    Ok(())
}

async fn rejected_or_expired(world: &mut World<EngineDouble>, cast: &Cast) -> anyhow::Result<()> {
    let (rejected, command) = cast.waiting(json!({})).await?;
    say(&cast.olga, &rejected, "reject", json!({"reason": "not on a Friday"})).await?.expect(200)?;
    let never = ended(&cast.alice, &command, SOON).await?;
    assert_eq!(never["status"], "cancelled", "{never}");
    assert_eq!(never["reason"], "rejected by olga: not on a Friday", "{never}");
    // nobody is there when its time is over: two seconds pass
    let (expired, command) = cast.waiting(json!({"approve_within_s": 2})).await?;
    world.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.up_again().await?;
    let never = ended(&cast.alice, &command, SOON).await?;
    assert_eq!((&never["status"], &never["attempts"]), (&json!("cancelled"), &json!(0)), "{never}");
    let whole = shown_as(&cast.alice, &expired, "ended").await?;
    assert_eq!((&whole["approval"]["answer"], &whole["approval"]["by"]), (&json!("expired"), &Value::Null));
    for batch in [rejected, expired] {
        assert_eq!(say(&cast.olga, &batch, "approve", json!({})).await?.expect(409)?.code(), "not_awaiting");
    }
    assert_eq!(cast.count(), 1, "neither ran");
    Ok(())
}

/// The command line says for whom it waits, goes on waiting, and ends as the command does.
async fn by_line(world: &World<EngineDouble>, cast: &Cast) -> anyhow::Result<()> {
    let token = cast.alice.token().context("a token")?;
    for (answer, code, ran) in [("approve", 0, 2), ("reject", 1, 2)] {
        let mut run = world.installation.client_command(&["run", "-s", &cast.server, "--", RISKY])?;
        run.env("PORTREEVE_TOKEN", token);
        run.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let running = run.spawn()?;
        let waits = eventually("it waits", SOON, || async {
            let listed = cast.olga.list("/api/batches?status=awaiting_approval").await;
            let listed = listed.map_err(|error| error.to_string())?;
            let id = listed.first().and_then(|batch| Some(batch["batch_id"].as_str()?.to_owned()));
            id.ok_or_else(|| "nothing waits".to_owned())
        })
        .await?;
        let listed = world.installation.client_command(&["batch", "list", "--awaiting"])?.output()?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        ensure!(text.contains(&waits) && text.contains("awaiting_approval"), "{text}");
        let said = world.installation.client_command(&["batch", answer, &waits])?.output()?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let output = tokio::task::spawn_blocking(move || running.wait_with_output()).await??;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), cast.count()), (Some(code), ran), "{stderr}");
        ensure!(stderr.contains("for another operator or admin"), "{stderr}");
        ensure!(code == 0 || stderr.contains("was rejected by admin"), "{stderr}");
    }
    Ok(())
}
