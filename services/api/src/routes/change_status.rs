//! `POST .../stop`, `POST .../start`, `DELETE ...`: what shall the environment come to?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use events::Decision;
use events::env::{
    Env, EnvEvent, EnvRefusal, RequestCause, delete::request_delete, start::request_start, stop::request_stop,
};

use crate::app::App;
use crate::environment::{Changing, find};
use crate::fields::Fields;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

/// Stop an environment
///
/// Nothing of it runs any more; its data and its port stay.
#[utoipa::path(
    post, path = "/api/environments/{id}/stop", tag = "environments",
    params(("id" = String, Path, description = "Environment id")),
    responses(
        (status = 202, body = Changing, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`environment_deleting`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn stop(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    change(&app, &id, &incoming, |env| request_stop(env, RequestCause::Asked, Utc::now())).await
}

/// Start an environment that is stopped or has failed
#[utoipa::path(
    post, path = "/api/environments/{id}/start", tag = "environments",
    params(("id" = String, Path, description = "Environment id")),
    responses(
        (status = 202, body = Changing, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`environment_deleting`, `environment_wrong_status`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    change(&app, &id, &incoming, |env| request_start(env, Utc::now())).await
}

/// Delete an environment with its data
///
/// The port goes back to the pool, the quota is free again.
#[utoipa::path(
    delete, path = "/api/environments/{id}", tag = "environments",
    params(("id" = String, Path, description = "Environment id")),
    responses(
        (status = 202, body = Changing, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    change(&app, &id, &incoming, |env| request_delete(env, RequestCause::Asked, Utc::now())).await
}

async fn change(
    app: &App,
    id: &str,
    incoming: &Incoming,
    rule: impl Fn(&Env) -> Decision<EnvEvent, EnvRefusal> + Send,
) -> Result<Response, Problem> {
    let found = find(app, &incoming.caller, id).await?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(app).await?;
    let decided =
        app.log.decide::<Env, _>(&found.tenant, found.id.as_str(), &cause, index::FIRST, rule).await?;
    let name = decided.state.requested.map(|requested| requested.name).unwrap_or_default();
    let status = decided.state.status.name();
    let changing = Changing { env_id: found.id, name, status, position: decided.seq };
    Ok((StatusCode::ACCEPTED, position::header(decided.seq), Json(changing)).into_response())
}
