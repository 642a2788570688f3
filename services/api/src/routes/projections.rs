//! `GET /api/projections`, `POST .../rebuild`: how far are the read models, and may one be built anew?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use events::user::Role;
use projections::ProjectionStatus;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Caller;
use crate::fields::Fields;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    status: ProjectionStatus,
    /// Last sequence of the log.
    head: u64,
    /// Events between the two.
    lag: u64,
}

/// List the projections
///
/// `position` is the last event in the rows, `head` the last one in the log, `lag` the difference.
#[utoipa::path(
    get, path = "/api/projections", tag = "projections",
    params(("after" = Option<u64>, Query, description = "Wait until the read model has this sequence")),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "name": "environments", "position": 42, "head": 42, "lag": 0, "state": "live",
            "parked_subjects": 0, "parked": [], "unreadable": 0,
        }], "next_cursor": null})),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, _: Caller, mut params: Params) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let statuses = app.projections.status().await?;
    // asked afterwards, so that a lag is never negative
    let head = app.log.head().await?;
    let position = statuses.iter().map(|status| status.position).min().unwrap_or_default();
    let items: Vec<_> = statuses
        .into_iter()
        .map(|status| View { head, lag: head.saturating_sub(status.position), status })
        .collect();
    Ok(position::shown(position, json!({"items": items, "next_cursor": null})))
}

/// Build a projection anew
///
/// Beside the live rows, which are read until the switch. For operators and admins.
#[utoipa::path(
    post, path = "/api/projections/{name}/rebuild", tag = "projections",
    params(("name" = String, Path, description = "As listed")),
    responses(
        (status = 202, body = Value, example = json!({"name": "environments", "state": "requested"})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn rebuild(
    State(app): State<App>,
    Path(name): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    incoming.caller.needs(&[Role::Admin, Role::Operator])?;
    if !projections::NAMES.contains(&name.as_str()) {
        return Err(Problem::not_found("projection"));
    }
    Fields::of(&incoming.body.json).finish(Some(()))?;
    incoming.accept(&app).await?;
    app.caught_up(None).await?;
    app.projections.request_rebuild(&name).await?;
    let position = app.projections.position().await?;
    let answer = Json(json!({"name": name, "state": "requested"}));
    Ok((StatusCode::ACCEPTED, position::header(position), answer).into_response())
}
