//! How soon can a person work? From the request to the first command over SSH, through the API,
//! beside the bare engine with the same image, which is told to run its sshd by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::real_engine::{IMAGE, podman, remove_leftovers};
use harness::{Api, Installation, Proof, RealEngine, Setup, Ssh, eventually, free_ports, ssh};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::Effort;
use crate::report::{Better, Report, Run, median};

const READY_AT_MOST: Duration = Duration::from_secs(60);
/// Ours takes at most so many times theirs.
const GOAL: f64 = 1.25;
/// What the bare container runs: a host key, the person's key, sshd.
const BARE: &str = "set -e; mkdir -p /var/lib/portreeve/ssh /run/sshd; \
    ssh-keygen -q -t ed25519 -N '' -f /var/lib/portreeve/ssh/ssh_host_ed25519_key; \
    echo \"$KEY\" > /etc/portreeve/authorized_keys/developer; exec /usr/sbin/sshd -D -e";

/// Seconds until the first byte of SSH, and until a command has run.
struct Ready {
    banner_s: f64,
    command_s: f64,
}

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let engine = RealEngine::start().await?;
    let installation = Installation::new(Setup::new(Some(engine.url()), free_ports::range(40)?))?;
    let up = installation.up().await?;
    let folder = tempfile::tempdir()?;
    let (key, public) = ssh::new_key(folder.path(), "bench").await?;
    let mut runs = Vec::new();
    let (mut ours_banner, mut theirs_banner) = (Vec::new(), Vec::new());
    let result = async {
        // The first container of an engine finds nothing warm.
        ours(up.admin(), &key, &public).await?;
        theirs(&key, &public).await?;
        for _ in 0..effort.rounds {
            let ours = ours(up.admin(), &key, &public).await?;
            let theirs = theirs(&key, &public).await?;
            runs.push(Run { ours: ours.command_s, theirs: theirs.command_s });
            ours_banner.push(ours.banner_s);
            theirs_banner.push(theirs.banner_s);
        }
        anyhow::Ok(())
    }
    .await;
    drop(up);
    let instance = std::fs::read_to_string(installation.data_dir().join("instance"))?;
    remove_leftovers(instance.trim());
    result?;
    let report = Report::new(
        "env_ready",
        "s",
        "podman run of the same image with sshd alone, to the first command over SSH",
        (Better::Lower, GOAL),
        runs,
    );
    let banner = json!({"ours": median(ours_banner), "theirs": median(theirs_banner)});
    Ok(report.with("to_ssh_banner_s", banner))
}

async fn ours(api: &Api, key: &Path, public: &str) -> anyhow::Result<Ready> {
    let body = json!({
        "name": "bench", "resources": {"cpu": 1, "memory": 1}, "ssh_public_keys": [public],
    });
    let began = Instant::now();
    let created = api.post("/api/environments", &body).await?.expect(202)?;
    let port = u16::try_from(created.body["ssh_port"].as_u64().context("no ssh_port")?)?;
    let ready = until_ready(port, key, began).await?;
    api.delete(&format!("/api/environments/{}", created.text("env_id")?)).await?.expect(202)?;
    Ok(ready)
}

async fn theirs(key: &Path, public: &str) -> anyhow::Result<Ready> {
    let port = *free_ports::range(1)?.start();
    let publish = format!("127.0.0.1:{port}:22");
    let public = format!("KEY={public}");
    let began = Instant::now();
    let started = podman(&[
        "run",
        "--detach",
        "--publish",
        &publish,
        "--env",
        &public,
        "--cpus",
        "1",
        "--memory",
        "1g",
        "--pids-limit",
        "4096",
        "--ulimit",
        "nofile=1024:4096",
        "--ulimit",
        "nproc=1024:4096",
        "--volume",
        "/gemini/code",
        "--entrypoint",
        "/bin/sh",
        IMAGE,
        "-c",
        BARE,
    ])?;
    ensure!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let id = String::from_utf8_lossy(&started.stdout).trim().to_owned();
    let ready = until_ready(port, key, began).await;
    podman(&["rm", "--force", "--volumes", "--time", "0", &id])?;
    ready
}

async fn until_ready(port: u16, key: &Path, began: Instant) -> anyhow::Result<Ready> {
    eventually("SSH answers", READY_AT_MOST, || async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        let mut first = [0; 4];
        stream.read_exact(&mut first).await.map_err(|error| error.to_string())?;
        if &first == b"SSH-" { Ok(()) } else { Err(format!("{first:?}")) }
    })
    .await?;
    let banner_s = began.elapsed().as_secs_f64();
    let proof = Proof::Key(key.to_owned());
    let door = Ssh { user: "developer".into(), host: "127.0.0.1".into(), port, proof, from: None };
    eventually("a command runs", READY_AT_MOST, || async {
        let output = door.run("true").await.map_err(|error| format!("{error:#}"))?;
        if output.success { Ok(()) } else { Err(output.stderr) }
    })
    .await?;
    Ok(Ready { banner_s, command_s: began.elapsed().as_secs_f64() })
}
