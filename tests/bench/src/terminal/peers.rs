//! Who else serves terminals to browsers? terminado and gotty on free ports, installed by
//! `tests/bench/peers/install.sh`, with a shell of its own for each visitor.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::{eventually, free_ports, programs};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const LISTENS_AT_MOST: Duration = Duration::from_secs(20);
/// Ended when dropped.
pub struct Peers {
    terminado: (u16, Child),
    gotty: Option<(u16, Child)>,
}

impl Peers {
    /// `shell`: the command that each visitor gets.
    pub async fn start(folder: &Path, shell: &[String]) -> anyhow::Result<Self> {
        let own = programs::repository().join("tests/bench/peers");
        let installed = Command::new(own.join("install.sh")).stderr(Stdio::inherit()).output().await?;
        ensure!(installed.status.success(), "tests/bench/peers/install.sh failed");
        let place = PathBuf::from(String::from_utf8(installed.stdout)?.trim());
        let terminado = free_ports::one()?;
        let mut command = Command::new("python3");
        command.arg(own.join("terminado_server.py")).arg(terminado.to_string()).args(shell);
        command.env("PYTHONPATH", place.join("python"));
        let terminado = (terminado, start(command, folder, terminado).await.context("terminado")?);
        let program = place.join("gotty");
        let gotty = if program.is_file() {
            let port = free_ports::one()?;
            let mut command = Command::new(program);
            command
                .args(["--permit-write", "--address", "127.0.0.1", "--port", &port.to_string()])
                .args(shell);
            Some((port, start(command, folder, port).await.context("gotty")?))
        } else {
            None
        };
        Ok(Self { terminado, gotty })
    }

    pub fn terminado_port(&self) -> u16 {
        self.terminado.0
    }

    pub fn has_gotty(&self) -> bool {
        self.gotty.is_some()
    }

    pub fn gotty_port(&self) -> anyhow::Result<u16> {
        Ok(self.gotty.as_ref().context("gotty is not here")?.0)
    }
}

async fn start(mut command: Command, folder: &Path, port: u16) -> anyhow::Result<Child> {
    command.current_dir(folder).env("HOME", folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    eventually("it listens", LISTENS_AT_MOST, || async {
        TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| error.to_string())
    })
    .await?;
    Ok(child)
}
