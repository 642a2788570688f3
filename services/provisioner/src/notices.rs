//! How does what an engine says on the way up become facts? Steps and troubles are written down as
//! `EnvProgressed`; what will not pass fails the environment.

use std::collections::HashMap;
use std::sync::Arc;

use events::env::fail::fail;
use events::env::progress::progress;
use events::env::{Env, EnvEvent, EnvFailed, EnvProgressed, EnvRefusal, Phase};
use events::ids::EnvId;
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::compute::{Notice, Progress, Weight};
use crate::fleet::Member;
use crate::reconcile::Provisioner;
use crate::step::by_engine;
use crate::trouble::{Trouble, decided};

/// What an engine says when a container ended and it starts it again.
pub const RESTARTED: &str = "container_restarted";
/// Taken from the engine at once; those of one environment stay in their order.
const TAKEN_AT_ONCE: usize = 256;
/// Environments written about at once.
const WRITTEN_AT_ONCE: usize = 16;

/// Ends only with `shutdown`.
pub async fn watch(provisioner: Arc<Provisioner>, shutdown: CancellationToken) {
    let endless = async {
        let mut chunks = provisioner.engine.notices().ready_chunks(TAKEN_AT_ONCE);
        while let Some(chunk) = chunks.next().await {
            let mut by_env: HashMap<EnvId, Vec<Progress>> = HashMap::new();
            for Notice { env, progress } in chunk {
                by_env.entry(env).or_default().push(progress);
            }
            stream::iter(by_env)
                .for_each_concurrent(WRITTEN_AT_ONCE, |(env, said)| {
                    let provisioner = Arc::clone(&provisioner);
                    async move {
                        for progress in said {
                            provisioner.take_in(&env, progress).await;
                        }
                    }
                })
                .await;
        }
        // an engine that says nothing more leaves the rest to the sweep
        std::future::pending::<()>().await;
    };
    shutdown.run_until_cancelled(endless).await;
}

impl Provisioner {
    /// Only while it is coming up: what is said of others is not asked of the log.
    async fn take_in(&self, env: &EnvId, seen: Progress) {
        let Some(member) = self.fleet.member(env).filter(|member| member.env.status.is_coming_up()) else {
            return;
        };
        let ends_early = seen.code == RESTARTED && self.ends_by_itself(env, &member.env);
        let recorded = match ends_early || seen.weight == Weight::Final {
            true => {
                let failed = failure(&seen, ends_early);
                self.record(env, &member, |state| match state.status.is_coming_up() {
                    true => fail(state, failed.clone()),
                    false => Ok(None),
                })
                .await
            }
            false => self.record(env, &member, |state| progress(state, fact(&seen))).await,
        };
        match recorded {
            Ok(()) | Err(Trouble::Changed) => {}
            Err(Trouble::Again(why)) => tracing::warn!(env.id = %env, why, code = seen.code,
                "what the engine said could not be recorded"),
            Err(Trouble::Failed(failed)) => {
                tracing::warn!(env.id = %env, why = failed.reason, "what the engine said could not be recorded");
            }
        }
    }

    async fn record(
        &self,
        env: &EnvId,
        member: &Member,
        rule: impl FnMut(&Env) -> events::Decision<EnvEvent, EnvRefusal>,
    ) -> Result<(), Trouble> {
        let cause = by_engine(&member.origin);
        let recorded =
            self.log.decide::<Env, EnvRefusal>(&member.tenant, env.as_str(), &cause, 0, rule).await;
        let appended = decided(recorded)?.appended;
        if let Some(EnvEvent::EnvFailed(failed)) =
            appended.as_ref().and_then(|recorded| events::AggregateEvent::from_event(&recorded.event))
        {
            tracing::error!(env.id = %env, phase = failed.phase.name(), code = failed.code,
                reason = failed.reason, "an environment has failed");
        }
        Ok(())
    }
}

fn fact(seen: &Progress) -> EnvProgressed {
    EnvProgressed {
        phase: seen.phase,
        code: seen.code.to_owned(),
        message: seen.message.clone(),
        trouble: seen.weight != Weight::Step,
    }
}

fn failure(seen: &Progress, ends_early: bool) -> EnvFailed {
    if !ends_early {
        return EnvFailed { phase: seen.phase, code: seen.code.to_owned(), reason: seen.message.clone() };
    }
    let reason =
        format!("{}, again and again before it was ready: is it an environment's image?", seen.message);
    EnvFailed { phase: Phase::Ready, code: "ended_early".to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_again_and_again_fails_in_another_way_than_what_is_final() {
        let seen = |weight| Progress { phase: Phase::Image, code: "x", message: "it broke".into(), weight };
        let failed = failure(&seen(Weight::Final), false);
        assert_eq!(
            (failed.phase, failed.code.as_str(), failed.reason.as_str()),
            (Phase::Image, "x", "it broke")
        );
        let failed = failure(&seen(Weight::Trouble), true);
        assert_eq!((failed.phase, failed.code.as_str()), (Phase::Ready, "ended_early"));
        assert!(failed.reason.starts_with("it broke, again and again"), "{}", failed.reason);
        assert!(fact(&seen(Weight::Trouble)).trouble && !fact(&seen(Weight::Step)).trouble);
    }
}
