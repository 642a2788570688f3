//! How does a test get a server to log in to? A real sshd with one account, in its own mount namespace.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::child::Child;
use crate::{eventually, free_ports};

/// The account's name.
pub const USER: &str = "developer";
const READY_AT_MOST: Duration = Duration::from_secs(20);

/// An sshd that runs; ended and forgotten when dropped.
pub struct Sshd {
    child: Child,
    folder: TempDir,
    pub port: u16,
}

impl Sshd {
    /// `more` are further lines of its configuration; `{folder}` in it is the folder of [`Sshd::folder`].
    pub async fn start(password: &str, more: &str) -> anyhow::Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "a test that makes an account needs root");
        ensure!(Path::new("/usr/sbin/sshd").exists(), "sshd is missing: deploy/dev/tools.sh installs it");
        let folder = tempfile::tempdir()?;
        let port = free_ports::one()?;
        let dir = folder.path().display().to_string();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {dir}/host_key\nUsePAM no\nLogLevel VERBOSE\n\
             PasswordAuthentication yes\nKbdInteractiveAuthentication no\nUseDNS no\nPrintMotd no\n\
             StrictModes no\nMaxSessions 256\nPidFile none\nSubsystem sftp internal-sftp\n{}\n",
            more.replace("{folder}", &dir)
        );
        std::fs::write(folder.path().join("sshd_config"), config)?;
        let script = format!(
            "set -e\nchmod 755 {dir}\n[ -e {dir}/host_key ] || cp -a /etc {dir}/etc\nmount --bind {dir}/etc /etc\n\
             mount -t tmpfs tmpfs /run\nmkdir -p /run/sshd\n\
             if [ ! -e {dir}/host_key ]; then\nmkdir -p {dir}/home\n\
             useradd --create-home --home-dir {dir}/home/{USER} --shell /bin/bash {USER}\n\
             echo '{USER}:{password}' | chpasswd\nssh-keygen -q -t ed25519 -N '' -f {dir}/host_key\nfi\n\
             exec /usr/sbin/sshd -D -e -f {dir}/sshd_config\n"
        );
        std::fs::write(folder.path().join("start.sh"), script)?;
        let sshd = Self { child: Self::run(folder.path())?, folder, port };
        sshd.answers().await?;
        Ok(sshd)
    }

    fn run(folder: &Path) -> anyhow::Result<Child> {
        Child::start("unshare", &folder.join("log"), |command| {
            command.arg("--mount").arg("bash").arg(folder.join("start.sh"));
        })
    }

    async fn answers(&self) -> anyhow::Result<()> {
        eventually("sshd answers", READY_AT_MOST, || async {
            let connected = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
            connected.map(drop).map_err(|error| format!("{error}: {}", self.log()))
        })
        .await
    }

    /// `kill -9` with everything that runs there; then the same server again, at the same port.
    pub async fn kill_and_start(&mut self) -> anyhow::Result<()> {
        self.child.kill_everything();
        self.child = Self::run(self.folder.path())?;
        self.answers().await
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Runs a command where its account lives: it sees this server's `/etc` and nobody else's.
    pub async fn run_inside(&self, command: &[&str]) -> anyhow::Result<()> {
        let mut entering = tokio::process::Command::new("nsenter");
        entering.args(["--target", &self.pid().to_string(), "--mount", "--"]).args(command);
        let output = entering.output().await.context("nsenter")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {said}");
        Ok(())
    }

    /// It reads its configuration and its keys again; resolves when it listens again.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let log = self.folder().join("log");
        let starts = || std::fs::read_to_string(&log).unwrap_or_default().matches("Server listening").count();
        let before = starts();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP)?;
        eventually("sshd listens again", READY_AT_MOST, || async {
            if starts() > before { Ok(()) } else { Err(self.log()) }
        })
        .await
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        self.child.log_tail()
    }

    /// The public line of its host key.
    pub fn host_key(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(self.folder().join("host_key.pub")).context("the host key")
    }
}
