//! `/api/ssh-keys`: which public keys open all environments of the caller?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use events::Decision;
use events::ids::{SshKeyId, TenantId};
use events::ssh_key::{
    SshKey, SshKeyAdded, SshKeyEvent, SshKeyRefusal, add::add as add_rule, remove::remove as remove_rule,
};
use events::user::Role;
use projections::ssh_keys::{self, Filter};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::fields::Fields;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::readers::{self, SshPublicKey};
use crate::routes::Listed;

#[derive(ToSchema)]
#[schema(as = SshKeyAsked, example = json!({
    "name": "laptop",
    "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me",
}))]
pub struct Asked {
    name: String,
    /// One OpenSSH public key without options.
    #[schema(value_type = String)]
    public_key: SshPublicKey,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SshKey)]
pub struct View {
    #[schema(value_type = String, example = "key-abcdefghijklmnop")]
    key_id: SshKeyId,
    #[schema(example = "alice")]
    owner: String,
    #[schema(example = "laptop")]
    name: String,
    public_key: String,
    #[schema(example = "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ")]
    fingerprint: String,
}

fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::label);
    let public_key = fields.required("public_key", readers::public_key);
    fields.finish(name.zip(public_key).map(|(name, public_key)| Asked { name, public_key }))
}

/// Add a key
///
/// It opens all environments of the caller, those that run now included.
#[utoipa::path(
    post, path = "/api/ssh-keys", tag = "ssh keys", request_body = Asked,
    responses(
        (status = 201, body = View, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`ssh_key_exists`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    let asked = read(&incoming.body.json)?;
    let cause = incoming.accept(&app).await?;
    let Caller { owner, tenant, .. } = &incoming.caller;
    let id = SshKeyId::of(tenant, owner, &asked.public_key.fingerprint);
    let added = SshKeyAdded {
        owner: owner.clone(),
        name: asked.name,
        public_key: asked.public_key.line,
        fingerprint: asked.public_key.fingerprint,
    };
    let rule = |key: &SshKey| add_rule(key, added.clone());
    let decided = app.log.decide::<SshKey, _>(tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    let view = View {
        key_id: id,
        owner: owner.to_string(),
        name: added.name,
        public_key: added.public_key,
        fingerprint: added.fingerprint,
    };
    Ok((StatusCode::CREATED, position::header(decided.seq), Json(view)).into_response())
}

/// List keys
///
/// The caller's own; operators and auditors see the tenant's, admins all.
#[utoipa::path(
    get, path = "/api/ssh-keys", tag = "ssh keys",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<View>, headers(("Portreeve-Position" = u64))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let filter = Filter { tenant: caller.tenant_seen().cloned(), owner: caller.owner_seen().cloned() };
    Ok(position::page(ssh_keys::list(&app.projections, &filter, cursor.as_deref(), limit).await?))
}

/// Remove a key
///
/// It opens nothing any more. A key's owner may, an operator of the tenant, and an admin.
#[utoipa::path(
    delete, path = "/api/ssh-keys/{id}", tag = "ssh keys",
    params(("id" = String, Path, description = "Key id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"key_id": "key-abcdefghijklmnop"})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let id = SshKeyId::parse(id).map_err(|_| Problem::not_found("key"))?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let tenant = tenant_of(&app, &incoming, &id).await?;
    let cause = incoming.accept(&app).await?;
    let decided =
        app.log.decide::<SshKey, _>(&tenant, id.as_str(), &cause, index::FIRST, remove_rule).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"key_id": id})))
}

/// The tenant of a key that exists for the caller. A key that was removed has no owner any more: it
/// exists for whoever sees the whole tenant, and for the request that removed it.
async fn tenant_of(app: &App, incoming: &Incoming, id: &SshKeyId) -> Result<TenantId, Problem> {
    let caller = &incoming.caller;
    let unknown = || Problem::not_found("key");
    let mut tenant = caller.tenant.clone();
    let mut key = app.log.load::<SshKey>(&tenant, id.as_str()).await?.state;
    if key.added.is_none() && !key.removed && caller.role == Role::Admin {
        let row = ssh_keys::get(&app.projections, None, id).await?.value;
        tenant = row.ok_or_else(unknown)?.tenant;
        key = app.log.load::<SshKey>(&tenant, id.as_str()).await?.state;
    }
    match &key.added {
        Some(added) if caller.sees(&tenant, Some(&added.owner)) => Ok(tenant),
        None if key.removed && caller.sees(&tenant, None) => Ok(tenant),
        None if key.removed && incoming.key.is_some() => {
            let nothing = |_: &SshKey| -> Decision<SshKeyEvent, SshKeyRefusal> { Ok(None) };
            let cause = incoming.cause();
            let decided = app.log.decide(&tenant, id.as_str(), &cause, index::FIRST, nothing).await?;
            decided.appended.map(|_| tenant).ok_or_else(unknown)
        }
        Some(_) | None => Err(unknown()),
    }
}
