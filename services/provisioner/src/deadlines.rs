//! Whose time is up? Every second: pending states past their deadline fail, environments past their time
//! to live are deleted, and those that nobody uses are stopped, the latter two after a warning. Only the fact is appended here; the worker acts on it, so a step
//! that hangs cannot hold a deadline up.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::env::expire::expire;
use events::env::fail::overdue;
use events::env::idle::idle;
use events::env::{Env, EnvEvent, EnvRefusal};
use events::ids::{EnvId, TenantId};
use nats::DecideError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::reconcile::Provisioner;
use crate::step::by_itself;
use kit::error::chain;

/// How often is looked: deadlines and times to live are kept to the second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Ends only with `shutdown`.
pub async fn watch(provisioner: Arc<Provisioner>, shutdown: CancellationToken) {
    let endless = async {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            provisioner.metrics.observe(&provisioner.fleet);
            for (env, tenant) in provisioner.fleet.due(Utc::now()) {
                if let Err(error) = times_up(&provisioner, &tenant, &env).await {
                    tracing::warn!(env.id = %env, error = chain(&error), "a deadline could not be kept now");
                }
            }
            let active_at = |env: &EnvId| provisioner.activity.of(env);
            for (env, tenant, active_at) in provisioner.fleet.idle(active_at, Utc::now()) {
                if let Err(error) = unused(&provisioner, &tenant, &env, active_at).await {
                    tracing::warn!(env.id = %env, error = chain(&error), "an idle environment could not be warned or stopped now");
                }
            }
        }
    };
    shutdown.run_until_cancelled(endless).await;
}

async fn times_up(
    provisioner: &Provisioner,
    tenant: &TenantId,
    env: &EnvId,
) -> Result<(), DecideError<EnvRefusal>> {
    let last = provisioner.troubles.last(env);
    let rule = |state: &Env| {
        let now = Utc::now();
        match expire(state, now)? {
            Some(event) => Ok(Some(event)),
            None => Ok(overdue(state, now)?.map(|event| with_reason(event, last.as_deref()))),
        }
    };
    let decided =
        provisioner.log.decide::<Env, EnvRefusal>(tenant, env.as_str(), &by_itself(), 0, rule).await?;
    if let Some(recorded) = decided.appended {
        let kind = recorded.event.event_type();
        if kind == "EnvEndsSoon" {
            tracing::info!(env.id = %env, "people are told about the end of an environment's time to live");
            return Ok(());
        }
        tracing::warn!(env.id = %env, event.kind = kind, event.seq = recorded.seq, last, "an environment's time is up");
        provisioner.metrics.repaired(if kind == "EnvFailed" { "overdue" } else { "expired" });
    }
    Ok(())
}

async fn unused(
    provisioner: &Provisioner,
    tenant: &TenantId,
    env: &EnvId,
    active_at: DateTime<Utc>,
) -> Result<(), DecideError<EnvRefusal>> {
    let rule = |state: &Env| idle(state, active_at, Utc::now());
    let decided =
        provisioner.log.decide::<Env, EnvRefusal>(tenant, env.as_str(), &by_itself(), 0, rule).await?;
    if let Some(recorded) = decided.appended {
        let kind = recorded.event.event_type();
        tracing::info!(env.id = %env, event.kind = kind, %active_at, "an environment that nobody uses");
    }
    Ok(())
}

/// The reason of a missed deadline names what went wrong last.
fn with_reason(event: EnvEvent, last: Option<&str>) -> EnvEvent {
    match (event, last) {
        (EnvEvent::EnvFailed(mut failed), Some(last)) => {
            failed.reason = format!("{}; last: {last}", failed.reason);
            failed.into()
        }
        (event, _) => event,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::testing::{asked, t};
    use events::Aggregate;

    #[test]
    fn a_missed_deadline_names_the_last_trouble() {
        let event = EnvEvent::from(asked());
        let state = Env::fold([(&event, t(0))]);
        let event = overdue(&state, t(300)).unwrap().unwrap();
        let EnvEvent::EnvFailed(failed) = with_reason(event, Some("the engine does not answer")) else {
            panic!("not a failure");
        };
        assert!(failed.reason.ends_with("last: the engine does not answer"), "{}", failed.reason);
    }
}
