//! What does the gateway cost? The same ssh with the same cipher through it, straight to the environment's
//! port, by ProxyJump through a bare sshd, and through sshpiper where that is here.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::child::descendants;
use harness::real_engine::remove_leftovers;
use harness::{Installation, Portreeve, Proof, RealEngine, Setup, Ssh, Sshd, eventually, free_ports, ssh};
use serde_json::json;
use tokio::process::Command;

use crate::Effort;
use crate::report::{Better, Report, Run, median};
use crate::sshpiper::{self, Sshpiper};

const RUNNING_AT_MOST: Duration = Duration::from_secs(60);
/// One copy, in MiB.
const COPY_MIB: usize = 256;
/// Logins of one measure, and how many are under way at once.
const LOGINS: usize = 60;
const LOGINS_AT_ONCE: usize = 4;
const CIPHER: &str = "aes128-gcm@openssh.com";
/// Of the rate of a direct connection.
const COPY_GOAL: f64 = 0.8;
/// Of the rate of logins at the port: the gateway makes two of each.
const CONNECT_GOAL: f64 = 0.5;
/// Of the rate by ProxyJump.
const JUMP_GOAL: f64 = 1.0;
/// Of the clock in `/proc/<pid>/stat`.
const TICKS_A_SECOND: f64 = 100.0;

#[derive(Clone, Copy)]
pub enum Measure {
    Download,
    Upload,
    Connect,
    Jump,
}

/// The ways into one environment.
struct Ways {
    gateway: Way,
    direct: Way,
    jump: Way,
    sshpiper: Option<(Way, Sshpiper)>,
    folder: tempfile::TempDir,
}

/// `ssh -F CONFIG HOST`.
struct Way {
    config: std::path::PathBuf,
    host: &'static str,
}

impl Way {
    fn run(&self, remote: &str) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(&self.config).args(["-c", CIPHER, self.host, remote]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).env_remove("SSH_AUTH_SOCK");
        command
    }
}

pub async fn measure(what: Measure, effort: Effort) -> anyhow::Result<Report> {
    let engine = RealEngine::start().await?;
    let installation = Installation::new(Setup::new(Some(engine.url()), free_ports::range(10)?))?;
    let up = installation.up().await?;
    let result = on(what, effort, &installation, &up).await;
    drop(up);
    let instance = std::fs::read_to_string(installation.data_dir().join("instance"))?;
    remove_leftovers(instance.trim());
    result
}

async fn on(
    what: Measure,
    effort: Effort,
    installation: &Installation,
    up: &Portreeve,
) -> anyhow::Result<Report> {
    let bastion = Sshd::start("unused-Password-1", "AuthorizedKeysFile {folder}/keys").await?;
    let ways = ways(installation, up, &bastion).await?;
    let mib = effort.of(COPY_MIB);
    let file = ways.folder.path().join("big");
    if matches!(what, Measure::Upload) {
        std::fs::write(&file, vec![7; mib << 20])?;
    }
    let prepare = format!("head -c {} /dev/urandom >/tmp/big", mib << 20);
    ensure!(ways.direct.run(&prepare).status().await?.success(), "the environment has no room");
    let theirs = if matches!(what, Measure::Jump) { &ways.jump } else { &ways.direct };
    let (mut runs, mut cpu, mut cpu_theirs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut beside, mut cpu_beside) = (Vec::new(), Vec::new());
    for round in 0..=effort.rounds {
        let before = (cpu_s(up.pid())?, cpu_s(bastion.pid())?);
        let ours = rate(what, &ways.gateway, effort, mib, &file).await?;
        let theirs = rate(what, theirs, effort, mib, &file).await?;
        // what a connection took is known when its processes have ended
        eventually("the bastion is alone", RUNNING_AT_MOST, || async {
            let there = descendants(bastion.pid());
            if there.is_empty() { Ok(()) } else { Err(format!("{there:?}")) }
        })
        .await?;
        let after = (cpu_s(up.pid())?, cpu_s(bastion.pid())?);
        let mut piped = None;
        if let Some((way, piper)) = &ways.sshpiper {
            let before = cpu_s(piper.process.pid())?;
            let rate = rate(what, way, effort, mib, &file).await.context("sshpiper")?;
            piped = Some((rate, cpu_s(piper.process.pid())? - before));
        }
        // the first round warms up
        if round > 0 {
            runs.push(Run { ours, theirs });
            cpu.push(after.0 - before.0);
            cpu_theirs.push(after.1 - before.1);
            if let Some((rate, cpu_s)) = piped {
                beside.push(rate);
                cpu_beside.push(cpu_s);
            }
        }
    }
    let direct = "the environment's own port, OpenSSH at both ends";
    let (name, unit, against, goal) = match what {
        Measure::Download => ("gateway_download", "MB/s", direct, COPY_GOAL),
        Measure::Upload => ("gateway_upload", "MB/s", direct, COPY_GOAL),
        Measure::Connect => ("gateway_connect", "logins/s", direct, CONNECT_GOAL),
        Measure::Jump => ("gateway_jump", "MB/s", "OpenSSH ProxyJump through a bare sshd", JUMP_GOAL),
    };
    let mut report = Report::new(name, unit, against, (Better::Higher, goal), runs);
    report = report.with("product_cpu_s_a_round", median(cpu));
    if matches!(what, Measure::Jump) {
        // the person's machine has a second ssh to run besides
        report = report.with("bastion_cpu_s_a_round", median(cpu_theirs));
    }
    if !beside.is_empty() {
        report = report.with("sshpiper", median(beside)).with("sshpiper_cpu_s_a_round", median(cpu_beside));
    }
    Ok(report)
}

async fn ways(installation: &Installation, up: &Portreeve, bastion: &Sshd) -> anyhow::Result<Ways> {
    let folder = tempfile::tempdir()?;
    let (key, public) = ssh::new_key(folder.path(), "bench").await?;
    std::fs::write(bastion.folder().join("keys"), format!("{public}\n"))?;
    let body = json!({
        "name": "bench", "resources": {"cpu": 2, "memory": 1}, "ssh_public_keys": [public],
    });
    let created = up.admin().post("/api/environments", &body).await?.expect(202)?;
    let env = created.text("env_id")?;
    let port = u16::try_from(created.body["ssh_port"].as_u64().context("no ssh_port")?)?;
    eventually("it runs", RUNNING_AT_MOST, || async {
        let shown = up.admin().get(&format!("/api/environments/{env}")).await;
        let shown = shown.map_err(|error| format!("{error:#}"))?.body;
        if shown["status"] == "running" { Ok(()) } else { Err(shown.to_string()) }
    })
    .await?;
    let door = |user: &str, port| {
        let proof = Proof::Key(key.clone());
        Ssh { user: user.to_owned(), host: "127.0.0.1".to_owned(), port, proof, from: None }.lines()
    };
    let direct = door("developer", port);
    let sshpiper = Sshpiper::start(folder.path(), &key, port).await?;
    let config = folder.path().join("config");
    let text = format!(
        "Host gateway\n{}Host direct\n{direct}Host bastion\n{}Host jump\nProxyJump bastion\n{direct}{}",
        door(env, installation.ssh_port()),
        door(harness::sshd::USER, bastion.port),
        sshpiper.as_ref().map_or_else(String::new, |piper| {
            format!("Host sshpiper\n{}", door(sshpiper::USER, piper.port))
        }),
    );
    std::fs::write(&config, text)?;
    let way = |host| Way { config: config.clone(), host };
    let sshpiper = sshpiper.map(|piper| (way("sshpiper"), piper));
    Ok(Ways { gateway: way("gateway"), direct: way("direct"), jump: way("jump"), sshpiper, folder })
}

async fn rate(
    what: Measure,
    way: &Way,
    effort: Effort,
    mib: usize,
    file: &std::path::Path,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let amount = match what {
        Measure::Download | Measure::Jump => {
            ensure!(way.run("cat /tmp/big").status().await?.success(), "the download failed");
            (mib << 20) as f64 / 1e6
        }
        Measure::Upload => {
            let mut upload = way.run("cat >/dev/null");
            ensure!(upload.stdin(File::open(file)?).status().await?.success(), "the upload failed");
            (mib << 20) as f64 / 1e6
        }
        Measure::Connect => {
            let each = effort.of(LOGINS / LOGINS_AT_ONCE);
            let workers = (0..LOGINS_AT_ONCE).map(|_| async {
                for _ in 0..each {
                    ensure!(way.run("true").status().await?.success(), "a login failed");
                }
                anyhow::Ok(())
            });
            futures_util::future::try_join_all(workers).await?;
            (each * LOGINS_AT_ONCE) as f64
        }
    };
    Ok(amount / began.elapsed().as_secs_f64())
}

/// Seconds of processor that a process has had, and those of its children that have ended.
fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |field: usize| -> anyhow::Result<f64> {
        Ok(after_name.split_whitespace().nth(field).context("a short stat")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?) / TICKS_A_SECOND)
}
