//! How does a story get a relay of others? Their programs under `tests/relays`, each with its own libraries.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::child::Child;
use harness::{Api, eventually, programs};
use serde_json::{Value, json};

/// A relay connects, and comes back, within.
const CONNECTED_AT_MOST: Duration = Duration::from_secs(30);

/// Which client library it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// python-socketio and paramiko.
    Python,
    /// socket.io-client 4 and ssh2.
    Node4,
    /// socket.io-client 2 and ssh2: Engine.IO 3.
    Node2,
    /// zishang520's socket.io and golang.org/x/crypto/ssh.
    Go,
    /// Our own, for comparison.
    Agent,
}

/// How a relay says who it is, and how it is carried.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub kind: Kind,
    /// `auth` or `query`.
    pub by: &'static str,
    /// `websocket` or `polling`.
    pub transport: &'static str,
}

impl Manner {
    pub const fn new(kind: Kind, by: &'static str, transport: &'static str) -> Self {
        Self { kind, by, transport }
    }
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {} over {}", self.kind, self.by, self.transport)
    }
}

/// A registered relay.
#[derive(Debug, Clone)]
pub struct Registered {
    pub id: String,
    pub key: String,
}

pub async fn register(api: &Api, body: &Value) -> anyhow::Result<Registered> {
    let made = api.post("/api/relays", body).await?.expect(201)?;
    ensure!(made.text("proxy_id")? == made.text("relay_id")?, "{made:?}");
    Ok(Registered { id: made.text("relay_id")?.to_owned(), key: made.text("api_key")?.to_owned() })
}

/// A relay that runs; killed when dropped.
pub struct ForeignRelay {
    pub process: Child,
    folder: tempfile::TempDir,
    manner: Manner,
}

impl ForeignRelay {
    /// Starts it and does not wait for it.
    pub fn start(manner: Manner, url: &str, relay: &Registered) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let scripts = programs::repository().join("tests/relays");
        let of_go = programs::tools().join("relays-go/relay");
        let libraries = programs::tools().join("relays-python");
        ensure!(
            libraries.is_dir() && scripts.join("node/node_modules").is_dir() && of_go.is_file(),
            "what the relays are made of is missing: tests/relays/install.sh"
        );
        let (program, script) = match manner.kind {
            Kind::Python => (PathBuf::from("/usr/bin/python3"), Some(scripts.join("python/relay.py"))),
            Kind::Node4 | Kind::Node2 => {
                (programs::tool("node/bin/node")?, Some(scripts.join("node/relay.js")))
            }
            Kind::Go => (of_go, None),
            Kind::Agent => (programs::built("portreeve")?, Some(PathBuf::from("agent"))),
        };
        let health = harness::free_ports::one()?;
        let process = Child::start(program, &folder.path().join("log"), |command| {
            command.args(script).env("RELAY_URL", url).env("PROXY_ID", &relay.id).env("API_KEY", &relay.key);
            command.env("RELAY_BY", manner.by).env("RELAY_TRANSPORT", manner.transport);
            command.env("PYTHONPATH", libraries);
            if manner.kind == Kind::Agent {
                command.env("PORTREEVE_URL", url).env("PORTREEVE_PROXY_ID", &relay.id);
                command
                    .env("PORTREEVE_API_KEY", &relay.key)
                    .env("PORTREEVE_SPOOL", folder.path().join("spool"));
                command.env("PORTREEVE_HEALTH_LISTEN", format!("127.0.0.1:{health}"));
            }
            if manner.kind == Kind::Node2 {
                command.env("RELAY_CLIENT", "2");
            }
        })?;
        Ok(Self { process, folder, manner })
    }

    /// Our own, which registers itself with this token.
    pub fn enroll(url: &str, token: &str, name: &str, zone: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let process = agent_in(folder.path(), url, |command| {
            command.args(["--name", name, "--zone", zone]).env("PORTREEVE_ENROLL_TOKEN", token);
        })?;
        Ok(Self { process, folder, manner: Manner::new(Kind::Agent, "auth", "websocket") })
    }

    /// The same one, without its token.
    pub fn start_again(&mut self, url: &str) -> anyhow::Result<()> {
        self.process.kill_everything();
        self.process = agent_in(self.folder.path(), url, |_| {})?;
        Ok(())
    }

    /// Where it writes.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Everything it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has said this so many times.
    pub async fn says(&self, words: &str, times: usize) -> anyhow::Result<()> {
        let what = format!("{} says {words:?} {times} times", self.manner);
        let seen = eventually(&what, CONNECTED_AT_MOST, || async {
            let log = self.log();
            let says = |line: &&str| match self.manner.kind {
                Kind::Agent => line.contains(words),
                Kind::Python | Kind::Node4 | Kind::Node2 | Kind::Go => line.starts_with(words),
            };
            // one that is still being written says nothing yet
            let whole = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let found = whole.lines().filter(says).count();
            if found >= times { Ok(()) } else { Err(log) }
        });
        seen.await
    }
}

fn agent_in(
    folder: &std::path::Path,
    url: &str,
    more: impl FnOnce(&mut std::process::Command),
) -> anyhow::Result<Child> {
    let health = harness::free_ports::one()?;
    Child::start(programs::built("portreeve")?, &folder.join("log"), |command| {
        command.args(["agent", "--url", url, "--health-listen", &format!("127.0.0.1:{health}")]);
        command.arg("--spool").arg(folder.join("spool"));
        more(command);
    })
}

/// Waits until the read model shows it connected, or not.
pub async fn is_connected(api: &Api, relay: &Registered, connected: bool) -> anyhow::Result<()> {
    eventually("the relay's connection is shown as it is", CONNECTED_AT_MOST, || async {
        let shown = api.get(&format!("/api/relays/{}", relay.id)).await.map_err(|error| error.to_string())?;
        if shown.body["connected"] == connected { Ok(()) } else { Err(shown.body.to_string()) }
    })
    .await
}

/// Begins a command on these servers; answers the ids of batch and commands.
pub async fn begin(
    api: &Api,
    command: &str,
    servers: &[&str],
    more: Value,
) -> anyhow::Result<(String, Vec<String>)> {
    let mut body = json!({"command": command, "servers": servers});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    let begun = api.post("/api/commands", &body).await?.expect(202)?;
    let commands = begun.body["commands"].as_array().context("commands")?;
    let ids = commands.iter().filter_map(|one| Some(one["command_id"].as_str()?.to_owned())).collect();
    Ok((begun.text("batch_id")?.to_owned(), ids))
}

/// The command once it has its outcome.
pub async fn ended(api: &Api, command: &str, at_most: Duration) -> anyhow::Result<Value> {
    eventually("the command has its outcome", at_most, || async {
        let shown = api.get(&format!("/api/commands/{command}")).await.map_err(|error| error.to_string())?;
        let status = shown.body["status"].as_str().unwrap_or("queued");
        let pending = ["awaiting_approval", "queued", "dispatched"].contains(&status);
        if shown.status == 200 && !pending { Ok(shown.body) } else { Err(shown.body.to_string()) }
    })
    .await
}
