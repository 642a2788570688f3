//! On what do commands run? Real sshd processes at ports of this machine, each with an account of its own, and the
//! product with its agent, which reaches them. Everybody logs in with one key, and knows each host key before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use harness::child::Child;
use harness::sshd::USER;
use harness::{
    Api, EngineDouble, Installation, Portreeve, Setup, Sshd, eventually, free_ports, programs, ssh,
};
use reqwest::Method;
use serde_json::json;

/// Servers that a command runs on at once, on either side.
pub const AT_ONCE: usize = 50;
pub const ZONE: &str = "bench";
/// Each copies `/etc` and makes an account.
const STARTED_AT_ONCE: usize = 4;
const CONNECTED_AT_MOST: Duration = Duration::from_secs(30);
/// Seconds that a connection of OpenSSH's outlives the last command over it: longer than any turn. It ends with its
/// server before.
pub const SHARED_FOR_S: u32 = 600;

/// The agent ends first, then the product, then the servers, and with them whatever is connected to them.
pub struct Stage {
    _agent: Child,
    pub up: Portreeve,
    pub targets: Vec<Target>,
    pub installation: Installation,
    _engine: EngineDouble,
    folder: tempfile::TempDir,
}

pub struct Target {
    sshd: Sshd,
    /// What OpenSSH knows it as.
    pub name: String,
    /// What the product knows it as.
    pub server: String,
}

impl Target {
    pub fn port(&self) -> u16 {
        self.sshd.port
    }
}

/// Who may connect.
pub struct Relay {
    pub id: String,
    pub key: String,
}

impl Stage {
    pub async fn set(count: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (key, public) = ssh::new_key(folder.path(), "key").await?;
        let engine = EngineDouble::start().await?;
        let installation = Installation::new(Setup::new(Some(engine.url()), free_ports::range(10)?))?;
        let up = installation.up().await?;
        let targets: Vec<Target> = stream::iter(0..count)
            .map(|number| target(up.admin(), &key, &public, number))
            .buffered(STARTED_AT_ONCE)
            .try_collect()
            .await?;
        write_config(folder.path(), &key, &targets)?;
        let relay = register(up.admin(), ZONE, AT_ONCE).await?;
        let agent = start_agent(folder.path(), &installation.url(), &relay)?;
        is_connected(up.admin(), &relay, || agent.log_tail()).await?;
        Ok(Self { _agent: agent, up, targets, installation, _engine: engine, folder })
    }

    pub fn servers(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.server.clone()).collect()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// For OpenSSH: knows the targets by their names.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder.path().join("config")
    }
}

async fn target(api: &Api, key: &Path, public: &str, number: usize) -> anyhow::Result<Target> {
    let sshd = Sshd::start("unused-Password-1", "AuthorizedKeysFile {folder}/keys\nMaxStartups 100").await?;
    std::fs::write(sshd.folder().join("keys"), format!("{public}\n"))?;
    let name = format!("t{number}");
    let body = json!({
        "name": name, "host": "127.0.0.1", "port": sshd.port, "username": USER,
        "private_key": std::fs::read_to_string(key)?,
    });
    // tried from here, where no relay leads: so its host key is believed from now on
    let made = api.post("/api/servers", &body).await?.expect(201)?;
    ensure!(made.body["test"]["ok"] == true && made.body["host_key"].is_string(), "{}", made.body);
    let server = made.text("server_id")?.to_owned();
    let zone = json!({"zone": ZONE, "test": false});
    api.call(Method::PATCH, &format!("/api/servers/{server}"), Some(&zone), None).await?.expect(200)?;
    Ok(Target { sshd, name, server })
}

fn write_config(folder: &Path, key: &Path, targets: &[Target]) -> anyhow::Result<()> {
    let mut known = String::new();
    let mut config = format!(
        "Host *\nUser {USER}\nHostName 127.0.0.1\nIdentityFile {}\nIdentitiesOnly yes\nBatchMode yes\n\
         UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\nLogLevel ERROR\n\
         ControlMaster auto\nControlPath {}/%n\nControlPersist {SHARED_FOR_S}\n",
        key.display(),
        folder.join("known_hosts").display(),
        folder.display(),
    );
    for target in targets {
        known += &format!("[127.0.0.1]:{} {}", target.port(), target.sshd.host_key()?);
        config += &format!("Host {}\nPort {}\n", target.name, target.port());
    }
    std::fs::write(folder.join("known_hosts"), known)?;
    Ok(std::fs::write(folder.join("config"), config)?)
}

/// A relay of this zone, which is given so much at once.
pub async fn register(api: &Api, zone: &str, at_once: usize) -> anyhow::Result<Relay> {
    let body = json!({"name": zone, "zone": zone, "in_flight_max": at_once});
    let made = api.post("/api/relays", &body).await?.expect(201)?;
    Ok(Relay { id: made.text("relay_id")?.to_owned(), key: made.text("api_key")?.to_owned() })
}

/// Waits until the product shows it so.
pub async fn is_connected(api: &Api, relay: &Relay, words: impl Fn() -> String) -> anyhow::Result<()> {
    eventually("the relay is connected", CONNECTED_AT_MOST, || async {
        let shown = api.get(&format!("/api/relays/{}", relay.id)).await.map_err(|error| error.to_string())?;
        if shown.body["connected"] == true { Ok(()) } else { Err(format!("{}\n{}", shown.body, words())) }
    })
    .await
}

fn start_agent(folder: &Path, url: &str, relay: &Relay) -> anyhow::Result<Child> {
    let health = format!("127.0.0.1:{}", free_ports::one()?);
    Child::start(programs::built("portreeve")?, &folder.join("agent.log"), |command| {
        command.args(["agent", "--url", url, "--proxy-id", &relay.id, "--health-listen", &health]);
        command.args(["--commands-max", &AT_ONCE.to_string()]).arg("--spool").arg(folder.join("spool"));
        command.env("PORTREEVE_API_KEY", &relay.key);
    })
}
