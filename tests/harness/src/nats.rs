//! Where does a test get its own nats-server? On a free port, with its own store; gone when dropped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::child::Child;
use crate::{eventually, free_ports, programs};

/// A server answers within, or its log is shown.
const READY_WAIT_MAX: Duration = Duration::from_secs(20);
/// Ports tried: another program may take a free one first.
const PORTS_TRIED_MAX: usize = 5;
/// Users of the product's configuration.
const USERS: [&str; 8] = ["setup", "api", "provisioner", "projector", "audit", "gateway", "relay", "taps"];
/// The public key that derives from the password of `taps` (`portreeve nats-issuer`).
const TAPS_ISSUER: &str = "AC3ND44Q56EOBKC226XJTSOGRNRSBV6Q3F7E47JRY3UGJE6EERPFFYII";

/// A real server. It survives nothing on purpose: [`NatsServer::kill`] is `kill -9`.
pub struct NatsServer {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl NatsServer {
    /// Starts a server with this configuration, which may use `$PORTREEVE_NATS_HOST`, `_PORT` and
    /// `_STORE` besides `variables`.
    pub async fn start(conf: &str, variables: Vec<(String, String)>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portreeve-nats-").tempdir()?;
        std::fs::write(folder.path().join("server.conf"), conf)?;
        let mut server = Self { child: None, port: 0, folder, variables };
        let mut failed = None;
        for _ in 0..PORTS_TRIED_MAX {
            server.port = free_ports::one()?;
            match server.restart().await {
                Ok(()) => return Ok(server),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.context("no port was tried")?)
    }

    /// Starts a server with the product's configuration; each user's password is [`password_of`].
    pub async fn start_with_users(conf: &str) -> anyhow::Result<Self> {
        let password = |user: &&str| {
            let name = format!("PORTREEVE_NATS_PASSWORD_{}", user.to_uppercase());
            (name, format!("\"{}\"", password_of(user)))
        };
        let issuer = ("PORTREEVE_NATS_TAPS_ISSUER".to_owned(), format!("\"{TAPS_ISSUER}\""));
        Self::start(conf, USERS.iter().map(password).chain([issuer]).collect()).await
    }

    /// `nats://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the streams.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// `kill -9`; port and store stay for [`NatsServer::restart`].
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Starts (again) on the same port and store, and waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let log = self.folder.path().join("nats-server.log");
        let conf = self.folder.path().join("server.conf");
        let mut child = Child::start(programs::tool("bin/nats-server")?, &log, |command| {
            command.arg("-c").arg(&conf);
            command.env("PORTREEVE_NATS_HOST", "127.0.0.1");
            command.env("PORTREEVE_NATS_PORT", self.port.to_string());
            command.env("PORTREEVE_NATS_STORE", quoted(&self.store()));
            command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        })?;
        let port = self.port;
        eventually("nats-server is ready", READY_WAIT_MAX, || {
            let ended = child.ended();
            let tail = child.log_tail();
            async move {
                if ended.is_some() {
                    return Ok(Err(tail));
                }
                ready(port).await.map(Ok).map_err(|error| format!("{error:#}\n{tail}"))
            }
        })
        .await?
        .map_err(|log| anyhow::anyhow!("nats-server ended:\n{log}"))?;
        self.child = Some(child);
        Ok(())
    }
}

/// Looks like a number on purpose: who forgets the quotes finds out here.
pub fn password_of(user: &str) -> String {
    let position = USERS.iter().position(|one| *one == user).unwrap_or(USERS.len());
    format!("{}{}", 1_000_000, position)
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// The server greets a client before it is asked anything.
async fn ready(port: u16) -> anyhow::Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut greeting = String::new();
    BufReader::new(stream).read_line(&mut greeting).await?;
    if !greeting.contains("\"jetstream\":true") {
        bail!("it greets without JetStream: {greeting}");
    }
    Ok(())
}
