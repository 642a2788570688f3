//! `GET /api/environments/{id}/events`: what happened to this environment, and what happens?

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use projections::environments;

use crate::app::App;
use crate::auth::Caller;
use crate::environment::find;
use crate::params::Params;
use crate::problem::{Problem, ProblemDetails};
use crate::scope::Scope;
use crate::tap::{self, From};

/// Follow an environment
///
/// Its own events, its credential's (no secrets), its logins' and its sessions', from the first one
/// on, as server-sent events that do not end. `id` is the sequence, `data` a CloudEvent.
#[utoipa::path(
    get, path = "/api/environments/{id}/events", tag = "environments",
    params(
        ("id" = String, Path, description = "Environment id"),
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
    let found = find(&app, &caller, &id).await?;
    // where it begins is a short cut: without the read model the whole log is looked through
    let row = environments::get(&app.projections, Some(&found.tenant), &found.id).await;
    let first = row.ok().and_then(|row| row.value).map_or(1, |row| row.created_seq);
    let from = From::of(&headers, from, From::Sequence(first))?;
    tap::open(&app, Scope::environment(caller, found.tenant, found.id), from, headers)
}
