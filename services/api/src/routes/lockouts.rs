//! `GET /api/environments/{id}/lockouts`: which addresses are closed out now, until when?

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::Utc;
use projections::logins;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Caller;
use crate::environment::find;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;

/// List the addresses that are locked out
///
/// Those whose lock is neither over nor opened. IPv6: the address stands for its /64.
#[utoipa::path(
    get, path = "/api/environments/{id}/lockouts", tag = "environments",
    params(
        ("id" = String, Path, description = "Environment id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({
            "items": [{"ip": "192.0.2.7", "until": "2026-01-02T03:34:05Z"}], "next_cursor": null,
        })),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let found = find(&app, &caller, &id).await?;
    let closed = logins::closed(&app.projections, &found.tenant, &found.id, Utc::now()).await?;
    Ok(position::shown(closed.position, json!({"items": closed.value, "next_cursor": null})))
}
