//! How does a service run by itself beside a bench? The product's own process, told where NATS and PostgreSQL are as an
//! operator tells it.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use harness::child::Child;
use harness::nats::password_of;
use harness::{Api, eventually, free_ports, programs};
use tempfile::TempDir;
use tokio::process::Command;

use crate::stand::Stand;

pub const MASTER_KEY: &str = "bench:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
pub const READY_AT_MOST: Duration = Duration::from_secs(60);
/// The longest that a create can be told to wait. It is added to what any answer may take, and folding a million events
/// takes long.
const WAIT_S: u32 = 60;

/// Starts one and does not wait for it; it ends when dropped. Its log lies in `folder`.
pub fn start(folder: &Path, nats_url: &str, service: &str, more: &[(&str, String)]) -> anyhow::Result<Child> {
    let health = format!("127.0.0.1:{}", free_ports::one()?);
    let log = folder.join(format!("{service}.log"));
    Child::start(programs::built("portreeve")?, &log, |command| {
        command.arg(service).env("PORTREEVE_HEALTH_LISTEN", health);
        command.env("PORTREEVE_NATS_URL", nats_url).env("PORTREEVE_NATS_PASSWORD", password_of(service));
        command.env("PORTREEVE_MASTER_KEY", MASTER_KEY);
        command.envs(more.iter().map(|(name, value)| (name, value)));
    })
}

/// The API, with nothing in memory yet; it ends when dropped.
pub struct LoneApi {
    admin: Api,
    _process: Child,
    _folder: TempDir,
}

impl LoneApi {
    /// On this stand and this database, once it is ready; what it needs there is made if it is absent.
    pub async fn start(stand: &Stand, database_url: &str) -> anyhow::Result<Self> {
        let token = set_up(stand, database_url).await?;
        let folder = tempfile::tempdir()?;
        let listen = format!("127.0.0.1:{}", free_ports::one()?);
        let told = [
            ("PORTREEVE_DATABASE_URL", database_url.to_owned()),
            ("PORTREEVE_LISTEN", listen.clone()),
            ("PORTREEVE_WAIT_S", WAIT_S.to_string()),
        ];
        let process = start(folder.path(), &stand.url(), "api", &told)?;
        let admin = Api::new(format!("http://{listen}"), Some(token))?;
        eventually("the API is ready", READY_AT_MOST, || async {
            let answer = admin.get("/readyz").await;
            let answer = answer.map_err(|error| format!("{error:#}: {}", process.log_tail()))?;
            if answer.status == 200 { Ok(()) } else { Err(answer.body.to_string()) }
        })
        .await?;
        Ok(Self { admin, _process: process, _folder: folder })
    }

    /// The administrator's view.
    pub fn admin(&self) -> &Api {
        &self.admin
    }
}

/// Streams, tables and the first administrator, whose token this is.
async fn set_up(stand: &Stand, database_url: &str) -> anyhow::Result<String> {
    let mut command = Command::new(programs::built("portreeve")?);
    command.arg("setup").env("PORTREEVE_NATS_URL", stand.url()).env("PORTREEVE_DATABASE_URL", database_url);
    command.env("PORTREEVE_MASTER_KEY", MASTER_KEY);
    for user in ["setup", "api"] {
        command.env(nats::password_variable(user), password_of(user));
    }
    let output = command.output().await?;
    ensure!(output.status.success(), "portreeve setup: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
