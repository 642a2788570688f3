//! `GET /api/commands/{id}`, `/api/batches`: what became of what was to be run? And how a batch is called off.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use events::batch::cancel::cancel as cancel_rule;
use events::batch::{Batch, BatchRequested};
use events::ids::{BatchId, CommandId, TenantId};
use projections::batches;
use projections::batches::Filter;
use projections::commands::Filter as CommandFilter;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::command::{BatchView, View};
use crate::fields::Fields;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::{PAGE_LIMIT_MAX, Params, yes_or_no};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::routes::Listed;
use crate::scope::Scope;
use crate::tap::{self, From};

/// A batch with what became of each command; their outputs are shown one by one.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchWhole)]
pub struct Whole {
    #[serde(flatten)]
    batch: BatchView,
    /// The first ones, in the order of the servers; as many as `limit` says.
    commands: Vec<View>,
    /// Where the others begin in `GET /api/batches/{id}/commands`; `null` when these are all.
    next_cursor: Option<String>,
}

/// What a command can be.
const STATUSES: [&str; 7] = ["queued", "dispatched", "completed", "failed", "timed_out", "lost", "cancelled"];

fn status(text: &str) -> Result<String, String> {
    let known = STATUSES.contains(&text);
    known.then(|| text.to_owned()).ok_or_else(|| format!("must be one of {}", STATUSES.join(", ")))
}

fn confined(caller: &Caller) -> Filter {
    let owner = caller.owner_seen().cloned();
    Filter { tenant: caller.tenant_seen().cloned(), owner, awaiting: false }
}

/// Show a command
#[utoipa::path(
    get, path = "/api/commands/{id}", tag = "commands",
    params(
        ("id" = String, Path, description = "Command id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = View, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show_command(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let unknown = || Problem::not_found("command");
    let id = CommandId::parse(id).map_err(|_| unknown())?;
    let reading = app.reading(after, as_of).await?;
    let found = reading.command(&app.log, caller.tenant_seen(), caller.owner_seen(), &id).await?;
    Ok(position::shown(found.position, View::from(found.value.ok_or_else(unknown)?)))
}

/// Show a batch
///
/// With its first commands; `GET /api/batches/{id}/commands` has all of them.
#[utoipa::path(
    get, path = "/api/batches/{id}", tag = "commands",
    params(
        ("id" = String, Path, description = "Batch id"),
        ("limit" = Option<u32>, Query, description = "Commands that are shown, 1 to 500; 500 when absent"),
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
    let limit = params.limit_or(PAGE_LIMIT_MAX);
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let unknown = || Problem::not_found("batch");
    let id = BatchId::parse(id).map_err(|_| unknown())?;
    let reading = app.reading(after, as_of).await?;
    let found = reading.batch(&confined(&caller), &id).await?;
    let batch = BatchView::from(found.value.ok_or_else(unknown)?);
    let first = reading.commands(&id, &CommandFilter::default(), None, limit).await?;
    let commands = first.items.into_iter().map(View::from).collect();
    Ok(position::shown(found.position, Whole { batch, commands, next_cursor: first.next_cursor }))
}

/// List a batch's commands
///
/// In the order of the servers; their outputs are shown one by one.
#[utoipa::path(
    get, path = "/api/batches/{id}/commands", tag = "commands",
    params(
        ("id" = String, Path, description = "Batch id"),
        ("status" = Option<String>, Query, description = "Only those that are `queued`, `dispatched`, `completed`, `failed`, `timed_out`, `lost` or `cancelled`"),
        ("ok" = Option<bool>, Query, description = "Only those that ended with exit code 0, or that ended otherwise"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, or of the batch"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<View>, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list_commands(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let filter =
        CommandFilter { status: params.parsed("status", status), ok: params.parsed("ok", yes_or_no) };
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let unknown = || Problem::not_found("batch");
    let id = BatchId::parse(id).map_err(|_| unknown())?;
    let reading = app.reading(after, as_of).await?;
    reading.batch(&confined(&caller), &id).await?.value.ok_or_else(unknown)?;
    let page = reading.commands(&id, &filter, cursor.as_deref(), limit).await?;
    Ok(position::page(page.map(View::from)))
}

/// List batches
///
/// Newest first; a developer sees its own.
#[utoipa::path(
    get, path = "/api/batches", tag = "commands",
    params(
        ("status" = Option<String>, Query, description = "`awaiting_approval`: those alone that wait for a second person"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<BatchView>, headers(("Portreeve-Position" = u64))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let awaiting = params.parsed("status", awaiting).unwrap_or(false);
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let filter = Filter { awaiting, ..confined(&caller) };
    let page = app.reading(after, as_of).await?.batches(&filter, cursor.as_deref(), limit).await?;
    Ok(position::page(page.map(BatchView::from)))
}

fn awaiting(text: &str) -> Result<bool, String> {
    if text == "awaiting_approval" { Ok(true) } else { Err("must be awaiting_approval".to_owned()) }
}

/// Looks in the caller's tenant; for an admin then in all, where the read model says which.
pub async fn find(
    app: &App,
    caller: &Caller,
    id: &str,
) -> Result<(TenantId, BatchId, BatchRequested), Problem> {
    let unknown = || Problem::not_found("batch");
    let id = BatchId::parse(id).map_err(|_| unknown())?;
    let mut tenant = caller.tenant.clone();
    let mut batch = app.log.load::<Batch>(&tenant, id.as_str()).await?.state;
    if batch.requested.is_none() && caller.tenant_seen().is_none() {
        let row = batches::get(&app.projections, &Filter::default(), &id).await?.value;
        tenant = row.ok_or_else(unknown)?.tenant;
        batch = app.log.load::<Batch>(&tenant, id.as_str()).await?.state;
    }
    let requested = batch.requested.ok_or_else(unknown)?;
    if caller.sees(&tenant, Some(&requested.by)) { Ok((tenant, id, requested)) } else { Err(unknown()) }
}

/// Follow a batch
///
/// Its own events and those of its commands, from the first one on, as server-sent events that do not end. `id` is
/// the sequence, `data` a CloudEvent.
#[utoipa::path(
    get, path = "/api/batches/{id}/events", tag = "commands",
    params(
        ("id" = String, Path, description = "Batch id"),
        ("from" = Option<String>, Query, description = "Sequence or RFC 3339 time to begin with, inclusive"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this sequence"),
    ),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let from = params.parsed("from", From::parse);
    params.end()?;
    let (tenant, id, requested) = find(&app, &caller, &id).await?;
    // where it begins is a short cut: without the read model the log is looked through from when it was asked for
    let row = batches::get(&app.projections, &Filter::default(), &id).await.ok().and_then(|row| row.value);
    let first = row.map_or(From::Time(requested.at), |row| From::Sequence(row.created_seq));
    let from = From::of(&headers, from, first)?;
    tap::open(&app, Scope::batch(caller, tenant, id, &requested), from, headers)
}

/// Call a batch off
///
/// Nothing of it is begun any more. What a relay has already may still run; its result is shown as late.
#[utoipa::path(
    post, path = "/api/batches/{id}/cancel", tag = "commands",
    params(("id" = String, Path, description = "Batch id")),
    responses(
        (status = 202, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"batch_id": "bat-abcdefghijkl", "cancelled": true})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let (tenant, id, _) = find(&app, &incoming.caller, &id).await?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let decided = app.log.decide::<Batch, _>(&tenant, id.as_str(), &cause, index::FIRST, cancel_rule).await?;
    let mut answer = position::shown(decided.seq, serde_json::json!({"batch_id": id, "cancelled": true}));
    *answer.status_mut() = axum::http::StatusCode::ACCEPTED;
    Ok(answer)
}
