//! Who begins what is due? Every API process looks, each second; the log decides who was first.
//!
//! The read model says where to look, the log what is true there. A command must not run twice, so the fact comes
//! first: `ScheduleFired`, under the guard of the schedule's subject, is the one place where a due time is begun,
//! skipped, or lost to a pause, and it holds everything that the batch needs. The batch follows under an id that
//! schedule and time name, so whoever comes upon the fact asks for the same one, and it is there once: a process
//! killed in between leaves it to the next look of any other. Were the batch first, a late process could run what
//! another one has put on record as missed.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use events::Cause;
use events::batch::request::request;
use events::batch::{ApprovalAsked, Batch};
use events::command::Command;
use events::ids::{BatchId, CommandId, EventId, NAMESPACE, ScheduleId, ServerId, TenantId};
use events::schedule::due::{Due, due};
use events::schedule::fire::fire;
use events::schedule::skip::skip;
use events::schedule::{Begun, Schedule, ScheduleFired, ScheduleSet, ScheduleSkipped, Why};
use futures_util::{StreamExt, stream};
use projections::batches::Filter;
use projections::{batches, schedules};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::access::Caller;
use crate::app::App;
use crate::auth;
use crate::command_policy::{self, APPROVE_WITHIN_S_DEFAULT};
use crate::idempotency::index;
use crate::problem::Problem;
use crate::selection;

const INTERVAL: Duration = Duration::from_secs(1);
/// Every so many looks those are sought whose process is gone.
const LOOKS_BEHIND_EVERY: u64 = 5;
/// Schedules that one look takes; the next one goes on.
const SCHEDULES_MAX: u32 = 500;
const SCHEDULES_AT_ONCE: usize = 16;
/// Facts of one schedule in one look: what was missed, in parts, and what is begun.
const STEPS_MAX: usize = 8;
/// Commands looked at at once.
const COMMANDS_AT_ONCE: usize = 64;
const ACTOR: &str = "service:api";

pub async fn keep_beginning(app: App, shutdown: CancellationToken) {
    for looks in 0_u64.. {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
        // the read model says itself that it is away, to whoever asks
        let Ok(mut waiting) = schedules::waiting(&app.projections, Utc::now(), SCHEDULES_MAX).await else {
            continue;
        };
        if looks.is_multiple_of(LOOKS_BEHIND_EVERY) {
            waiting.extend(schedules::left_behind(&app.projections, SCHEDULES_MAX).await.unwrap_or_default());
        }
        let failed: Vec<(ScheduleId, Problem)> = stream::iter(waiting)
            .map(|(tenant, id)| {
                let app = app.clone();
                async move { begin(&app, &tenant, &id).await.err().map(|problem| (id, problem)) }
            })
            .buffer_unordered(SCHEDULES_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        // what fails mostly fails for all: the log is away
        if let Some((id, problem)) = failed.first() {
            let (code, cause) = (problem.code(), problem.cause());
            let (detail, count) = (problem.detail(), failed.len());
            tracing::warn!(schedule.id = %id, code, detail, cause, count, "due schedules were not begun; tried again");
        }
    }
}

/// Everything that is to be done about one schedule now.
async fn begin(app: &App, tenant: &TenantId, id: &ScheduleId) -> Result<(), Problem> {
    for _ in 0..STEPS_MAX {
        let state = app.log.load::<Schedule>(tenant, id.as_str()).await?.state;
        if let Some(newest) = &state.newest {
            request_batch(app, tenant, id, newest).await?;
        }
        match due(&state, Utc::now()) {
            None => return Ok(()),
            Some(Due::Missed { first, last, count }) => {
                let skipped = skipped(first, last, count, Why::Missed, None);
                record_skip(app, tenant, id, skipped).await?;
            }
            Some(Due::Now(due_at)) => begin_now(app, tenant, id, &state, due_at).await?,
        }
    }
    Ok(())
}

async fn begin_now(
    app: &App,
    tenant: &TenantId,
    id: &ScheduleId,
    state: &Schedule,
    due_at: DateTime<Utc>,
) -> Result<(), Problem> {
    let Some(set) = state.there() else { return Ok(()) };
    if let Some(newest) = &state.newest
        && is_running(app, tenant, newest).await?
    {
        let reason = format!("{} has not ended", newest.batch_id);
        return skip_now(app, tenant, id, due_at, Why::StillRunning, reason).await;
    }
    let Now { servers, left_out, approval } = match servers_now(app, tenant, set).await? {
        Ok(left) => left,
        Err((why, reason)) => return skip_now(app, tenant, id, due_at, why, reason).await,
    };
    let batch_id = BatchId::of_schedule(id, due_at);
    let fired = ScheduleFired { due_at, batch_id, servers, left_out, approval, at: now() };
    let cause = cause(tenant, id, due_at, "fire");
    let rule = |state: &Schedule| fire(state, fired.clone());
    let decided = app.log.decide::<Schedule, _>(tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    match &decided.state.newest {
        // whoever was first: there is one batch of this time
        Some(newest) if newest.due_at == due_at => request_batch(app, tenant, id, newest).await,
        Some(_) | None => Ok(()),
    }
}

/// The batch of a due time that is begun; it is there already when somebody else asked for it.
async fn request_batch(app: &App, tenant: &TenantId, id: &ScheduleId, begun: &Begun) -> Result<(), Problem> {
    let cause = cause(tenant, id, begun.due_at, "fire");
    let causation = Some(EventId::derive(&cause.command, index::FIRST));
    let cause = Cause { causation, ..cause };
    let rule = |batch: &Batch| request(batch, begun.requested.clone());
    app.log.decide::<Batch, _>(tenant, begun.batch_id.as_str(), &cause, index::FIRST + 1, rule).await?;
    Ok(())
}

async fn skip_now(
    app: &App,
    tenant: &TenantId,
    id: &ScheduleId,
    due_at: DateTime<Utc>,
    why: Why,
    reason: String,
) -> Result<(), Problem> {
    record_skip(app, tenant, id, skipped(due_at, due_at, 1, why, Some(reason))).await
}

async fn record_skip(
    app: &App,
    tenant: &TenantId,
    id: &ScheduleId,
    skipped: ScheduleSkipped,
) -> Result<(), Problem> {
    let cause = cause(tenant, id, skipped.first, "skip");
    let rule = |state: &Schedule| skip(state, skipped.clone());
    app.log.decide::<Schedule, _>(tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(())
}

/// Whether some command of it has no outcome. That all have one is true for ever, so there the read model will do; it
/// may be behind, so that some have none the log says.
async fn is_running(app: &App, tenant: &TenantId, begun: &Begun) -> Result<bool, Problem> {
    let row = batches::get(&app.projections, &Filter::default(), &begun.batch_id).await?.value;
    if row.is_some_and(|row| row.counts.pending() == 0) {
        return Ok(false);
    }
    let requested = &begun.requested;
    let ids: Vec<CommandId> = (requested.servers.iter())
        .map(|server| CommandId::of(&begun.batch_id, server, requested.at))
        .collect();
    let mut commands = stream::iter(ids)
        .map(|id| async move { app.log.load::<Command>(tenant, id.as_str()).await })
        .buffered(COMMANDS_AT_ONCE);
    while let Some(command) = commands.next().await {
        if command?.state.outcome().is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What may be begun now.
struct Now {
    servers: Vec<ServerId>,
    left_out: u32,
    approval: Option<ApprovalAsked>,
}

/// On which servers whoever set it may run it now, or why on none.
async fn servers_now(
    app: &App,
    tenant: &TenantId,
    set: &ScheduleSet,
) -> Result<Result<Now, (Why, String)>, Problem> {
    let not_allowed = |detail: String| Ok(Err((Why::NotAllowed, detail)));
    let caller = match auth::by_actor(app, &set.actor, None).await {
        Ok(caller) => caller,
        Err(problem) if problem.code() == "unauthorized" => {
            return not_allowed(format!("{} was shut out, or is no more", set.actor));
        }
        Err(problem) => return Err(problem),
    };
    if let Err(problem) = may_run(&caller, tenant) {
        return not_allowed(problem.detail().to_owned());
    }
    match selection::left(app, &caller, tenant, &set.run.which).await {
        Ok((servers, left_out)) if servers.is_empty() => {
            let reason = format!("none of the {left_out} servers is left on which {} may run it", set.by);
            Ok(Err((Why::NoServers, reason)))
        }
        Ok((servers, left_out)) => {
            let asked = command_policy::ask(
                app,
                tenant,
                caller.person(),
                &servers,
                &set.run.command,
                APPROVE_WITHIN_S_DEFAULT,
            );
            let servers = || servers.iter().map(|(server, _)| server.clone()).collect();
            match asked.await {
                Ok(approval) => Ok(Ok(Now { servers: servers(), left_out, approval })),
                Err(problem) if problem.code() == "command_refused" => {
                    not_allowed(problem.detail().to_owned())
                }
                Err(problem) => Err(problem),
            }
        }
        // a selector that fits none, or too many
        Err(problem) if problem.code() == "validation_failed" => {
            let said = problem.errors().first().map(|error| format!("{} {}", error.field, error.detail));
            Ok(Err((Why::NoServers, said.unwrap_or_default())))
        }
        Err(problem) => Err(problem),
    }
}

fn may_run(caller: &Caller, tenant: &TenantId) -> Result<(), Problem> {
    caller.may_write()?;
    match caller.tenant_seen() {
        Some(own) if own != tenant => Err(Problem::new("forbidden", "it is of another tenant now")),
        Some(_) | None => Ok(()),
    }
}

fn skipped(
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    count: u32,
    why: Why,
    reason: Option<String>,
) -> ScheduleSkipped {
    ScheduleSkipped { first, last, count, why, reason, at: now() }
}

fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// The same for every process that comes to the same step.
fn cause(tenant: &TenantId, id: &ScheduleId, due_at: DateTime<Utc>, step: &str) -> Cause {
    let due_us = due_at.timestamp_micros();
    let command = Uuid::new_v5(&NAMESPACE, format!("due\n{tenant}\n{id}\n{due_us}\n{step}").as_bytes());
    Cause::new(command, ACTOR)
}
