//! Who else runs one command on many servers? OpenSSH in a loop, Ansible and parallel-ssh, on the same servers with the
//! same key, each over connections that stay open between two runs.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::sshd::USER;
use harness::{programs, ssh};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::asking::{COMMAND, SAID};
use super::stage::{AT_ONCE, SHARED_FOR_S, Stage, ZONE};

/// Debian's, for which deploy/dev/tools.sh chose Ansible's release.
const PYTHON: &str = "/usr/bin/python3";
const RUNS_AT_MOST: Duration = Duration::from_secs(60);

/// Seconds of a bare loop, as many at once: `xargs -P 50 -I{} ssh {} uptime`.
pub async fn openssh(stage: &Stage) -> anyhow::Result<f64> {
    let names: String = stage.targets.iter().map(|target| format!("{}\n", target.name)).collect();
    let mut all = Command::new("xargs");
    all.args(["-P", &AT_ONCE.to_string(), "-I{}", "ssh", "-F"]).arg(stage.ssh_config()).args(["{}", COMMAND]);
    all.env_remove("SSH_AUTH_SOCK");
    let began = Instant::now();
    let said = ssh::fed(all, names.as_bytes()).await?.expect_success()?;
    let took = began.elapsed().as_secs_f64();
    everybody_said(&said, SAID, stage)?;
    Ok(took)
}

/// Seconds of `portreeve run`, from the start of the program to the table of what was said.
pub async fn portreeve_run(stage: &Stage) -> anyhow::Result<f64> {
    let at_once = AT_ONCE.to_string();
    let run = ["run", "--zone", ZONE, "--concurrency", &at_once, "--", COMMAND];
    let command = Command::from(stage.installation.client_command(&run)?);
    let began = Instant::now();
    let said = ssh::output(command).await?.expect_success()?;
    let took = began.elapsed().as_secs_f64();
    // the table cuts long lines at their end
    everybody_said(&said, " up ", stage)?;
    Ok(took)
}

fn everybody_said(text: &str, words: &str, stage: &Stage) -> anyhow::Result<()> {
    let said = text.matches(words).count();
    ensure!(said == stage.targets.len(), "{said} of {} said how it went: {text}", stage.targets.len());
    Ok(())
}

/// ansible-core as people tune it: connections that stay, no copying of files, no looking for an interpreter.
pub struct Ansible {
    folder: PathBuf,
    packages: String,
}

impl Ansible {
    pub fn on(stage: &Stage) -> anyhow::Result<Self> {
        let packages = ["ansible", "python"].map(|name| programs::tools().join(name));
        ensure!(packages[0].is_dir(), "ansible-core is missing: deploy/dev/tools.sh installs it");
        let folder = stage.folder().to_owned();
        let mut inventory = String::new();
        for target in &stage.targets {
            inventory += &format!("{} ansible_host=127.0.0.1 ansible_port={}\n", target.name, target.port());
        }
        std::fs::write(folder.join("inventory"), inventory)?;
        let settings = format!(
            "[defaults]\ninventory = {folder}/inventory\nforks = {AT_ONCE}\nremote_user = {USER}\n\
             private_key_file = {key}\nhost_key_checking = true\ninterpreter_python = {PYTHON}\nnocolor = true\n\
             [ssh_connection]\npipelining = true\ncontrol_path_dir = {folder}/cp\n\
             ssh_args = -F /dev/null -o ControlMaster=auto -o ControlPersist={SHARED_FOR_S} \
             -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o LogLevel=ERROR\n",
            folder = folder.display(),
            key = stage.key().display(),
            known = stage.known_hosts().display(),
        );
        std::fs::write(folder.join("ansible.cfg"), settings)?;
        Ok(Self { folder, packages: packages.map(|path| path.display().to_string()).join(":") })
    }

    /// Seconds of `ansible all -m command -a uptime`; of another module, likewise.
    pub async fn run(&self, stage: &Stage, module: &str) -> anyhow::Result<f64> {
        let mut all = Command::new(PYTHON);
        all.args(["-m", "ansible", "adhoc", "all", "--module-name", module, "--args", COMMAND]);
        all.env("PYTHONPATH", &self.packages).env("PYTHONWARNINGS", "ignore").env("LC_ALL", "C.UTF-8");
        all.env("HOME", &self.folder).env("ANSIBLE_HOME", self.folder.join("ansible"));
        all.env("ANSIBLE_CONFIG", self.folder.join("ansible.cfg")).env_remove("SSH_AUTH_SOCK");
        all.current_dir(&self.folder).stdin(Stdio::null());
        let began = Instant::now();
        let said = ssh::output(all).await?.expect_success()?;
        let took = began.elapsed().as_secs_f64();
        everybody_said(&said, SAID, stage)?;
        Ok(took)
    }
}

/// A program that runs on and keeps its connections; ended when dropped.
pub struct ParallelSsh {
    _process: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl ParallelSsh {
    /// `None` where it is not to be had.
    pub async fn on(stage: &Stage) -> anyhow::Result<Option<Self>> {
        let own = programs::repository().join("tests/bench/peers");
        let found = Command::new(own.join("parallel_ssh.sh")).stderr(Stdio::inherit()).output().await?;
        ensure!(found.status.success(), "tests/bench/peers/parallel_ssh.sh failed");
        let place = String::from_utf8(found.stdout)?;
        if place.trim().is_empty() {
            return Ok(None);
        }
        let mut command = Command::new(PYTHON);
        command.arg(own.join("parallel_ssh.py")).arg(stage.key());
        command.args([USER, &AT_ONCE.to_string(), COMMAND]);
        command.args(stage.targets.iter().map(|target| target.port().to_string()));
        command.env("PYTHONPATH", place.trim()).env("HOME", stage.folder()).env_remove("SSH_AUTH_SOCK");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let ask = process.stdin.take().context("no stdin")?;
        let answers = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        Ok(Some(Self { _process: process, ask, answers }))
    }

    /// Seconds of one run.
    pub async fn run(&mut self, stage: &Stage) -> anyhow::Result<f64> {
        let began = Instant::now();
        self.ask.write_all(b"\n").await?;
        let answer =
            timeout(RUNS_AT_MOST, self.answers.next_line()).await.context("parallel-ssh is silent")??;
        let took = began.elapsed().as_secs_f64();
        let good: usize = answer.context("parallel-ssh ended")?.parse()?;
        ensure!(good == stage.targets.len(), "it went well on {good} of {}", stage.targets.len());
        Ok(took)
    }
}
