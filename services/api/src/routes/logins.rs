//! `GET /api/environments/{id}/logins`: who got in, who did not, which addresses were closed?

use axum::extract::{Path, State};
use axum::response::Response;
use projections::logins::{self, Filter};
use serde_json::Value;

use crate::app::App;
use crate::auth::Caller;
use crate::environment::find;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;

const KINDS: [&str; 5] = ["succeeded", "failed", "refused", "locked", "unlocked"];

fn kind(text: &str) -> Result<String, String> {
    let known = KINDS.contains(&text).then(|| text.to_owned());
    known.ok_or_else(|| format!("must be one of {}", KINDS.join(", ")))
}

/// List an environment's logins
///
/// Newest first: logins, failures, lockouts, unlocks, and each minute in which a closed address was refused; of an environment that is deleted, too.
#[utoipa::path(
    get, path = "/api/environments/{id}/logins", tag = "environments",
    params(
        ("id" = String, Path, description = "Environment id"),
        ("kind" = Option<String>, Query, description = "`succeeded`, `failed`, `refused`, `locked` or `unlocked`"),
        ("ip" = Option<String>, Query, description = "Only those from this address"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "seq": 49, "env_id": "env-abcdefghijkl", "tenant_id": "default",
            "at": "2026-01-02T03:04:05Z", "kind": "failed", "ip": "192.0.2.7", "user": "developer",
            "method": "password", "class": "wrong_password", "entrance": "direct_port",
            "key_fingerprint": null, "session_id": null, "until": null, "count": null,
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
    let kind = params.parsed("kind", kind);
    let ip =
        params.parsed("ip", |text| text.parse().map_err(|_| "must be an IPv4 or IPv6 address".to_owned()));
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let found = find(&app, &caller, &id).await?;
    let filter = Filter { tenant: Some(found.tenant), env: Some(found.id), kind, ip };
    Ok(position::page(logins::list(&app.projections, &filter, cursor.as_deref(), limit).await?))
}
