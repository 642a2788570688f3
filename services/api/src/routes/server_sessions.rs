//! `GET /api/servers/{id}/sessions`, `/recordings`: who had a terminal on the server, and what was recorded?

use axum::extract::{Path, State};
use axum::response::Response;
use events::user::Role;
use projections::{recordings, sessions};
use serde_json::Value;

use crate::app::App;
use crate::auth::Caller;
use crate::params::{Params, yes_or_no};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::routes::Listed;
use crate::routes::recordings::Item;
use crate::server::{Found, find};

/// Whoever keeps servers or audits sees who was there; a developer sees what they may use, and not who else did.
pub async fn sees_sessions(app: &App, caller: &Caller, id: &str) -> Result<Found, Problem> {
    let found = find(app, caller, id).await?;
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])?;
    Ok(found)
}

/// List a server's sessions
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/servers/{id}/sessions", tag = "servers",
    params(
        ("id" = String, Path, description = "Server id"),
        ("open" = Option<bool>, Query, description = "Only those that are open now"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "session_id": "ses-abcdefghijkl", "env_id": null, "server_id": "srv-abcdefghijkl",
            "tenant_id": "default", "ip": "192.0.2.7", "user": "alice", "entrance": "web_terminal",
            "method": "session", "client": "Mozilla/5.0", "opened_at": "2026-01-02T03:04:05Z",
            "closed_at": null, "bytes_in": null, "bytes_out": null, "reason": null, "seq": 50,
        }], "next_cursor": null})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn sessions(
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
    let found = sees_sessions(&app, &caller, &id).await?;
    let filter = sessions::Filter { tenant: Some(found.tenant), env: None, server: Some(found.id), open };
    Ok(position::page(reading.sessions(&filter, cursor.as_deref(), limit).await?))
}

/// List a server's recordings
///
/// Newest first. Terminals are recorded when the tenant asks for it.
#[utoipa::path(
    get, path = "/api/servers/{id}/recordings", tag = "recordings",
    params(
        ("id" = String, Path, description = "Server id"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Item>, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn recordings(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let found = sees_sessions(&app, &caller, &id).await?;
    let filter = recordings::Filter { tenant: Some(found.tenant), env: None, server: Some(found.id) };
    let page = recordings::list(&app.projections, &filter, cursor.as_deref(), limit).await?;
    Ok(position::page(page.map(Item::from)))
}
