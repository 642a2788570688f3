//! How does a person log in? With OpenSSH's own programs, a password through sshpass.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The longest one command may take.
const COMMAND_AT_MOST: Duration = Duration::from_secs(60);
const CONNECT_AT_MOST_S: u32 = 10;

/// How the person proves who they are.
#[derive(Clone)]
pub enum Proof {
    Password(String),
    Key(PathBuf),
}

/// A way into one environment.
#[derive(Clone)]
pub struct Ssh {
    pub user: String,
    pub host: String,
    pub port: u16,
    pub proof: Proof,
    /// The address to come from; another one is another person to the lockout.
    pub from: Option<String>,
}

#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn expect_success(self) -> anyhow::Result<String> {
        if self.success {
            Ok(self.stdout)
        } else {
            bail!("ended with {:?}: {}{}", self.code, self.stderr, self.stdout)
        }
    }

    /// The server said no to who asked, as opposed to not being there.
    pub fn expect_refused(&self) -> anyhow::Result<()> {
        if !self.success && self.stderr.contains("Permission denied") {
            return Ok(());
        }
        bail!("was not refused but ended with {:?}: {}{}", self.code, self.stderr, self.stdout)
    }
}

impl Ssh {
    fn options(&self) -> Vec<String> {
        let mut options = vec![
            "StrictHostKeyChecking=no".to_owned(),
            "UserKnownHostsFile=/dev/null".to_owned(),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "LogLevel=ERROR".to_owned(),
            format!("ConnectTimeout={CONNECT_AT_MOST_S}"),
            "NumberOfPasswordPrompts=1".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            format!("Port={}", self.port),
        ];
        match &self.proof {
            Proof::Password(_) => options.push("PreferredAuthentications=password".to_owned()),
            Proof::Key(path) => {
                options.push("PreferredAuthentications=publickey".to_owned());
                options.push(format!("IdentityFile={}", path.display()));
            }
        }
        if let Some(from) = &self.from {
            options.push(format!("BindAddress={from}"));
        }
        options
    }

    /// One of OpenSSH's programs with all it needs to get in, except the place: see [`Ssh::at`].
    pub fn program(&self, program: &str) -> Command {
        let mut command = match &self.proof {
            Proof::Password(password) => {
                let mut command = Command::new("sshpass");
                command.arg("-e").arg(program).env("SSHPASS", password);
                command
            }
            Proof::Key(_) => Command::new(program),
        };
        command.args(["-F", "/dev/null"]);
        for option in self.options() {
            command.arg("-o").arg(option);
        }
        command.stdin(Stdio::null()).kill_on_drop(true).env_remove("SSH_AUTH_SOCK");
        command
    }

    /// For programs that start ssh by themselves, without the place. The password, if any, must be in
    /// the variable `SSHPASS`: see [`Ssh::lend`].
    pub fn words(&self) -> String {
        let password = if matches!(self.proof, Proof::Password(_)) { "sshpass -e " } else { "" };
        let options: Vec<String> = self.options().into_iter().map(|option| format!("-o {option}")).collect();
        format!("{password}ssh -F /dev/null {}", options.join(" "))
    }

    /// Gives another program what [`Ssh::words`] needs.
    pub fn lend(&self, command: &mut Command) {
        command.stdin(Stdio::null()).kill_on_drop(true).env_remove("SSH_AUTH_SOCK");
        if let Proof::Password(password) = &self.proof {
            command.env("SSHPASS", password);
        }
    }

    /// Options as lines of a configuration file.
    pub fn lines(&self) -> String {
        let (user, host) = (&self.user, &self.host);
        let options: Vec<String> = self.options().iter().map(|option| option.replacen('=', " ", 1)).collect();
        format!("User {user}\nHostName {host}\n{}\n", options.join("\n"))
    }

    pub fn at(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }

    /// One command in the environment.
    pub async fn run(&self, remote: &str) -> anyhow::Result<Output> {
        let mut command = self.program("ssh");
        command.arg(self.at()).arg(remote);
        output(command).await
    }

    /// A connection that stays until it is dropped.
    pub fn stay(&self, remote: &str) -> anyhow::Result<tokio::process::Child> {
        let mut command = self.program("ssh");
        command.arg(self.at()).arg(remote);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("cannot start ssh: deploy/dev/tools.sh installs it")
    }

    pub async fn copy_in(&self, local: &Path, remote: &str) -> anyhow::Result<Output> {
        let mut command = self.program("scp");
        command.arg(local).arg(self.place(remote));
        output(command).await
    }

    pub async fn copy_out(&self, remote: &str, local: &Path) -> anyhow::Result<Output> {
        let mut command = self.program("scp");
        command.arg(self.place(remote)).arg(local);
        output(command).await
    }

    /// A file there, for scp and rsync.
    pub fn place(&self, remote: &str) -> String {
        format!("{}:{remote}", self.at())
    }

    /// Commands of sftp, a line each.
    pub async fn sftp(&self, commands: &str) -> anyhow::Result<Output> {
        let script = tempfile::NamedTempFile::new()?;
        std::fs::write(script.path(), commands)?;
        let mut command = self.program("sftp");
        // A batch forbids passwords unless it is told otherwise.
        command.arg("-oBatchMode=no").arg("-b").arg(script.path());
        command.arg(self.at());
        output(command).await
    }
}

/// Runs it to its end.
pub async fn output(command: Command) -> anyhow::Result<Output> {
    fed(command, &[]).await
}

/// The same, with something to read, and then nothing more.
pub async fn fed(mut command: Command, input: &[u8]) -> anyhow::Result<Output> {
    let all = async {
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start it: deploy/dev/tools.sh installs it")?;
        let feeding = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = feeding {
                // whoever reads no more has its reasons
                stdin.write_all(input).await.ok();
            }
        };
        let (_, output) = tokio::join!(feed, child.wait_with_output());
        anyhow::Ok(output?)
    };
    let done = tokio::time::timeout(COMMAND_AT_MOST, all).await;
    let output = done.with_context(|| format!("not done within {} s", COMMAND_AT_MOST.as_secs()))??;
    Ok(Output {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// An address of this machine that is none of a loop: whoever connects from it to it is seen with it, also
/// behind a port that a container published.
pub fn own_address() -> anyhow::Result<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // nothing is sent: the kernel only chooses the way
    socket.connect("198.51.100.1:9").context("this machine has no way to anywhere, so no address")?;
    Ok(socket.local_addr()?.ip().to_string())
}

/// A new key pair: the private file, and the public line.
pub async fn new_key(folder: &Path, name: &str) -> anyhow::Result<(PathBuf, String)> {
    let path = folder.join(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
    output(command).await?.expect_success()?;
    let public = std::fs::read_to_string(path.with_extension("pub"))?;
    Ok((path, public.trim().to_owned()))
}
