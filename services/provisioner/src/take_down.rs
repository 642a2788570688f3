//! How does an environment go down? Stopped it keeps everything; deleted it leaves nothing behind.

use std::time::Duration;

use chrono::Utc;
use events::env::delete::deleted;
use events::env::stop::stopped;
use events::env::{Env, Status};
use events::quota::release::release;
use events::quota::{Quota, QuotaRefusal};

use crate::left_reports;
use crate::reconcile::{Provisioner, Step, Task};
use crate::step::{by_sentry, fresh};
use crate::trouble::{Trouble, again, decided};

/// The sentry ends sessions and sends its last reports in this time.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
/// The reason of sessions that nobody else could close.
const REASON_DELETED: &str = "environment_deleted";

impl Provisioner {
    pub(crate) async fn stop(&self, task: &Task<'_>) -> Result<Step, Trouble> {
        self.engine.stop(task.id, STOP_GRACE).await?;
        self.decide(task, stopped).await?;
        tracing::info!(env.id = %task.id, "an environment was stopped");
        Ok(Step::Moved)
    }

    /// Every step may be repeated, and `EnvDeleted` comes last: after a crash at any point the next
    /// try finds what is left. Ports and quota are given back only when the container is gone, so that
    /// nobody is given what is still in use.
    pub(crate) async fn delete(&self, task: &Task<'_>, env: &Env) -> Result<Step, Trouble> {
        self.engine.stop(task.id, STOP_GRACE).await?;
        self.collect_reports(task).await?;
        self.close_sessions(task).await?;
        self.engine.remove(task.id).await?;
        self.engine.remove_storage(task.id).await?;
        self.give_back(task, env).await?;
        self.decide(task, deleted).await?;
        tracing::info!(env.id = %task.id, "an environment was deleted");
        Ok(Step::Moved)
    }

    /// What a deleted environment must not hold. Nothing, unless something went wrong.
    pub(crate) async fn finish_deleted(&self, task: &Task<'_>, env: &Env) -> Result<Step, Trouble> {
        if task.look {
            self.engine.remove(task.id).await?;
            if env.status == Status::Deleted {
                self.engine.remove_storage(task.id).await?;
            } else {
                // no fact speaks of it: its files are not ours to delete
                tracing::warn!(env.id = %task.id, "a container without an environment was removed; its volumes are kept");
            }
            self.give_back(task, env).await?;
        }
        Ok(Step::Settled)
    }

    async fn give_back(&self, task: &Task<'_>, env: &Env) -> Result<(), Trouble> {
        self.passwords.purge(task.id).await?;
        self.ports.release_all(task.id, env, task.cause).await?;
        let cause = fresh(task.cause);
        let released = self
            .log
            .decide::<Quota, QuotaRefusal>(task.tenant, task.tenant.as_str(), &cause, 0, |state| {
                release(state, task.id)
            })
            .await;
        decided(released).map(drop)
    }

    /// Reports that the sentry could not send: it was killed, or we were away when it stopped.
    async fn collect_reports(&self, task: &Task<'_>) -> Result<(), Trouble> {
        let files = self.engine.read_folder(task.id, left_reports::FOLDER).await?;
        let Some(left) = left_reports::read(&files) else { return Ok(()) };
        let cause = by_sentry(task.id, self.fleet.member(task.id).as_ref().map(|member| &member.origin));
        let count = left.reports.len();
        self.recorder.record_all(task.tenant, task.id, &left, &cause).await.map_err(again)?;
        tracing::info!(env.id = %task.id, count, "reports were collected from a spool");
        Ok(())
    }

    async fn close_sessions(&self, task: &Task<'_>) -> Result<(), Trouble> {
        // sessions just collected must be among those known
        if !self.fleet.catch_up(&self.log).await? {
            return Err(Trouble::Again("the fold lags behind the log".to_owned()));
        }
        let sessions = self.fleet.member(task.id).map(|member| member.sessions).unwrap_or_default();
        for session in sessions {
            let cause = fresh(task.cause);
            let closed =
                self.recorder.close(task.tenant, task.id, &session, REASON_DELETED, Utc::now(), &cause);
            closed.await.map_err(again)?;
        }
        Ok(())
    }
}
