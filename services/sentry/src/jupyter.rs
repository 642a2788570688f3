//! When does JupyterLab run? While the policy says so and it is installed; started again if it dies.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use kit::sentry_protocol::Jupyter;
use nix::sys::signal::Signal;
use nix::unistd::User;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::reap::{Children, OwnChild};

/// One that lived this long had not failed to start.
const STARTED_AFTER: Duration = Duration::from_secs(30);
const STOP_GRACE: Duration = Duration::from_secs(2);
const RESTART_WAIT_MIN: Duration = Duration::from_secs(1);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(60);

fn backoff() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(RESTART_WAIT_MIN)
        .with_max_delay(RESTART_WAIT_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Runs until told to stop.
pub async fn run(
    config: Arc<Config>,
    children: Arc<Children>,
    mut wanted: watch::Receiver<Option<Jupyter>>,
    stop: CancellationToken,
) {
    let mut delays = backoff();
    while !stop.is_cancelled() {
        let now = wanted.borrow_and_update().clone().filter(|_| config.jupyter.exists());
        let Some(jupyter) = now else {
            delays = backoff();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = wanted.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let begun = Instant::now();
        let child = match start(&config, &children, &jupyter) {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "cannot start JupyterLab");
                pause(&mut delays, &stop, &mut wanted).await;
                continue;
            }
        };
        if until_unwanted_or_dead(child, &mut wanted, &stop).await == Was::Dead {
            if begun.elapsed() > STARTED_AFTER {
                delays = backoff();
            }
            pause(&mut delays, &stop, &mut wanted).await;
        }
    }
}

#[derive(PartialEq)]
enum Was {
    Dead,
    Unwanted,
}

async fn until_unwanted_or_dead(
    mut child: OwnChild,
    wanted: &mut watch::Receiver<Option<Jupyter>>,
    stop: &CancellationToken,
) -> Was {
    tokio::select! {
        status = child.wait() => {
            tracing::warn!(?status, "JupyterLab ended");
            return Was::Dead;
        }
        _ = wanted.changed() => {}
        () = stop.cancelled() => {}
    }
    child.signal_group(Signal::SIGTERM);
    if timeout(STOP_GRACE, child.wait()).await.is_err() {
        child.signal_group(Signal::SIGKILL);
        child.wait().await.ok();
    }
    Was::Unwanted
}

async fn pause(
    delays: &mut impl Iterator<Item = Duration>,
    stop: &CancellationToken,
    wanted: &mut watch::Receiver<Option<Jupyter>>,
) {
    tokio::select! {
        () = sleep(delays.next().unwrap_or(RESTART_WAIT_MAX)) => {}
        () = stop.cancelled() => {}
        _ = wanted.changed() => wanted.mark_changed(),
    }
}

fn start(config: &Config, children: &Arc<Children>, jupyter: &Jupyter) -> std::io::Result<OwnChild> {
    let user = User::from_name(&config.account)?.ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(&config.setpriv);
    command
        .args(["--reuid", &config.account, "--regid", &user.gid.to_string(), "--init-groups", "--"])
        .arg(&config.jupyter)
        .args(["lab", "--no-browser", "--ServerApp.ip=0.0.0.0"])
        .arg(format!("--ServerApp.port={}", config.jupyter_port))
        .arg("--ServerApp.port_retries=0")
        .arg(format!("--ServerApp.base_url={}", jupyter.path()))
        .env_clear()
        .env("PATH", "/opt/jupyter/bin:/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &user.dir)
        .env("USER", &config.account)
        .env("LOGNAME", &config.account)
        .env("SHELL", &user.shell)
        .env("LANG", "C.UTF-8")
        // in the environment of this process only: an argument could be read by everyone
        .env("JUPYTER_TOKEN", &jupyter.token)
        .current_dir(&config.jupyter_dir)
        .stdin(Stdio::null())
        // it prints addresses that hold the token
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    children.spawn(&mut command)
}
