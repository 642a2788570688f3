//! Who else leads SSH connections on by user name? sshpiperd on a free port, where `tests/bench/peers/sshpiper.sh`
//! finds it, with the same key toward the person and toward the environment.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use harness::child::Child;
use harness::{eventually, free_ports, programs};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Whom it leads on.
pub const USER: &str = "bench";
const LISTENS_AT_MOST: Duration = Duration::from_secs(20);

/// Ended when dropped.
pub struct Sshpiper {
    pub port: u16,
    pub process: Child,
}

impl Sshpiper {
    /// To the environment's own port; `None` where it is not to be had.
    pub async fn start(folder: &Path, key: &Path, upstream: u16) -> anyhow::Result<Option<Self>> {
        let script = programs::repository().join("tests/bench/peers/sshpiper.sh");
        let found = Command::new(script).stderr(Stdio::inherit()).output().await?;
        ensure!(found.status.success(), "tests/bench/peers/sshpiper.sh failed");
        let place = String::from_utf8(found.stdout)?;
        if place.trim().is_empty() {
            eprintln!("without sshpiper: PORTREEVE_SSHPIPER names no sources of it");
            return Ok(None);
        }
        let place = PathBuf::from(place.trim());
        let (config, port) = (folder.join("sshpiper.yaml"), free_ports::one()?);
        std::fs::write(&config, pipe(key, upstream))?;
        let process = Child::start(place.join("sshpiperd"), &folder.join("sshpiper.log"), |command| {
            command.args(["--address", "127.0.0.1", "--port", &port.to_string(), "--log-level", "error"]);
            command.args(["--server-key-generate-mode", "always", "--server-key"]);
            command.arg(folder.join("sshpiper-key")).arg(place.join("yaml"));
            command.arg("--config").arg(&config).arg("--no-check-perm");
        })?;
        eventually("sshpiper listens", LISTENS_AT_MOST, || async {
            let connected = TcpStream::connect(("127.0.0.1", port)).await;
            connected.map(drop).map_err(|error| format!("{error}: {}", process.log_tail()))
        })
        .await?;
        Ok(Some(Self { port, process }))
    }
}

fn pipe(key: &Path, upstream: u16) -> String {
    format!(
        "version: \"1.0\"\npipes:\n\
         - from:\n  - username: {USER}\n    authorized_keys: {public}\n  \
         to:\n    host: 127.0.0.1:{upstream}\n    username: developer\n    private_key: {private}\n    \
         ignore_hostkey: true\n",
        public = key.with_extension("pub").display(),
        private = key.display(),
    )
}
