//! `/api/terminals/{session}/shares`: who else may look at my terminal, or type into it?

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{SessionId, ShareId};
use events::session::ShareMode;
use events::session::share::{SHARE_S_DEFAULT, SHARE_S_MAX};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::fields::{self, Fields, Wrong};
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;
use crate::terminal::share;
use crate::terminal::shell::Shell;

#[derive(ToSchema)]
#[schema(as = TerminalShareAsked, example = json!({"mode": "view", "expires_in_s": 3600}))]
pub struct Asked {
    /// `view` or `write`.
    #[schema(value_type = String, example = "view")]
    mode: ShareMode,
    /// At most 86400; 3600 when absent.
    #[schema(value_type = Option<u64>)]
    expires_in_s: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TerminalShare, example = json!({
    "share_id": "shr-abcdefghijkl", "mode": "view", "expires_at": "2026-01-02T04:04:05Z", "people": ["bob"],
}))]
pub struct View {
    #[schema(value_type = String)]
    share_id: ShareId,
    /// `view` or `write`.
    mode: &'static str,
    expires_at: DateTime<Utc>,
    /// Who is there by this share.
    people: Vec<String>,
}

fn mode(value: &Value) -> Result<ShareMode, Wrong> {
    match value.as_str() {
        Some("view") => Ok(ShareMode::View),
        Some("write") => Ok(ShareMode::Write),
        Some(_) => Err(Wrong::new("malformed", "must be view or write")),
        None => Err(Wrong::kind("a text", value)),
    }
}

fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let mode = fields.required("mode", mode);
    let expires_in_s = fields.optional("expires_in_s", fields::whole(1, SHARE_S_MAX));
    let expires_in_s = expires_in_s.unwrap_or(SHARE_S_DEFAULT);
    fields.finish(mode.map(|mode| Asked { mode, expires_in_s }))
}

/// Only its owner shares a terminal; for everybody else there is none.
fn own(app: &App, caller: &Caller, session: &str) -> Result<Arc<Shell>, Problem> {
    let session = SessionId::parse(session).ok();
    let shell = session.and_then(|session| app.terminals.of_owner(&session, &caller.owner));
    shell.ok_or_else(|| Problem::not_found("terminal of yours"))
}

/// Share a terminal
///
/// The owner lets others of the tenant look on, or type. Asking is the owner's consent; who may come in is
/// whoever of the tenant knows the id, until the share ends.
#[utoipa::path(
    post, path = "/api/terminals/{session}/shares", tag = "terminals", request_body = Asked,
    params(("session" = String, Path, description = "The session that the terminal named")),
    responses(
        (status = 201, body = View, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`session_ended`, `too_many_shares`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(
    State(app): State<App>,
    Path(session): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let asked = read(&incoming.body.json)?;
    let shell = own(&app, &incoming.caller, &session)?;
    let cause = incoming.accept(&app).await?;
    let share_id = ShareId::from_seed(&cause.command);
    let lives = TimeDelta::seconds(i64::try_from(asked.expires_in_s).unwrap_or_default());
    // a repeated request finds what the first one made
    let known = shell.shares(Utc::now()).into_iter().find(|(id, ..)| *id == share_id);
    let expires_at = known.map_or_else(|| Utc::now() + lives, |(_, share, _)| share.expires_at);
    let seq = share::open(&app, &shell, &share_id, asked.mode, expires_at, &cause).await?;
    let view = View { share_id, mode: asked.mode.name(), expires_at, people: Vec::new() };
    Ok((StatusCode::CREATED, position::header(seq), Json(view)).into_response())
}

/// List a terminal's shares
#[utoipa::path(
    get, path = "/api/terminals/{session}/shares", tag = "terminals",
    params(("session" = String, Path, description = "The session that the terminal named")),
    responses(
        (status = 200, body = Listed<View>),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<Response, Problem> {
    let shares = own(&app, &caller, &session)?.shares(Utc::now()).into_iter();
    let items = shares
        .map(|(share_id, share, people)| View {
            share_id,
            mode: share.mode.name(),
            expires_at: share.expires_at,
            people,
        })
        .collect();
    Ok(Json(Listed::<View> { items, next_cursor: None }).into_response())
}

/// End a share
///
/// Whoever came in by it is out before the answer.
#[utoipa::path(
    delete, path = "/api/terminals/{session}/shares/{share}", tag = "terminals",
    params(
        ("session" = String, Path, description = "The session that the terminal named"),
        ("share" = String, Path, description = "Id of the share"),
    ),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn end(
    State(app): State<App>,
    Path((session, share)): Path<(String, String)>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let shell = own(&app, &incoming.caller, &session)?;
    let share = ShareId::parse(share).ok().filter(|share| shell.knows_share(share));
    let share = share.ok_or_else(|| Problem::not_found("share"))?;
    let cause = incoming.accept(&app).await?;
    let seq = share::close(&app, &shell, &share, &cause).await?;
    Ok(position::shown(seq, json!({})))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_share_says_what_for_and_has_an_end() {
        let asked = read(&json!({"mode": "view"})).unwrap();
        assert_eq!((asked.mode, asked.expires_in_s), (ShareMode::View, SHARE_S_DEFAULT));
        assert!(read(&json!({"mode": "write", "expires_in_s": 60})).is_ok());
        for wrong in [
            json!({}),
            json!({"mode": "sing"}),
            json!({"mode": 1}),
            json!({"mode": "view", "expires_in_s": 0}),
            json!({"mode": "view", "expires_in_s": SHARE_S_MAX + 1}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
