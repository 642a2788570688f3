//! `POST /api/servers`: keep the credential, register the server, and see whether one gets in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use events::Cause;
use events::ids::{ServerId, TenantId};
use events::server::register::register;
use events::server::{Server, Settings, Stage};
use nats::Decided;
use reach::Who;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::server::TestView;
use crate::server_fields::{Asked, AskedShape, registration};
use crate::server_way::reach_for;

/// What saving a server answers.
#[derive(Serialize, ToSchema)]
#[schema(as = ServerSaved, example = json!({
    "server_id": "srv-abcdefghijkl", "name": "web one", "host_key": "ssh-ed25519 AAAA",
    "host_key_fingerprint": "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ",
    "host_key_seen_fingerprint": null,
    "test": {"ok": false, "class": "auth_failed", "reason": "the server does not let \"Deploy\" in",
        "suggestion": "names are case-sensitive on Linux: try \"deploy\"; else check the password",
        "step": "authentication", "identification": "SSH-2.0-OpenSSH_9.2p1", "duration_ms": 412, "at": null},
    "position": 42,
}))]
pub struct Saved {
    #[schema(value_type = String)]
    server_id: ServerId,
    name: String,
    /// The key that is believed; `null` before the server was reached once.
    host_key: Option<String>,
    host_key_fingerprint: Option<String>,
    /// Another key that the server showed, which waits for somebody to accept it.
    host_key_seen_fingerprint: Option<String>,
    /// `null` when no test was wanted.
    test: Option<TestView>,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

/// Register a server
///
/// Its credential goes into the vault and is never shown again. Unless `test` is `false` somebody tries to get in,
/// and the answer says how that went; the server is registered either way.
#[utoipa::path(
    post, path = "/api/servers", tag = "servers", request_body = AskedShape,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the key repeats the answer")),
    responses(
        (status = 201, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    incoming.caller.keeps_servers()?;
    let asked = registration(&incoming.body.json)?;
    let test = asked.test;
    let cause = incoming.accept(&app).await?;
    let tenant = &incoming.caller.tenant;
    let id = ServerId::from_seed(&cause.command);
    let seq = keep(&app, tenant, &id, asked, &cause, index::FIRST).await?.seq;
    let saved = saved(&app, tenant, id, &incoming.caller, &cause, test, seq).await?;
    Ok((StatusCode::CREATED, position::header(saved.position), Json(saved)).into_response())
}

/// The secret first: a fact never names one that is not there.
pub async fn keep(
    app: &App,
    tenant: &TenantId,
    id: &ServerId,
    asked: Asked,
    cause: &Cause,
    index: u32,
) -> Result<Decided<Server>, Problem> {
    let (credential, secret) = asked.said.kept(id, cause.command);
    let settings = Settings { credential, ..asked.settings };
    // a request repeated after its server was removed must not bring the secret back
    let before = app.log.load::<Server>(tenant, id.as_str()).await?;
    if before.state.stage == Stage::Absent
        && let Some((name, text)) = secret
    {
        app.vault.put(&name, &text).await?;
    }
    let rule = |server: &Server| register(server, settings.clone());
    Ok(app.log.decide::<Server, _>(tenant, id.as_str(), cause, index, rule).await?)
}

/// The answer of everything that saves; `test` says whether somebody tries to get in first.
pub async fn saved(
    app: &App,
    tenant: &TenantId,
    id: ServerId,
    caller: &Caller,
    cause: &Cause,
    test: bool,
    mut position: u64,
) -> Result<Saved, Problem> {
    let mut server = app.log.load::<Server>(tenant, id.as_str()).await?.state;
    let mut shown = None;
    if let Some(settings) = server.there().filter(|_| test) {
        let reach = reach_for(app, tenant, &id, settings, &caller.owner).await?;
        let who = Who { session: "test", user: caller.owner.as_str() };
        let tested = reach.test(tenant, &id, who, cause).await?;
        position = position.max(tested.seq);
        shown = Some(TestView::of(tested.outcome, None));
        server = app.log.load::<Server>(tenant, id.as_str()).await?.state;
    }
    Ok(Saved {
        server_id: id,
        name: server.settings.map(|settings| settings.name).unwrap_or_default(),
        host_key: server.host_key.as_ref().map(|key| key.line.clone()),
        host_key_fingerprint: server.host_key.map(|key| key.fingerprint),
        host_key_seen_fingerprint: server.host_key_seen.map(|key| key.fingerprint),
        test: shown,
        position,
    })
}
