//! `GET /api/ports`: which port leads to which environment, and led, from when to when?

use axum::extract::State;
use axum::response::Response;
use events::ids::EnvId;
use events::user::Role;
use projections::port_mappings::Filter;
use serde_json::Value;

use crate::app::App;
use crate::auth::Caller;
use crate::params::{Params, yes_or_no};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::routes::Listed;

pub fn port(text: &str) -> Result<u16, String> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| "must be a port, 1 to 65535".to_owned())
}

pub fn env(text: &str) -> Result<EnvId, String> {
    EnvId::parse(text).map_err(|invalid| format!("must be {}", invalid.rule))
}

/// List the ports
///
/// Each holding of each port, the newest allocation first; `released_at` is `null` while it is held. With
/// `?port=30422&held=true&as_of=2026-01-02T14:05:00Z` it says who held a port at an instant. For admins (all tenants),
/// auditors and operators (their tenant).
#[utoipa::path(
    get, path = "/api/ports", tag = "environments",
    params(
        ("port" = Option<u16>, Query, description = "Only this port"),
        ("env" = Option<String>, Query, description = "Only those of this environment"),
        ("held" = Option<bool>, Query, description = "Only those that are held"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "pool": "ssh", "port": 30422, "env_id": "env-abcdefghijkl", "tenant_id": "default", "purpose": "ssh",
            "allocated_at": "2026-01-02T03:04:05Z", "released_at": null, "allocated_seq": 17, "released_seq": null,
        }], "next_cursor": null})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor, Role::Operator])?;
    let filter = Filter {
        tenant: caller.tenant_seen().cloned(),
        env: params.parsed("env", env),
        port: params.parsed("port", port),
        held: params.parsed("held", yes_or_no).unwrap_or_default(),
    };
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let reading = app.reading(after, as_of).await?;
    Ok(position::page(reading.ports(&filter, cursor.as_deref(), limit).await?))
}
