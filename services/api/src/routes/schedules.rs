//! `/api/schedules`: what is to be run when, is it paused, and what became of it?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound, Utc};
use events::ids::{ScheduleId, TenantId};
use events::schedule::pause::{pause, resume};
use events::schedule::remove::remove as remove_rule;
use events::schedule::set::{change, set};
use events::schedule::{Schedule, ScheduleRefusal, ScheduleSet, due};
use projections::schedules::Filter;
use projections::{Page, schedules};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::fields::Fields;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::routes::Listed;
use crate::schedule::{DueView, View, views};
use crate::schedule_fields::{self, AskedShape, ChangeShape};
use crate::selection;

/// Schedules of a tenant.
const SCHEDULES_MAX: u64 = 1_000;
/// Due times that are shown with a schedule.
const RUNS_SHOWN: u32 = 20;

/// The facts of one change, by their index.
mod step {
    use super::index;
    pub const SET: u32 = index::FIRST;
    pub const PAUSE: u32 = index::FIRST + 1;
}

/// A schedule that was set.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduleSaved, example = json!({
    "schedule_id": "sch-abcdefghijkl", "next_due": "2026-01-03T02:00:00Z", "position": 42,
}))]
pub struct Saved {
    #[schema(value_type = String)]
    schedule_id: ScheduleId,
    /// `null` where nothing is due as it is.
    next_due: Option<DateTime<Utc>>,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

/// A schedule with what became of its newest due times.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduleWhole)]
pub struct Whole {
    #[serde(flatten)]
    schedule: View,
    /// Newest first, at most 20.
    runs: Vec<DueView>,
}

fn confined(caller: &Caller) -> Filter {
    Filter { tenant: caller.tenant_seen().cloned(), owner: caller.owner_seen().cloned() }
}

fn saved(status: StatusCode, id: ScheduleId, state: &Schedule, position: u64) -> Response {
    let saved = Saved { schedule_id: id, next_due: due::next(state), position };
    (status, position::header(position), Json(saved)).into_response()
}

/// Set a schedule
///
/// What runs when it is due runs in your name and by the rights that you have then, on the servers that are left then.
/// Each due time is begun once, whatever breaks; what nobody looked at in time is skipped and shown as such, and so is
/// what is due while the run before has not ended.
#[utoipa::path(
    post, path = "/api/schedules", tag = "schedules", request_body = AskedShape,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the key repeats the answer, and sets nothing again")),
    responses(
        (status = 201, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`too_many_schedules`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    let now = asked_at(&app, &incoming).await?;
    let asked = schedule_fields::asked(&incoming.body.json, now)?;
    let caller = &incoming.caller;
    let servers = selection::servers(&app, caller, &asked.run.which).await;
    let (tenant, _) = servers.map_err(|problem| problem.inside("run"))?;
    room(&app, &tenant).await?;
    let cause = incoming.accept(&app).await?;
    let id = ScheduleId::from_seed(&cause.command);
    let wanted = ScheduleSet {
        name: asked.name,
        run: asked.run,
        when: asked.when,
        late_s_max: asked.late_s_max,
        by: caller.owner.clone(),
        actor: caller.actor.clone(),
        since: now,
    };
    let rule = |schedule: &Schedule| set(schedule, wanted.clone());
    let decided = app.log.decide::<Schedule, _>(&tenant, id.as_str(), &cause, step::SET, rule).await?;
    Ok(saved(StatusCode::CREATED, id, &decided.state, decided.seq))
}

/// A repeated request is read as it was the first time: what was to come then may be past.
async fn asked_at(app: &App, incoming: &Incoming) -> Result<DateTime<Utc>, Problem> {
    let now = Utc::now().trunc_subsecs(3);
    if incoming.key.is_none() {
        return Ok(now);
    }
    let id = ScheduleId::from_seed(&incoming.cause().command);
    let before = app.log.load::<Schedule>(&incoming.caller.tenant, id.as_str()).await?.state.set;
    Ok(before.map_or(now, |set| set.since))
}

/// As far as the read model knows: a few that come at the same moment may be more.
async fn room(app: &App, tenant: &TenantId) -> Result<(), Problem> {
    if schedules::count(&app.projections, tenant).await? < SCHEDULES_MAX {
        return Ok(());
    }
    let detail = format!("{tenant} has {SCHEDULES_MAX} schedules already; remove one first");
    Err(Problem::new("too_many_schedules", detail))
}

/// List schedules
///
/// Newest first, without the removed ones; a developer sees its own.
#[utoipa::path(
    get, path = "/api/schedules", tag = "schedules",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<View>, headers(("Portreeve-Position" = u64))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let reading = app.reading(after, as_of).await?;
    let page = reading.schedules(&confined(&caller), cursor.as_deref(), limit).await?;
    let newest = reading.newest_runs(page.items.iter().map(|row| &row.schedule_id)).await?;
    Ok(position::page(Page {
        items: views(page.items, newest),
        next_cursor: page.next_cursor,
        position: page.position,
    }))
}

/// Show a schedule
///
/// With what became of its newest due times; a removed one too.
#[utoipa::path(
    get, path = "/api/schedules/{id}", tag = "schedules",
    params(
        ("id" = String, Path, description = "Schedule id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Whole, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let unknown = || Problem::not_found("schedule");
    let id = ScheduleId::parse(id).map_err(|_| unknown())?;
    let reading = app.reading(after, as_of).await?;
    let found = reading.schedule(&confined(&caller), &id).await?;
    let row = found.value.ok_or_else(unknown)?;
    let runs = reading.runs(&id, RUNS_SHOWN).await?;
    let last = runs.first().cloned().map(DueView::from);
    let runs = runs.into_iter().map(DueView::from).collect();
    Ok(position::shown(found.position, Whole { schedule: View::of(row, last), runs }))
}

/// Looks in the caller's tenant; for an admin then in all, where the read model says which.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<(TenantId, ScheduleId, ScheduleSet), Problem> {
    let unknown = || Problem::not_found("schedule");
    let id = ScheduleId::parse(id).map_err(|_| unknown())?;
    let mut tenant = caller.tenant.clone();
    let mut schedule = app.log.load::<Schedule>(&tenant, id.as_str()).await?.state;
    if schedule.set.is_none() && caller.tenant_seen().is_none() {
        let row = schedules::get(&app.projections, &Filter::default(), &id).await?.value;
        tenant = row.ok_or_else(unknown)?.tenant;
        schedule = app.log.load::<Schedule>(&tenant, id.as_str()).await?.state;
    }
    let set = schedule.set.ok_or_else(unknown)?;
    if caller.sees(&tenant, Some(&set.by)) { Ok((tenant, id, set)) } else { Err(unknown()) }
}

/// Change, pause or resume a schedule
///
/// What is left out stays. It runs in the name of who set it, so they alone change what runs and when; whoever else may
/// write here pauses and resumes it. Other times count from now on; what was due during a pause is not made up for.
#[utoipa::path(
    patch, path = "/api/schedules/{id}", tag = "schedules", request_body = ChangeShape,
    params(("id" = String, Path, description = "Schedule id")),
    responses(
        (status = 200, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    let now = Utc::now().trunc_subsecs(3);
    let asked = schedule_fields::change(&incoming.body.json, now)?;
    let (tenant, id, before) = find(&app, caller, &id).await?;
    if asked.sets() && before.by != caller.owner {
        return Err(Problem::refused(&ScheduleRefusal::NotYours(before.by)));
    }
    if let Some(run) = &asked.run {
        let servers = selection::servers(&app, caller, &run.which).await;
        let (of, _) = servers.map_err(|problem| problem.inside("run"))?;
        if of != tenant {
            return Err(Problem::new("forbidden", "the servers belong to another tenant than the schedule"));
        }
    }
    let cause = incoming.accept(&app).await?;
    let mut decided = app.log.load::<Schedule>(&tenant, id.as_str()).await?;
    if asked.sets() {
        let rule = |schedule: &Schedule| {
            let before = schedule.there().ok_or(ScheduleRefusal::NotFound)?;
            change(schedule, asked.of(before, &caller.actor, now))
        };
        let changed = app.log.decide::<Schedule, _>(&tenant, id.as_str(), &cause, step::SET, rule).await?;
        (decided.state, decided.seq) = (changed.state, changed.seq);
    }
    if let Some(paused) = asked.paused {
        let rule = |schedule: &Schedule| if paused { pause(schedule) } else { resume(schedule, now) };
        let changed = app.log.decide::<Schedule, _>(&tenant, id.as_str(), &cause, step::PAUSE, rule).await?;
        (decided.state, decided.seq) = (changed.state, changed.seq);
    }
    if decided.state.removed {
        return Err(Problem::refused(&ScheduleRefusal::NotFound));
    }
    Ok(saved(StatusCode::OK, id, &decided.state, decided.seq))
}

/// Remove a schedule
///
/// Nothing of it is begun any more; what it began goes on.
#[utoipa::path(
    delete, path = "/api/schedules/{id}", tag = "schedules",
    params(("id" = String, Path, description = "Schedule id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"schedule_id": "sch-abcdefghijkl", "removed": true})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let (tenant, id, _) = find(&app, &incoming.caller, &id).await?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let decided =
        app.log.decide::<Schedule, _>(&tenant, id.as_str(), &cause, index::FIRST, remove_rule).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"schedule_id": id, "removed": true})))
}
