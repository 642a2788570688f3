//! `PATCH /api/servers/{id}`, `DELETE /api/servers/{id}`: what shall be otherwise of a server, or be no more?

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::Cause;
use events::access::set_grants::set_grants;
use events::access::{Access, GrantsSet, Scope};
use events::ids::{ServerId, TenantId};
use events::server::change::{Change, change};
use events::server::remove::remove as remove_rule;
use events::server::{Server, Stage};
use nats::Decided;
use serde_json::json;

use crate::app::App;
use crate::fields::Fields;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::register_server::{Saved, saved};
use crate::server::{find, find_any};
use crate::server_fields::{self, ChangeShape, Said};

/// The facts of one removal, by their index.
mod step {
    use super::index;
    pub const REMOVE: u32 = index::FIRST;
    pub const GRANTS: u32 = index::FIRST + 1;
}

/// Change a server
///
/// What is left out stays; `null` takes zone or relay away. A stored password is not sent to another host, port or
/// relay: send it again with such a change. Tests the connection unless `test` is `false`.
#[utoipa::path(
    patch, path = "/api/servers/{id}", tag = "servers", request_body = ChangeShape,
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`credential_needed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    incoming.caller.keeps_servers()?;
    let asked = server_fields::change(&incoming.body.json)?;
    let cause = incoming.accept(&app).await?;
    let seq =
        alter(&app, &found.tenant, &found.id, asked.change, asked.said, &cause, index::FIRST).await?.seq;
    let Incoming { caller, .. } = &incoming;
    let saved = saved(&app, &found.tenant, found.id, caller, &cause, asked.test, seq).await?;
    Ok((position::header(seq), Json(saved)).into_response())
}

/// The new secret first, and the old one goes when nothing names it any more.
pub async fn alter(
    app: &App,
    tenant: &TenantId,
    id: &ServerId,
    mut wanted: Change,
    said: Option<Said>,
    cause: &Cause,
    index: u32,
) -> Result<Decided<Server>, Problem> {
    if let Some(said) = said {
        let (credential, secret) = said.kept(id, cause.command);
        if let Some((name, text)) = secret {
            app.vault.put(&name, &text).await?;
        }
        wanted.credential = Some(credential);
    }
    let secret =
        |server: &Server| server.settings.as_ref().and_then(|settings| settings.credential.secret.clone());
    let before = secret(&app.log.load::<Server>(tenant, id.as_str()).await?.state);
    let rule = |server: &Server| change(server, &wanted);
    let decided = app.log.decide::<Server, _>(tenant, id.as_str(), cause, index, rule).await?;
    let now = secret(&decided.state);
    if let Some(before) = before.filter(|before| now.as_ref() != Some(before)) {
        app.vault.remove(&before).await?;
    }
    Ok(decided)
}

/// Remove a server
///
/// Nobody gets there any more through us. Its credential leaves the vault, and its grants end.
#[utoipa::path(
    delete, path = "/api/servers/{id}", tag = "servers",
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"server_id": "srv-abcdefghijkl"})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let (tenant, id, server) = find_any(&app, &incoming.caller, &id).await?;
    // one that is gone exists for the request that removed it
    let repeated = server.stage == Stage::Removed && incoming.key.is_some();
    let keeps = incoming.caller.keeps_servers();
    if !repeated || keeps.is_err() {
        find(&app, &incoming.caller, id.as_str()).await?;
    }
    keeps?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let decided =
        app.log.decide::<Server, _>(&tenant, id.as_str(), &cause, step::REMOVE, remove_rule).await?;
    if let Some(secret) = decided.state.settings.and_then(|settings| settings.credential.secret) {
        app.vault.remove(&secret).await?;
    }
    let none = GrantsSet { servers: Scope::Server(id.clone()), grants: Vec::new() };
    let rule = |access: &Access| set_grants(access, none.clone());
    let ended = app.log.decide::<Access, _>(&tenant, tenant.as_str(), &cause, step::GRANTS, rule).await?;
    let seq = ended.appended.map_or(decided.seq, |_| decided.seq.max(ended.seq));
    Ok(position::shown(seq, json!({"server_id": id})))
}
