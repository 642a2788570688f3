//! `POST /api/terminal-tickets`: with what does a page open a terminal's WebSocket?

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use events::access::Right;
use events::ids::{ID_LENGTH_MAX, ShareId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::authenticate;
use crate::environment::find;
use crate::fields::{self, Fields, Wrong};
use crate::incoming::read_json;
use crate::problem::{Problem, ProblemDetails};
use crate::server;
use crate::terminal::tickets::{Holder, Opens};

/// One of the three.
#[derive(ToSchema)]
#[schema(as = TerminalTicketAsked, example = json!({"environment": "env-abcdefghijkl"}))]
#[allow(dead_code)] // a description; what is read becomes `Wanted`
pub struct AskedShape {
    /// A terminal of one's own in this environment.
    environment: Option<String>,
    /// A terminal of one's own on this server.
    server: Option<String>,
    /// Somebody else's terminal, by the share that they made.
    share: Option<String>,
}

enum Wanted {
    Environment(String),
    Server(String),
    Share(ShareId),
}

#[derive(Serialize, ToSchema)]
#[schema(as = TerminalTicket, example = json!({
    "ticket": "mfrggzdfmztwq2lkmfrggzdfmztwq2lkmfrggzdf", "expires_at": "2026-01-02T03:04:35Z",
}))]
pub struct Issued {
    /// `?ticket=` of the WebSocket's address; opens once.
    ticket: String,
    /// 30 seconds from now.
    expires_at: DateTime<Utc>,
}

fn read(body: &Value) -> Result<Wanted, Problem> {
    let mut fields = Fields::of(body);
    let environment = fields.optional("environment", fields::text(1, ID_LENGTH_MAX));
    let server = fields.optional("server", fields::text(1, ID_LENGTH_MAX));
    let share = fields.optional("share", fields::id(ShareId::parse));
    let wanted = match (environment, server, share) {
        (Some(environment), None, None) => Some(Wanted::Environment(environment)),
        (None, Some(server), None) => Some(Wanted::Server(server)),
        (None, None, Some(share)) => Some(Wanted::Share(share)),
        (None, None, None) => {
            fields.note("environment", Wrong::new("missing", "environment, server or share must be there"));
            None
        }
        (_, _, _) => {
            let detail = "only one of environment, server and share may be there";
            fields.note("share", Wrong::new("unknown", detail));
            None
        }
    };
    fields.finish(wanted)
}

/// Ask for a terminal's ticket
///
/// A browser sends no headers of ours with a WebSocket, so it shows this instead: good for 30 seconds
/// and one connection, and for nothing but the terminal it was asked for.
#[utoipa::path(
    post, path = "/api/terminal-tickets", tag = "terminals", request_body = AskedShape,
    responses(
        (status = 201, body = Issued),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "`request_limit`: 100 tickets wait to be used", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn issue(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = authenticate(&app, &parts.headers).await?;
    let body = read_json(&parts.headers, body).await?;
    let opens = match read(&body.json)? {
        Wanted::Environment(id) => {
            caller.may_write()?;
            Opens::Environment(find(&app, &caller, &id).await?.id)
        }
        Wanted::Server(id) => {
            caller.may_write()?;
            let found = server::find(&app, &caller, &id).await?;
            found.needs(&[Right::Terminal])?;
            Opens::Server(found.id)
        }
        // whether it is good, and for whom, is asked when it is opened
        Wanted::Share(share) => Opens::Share(share),
    };
    let method = if parts.headers.contains_key(header::AUTHORIZATION) { "token" } else { "session" };
    let (ticket, expires_at) = app.terminals.tickets.issue(Holder { caller, method, opens })?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(Issued { ticket, expires_at })).into_response())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ticket_is_for_one_thing() {
        assert!(read(&json!({"environment": "env-abcdefghijkl"})).is_ok());
        assert!(read(&json!({"share": "shr-abcdefghijkl"})).is_ok());
        assert!(read(&json!({"server": "srv-abcdefghijkl"})).is_ok());
        for wrong in [
            json!({}),
            json!({"environment": 1}),
            json!({"share": "a b"}),
            json!({"environment": "env-abcdefghijkl", "share": "shr-abcdefghijkl"}),
            json!({"server": "srv-abcdefghijkl", "share": "shr-abcdefghijkl"}),
            json!({"machine": "srv-a"}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
