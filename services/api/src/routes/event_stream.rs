//! `GET /api/events`, `GET /ws/events`: what happens, and what happened before, to everything the caller may see?

use std::collections::BTreeSet;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::HeaderMap;
use axum::response::Response;
use events::{CATALOGUE, Kind};

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::{Problem, ProblemDetails};
use crate::scope::{Scope, Wanted};
use crate::tap::{self, From};

/// Kinds separated by commas.
pub fn kinds(text: &str) -> Result<BTreeSet<Kind>, String> {
    text.split(',').map(kind).collect()
}

/// One kind of aggregate.
pub fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_wire(text.trim()).ok_or_else(|| {
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.wire_name()).collect();
        format!("must be of {}", known.join(", "))
    })
}

/// One event type.
pub fn event_type(text: &str) -> Result<String, String> {
    let known = CATALOGUE.iter().find(|row| row.name == text.trim());
    known.map(|row| row.name.to_owned()).ok_or_else(|| "must be an event type like EnvRequested".to_owned())
}

fn types(text: &str) -> Result<BTreeSet<String>, String> {
    text.split(',').map(event_type).collect()
}

/// Follow the events
///
/// Server-sent events without end: `id` is the sequence in the log, `data` a CloudEvent. Begins with
/// what happens from now on, after `Last-Event-ID`, or at `from`; nothing is left out or repeated.
/// `Portreeve-Position` of the answer is the sequence before the first that may come, unless `from`
/// is a time.
/// A tenant's callers see their tenant's events; a developer those of its own things; what people
/// are and asked (kinds `user`, `token`, `request`) is shown to admins and auditors. A reader that
/// is too slow gets `event: end` with the reason as the last event and may connect again.
#[utoipa::path(
    get, path = "/api/events", tag = "events",
    params(
        ("type" = Option<String>, Query, description = "Only these event types, separated by commas"),
        ("kind" = Option<String>, Query, description = "Only these kinds of aggregates, separated by commas"),
        ("id" = Option<String>, Query, description = "Only those of the aggregate with this id"),
        ("from" = Option<String>, Query, description = "Sequence or RFC 3339 time to begin with, inclusive"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this sequence"),
    ),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    State(app): State<App>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (wanted, from) = read(params, &headers)?;
    tap::open(&app, Scope::wanted(caller, wanted), from, headers)
}

/// Follow the events over WebSocket
///
/// As `GET /api/events`; each text message is a CloudEvent. The close frame says why a stream ended.
#[utoipa::path(
    get, path = "/ws/events", tag = "events",
    params(
        ("type" = Option<String>, Query, description = "Only these event types, separated by commas"),
        ("kind" = Option<String>, Query, description = "Only these kinds of aggregates, separated by commas"),
        ("id" = Option<String>, Query, description = "Only those of the aggregate with this id"),
        ("from" = Option<String>, Query, description = "Sequence or RFC 3339 time to begin with, inclusive"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on"),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn follow_socket(
    State(app): State<App>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let (wanted, from) = read(params, &headers)?;
    tap::open_socket(&app, Scope::wanted(caller, wanted), from, headers, upgrade)
}

fn read(mut params: Params, headers: &HeaderMap) -> Result<(Wanted, From), Problem> {
    let wanted = Wanted {
        kinds: params.parsed("kind", kinds).unwrap_or_default(),
        types: params.parsed("type", types).unwrap_or_default(),
        id: params.text("id"),
    };
    let from = params.parsed("from", From::parse);
    params.end()?;
    Ok((wanted, From::of(headers, from, From::Now)?))
}
