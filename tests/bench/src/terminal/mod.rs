//! How fast is the web terminal? A keystroke and its echo, and 100 MB at once, beside plain ssh into the same
//! environment, beside terminal servers that give the same shell (their child is that ssh), and beside the
//! same servers with a shell that is a child of theirs, on this machine: the least that is to be had.

mod peers;
mod shell;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::real_engine::remove_leftovers;
use harness::{Installation, Portreeve, Proof, RealEngine, Setup, Ssh, eventually, free_ports, ssh};
use serde_json::json;

use crate::Effort;
use crate::report::{Better, Report, Run, median, percentile};
use peers::Peers;
use shell::Shell;

const RUNNING_AT_MOST: Duration = Duration::from_secs(60);
/// Until a shell that was just opened reads.
const READY_AT_MOST: Duration = Duration::from_secs(20);
/// Keystrokes of one measure, and how long a fast typist takes between two.
const KEYSTROKES: usize = 200;
const BETWEEN_KEYSTROKES: Duration = Duration::from_millis(15);
/// A line of the terminal is not filled: what wraps is more than an echo.
const KEYSTROKES_A_LINE: usize = 60;
const ECHO_AT_MOST: Duration = Duration::from_secs(5);
/// Megabytes of lines of text.
const BURST_MB: usize = 100;
const BURST_AT_MOST: Duration = Duration::from_secs(120);
/// Nobody waits longer, or gets less, than at terminado.
const GOAL: f64 = 1.0;
/// Then the terminal itself echoes, each key as it comes.
const ECHOING: &str = "echo rea''dy; exec cat >/dev/null\n";
const AGAINST: &str = "terminado 0.18 with ssh to the same shell";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Echo,
    Burst,
}

/// Each terminal, by name: ours first, then those beside it.
const OURS: &str = "web_terminal";
const SSH: &str = "ssh";
const TERMINADO: &str = "terminado";
const GOTTY: &str = "gotty";
const TERMINADO_HERE: &str = "terminado_here";
const GOTTY_HERE: &str = "gotty_here";
const SHELL_HERE: [&str; 3] = ["bash", "--norc", "--noprofile"];

/// What all terminals are opened with.
struct Stand {
    api: String,
    token: String,
    env: String,
    ssh: Ssh,
    peers: Peers,
    peers_here: Peers,
    folder: tempfile::TempDir,
}

pub async fn measure(what: Measure, effort: Effort) -> anyhow::Result<Report> {
    let engine = RealEngine::start().await?;
    let installation = Installation::new(Setup::new(Some(engine.url()), free_ports::range(10)?))?;
    let up = installation.up().await?;
    let result = on(what, effort, &up).await;
    drop(up);
    let instance = std::fs::read_to_string(installation.data_dir().join("instance"))?;
    remove_leftovers(instance.trim());
    result
}

async fn on(what: Measure, effort: Effort, up: &Portreeve) -> anyhow::Result<Report> {
    let stand = stand(up).await?;
    let mb = effort.of(BURST_MB);
    if what == Measure::Burst {
        let local = stand.folder.path().join("burst");
        let text =
            |path: &Path| format!("base64 -w 99 /dev/urandom | head -c {}000000 >{}", mb, path.display());
        stand.ssh.run(&text(Path::new("/tmp/burst"))).await?.expect_success()?;
        let mut command = tokio::process::Command::new("bash");
        command.args(["-c", &text(&local)]);
        ssh::output(command).await?.expect_success()?;
    }
    let mut names = vec![OURS, TERMINADO, SSH];
    names.extend(stand.peers.has_gotty().then_some(GOTTY));
    names.push(TERMINADO_HERE);
    names.extend(stand.peers.has_gotty().then_some(GOTTY_HERE));
    // figures of each, round by round
    let mut taken: Vec<Vec<Figures>> = vec![Vec::new(); names.len()];
    for round in 0..=effort.rounds {
        for (name, figures) in names.iter().zip(&mut taken) {
            let shell = stand.open(name).await.with_context(|| format!("cannot open {name}"))?;
            let local = matches!(*name, TERMINADO_HERE | GOTTY_HERE);
            let file = if local { stand.folder.path().join("burst") } else { "/tmp/burst".into() };
            let one = match what {
                Measure::Echo => echo(shell, effort).await,
                Measure::Burst => burst(shell, &file, mb).await,
            };
            let one = one.with_context(|| format!("{name}, round {round}"));
            match one {
                // gotty loses the middle of a burst now and then
                Err(error) if matches!(*name, GOTTY | GOTTY_HERE) => eprintln!("left out: {error:#}"),
                Err(error) => return Err(error),
                // the first round warms up
                Ok(one) if round > 0 => figures.push(one),
                Ok(_) => {}
            }
        }
    }
    Ok(report(what, &names, &taken))
}

/// Milliseconds, or for a burst MB/s in both.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p99: f64,
}

fn report(what: Measure, names: &[&str], taken: &[Vec<Figures>]) -> Report {
    let (ours, theirs) = (&taken[0], &taken[1]);
    let runs =
        ours.iter().zip(theirs).map(|(ours, theirs)| Run { ours: ours.p50, theirs: theirs.p50 }).collect();
    let of = |figures: &[Figures], pick: fn(&Figures) -> f64| median(figures.iter().map(pick).collect());
    let all = names.iter().zip(taken).filter(|(_, figures)| !figures.is_empty());
    match what {
        Measure::Echo => {
            let report = Report::new("terminal_echo", "ms", AGAINST, (Better::Lower, GOAL), runs);
            all.fold(report, |report, (name, figures)| {
                report
                    .with(&format!("{name}_p50_ms"), of(figures, |one| one.p50))
                    .with(&format!("{name}_p99_ms"), of(figures, |one| one.p99))
            })
            .with("over_ssh_p50_ms", of(&taken[0], |one| one.p50) - of(&taken[2], |one| one.p50))
        }
        Measure::Burst => {
            let report = Report::new("terminal_burst", "MB/s", AGAINST, (Better::Higher, GOAL), runs);
            all.fold(report, |report, (name, figures)| {
                report.with(&format!("{name}_mb_s"), of(figures, |one| one.p50))
            })
        }
    }
}

async fn echo(mut shell: Shell, effort: Effort) -> anyhow::Result<Figures> {
    shell.send(ECHOING).await?;
    shell.until(b"ready\r\n", READY_AT_MOST).await?;
    let mut waited = Vec::new();
    for stroke in 0..effort.of(KEYSTROKES) {
        tokio::time::sleep(BETWEEN_KEYSTROKES).await;
        let (key, echoed): (&str, &[u8]) =
            if (stroke + 1) % KEYSTROKES_A_LINE == 0 { ("\n", b"\r\n") } else { ("x", b"x") };
        let began = Instant::now();
        shell.send(key).await?;
        shell.until(echoed, ECHO_AT_MOST).await?;
        waited.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Figures { p50: percentile(waited.clone(), 50), p99: percentile(waited, 99) })
}

async fn burst(mut shell: Shell, file: &Path, mb: usize) -> anyhow::Result<Figures> {
    shell.send("stty -echo; echo rea''dy\n").await?;
    shell.until(b"ready\r\n", READY_AT_MOST).await?;
    let began = Instant::now();
    shell.send(&format!("cat {}; echo; echo do''ne\n", file.display())).await?;
    let bytes = shell.until(b"done\r\n", BURST_AT_MOST).await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(bytes >= mb * 1_000_000, "{bytes} bytes came of {mb} MB");
    let rate = mb as f64 / took;
    Ok(Figures { p50: rate, p99: rate })
}

async fn stand(up: &Portreeve) -> anyhow::Result<Stand> {
    let folder = tempfile::tempdir()?;
    let (key, public) = ssh::new_key(folder.path(), "bench").await?;
    let body = json!({
        "name": "bench", "resources": {"cpu": 2, "memory": 1}, "ssh_public_keys": [public],
    });
    let created = up.admin().post("/api/environments", &body).await?.expect(202)?;
    let env = created.text("env_id")?.to_owned();
    let port = u16::try_from(created.body["ssh_port"].as_u64().context("no ssh_port")?)?;
    eventually("it runs", RUNNING_AT_MOST, || async {
        let shown = up.admin().get(&format!("/api/environments/{env}")).await;
        let shown = shown.map_err(|error| format!("{error:#}"))?.body;
        if shown["status"] == "running" { Ok(()) } else { Err(shown.to_string()) }
    })
    .await?;
    let proof = Proof::Key(key);
    let ssh = Ssh { user: "developer".to_owned(), host: "127.0.0.1".to_owned(), port, proof, from: None };
    let token = up.admin().token().context("the administrator has no token")?.to_owned();
    let into_it = format!("exec {} -tt {}", ssh.words(), ssh.at());
    let peers = Peers::start(folder.path(), &["bash".to_owned(), "-c".to_owned(), into_it]).await?;
    let peers_here = Peers::start(folder.path(), &SHELL_HERE.map(str::to_owned)).await?;
    Ok(Stand { api: up.admin().base().to_owned(), token, env, ssh, peers, peers_here, folder })
}

impl Stand {
    async fn open(&self, name: &str) -> anyhow::Result<Shell> {
        match name {
            OURS => Shell::ours(&self.api, &self.token, &self.env).await,
            SSH => Shell::ssh(&self.ssh),
            TERMINADO => Shell::terminado(self.peers.terminado_port()).await,
            GOTTY => Shell::gotty(self.peers.gotty_port()?).await,
            TERMINADO_HERE => Shell::terminado(self.peers_here.terminado_port()).await,
            GOTTY_HERE => Shell::gotty(self.peers_here.gotty_port()?).await,
            other => anyhow::bail!("there is no terminal {other:?}"),
        }
    }
}
