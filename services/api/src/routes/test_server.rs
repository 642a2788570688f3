//! `POST /api/servers/{id}/test`, `POST .../accept-host-key`: does one get in, and is it still the same machine?

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::access::Right;
use events::server::Server;
use events::server::host_key::accept;
use reach::Who;
use utoipa::ToSchema;

use crate::app::App;
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::register_server::{Saved, saved};
use crate::server::{TestView, find};

/// Longest fingerprint; one of SHA-512 has 94 characters.
const FINGERPRINT_LENGTH_MAX: usize = 128;

/// Test a server
///
/// Goes the way that terminals and commands go: network, identification, key exchange, host key, authentication,
/// shell. Whoever may open a terminal or run commands there may test.
#[utoipa::path(
    post, path = "/api/servers/{id}/test", tag = "servers",
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = TestView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn test(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    found.needs(&[Right::Terminal, Right::Command])?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let reach = found.reach(&app, &incoming.caller).await?;
    let who = Who { session: "test", user: incoming.caller.owner.as_str() };
    let tested = reach.test(&found.tenant, &found.id, who, &cause).await?;
    Ok(position::shown(tested.seq, TestView::of(tested.outcome, None)))
}

#[derive(ToSchema)]
#[schema(as = HostKeyAccepted, example = json!({"fingerprint": "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"}))]
#[allow(dead_code)] // a description
pub struct AskedShape {
    /// Of the key that was seen, as `host_key_seen_fingerprint` shows it.
    fingerprint: String,
    /// `false`: do not try to connect.
    test: Option<bool>,
}

/// Accept a server's new host key
///
/// Until then nobody gets in. Compare the fingerprint with what the machine itself says
/// (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`).
#[utoipa::path(
    post, path = "/api/servers/{id}/accept-host-key", tag = "servers", request_body = AskedShape,
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`host_key_not_seen`: no key, or another one, waits to be accepted", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn accept_host_key(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    incoming.caller.keeps_servers()?;
    let mut fields = Fields::of(&incoming.body.json);
    let fingerprint = fields.required("fingerprint", fields::text(1, FINGERPRINT_LENGTH_MAX));
    let test = fields.optional("test", fields::boolean).unwrap_or(true);
    let fingerprint = fields.finish(fingerprint)?;
    let cause = incoming.accept(&app).await?;
    let rule = |server: &Server| accept(server, &fingerprint);
    let decided =
        app.log.decide::<Server, _>(&found.tenant, found.id.as_str(), &cause, index::FIRST, rule).await?;
    let Incoming { caller, .. } = &incoming;
    let saved = saved(&app, &found.tenant, found.id, caller, &cause, test, decided.seq).await?;
    Ok((position::header(decided.seq), Json(saved)).into_response())
}
