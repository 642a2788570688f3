//! What do the log and the machine disagree about? Looked for at the start, then on a timer, and where
//! the engine says that a container ended. Everything found goes through `reconcile.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use events::env::{Env, Status};
use events::ids::{EnvId, TenantId};
use events::quota::release::release;
use events::quota::{Quota, QuotaRefusal};
use futures_util::{StreamExt, stream};
use nats::Outcome;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::compute::{Ending, Listed};
use crate::fleet::HeldPort;
use crate::reconcile::{Provisioner, Task};
use crate::step::by_itself;
use crate::trouble::{Trouble, again, decided};
use kit::error::chain;

/// A claim comes before its environment: one this young may still get it.
const CLAIM_GRACE_S: i64 = 60;
/// A port is allocated before it is bound.
const PORT_GRACE_S: i64 = 60;
/// Part of the health that the sweep knows of.
const ENGINE: &str = "container engine";
/// Environments put right at once.
const REPAIRS_AT_ONCE: usize = 16;
/// Files without a container, of an environment that is not there.
const STORAGE_ORPHANED: &str = "storage_orphaned";
/// Pause before the engine's events are asked for again.
const EVENTS_PAUSE: Duration = Duration::from_secs(1);

/// Sweeps every `every`, the first time at once. Ends only with `shutdown`.
pub async fn sweep(provisioner: Arc<Provisioner>, every: Duration, shutdown: CancellationToken) {
    let endless = async {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let began = Instant::now();
            match sweep_once(&provisioner).await {
                Ok(()) => provisioner.metrics.swept(began.elapsed()),
                Err(trouble) => {
                    let why = why(trouble);
                    tracing::warn!(why, "the sweep could not be finished; the next one goes on");
                }
            }
        }
    };
    shutdown.run_until_cancelled(endless).await;
}

/// Looks at an environment as soon as the engine says that its container ended. Ends only with `shutdown`.
pub async fn watch_endings(provisioner: Arc<Provisioner>, shutdown: CancellationToken) {
    let endless = async {
        loop {
            let endings = provisioner.engine.endings();
            endings
                .for_each_concurrent(REPAIRS_AT_ONCE, |ending| {
                    let provisioner = Arc::clone(&provisioner);
                    async move {
                        match ending {
                            Ok(ending) => provisioner.look_if_up(&ending).await,
                            Err(error) => {
                                tracing::debug!(error = chain(&error), "the engine's events ended");
                            }
                        }
                    }
                })
                .await;
            tokio::time::sleep(EVENTS_PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(endless).await;
}

/// Everything once.
pub async fn sweep_once(provisioner: &Provisioner) -> Result<(), Trouble> {
    // containers first: a container made after the list is younger than what the fold says by then
    let listed = match provisioner.engine.list().await {
        Ok(listed) => listed,
        Err(error) => {
            provisioner.health.not_ready(ENGINE, chain(&error));
            return Err(error.into());
        }
    };
    provisioner.health.ready(ENGINE);
    if !provisioner.fleet.catch_up(&provisioner.log).await? {
        return Err(Trouble::Again("the fold lags behind the log".to_owned()));
    }
    let tasks = disagreements(&listed, &provisioner.fleet.all());
    stream::iter(tasks)
        .for_each_concurrent(REPAIRS_AT_ONCE, |(env, tenant, kind)| async move {
            provisioner.look(&tenant, &env, kind).await;
        })
        .await;
    provisioner.orphaned_ports().await?;
    provisioner.orphaned_claims().await
}

/// The environments to look at, each with the kind of disagreement.
fn disagreements(
    listed: &[Listed],
    known: &[(EnvId, TenantId, Status)],
) -> Vec<(EnvId, TenantId, &'static str)> {
    let up: HashMap<&EnvId, bool> = listed.iter().map(|listed| (&listed.env, listed.up)).collect();
    let ids: HashSet<&EnvId> = known.iter().map(|(env, _, _)| env).collect();
    let orphans = listed.iter().filter(|listed| !ids.contains(&listed.env)).map(|listed| {
        let kind = if listed.storage_only { STORAGE_ORPHANED } else { "container_orphaned" };
        (listed.env.clone(), listed.tenant.clone(), kind)
    });
    let wrong = known.iter().filter_map(|(env, tenant, status)| {
        let up = up.get(env).copied().unwrap_or(false);
        let kind = match status {
            Status::Running if !up => "not_running",
            Status::Stopped | Status::Failed if up => "still_running",
            Status::Failed => "failed",
            Status::Creating | Status::Starting | Status::Stopping | Status::Deleting => "pending",
            Status::Running | Status::Stopped | Status::Absent | Status::Deleted => return None,
        };
        Some((env.clone(), tenant.clone(), kind))
    });
    orphans.chain(wrong).collect()
}

impl Provisioner {
    async fn look(&self, tenant: &TenantId, env: &EnvId, kind: &'static str) {
        if self.turns.is_taken(env) {
            return; // somebody is at it
        }
        if kind == "failed" && !self.fleet.member(env).is_some_and(|member| member.env.delete_requested()) {
            return; // kept for a look
        }
        if kind == STORAGE_ORPHANED && !self.was_deleted(tenant, env).await {
            return; // no fact speaks of it: its files are not ours to delete
        }
        if [STORAGE_ORPHANED, "container_orphaned", "still_running"].contains(&kind) {
            tracing::warn!(env.id = %env, kind, "the machine and the log disagree: putting it right");
            self.metrics.repaired(kind);
        }
        self.look_now(tenant, env, None).await;
    }

    async fn was_deleted(&self, tenant: &TenantId, env: &EnvId) -> bool {
        let loaded = self.log.load::<Env>(tenant, env.as_str()).await;
        loaded.is_ok_and(|loaded| loaded.state.status == Status::Deleted)
    }

    async fn look_now(&self, tenant: &TenantId, env: &EnvId, ended: Option<&Ending>) {
        let cause = by_itself();
        let task = Task { tenant, id: env, cause: &cause, look: true, ended };
        match self.reconcile(&task).await {
            Outcome::Done | Outcome::Again { .. } => {} // the next sweep goes on
            Outcome::Park { why } => tracing::error!(env.id = %env, why, "an environment needs an operator"),
        }
    }

    /// Its container ended. Whoever stops it on purpose has said so in the log before.
    async fn look_if_up(&self, ending: &Ending) {
        let matters = match self.fleet.status_of(&ending.env) {
            Some(Status::Running) => true,
            // an engine that knows the reason is bringing it up again already
            Some(Status::Creating | Status::Starting) => ending.reason.is_none(),
            Some(
                Status::Absent
                | Status::Stopping
                | Status::Stopped
                | Status::Failed
                | Status::Deleting
                | Status::Deleted,
            )
            | None => false,
        };
        if let (true, Some(tenant)) = (matters, self.fleet.tenant_of(&ending.env)) {
            self.look_now(&tenant, &ending.env, Some(ending)).await;
        }
    }

    /// Ports held by nobody who lives, or replaced by another.
    async fn orphaned_ports(&self) -> Result<(), Trouble> {
        let young = Utc::now() - TimeDelta::seconds(PORT_GRACE_S);
        for held in self.fleet.held_ports() {
            let living = self.fleet.member(&held.env).map(|member| member.env);
            if living.as_ref().is_some_and(|env| env.port(held.purpose) == Some(held.port)) {
                continue;
            }
            let env = self.log.load::<Env>(&held.tenant, held.env.as_str()).await.map_err(again)?.state;
            if is_orphaned(&held, &env, held.since < young) {
                tracing::warn!(env.id = %held.env, port = held.port, "a port was held for nothing: it is released");
                self.ports.release(&held.env, held.port, &by_itself()).await?;
                self.metrics.repaired("port_orphaned");
            }
        }
        Ok(())
    }

    /// Shares of quotas whose environment is gone or never came.
    async fn orphaned_claims(&self) -> Result<(), Trouble> {
        let young = Utc::now() - TimeDelta::seconds(CLAIM_GRACE_S);
        for (tenant, env, since) in self.fleet.claims() {
            if since > young || self.fleet.status_of(&env).is_some() || !self.is_gone(&tenant, &env).await? {
                continue;
            }
            tracing::warn!(env.id = %env, "a share of the quota was claimed for nothing: it is released");
            let rule = |state: &Quota| release(state, &env);
            let cause = by_itself();
            let released =
                self.log.decide::<Quota, QuotaRefusal>(&tenant, tenant.as_str(), &cause, 0, rule).await;
            decided(released)?;
            self.passwords.purge(&env).await?;
            self.metrics.repaired("claim_orphaned");
        }
        Ok(())
    }
}

/// A port that is not bound may be about to be; while it is young, or its purpose has no port yet.
fn is_orphaned(held: &HeldPort, env: &Env, old: bool) -> bool {
    if !env.exists() {
        return true;
    }
    match env.port(held.purpose) {
        Some(bound) => bound != held.port && old,
        None => false,
    }
}

fn why(trouble: Trouble) -> String {
    match trouble {
        Trouble::Again(why) => why,
        Trouble::Failed(failed) => failed.reason,
        Trouble::Changed => "something newer was decided meanwhile".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{acme, asked, bound, env_id, t};
    use events::Aggregate;
    use events::env::{EnvEvent, PortPurpose};

    #[test]
    fn only_disagreements_are_looked_at() {
        let here = |number, up| Listed { env: env_id(number), tenant: acme(), up, storage_only: false };
        let files = |number| Listed { storage_only: true, ..here(number, false) };
        let known = |number, status| (env_id(number), acme(), status);
        let listed =
            [here(1, true), here(2, false), here(3, true), here(9, true), here(5, true), files(7), files(6)];
        let known = [
            known(1, Status::Running),
            known(2, Status::Running),
            known(3, Status::Stopped),
            known(4, Status::Running),
            known(5, Status::Creating),
            known(6, Status::Stopped),
        ];
        let mut found: Vec<_> =
            disagreements(&listed, &known).into_iter().map(|(env, _, kind)| (env, kind)).collect();
        found.sort();
        let mut expected = vec![
            (env_id(9), "container_orphaned"),
            (env_id(7), "storage_orphaned"),
            (env_id(2), "not_running"),
            (env_id(4), "not_running"),
            (env_id(3), "still_running"),
            (env_id(5), "pending"),
        ];
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_port_is_orphaned_when_nobody_lives_or_another_is_bound() {
        let held =
            |port| HeldPort { port, tenant: acme(), env: env_id(1), purpose: PortPurpose::Ssh, since: t(0) };
        let events = [EnvEvent::from(asked()), bound(30000)];
        let has = Env::fold(events.iter().map(|event| (event, t(0))));
        let waits = Env::fold(events.iter().take(1).map(|event| (event, t(0))));
        assert!(is_orphaned(&held(30000), &Env::default(), false), "nobody lives");
        assert!(!is_orphaned(&held(30000), &has, true), "bound");
        assert!(is_orphaned(&held(30001), &has, true), "another is bound");
        assert!(!is_orphaned(&held(30001), &has, false), "may be about to be bound");
        assert!(!is_orphaned(&held(30001), &waits, true), "will be taken by the next try");
    }
}
