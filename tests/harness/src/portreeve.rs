//! How does a test run the product? As people do: `portreeve up` on its own data directory, which
//! can be killed at any moment and started again on the same one.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::{Child, Process, descendants, processes};
use crate::eventually::eventually;
use crate::http::Api;
use crate::{free_ports, programs};

/// From nothing, with the first `initdb` on a busy machine.
const READY_AT_MOST: Duration = Duration::from_secs(90);
/// How long a stop may take before it counts as hanging.
const STOP_AT_MOST: Duration = Duration::from_secs(45);

/// What an installation is started with.
#[derive(Clone)]
pub struct Setup {
    /// `unix:///...`; `None` lets `up` find or start an engine.
    pub container_host: Option<String>,
    pub ports: RangeInclusive<u16>,
    /// Where the SSH gateway listens.
    pub ssh_host: &'static str,
    /// More environment variables.
    pub variables: Vec<(String, String)>,
}

impl Setup {
    pub fn new(container_host: Option<String>, ports: RangeInclusive<u16>) -> Self {
        Self { container_host, ports, ssh_host: "127.0.0.1", variables: Vec::new() }
    }

    /// The SSH gateway and the ports of environments listen for every address.
    pub fn for_every_address(self) -> Self {
        Self { ssh_host: "0.0.0.0", ..self }.with("PORTREEVE_BIND_HOST", "0.0.0.0")
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A folder and addresses that stay the same however often the product is started on them.
pub struct Installation {
    folder: tempfile::TempDir,
    setup: Setup,
    listen: u16,
    ssh_listen: u16,
}

impl Installation {
    pub fn new(setup: Setup) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ptr-").tempdir()?;
        let (listen, ssh_listen) = (free_ports::one()?, free_ports::one()?);
        Ok(Self { folder, setup, listen, ssh_listen })
    }

    /// Servers of this installation that run, whoever started them: `program` with the data directory
    /// in its command line.
    pub fn running(&self, program: &str) -> Vec<Process> {
        let folder = self.folder.path().display().to_string();
        let mut found = processes();
        found.retain(|process| process.is(program) && process.command.contains(&folder));
        found
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Everything that was ever written to standard output and error.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("up.log")
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listen)
    }

    /// The port of the SSH gateway.
    pub fn ssh_port(&self) -> u16 {
        self.ssh_listen
    }

    /// The administrator's token; there after the first start.
    pub fn admin_token(&self) -> anyhow::Result<String> {
        let path = self.data_dir().join("admin.token");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().to_owned())
    }

    pub fn admin(&self) -> anyhow::Result<Api> {
        Api::new(self.url(), Some(self.admin_token()?))
    }

    /// A file of the data directory, as JSON.
    pub fn kept(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let path = self.data_dir().join(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Where the embedded NATS server answers.
    pub fn nats_url(&self) -> anyhow::Result<String> {
        let port = self.kept("ports.json")?["nats"].as_u64().context("ports.json names no port of NATS")?;
        Ok(format!("nats://127.0.0.1:{port}"))
    }

    pub fn nats_password(&self, user: &str) -> anyhow::Result<String> {
        let secrets = self.kept("secrets.json")?;
        let password = secrets["nats"][user].as_str();
        Ok(password.with_context(|| format!("secrets.json has no NATS user {user}"))?.to_owned())
    }

    /// Where the embedded PostgreSQL answers, with user and password.
    pub fn database_url(&self) -> anyhow::Result<String> {
        let port = self.kept("ports.json")?["postgres"]
            .as_u64()
            .context("ports.json names no port of PostgreSQL")?;
        let secrets = self.kept("secrets.json")?;
        let password = secrets["postgres"].as_str().context("secrets.json has no password of PostgreSQL")?;
        Ok(format!("postgres://portreeve:{password}@127.0.0.1:{port}/portreeve"))
    }

    /// A command of the product's that talks to this installation.
    pub fn client_command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(programs::built("portreeve")?);
        command.args(arguments).env("PORTREEVE_URL", self.url()).env("PORTREEVE_TOKEN", self.admin_token()?);
        command.env("PORTREEVE_DATA_DIR", self.data_dir());
        Ok(command)
    }

    /// Starts the product and does not wait for it.
    pub fn spawn(&self) -> anyhow::Result<Child> {
        Child::start(programs::built("portreeve")?, &self.log(), |command| {
            command.arg("up");
            command.arg("--data-dir").arg(self.data_dir());
            command.arg("--listen").arg(format!("127.0.0.1:{}", self.listen));
            command.arg("--ssh-listen").arg(format!("{}:{}", self.setup.ssh_host, self.ssh_listen));
            let (first, last) = (self.setup.ports.start(), self.setup.ports.end());
            command.arg("--ports").arg(format!("{first}-{last}"));
            if let Some(host) = &self.setup.container_host {
                command.arg("--container-host").arg(host);
            }
            let variables = self.setup.variables.iter();
            command.envs(variables.map(|(name, value)| (name.as_str(), value.as_str())));
        })
    }

    /// One service alone beside the product, on its log: `gateway`, for example.
    pub fn service(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Child> {
        let key = self.data_dir().join("master.key");
        let (url, password) = (self.nats_url()?, self.nats_password(name)?);
        let log = self.folder.path().join(format!("{name}.log"));
        Child::start(programs::built("portreeve")?, &log, |command| {
            command.arg(name).args(["--nats", &url]).args(arguments);
            command.env("PORTREEVE_NATS_PASSWORD", password).env("PORTREEVE_MASTER_KEY_FILE", key);
        })
    }

    /// Starts the product and waits until it says that it is ready.
    pub async fn up(&self) -> anyhow::Result<Portreeve> {
        let began = Instant::now();
        let mut process = self.spawn()?;
        let api = Api::new(self.url(), None)?;
        let ready = eventually("portreeve is ready", READY_AT_MOST, || {
            let ended = process.ended();
            let api = api.clone();
            async move {
                // An end is an answer too: nothing will change any more.
                if let Some(status) = ended {
                    return Ok(Err(status));
                }
                match api.get("/readyz").await {
                    Ok(answer) if answer.status == 200 => Ok(Ok(())),
                    Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                    Err(error) => Err(format!("{error:#}")),
                }
            }
        })
        .await
        .with_context(|| process.log_tail())?;
        if let Err(status) = ready {
            bail!("portreeve up ended with {status} before it was ready:\n{}", process.log_tail());
        }
        let admin = self.admin()?;
        Ok(Portreeve { process, admin, ready_after: began.elapsed() })
    }
}

impl Drop for Installation {
    /// Whatever still uses the folder, a test is over.
    fn drop(&mut self) {
        let folder = self.folder.path().display().to_string();
        for process in processes().into_iter().filter(|process| process.command.contains(&folder)) {
            if let Ok(pid) = i32::try_from(process.pid) {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// The product while it runs; killed with everything it started when dropped.
pub struct Portreeve {
    process: Child,
    admin: Api,
    ready_after: Duration,
}

impl Portreeve {
    /// The administrator's view.
    pub fn admin(&self) -> &Api {
        &self.admin
    }

    /// From the start of the process to ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.ended()
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// `kill -9` of the whole process group, children included.
    pub fn kill_everything(mut self) {
        self.process.kill_everything();
    }

    /// A process that it started, by the program's name.
    pub fn child(&self, program: &str) -> Option<Process> {
        let family = descendants(self.pid());
        let mut members = processes();
        members.retain(|process| family.contains(&process.pid));
        // The oldest: PostgreSQL's own children carry its name too.
        let found: Vec<Process> = members.iter().filter(|process| process.is(program)).cloned().collect();
        let parent_is_no_match = |process: &&Process| !found.iter().any(|other| other.pid == process.parent);
        found.iter().find(parent_is_no_match).cloned()
    }

    /// `kill -9` of one process that it started.
    pub fn kill_child(&self, program: &str) -> anyhow::Result<()> {
        let child = self.child(program).with_context(|| format!("portreeve runs no {program}"))?;
        Ok(kill(Pid::from_raw(i32::try_from(child.pid)?), Signal::SIGKILL)?)
    }

    /// Ctrl-C, and waits for the end.
    pub async fn stop(mut self) -> anyhow::Result<std::process::ExitStatus> {
        self.process.signal(Signal::SIGINT)?;
        let process = &mut self.process;
        eventually("portreeve up ends after Ctrl-C", STOP_AT_MOST, || {
            std::future::ready(process.ended().ok_or("it runs"))
        })
        .await
        .with_context(|| self.process.log_tail())
    }
}
