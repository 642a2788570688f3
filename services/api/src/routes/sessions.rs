//! `GET /api/environments/{id}/sessions`: who was connected, from when to when, how much went through?

use axum::extract::{Path, State};
use axum::response::Response;
use projections::sessions::Filter;
use serde_json::Value;

use crate::app::App;
use crate::auth::Caller;
use crate::environment::find;
use crate::params::{Params, yes_or_no};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::routes::Listed;

/// List an environment's sessions
///
/// Newest first; of an environment that is deleted, too.
#[utoipa::path(
    get, path = "/api/environments/{id}/sessions", tag = "environments",
    params(
        ("id" = String, Path, description = "Environment id"),
        ("open" = Option<bool>, Query, description = "Only those that are open now"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "session_id": "ses-abcdefghijkl", "env_id": "env-abcdefghijkl", "server_id": null, "tenant_id": "default",
            "ip": "192.0.2.7", "user": "developer", "entrance": "direct_port", "method": "publickey",
            "client": "SSH-2.0-OpenSSH_9.2p1",
            "opened_at": "2026-01-02T03:04:05Z", "closed_at": null, "bytes_in": null,
            "bytes_out": null, "reason": null, "seq": 50,
        }], "next_cursor": null})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let open = params.parsed("open", yes_or_no).unwrap_or_default();
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let reading = app.reading(after, as_of).await?;
    let found = find(&app, &caller, &id).await?;
    let filter = Filter { tenant: Some(found.tenant), env: Some(found.id), server: None, open };
    Ok(position::page(reading.sessions(&filter, cursor.as_deref(), limit).await?))
}
