//! Who guards an environment? Its first process: an inetd for sshd that decides who may connect,
//! starts one `sshd -i` per connection, and reports logins and sessions through a durable spool.
//!
//! `accept.rs` -> `door.rs` -> `connection.rs` is the way in; `policy.rs` -> `apply.rs` the way of a
//! rule from the control plane; `connection.rs` -> `reporter.rs` -> `send_reports.rs` the way out.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod accept;
mod activity;
mod apply;
mod atomic_file;
mod boot;
pub mod config;
mod connection;
mod control;
mod door;
mod failure_memory;
mod health;
mod host_keys;
mod jupyter;
mod log_lines;
mod policy;
mod reap;
mod refusals;
mod reporter;
mod samples;
mod send_reports;
mod session_id;
mod shadow;
mod spool;
mod sshd_log;
mod tcp_info;
mod tell_terminals;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use accept::Entrance;
use config::Config;
use connection::Surroundings;
use control::Control;
use door::{Door, End};
use failure_memory::FailureMemory;
use health::Vitals;
use policy::PolicyKeeper;
use reap::Children;
use refusals::Refusals;

/// At a stop: the grace of sessions, the acknowledgement of their last bytes, and a little.
const SESSIONS_END_WAIT: Duration = Duration::from_secs(5);
/// At a stop: how long the control plane may take for what is in the spool.
const DRAIN_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Boot(#[from] boot::BootError),
    #[error("cannot use the spool")]
    Spool(#[from] spool::SpoolError),
    #[error(transparent)]
    Control(#[from] control::ControlError),
    #[error("cannot read which passwords failed")]
    Failures(#[source] io::Error),
    #[error("cannot learn of ended processes")]
    Reap(#[source] io::Error),
    #[error("cannot listen for health probes")]
    Health(#[source] io::Error),
}

/// Guards the environment until `shutdown`; then ends sessions, reports, and returns.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let config = Arc::new(config);
    let children = Arc::new(Children::default());
    // outlives the accepting part: the dead are buried and probes are answered until the end
    let last = CancellationToken::new();
    let _last = last.clone().drop_guard();
    reap::start(children.clone(), last.clone()).map_err(RunError::Reap)?;
    boot::prepare(&config)?;
    let host_keys = tokio::spawn(make_host_keys(config.clone(), children.clone()));
    let control = Control::new(&config)?;
    let (reporter, left_open) = reporter::start(&config.state_dir.join("spool"))?;
    let memory = FailureMemory::open(&config.state_dir.join("failures"), Utc::now());
    let door = Door::new(memory.map_err(RunError::Failures)?);
    let samples = samples::file(&config.state_dir);
    samples::close_interrupted(left_open, &samples, &reporter).await;

    let open = Arc::new(AtomicBool::new(false));
    let (version_tx, version) = watch::channel(None);
    let (jupyter_tx, jupyter) = watch::channel(None);
    let (active_at_tx, active_at) = watch::channel(Utc::now());
    let vitals = Vitals { open: open.clone(), version, door: door.clone(), reporter: reporter.clone() };
    health::start(config.health, vitals, last.clone()).await.map_err(RunError::Health)?;

    let (connections, tasks, stop) = (TaskTracker::new(), TaskTracker::new(), shutdown.clone());
    let refusals = Arc::new(Refusals::default());
    tasks.spawn(refusals::run(refusals.clone(), reporter.clone(), config.tell_every(), stop.clone()));
    let around = Surroundings {
        door: door.clone(),
        refusals,
        reporter: reporter.clone(),
        children: children.clone(),
        sshd: config.sshd.clone(),
        sshd_config: config.sshd_config.clone(),
        user_ca: apply::user_ca_file(&config),
        principals: apply::principals_file(&config),
        stop: stop.clone(),
    };
    let keeper = PolicyKeeper {
        config: config.clone(),
        control: control.clone(),
        door: door.clone(),
        entrance: Entrance {
            around: Arc::new(around),
            listen: config.listen.clone(),
            inner_listen: config.inner_listen.clone(),
            inner_open: false,
            host_keys: Some(host_keys),
            open: open.clone(),
            connections: connections.clone(),
            stop: stop.clone(),
        },
        jupyter: jupyter_tx,
        active_at,
        told: None,
        version: version_tx,
        failing: false,
    };
    tasks.spawn(keeper.run(stop.clone()));
    let port = config.jupyter_port;
    tasks.spawn(activity::run(door.clone(), jupyter.clone(), port, active_at_tx, stop.clone()));
    tasks.spawn(jupyter::run(config, children, jupyter, stop.clone()));
    tasks.spawn(samples::run(door.clone(), samples, stop));
    let sending = CancellationToken::new();
    let sender = tokio::spawn(send_reports::run(reporter.clone(), control.clone(), sending.clone()));

    shutdown.cancelled().await;
    open.store(false, Ordering::Release);
    door.close(End::Stopping);
    wait_for_ends(&connections, &tasks).await;
    sending.cancel();
    sender.await.ok();
    if timeout(DRAIN_WAIT, send_reports::drain(&reporter, &control)).await.is_err() {
        tracing::warn!(pending = reporter.pending(), "reports stay in the spool");
    }
    Ok(())
}

async fn wait_for_ends(connections: &TaskTracker, tasks: &TaskTracker) {
    connections.close();
    tasks.close();
    let ended = async { tokio::join!(connections.wait(), tasks.wait()) };
    if timeout(SESSIONS_END_WAIT, ended).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
}

async fn make_host_keys(config: Arc<Config>, children: Arc<Children>) -> io::Result<()> {
    host_keys::ensure(&boot::host_keys_dir(&config), &config.ssh_keygen, &children).await
}
