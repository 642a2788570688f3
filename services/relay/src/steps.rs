//! How is a step taken? One decision on the command's own history; of two hubs that take the same, one succeeds.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::batch::{Batch, BatchEvent, BatchRefusal, expire, stop};
use events::command::answer::answer;
use events::command::{
    Command, CommandCompleted, CommandEvent, CommandFailed, CommandRefusal, CommandRequested, Via, cancel,
    dispatch, fail, lose, request, time_out,
};
use events::ids::{BatchId, CommandId, NAMESPACE, RelayId, TenantId};
use events::{Cause, Decision, Event};
use kit::error::chain;
use nats::{DecideError, Decided};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Hub;
use crate::desk::{Desk, Origin};
use crate::plan::Step;

/// The longest that a command waits for its turn, where relays are connected and others come first.
const QUEUE_MAX: TimeDelta = TimeDelta::hours(24);
/// The actor of what no relay said.
const SERVICE: &str = "service:relay";

/// What a key is compared by.
pub fn digest_of(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A step with what it needs of the desk.
pub enum Act {
    Command { tenant: TenantId, id: CommandId, origin: Arc<Origin>, what: What },
    Disconnect { tenant: TenantId, relay: RelayId, epoch: u64 },
    Stop { tenant: TenantId, batch: BatchId, origin: Arc<Origin>, failures: u32 },
    Expire { tenant: TenantId, batch: BatchId, origin: Arc<Origin> },
}

pub enum What {
    Request(CommandRequested),
    Dispatch(Via, dispatch::Place),
    Fail(CommandFailed),
    TimeOut,
    Lose(Via, String),
    Cancel,
}

impl Act {
    /// `None` if it is about nothing that is there.
    pub fn of(step: Step, desk: &Desk) -> Option<Self> {
        let (id, what) = match step {
            Step::Disconnect { relay, epoch } => {
                let tenant = desk.relays.get(&relay)?.tenant.clone();
                return Some(Self::Disconnect { tenant, relay, epoch });
            }
            Step::Stop { batch: id, failures } => {
                let batch = desk.batches.get(&id)?;
                let (tenant, origin) = (batch.tenant.clone(), Arc::clone(&batch.origin));
                return Some(Self::Stop { tenant, batch: id, origin, failures });
            }
            Step::Expire(id) => {
                let batch = desk.batches.get(&id)?;
                let (tenant, origin) = (batch.tenant.clone(), Arc::clone(&batch.origin));
                return Some(Self::Expire { tenant, batch: id, origin });
            }
            Step::Request(id) => {
                let asked = asked(desk, &id)?;
                (id, What::Request(asked))
            }
            Step::Dispatch { command, via, place } => (command, What::Dispatch(via, place)),
            Step::Fail { command, failed } => (command, What::Fail(failed)),
            Step::TimeOut(id) => (id, What::TimeOut),
            Step::Lose { command, via, reason } => (command, What::Lose(via, reason)),
            Step::Cancel(id) => (id, What::Cancel),
        };
        let batch = desk.batches.get(&desk.commands.get(&id)?.batch)?;
        let (tenant, origin) = (batch.tenant.clone(), Arc::clone(&batch.origin));
        Some(Self::Command { tenant, id, origin, what })
    }
}

fn asked(desk: &Desk, id: &CommandId) -> Option<CommandRequested> {
    let entry = desk.commands.get(id)?;
    let batch = desk.batches.get(&entry.batch)?;
    let requested = &batch.requested;
    Some(CommandRequested {
        batch: entry.batch.clone(),
        server: entry.server.clone(),
        timeout_ms: requested.timeout_ms,
        idempotent: requested.idempotent,
        start_by: batch.begun_at? + QUEUE_MAX,
    })
}

impl What {
    const fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Dispatch(..) => "dispatch",
            Self::Fail(_) => "fail",
            Self::TimeOut => "time_out",
            Self::Lose(..) => "lose",
            Self::Cancel => "cancel",
        }
    }

    fn decide(&self, state: &Command, now: DateTime<Utc>) -> Decision<CommandEvent, CommandRefusal> {
        match self {
            Self::Request(asked) => request::request(state, asked.clone()),
            Self::Dispatch(via, place) => dispatch::dispatch(state, via, place, now),
            Self::Fail(failed) => fail::fail(state, None, failed),
            Self::TimeOut => time_out::time_out(state, now),
            Self::Lose(via, reason) => lose::lose(state, via, reason),
            Self::Cancel => cancel::cancel(state),
        }
    }
}

impl Hub {
    /// The sequence after which its consequence is known; `None` if it failed and may be tried again.
    pub(crate) async fn take(&self, act: &Act) -> Option<u64> {
        match act {
            Act::Disconnect { tenant, relay, epoch } => {
                crate::socket::say_left(self, tenant, relay, *epoch, "hub_lost").await;
                None
            }
            Act::Stop { tenant, batch, origin, failures } => {
                let rule = |state: &Batch| stop::stop(state, *failures);
                self.decide_batch(tenant, batch, origin, "stop", rule).await
            }
            Act::Expire { tenant, batch, origin } => {
                let rule = |state: &Batch| expire::expire(state, Utc::now());
                self.decide_batch(tenant, batch, origin, "expire", rule).await
            }
            Act::Command { tenant, id, origin, what } => {
                let rule = |state: &Command| what.decide(state, Utc::now());
                let cause = self.cause(id.as_str(), what.name(), SERVICE, Some(origin));
                match self.decide_command(tenant, id, &cause, 0, rule).await {
                    Ok(decided) => Some(decided.seq),
                    Err(DecideError::Refused(refusal)) => {
                        tracing::debug!(command.id = %id, step = what.name(), why = %refusal, "another was faster");
                        None
                    }
                    Err(error) => {
                        tracing::warn!(command.id = %id, step = what.name(), error = chain(&error), "a step was not taken");
                        None
                    }
                }
            }
        }
    }

    /// A result, from whom it may come. After its time it is the time-out first, and late then.
    pub(crate) async fn answered(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        via: &Via,
        completed: CommandCompleted,
    ) -> Result<(), DecideError<CommandRefusal>> {
        let actor = match via {
            Via::Relay { relay, .. } => format!("relay:{relay}"),
            Via::Direct { .. } => SERVICE.to_owned(),
        };
        let origin = self.lines.origin_of(id);
        let cause = self.cause(id.as_str(), &format!("answer\n{via:?}"), &actor, origin.as_deref());
        for index in 0..2 {
            let rule = |state: &Command| answer(state, via, &completed, Utc::now());
            let decided = self.decide_command(tenant, id, &cause, index, rule).await?;
            let event = decided.appended.map(|recorded| recorded.event);
            let again = matches!(event, Some(Event::Command(CommandEvent::CommandTimedOut(_))));
            if !again {
                break;
            }
        }
        Ok(())
    }

    /// Whoever had it knows that nothing ran.
    pub(crate) async fn failed(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        via: &Via,
        failed: CommandFailed,
    ) -> Result<(), DecideError<CommandRefusal>> {
        let origin = self.lines.origin_of(id);
        let cause = self.cause(id.as_str(), &format!("failed\n{via:?}"), SERVICE, origin.as_deref());
        let rule = |state: &Command| fail::fail(state, Some(via), &failed);
        self.decide_command(tenant, id, &cause, 0, rule).await.map(drop)
    }

    /// Whoever had it broke off and does not know.
    pub(crate) async fn lost(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        via: &Via,
        reason: &str,
    ) -> Result<(), DecideError<CommandRefusal>> {
        let origin = self.lines.origin_of(id);
        let cause = self.cause(id.as_str(), &format!("lost\n{via:?}"), SERVICE, origin.as_deref());
        let rule = |state: &Command| lose::lose(state, via, reason);
        self.decide_command(tenant, id, &cause, 0, rule).await.map(drop)
    }

    /// Of the same step that two hubs take each has its own identity, so that none takes the other's for its own.
    fn cause(&self, id: &str, step: &str, actor: &str, origin: Option<&Origin>) -> Cause {
        let command = match step {
            "dispatch" => Uuid::now_v7(),
            step => Uuid::new_v5(&NAMESPACE, format!("{step}\n{id}\n{}", self.id).as_bytes()),
        };
        let mut cause = Cause::new(command, actor);
        if let Some(origin) = origin {
            cause.correlation = origin.correlation;
            cause.causation = Some(origin.event);
            cause.traceparent.clone_from(&origin.traceparent);
        }
        cause
    }

    async fn decide_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        origin: &Origin,
        step: &str,
        rule: impl FnMut(&Batch) -> Decision<BatchEvent, BatchRefusal>,
    ) -> Option<u64> {
        let cause = self.cause(batch.as_str(), step, SERVICE, Some(origin));
        match self.log.decide::<Batch, _>(tenant, batch.as_str(), &cause, 0, rule).await {
            Ok(decided) => Some(decided.seq),
            Err(error) => {
                tracing::warn!(batch.id = %batch, step, error = chain(&error), "a step was not taken");
                None
            }
        }
    }

    async fn decide_command(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        cause: &Cause,
        index: u32,
        rule: impl FnMut(&Command) -> Decision<CommandEvent, CommandRefusal>,
    ) -> Result<Decided<Command>, DecideError<CommandRefusal>> {
        let decided = self.log.decide::<Command, _>(tenant, id.as_str(), cause, index, rule).await?;
        if let Some(Event::Command(event)) = decided.appended.as_ref().map(|recorded| &recorded.event)
            && let Some(outcome) = event.outcome()
        {
            self.metrics.outcome(outcome.name());
        }
        Ok(decided)
    }
}
