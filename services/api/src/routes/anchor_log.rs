//! `POST /api/audit/anchor`, `/api/audit/keys`: what vouches for the log from now on?

use audit::wishes::{self, WishError};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use events::user::Role;
use serde_json::json;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::fields::{self, Fields};
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

impl From<WishError> for Problem {
    fn from(error: WishError) -> Self {
        let detail = match &error {
            WishError::Anchors(_) => "the stream of anchors did not answer; try again".to_owned(),
            WishError::Unheard => error.to_string(),
        };
        Self::caused("audit_unavailable", &detail, &error)
    }
}

/// Anchor the log now
///
/// A signature of everything up to now. Anchors are written by themselves, too. For admins and operators.
#[utoipa::path(
    post, path = "/api/audit/anchor", tag = "audit",
    responses(
        (status = 201, body = Value, headers(("Portreeve-Position" = u64)), example = json!({
            "record": 7, "upto": 42, "hash": "c0ffee...", "key": 1,
            "time": "2026-01-02T03:04:05Z", "next_by": "2026-01-02T03:24:05Z",
        })),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`audit_unavailable`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn anchor(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    incoming.caller.needs(&[Role::Admin, Role::Operator])?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    incoming.accept(&app).await?;
    let head = app.log.head().await?;
    let anchored = wishes::anchor(&app.anchors, head, None).await?;
    let answer = json!({
        "record": anchored.number, "upto": anchored.anchor.upto,
        "hash": HEXLOWER.encode(&anchored.anchor.hash),
        "time": anchored.time, "next_by": anchored.anchor.next_by,
    });
    Ok((StatusCode::CREATED, position::header(anchored.anchor.upto), Json(answer)).into_response())
}

/// List the keys
///
/// Those that sign anchors and signed them, with their time. What to compare is the fingerprint of key 1: the others
/// are introduced by their predecessors. For admins and auditors.
#[utoipa::path(
    get, path = "/api/audit/keys", tag = "audit",
    responses(
        (status = 200, body = Value, example = json!({"items": [{
            "key": 1, "public_key": "...", "fingerprint": "...", "from": "2026-01-02T03:04:05Z", "until": null,
        }], "next_cursor": null})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn keys(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor])?;
    // what is stored is never behind
    let _after = params.number("after");
    params.end()?;
    let (evidence, _) = audit::live::gather(&app.anchors).await.map_err(WishError::from)?;
    Ok(Json(json!({"items": evidence.keys(), "next_cursor": null})).into_response())
}

#[derive(ToSchema)]
#[schema(as = KeyReplacement, example = json!({"replaces": 1}))]
#[allow(dead_code)] // a description; the body is read field by field
pub struct Replaces {
    /// The key that signs now; whichever does when absent.
    replaces: Option<u32>,
}

/// Sign with another key
///
/// It is introduced by the one before, which is then removed. With `replaces`, the number of a key, a repeated request
/// has no further effect. For admins.
#[utoipa::path(
    post, path = "/api/audit/keys", tag = "audit", request_body = Replaces,
    responses(
        (status = 201, body = Value, example = json!({
            "key": 2, "public_key": "...", "fingerprint": "...", "from": "2026-01-02T03:04:05Z", "until": null,
        })),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`audit_unavailable`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    incoming.caller.needs(&[Role::Admin])?;
    let mut fields = Fields::of(&incoming.body.json);
    let replaces = fields.optional("replaces", fields::whole(1, u32::MAX.into()));
    fields.finish(Some(()))?;
    incoming.accept(&app).await?;
    let replaces = replaces.and_then(|number| u32::try_from(number).ok());
    let evidence = wishes::rotate(&app.anchors, replaces).await?;
    Ok((StatusCode::CREATED, Json(json!(evidence.keys().pop()))).into_response())
}
