//! `POST /api/environments/{id}/jupyter-links`: a link that opens an environment's JupyterLab, once.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Caller, authenticate};
use crate::client_address;
use crate::environment::find;
use crate::jupyter::{self, Guest, Pass};
use crate::problem::{Problem, ProblemDetails};

#[derive(Serialize, ToSchema)]
#[schema(as = JupyterLink, example = json!({
    "url": "http://127.0.0.1:8083/jupyter/env-abcdefghijkl/lab?ticket=eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
    "expires_at": "2026-01-02T03:04:35Z",
}))]
pub struct Link {
    /// Good for one use: it answers with a cookie for this environment's JupyterLab, for 12 hours.
    url: String,
    /// 30 seconds from now.
    expires_at: DateTime<Utc>,
}

/// Make a link to JupyterLab
///
/// The link leads to an origin of its own, `/jupyter/{env_id}/`, so that what runs in an environment's
/// JupyterLab stays apart from the pages. The person needs nothing of JupyterLab's own token.
#[utoipa::path(
    post, path = "/api/environments/{id}/jupyter-links", tag = "environments",
    params(("id" = String, Path, description = "Environment id")),
    responses(
        (status = 201, body = Link),
        (status = 403, description = "`forbidden`, `address_not_allowed`, `address_locked`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`environment_wrong_status`, `jupyter_missing`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn make(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = authenticate(&app, request.headers()).await?;
    let found = find(&app, &caller, &id).await?;
    let nowhere =
        || Problem::new("bad_request", "the request does not say to whom it was sent, or from where");
    let ip = client_address::of_request(&request, &app.trusted_proxies).ok_or_else(nowhere)?;
    let guest = Guest { caller, tenant: found.tenant, env: found.id, ip };
    jupyter::enter(&app, &guest).await?;
    let start = app.jupyter.origin.start(&guest.env, request.uri(), request.headers()).ok_or_else(nowhere)?;
    let Caller { actor, sign_in, .. } = guest.caller;
    let pass = Pass { actor, sign_in, tenant: guest.tenant, env: guest.env, ip: None };
    let (ticket, expires_at) = app.jupyter.passes.ticket(pass, Utc::now())?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let link = Link { url: format!("{start}?ticket={ticket}"), expires_at };
    Ok((StatusCode::CREATED, no_store, Json(link)).into_response())
}
