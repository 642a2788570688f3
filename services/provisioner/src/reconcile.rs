//! What is the next step for an environment? Looks at the log, moves the world one step toward it,
//! and looks again until nothing is left to do. The worker, the sweep and the engine's events all end here.
//!
//! In this process one environment is reconciled by one task at a time. Another provisioner may do the
//! same at the same time (on a cluster), or have a request under way still (one that was killed): every
//! effect may be repeated, every fact is appended on the state it was decided on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::env::fail::fail;
use events::env::give_up::{give_up, never_started};
use events::env::observe::lost;
use events::env::{Env, EnvFailed, EnvRefusal, Status};
use events::envelope::Cause;
use events::ids::{EnvId, TenantId};
use kit::health::Health;
use nats::{Log, MasterKeys, Outcome};

use crate::activity::Activity;
use crate::compute::{Compute, Ending, Seen};
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::passwords::Passwords;
use crate::ports::Ports;
use crate::reports::Recorder;
use crate::step::fresh;
use crate::trouble::{Trouble, again, decided};

/// Steps of one reconciliation; a state that needs more is looked at again later.
const STEPS_MAX: usize = 12;
/// First and longest pause before a step that could not be done is tried again.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(15);

/// Everything a step needs.
pub struct Provisioner {
    pub log: Log,
    pub keys: MasterKeys,
    pub fleet: Arc<Fleet>,
    pub engine: Arc<dyn Compute>,
    pub ports: Ports,
    pub passwords: Passwords,
    pub recorder: Recorder,
    pub metrics: Metrics,
    /// OpenSSH public key line of the CA whose certificates open the inner doors.
    pub user_ca: String,
    pub activity: Activity,
    /// Meant when an environment names no image.
    pub image: String,
    pub image_jupyter: String,
    pub turns: Turns,
    pub troubles: Troubles,
    pub starts: Starts,
    pub health: Health,
}

/// One environment, and why it is looked at.
pub struct Task<'t> {
    pub tenant: &'t TenantId,
    pub id: &'t EnvId,
    pub cause: &'t Cause,
    /// Ask the engine whether a running environment runs.
    pub look: bool,
    /// What the engine said ended: the reason to look.
    pub ended: Option<&'t Ending>,
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The world is as the log says, or somebody else has the next word.
    Settled,
    /// A fact was appended: look again.
    Moved,
}

impl Provisioner {
    /// Moves the world to what the log says about one environment.
    pub async fn reconcile(&self, task: &Task<'_>) -> Outcome {
        let _turn = self.turns.wait(task.id).await;
        let began = Instant::now();
        let outcome = self.steps(task).await;
        self.metrics.reconciled(began.elapsed(), &outcome);
        outcome
    }

    async fn steps(&self, task: &Task<'_>) -> Outcome {
        for _ in 0..STEPS_MAX {
            let env = match self.log.load::<Env>(task.tenant, task.id.as_str()).await {
                Ok(loaded) => loaded.state,
                Err(error) => return self.later(task.id, kit::error::chain(&error)),
            };
            match self.step(task, &env).await {
                Ok(Step::Settled) => {
                    self.troubles.over(task.id);
                    return Outcome::Done;
                }
                Ok(Step::Moved) | Err(Trouble::Changed) => {}
                Err(Trouble::Again(why)) => return self.later(task.id, why),
                Err(Trouble::Failed(failed)) => match self.fail(task, &env, failed).await {
                    Ok(()) => {}
                    Err(Trouble::Changed) => {}
                    Err(Trouble::Again(why)) => return self.later(task.id, why),
                    Err(Trouble::Failed(failed)) => return self.later(task.id, failed.reason),
                },
            }
        }
        self.later(task.id, format!("not settled after {STEPS_MAX} steps"))
    }

    async fn step(&self, task: &Task<'_>, env: &Env) -> Result<Step, Trouble> {
        match env.status {
            Status::Absent | Status::Deleted => self.finish_deleted(task, env).await,
            Status::Creating | Status::Starting => self.bring_up(task, env).await,
            Status::Running if task.look => self.check(task).await,
            Status::Running => Ok(Step::Settled),
            Status::Stopping => self.stop(task).await,
            Status::Stopped => self.keep_down(task).await,
            Status::Failed => self.failed(task, env).await,
            Status::Deleting => self.delete(task, env).await,
        }
    }

    /// A running environment whose container does not run was lost; so was one whose container ended
    /// and was started again by the engine.
    async fn check(&self, task: &Task<'_>) -> Result<Step, Trouble> {
        let told = task.ended.and_then(|ended| Some((ended.reason.clone()?, ended.seen_at)));
        let (reason, seen_at) = match told {
            Some(told) => told,
            None => {
                let seen_at = Utc::now();
                let reason = match self.observe(task.id).await? {
                    Seen::Up => return Ok(Step::Settled),
                    Seen::Down(reason) => reason,
                    Seen::ComingUp(Some(progress)) => progress.message,
                    Seen::ComingUp(None) => "its container does not run".to_owned(),
                    Seen::Missing => "its container was removed".to_owned(),
                };
                (reason, seen_at)
            }
        };
        let cause = fresh(task.cause);
        let rule = |state: &Env| lost(state, &reason, seen_at);
        let recorded = self.log.decide::<Env, EnvRefusal>(task.tenant, task.id.as_str(), &cause, 0, rule);
        if decided(recorded.await)?.appended.is_none() {
            return Ok(Step::Settled); // an old story, or somebody else told it
        }
        tracing::warn!(env.id = %task.id, reason, "a running environment does not run: starting it again");
        self.metrics.repaired("lost");
        Ok(Step::Moved)
    }

    /// An engine that cannot say says nothing about the environment.
    pub(crate) async fn observe(&self, env: &EnvId) -> Result<Seen, Trouble> {
        self.engine.observe(env).await.map_err(again)
    }

    async fn keep_down(&self, task: &Task<'_>) -> Result<Step, Trouble> {
        if task.look && self.observe(task.id).await? == Seen::Up {
            self.engine.stop(task.id, crate::take_down::STOP_GRACE).await?;
        }
        Ok(Step::Settled)
    }

    /// A failed environment is stopped and kept for a look, unless it shall go.
    async fn failed(&self, task: &Task<'_>, env: &Env) -> Result<Step, Trouble> {
        if env.delete_requested() {
            return self.delete(task, env).await;
        }
        if never_started(env) {
            self.decide(task, |state: &Env| give_up(state, Utc::now())).await?;
            return Ok(Step::Moved);
        }
        self.engine.stop(task.id, crate::take_down::STOP_GRACE).await?;
        Ok(Step::Settled)
    }

    /// Appends the failure of a step; what goes down is tried until its deadline instead.
    async fn fail(&self, task: &Task<'_>, env: &Env, failed: EnvFailed) -> Result<(), Trouble> {
        if !matches!(env.status, Status::Creating | Status::Starting) {
            return Err(Trouble::Again(failed.reason));
        }
        tracing::error!(env.id = %task.id, phase = failed.phase.name(), code = failed.code,
            reason = failed.reason, "an environment has failed");
        let rule = |state: &Env| match state.status == env.status {
            true => fail(state, failed.clone()),
            false => Ok(None),
        };
        self.decide(task, rule).await
    }

    pub(crate) async fn decide(
        &self,
        task: &Task<'_>,
        rule: impl FnMut(&Env) -> events::Decision<events::env::EnvEvent, EnvRefusal>,
    ) -> Result<(), Trouble> {
        let cause = fresh(task.cause);
        let result = self.log.decide::<Env, EnvRefusal>(task.tenant, task.id.as_str(), &cause, 0, rule);
        decided(result.await).map(drop)
    }

    fn later(&self, env: &EnvId, why: String) -> Outcome {
        let after = self.troubles.note(env, &why);
        tracing::warn!(env.id = %env, why, after_ms = after.as_millis(), "a step could not be done: trying again");
        Outcome::Again { after, why }
    }

    /// Whether the environment is gone, from the log itself.
    pub async fn is_gone(&self, tenant: &TenantId, env: &EnvId) -> Result<bool, Trouble> {
        let state = self.log.load::<Env>(tenant, env.as_str()).await.map_err(again)?.state;
        Ok(!state.exists())
    }
}

/// One environment is worked on by one task at a time.
#[derive(Default)]
pub struct Turns {
    taken: Mutex<HashMap<EnvId, Weak<tokio::sync::Mutex<()>>>>,
}

/// Locks that nobody holds are forgotten when there are more than this.
const TURNS_KEPT: usize = 1024;

impl Turns {
    fn of(&self, env: &EnvId) -> Arc<tokio::sync::Mutex<()>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() > TURNS_KEPT {
            taken.retain(|_, turn| turn.strong_count() > 0);
        }
        if let Some(turn) = taken.get(env).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        taken.insert(env.clone(), Arc::downgrade(&turn));
        turn
    }

    async fn wait(&self, env: &EnvId) -> tokio::sync::OwnedMutexGuard<()> {
        self.of(env).lock_owned().await
    }

    /// Whether somebody is at work on it.
    pub fn is_taken(&self, env: &EnvId) -> bool {
        self.of(env).try_lock().is_err()
    }
}

/// What could not be done lately, per environment: for the back-off, and for the reason of a failure
/// at the deadline.
#[derive(Default)]
pub struct Troubles {
    seen: Mutex<HashMap<EnvId, (u32, String)>>,
}

impl Troubles {
    fn note(&self, env: &EnvId, why: &str) -> Duration {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = seen.entry(env.clone()).or_default();
        *count = count.saturating_add(1);
        why.clone_into(last);
        AGAIN_MIN.saturating_mul(1 << (*count - 1).min(16)).min(AGAIN_MAX)
    }

    pub fn over(&self, env: &EnvId) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(env);
    }

    pub fn last(&self, env: &EnvId) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(env).map(|(_, why)| why.clone())
    }
}

/// How often a container was started toward one deadline, per environment. In memory: another process
/// counts anew.
#[derive(Default)]
pub struct Starts {
    seen: Mutex<HashMap<EnvId, Started>>,
}

struct Started {
    deadline: Option<DateTime<Utc>>,
    count: u32,
}

impl Starts {
    /// Counts one more start; answers how many there were before.
    pub fn count(&self, env: &EnvId, deadline: Option<DateTime<Utc>>) -> u32 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let started = seen.entry(env.clone()).or_insert(Started { deadline, count: 0 });
        if started.deadline != deadline {
            *started = Started { deadline, count: 0 };
        }
        let before = started.count;
        started.count = before.saturating_add(1);
        before
    }

    pub fn over(&self, env: &EnvId) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(env);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::env_id;

    #[test]
    fn the_pause_grows_to_its_bound_and_starts_anew_after_success() {
        let troubles = Troubles::default();
        let pauses: Vec<_> = (0..40).map(|_| troubles.note(&env_id(1), "engine away")).collect();
        assert_eq!(pauses.first(), Some(&AGAIN_MIN));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses.last(), Some(&AGAIN_MAX));
        assert_eq!(troubles.last(&env_id(1)).as_deref(), Some("engine away"));
        troubles.over(&env_id(1));
        assert_eq!(troubles.note(&env_id(1), ""), AGAIN_MIN);
    }

    #[test]
    fn starts_are_counted_toward_one_deadline() {
        let starts = Starts::default();
        let (one, two) = (Some(crate::testing::t(1)), Some(crate::testing::t(2)));
        assert_eq!([one, one, two, two].map(|deadline| starts.count(&env_id(1), deadline)), [0, 1, 0, 1]);
    }

    #[tokio::test]
    async fn a_turn_is_taken_once_and_ends() {
        let turns = Turns::default();
        let turn = turns.wait(&env_id(1)).await;
        assert!(turns.is_taken(&env_id(1)) && !turns.is_taken(&env_id(2)));
        drop(turn);
        assert!(!turns.is_taken(&env_id(1)));
    }
}
