//! Which policy is in force, and how does a new one come into force?
//!
//! Long poll; apply; tell. If the control plane cannot be reached when the sentry starts, the last
//! policy that was in force is read from the state volume.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::sentry_protocol::{EndsSoon, Jupyter, Policy};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::accept::Entrance;
use crate::apply::{self, ApplyError};
use crate::config::Config;
use crate::control::{Control, ControlError};
use crate::door::Door;
use crate::send_reports::backoff;
use crate::{atomic_file, boot, host_keys, tell_terminals};

/// How long the control plane is asked before the cached policy is used.
const CACHE_AFTER: Duration = Duration::from_secs(10);
/// After "gone" or "not your token".
const REFUSED_WAIT: Duration = Duration::from_secs(30);
/// Tries to say that a policy is in force, before the next one is asked for.
const TELL_TRIES_MAX: usize = 5;
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

pub struct PolicyKeeper {
    pub config: Arc<Config>,
    pub control: Control,
    pub door: Arc<Door>,
    pub entrance: Entrance,
    pub jupyter: watch::Sender<Option<Jupyter>>,
    /// When the environment was used last.
    pub active_at: watch::Receiver<DateTime<Utc>>,
    /// The end that people at terminals were told of.
    pub told: Option<EndsSoon>,
    /// The version in force, for those who ask after our health.
    pub version: watch::Sender<Option<String>>,
    /// Whether the control plane did not answer last time.
    pub failing: bool,
}

impl PolicyKeeper {
    /// Runs until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&mut self) {
        let cache_at = Instant::now() + CACHE_AFTER;
        let mut delays = backoff();
        let mut told = None;
        loop {
            let have = self.version.borrow().clone();
            let wait = match self.ask(have.as_deref(), cache_at).await {
                Asked::Policy(policy) => match self.put_in_force(&policy).await {
                    Ok(()) => None,
                    Err(error) => {
                        tracing::error!(%error, version = policy.version, "a policy cannot be applied");
                        delays.next()
                    }
                },
                Asked::Unchanged => None,
                Asked::Failed { wait } => wait.or_else(|| delays.next()),
            };
            let in_force = self.version.borrow().clone();
            if in_force != told && self.tell(in_force.as_deref()).await {
                told = in_force;
            }
            match wait {
                Some(wait) => sleep(wait.min(REFUSED_WAIT)).await,
                None => delays = backoff(),
            }
        }
    }

    /// While nothing is in force, no longer than until the cache is due.
    async fn ask(&mut self, have: Option<&str>, cache_at: Instant) -> Asked {
        let host_key = self.host_key();
        let active_at = *self.active_at.borrow_and_update();
        let ask = self.control.policy(have.unwrap_or_default(), host_key.as_deref(), active_at);
        // who uses it now must not be stopped for want of having said so
        let expected = self.told.as_ref().is_some_and(|soon| soon.idle);
        let answer = match have {
            Some(_) if expected => tokio::select! {
                answer = ask => answer,
                Ok(()) = self.active_at.changed() => Ok(None),
            },
            Some(_) => ask.await,
            None => match timeout_at(cache_at.max(Instant::now() + RETRY_WAIT_MAX), ask).await {
                Ok(answer) => answer,
                Err(_) => return self.cached(cache_at).map_or(Asked::Failed { wait: None }, Asked::Policy),
            },
        };
        self.note_reached(answer.as_ref().map(drop));
        match answer {
            Ok(Some(policy)) => Asked::Policy(Box::new(policy)),
            Ok(None) => Asked::Unchanged,
            Err(error) => {
                let wait = error.is_final().then_some(REFUSED_WAIT);
                match have {
                    Some(_) => Asked::Failed { wait },
                    None => self.cached(cache_at).map_or(Asked::Failed { wait: None }, Asked::Policy),
                }
            }
        }
    }

    fn cached(&self, cache_at: Instant) -> Option<Box<Policy>> {
        if Instant::now() < cache_at {
            return None;
        }
        let policy: Policy = serde_json::from_slice(&fs::read(self.cache()).ok()?).ok()?;
        tracing::warn!(version = policy.version, "the control plane is away: the cached policy is used");
        Some(Box::new(policy))
    }

    async fn put_in_force(&mut self, policy: &Policy) -> Result<(), PutError> {
        let now = Utc::now();
        let (config, copy) = (self.config.clone(), policy.clone());
        let days = now.timestamp() / SECONDS_PER_DAY;
        let applied = tokio::task::spawn_blocking(move || apply::apply(&copy, &config, days)).await;
        applied.map_err(|_| ApplyError::Broken)??;
        self.door.apply(policy, now);
        self.jupyter.send_if_modified(|jupyter| {
            let changed = *jupyter != policy.jupyter;
            jupyter.clone_from(&policy.jupyter);
            changed
        });
        let bytes = serde_json::to_vec(policy).map_err(std::io::Error::from).map_err(PutError::Cache)?;
        atomic_file::write(&self.cache(), &bytes, 0o600).map_err(PutError::Cache)?;
        self.entrance.ensure_open().await.map_err(PutError::Open)?;
        self.tell_terminals(policy.ends_soon.as_ref());
        self.version.send_replace(Some(policy.version.clone()));
        tracing::info!(version = policy.version, "a policy is in force");
        Ok(())
    }

    /// Once for each end.
    fn tell_terminals(&mut self, soon: Option<&EndsSoon>) {
        if let Some(soon) = soon.filter(|soon| self.told.as_ref() != Some(*soon)) {
            let terminals = tell_terminals::tell(soon, &self.config.account, Utc::now());
            tracing::info!(terminals, at = %soon.at, "people are told that the environment ends soon");
        }
        self.told = soon.cloned();
    }

    /// Tries [`TELL_TRIES_MAX`] times; if all fail it is told after the next answer.
    async fn tell(&self, version: Option<&str>) -> bool {
        let Some(version) = version else { return true };
        for delay in backoff().take(TELL_TRIES_MAX) {
            match self.control.applied(version, self.host_key().as_deref()).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::debug!(error = %kit::error::chain(&error), version, "cannot tell that a policy is in force");
                    sleep(delay).await;
                }
            }
        }
        false
    }

    /// Says once that the control plane is away, and once that it is back.
    fn note_reached(&mut self, answer: Result<(), &ControlError>) {
        let failing = answer.is_err();
        if std::mem::replace(&mut self.failing, failing) == failing {
            return;
        }
        match answer {
            Ok(()) => tracing::info!("the control plane answers again"),
            Err(error) => {
                tracing::warn!(error = %kit::error::chain(error), "no policy from the control plane")
            }
        }
    }

    /// What the inner door shows, once it is open; without the comment of the file.
    fn host_key(&self) -> Option<String> {
        let file = host_keys::public_file(&boot::host_keys_dir(&self.config), host_keys::PINNED);
        let line = self.entrance.inner_open.then(|| fs::read_to_string(file).ok()).flatten()?;
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    }

    fn cache(&self) -> PathBuf {
        self.config.state_dir.join("policy.json")
    }
}

enum Asked {
    Policy(Box<Policy>),
    Unchanged,
    Failed { wait: Option<Duration> },
}

#[derive(Debug, thiserror::Error)]
enum PutError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("cannot keep the policy: {0}")]
    Cache(std::io::Error),
    #[error("cannot listen: {0}")]
    Open(std::io::Error),
}
