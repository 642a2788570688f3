//! Recorded terminals: which are there, and what did they show?

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use events::ids::SessionId;
use events::session::{Recording, Session, view_recording::view_recording};
use futures_util::stream;
use nats::{RecordingError, RecordingId};
use projections::At;
use projections::recordings::{self, Filter, RecordingRow};
use recorder::playback::{self, Checked};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::correlation::Correlation;
use crate::environment::find;
use crate::idempotency::{fresh_cause, index};
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;
use crate::routes::server_sessions::sees_sessions;

/// Recordings that are shown at the same time; each holds one batch of chunks in memory.
pub const PLAYBACKS_MAX: usize = 8;
const ASCIICAST: HeaderValue = HeaderValue::from_static("application/x-asciicast");
/// `complete`, `incomplete` (something is missing, or its end is), or `recording` while it goes on.
const STATE: HeaderName = HeaderName::from_static("portreeve-recording");

/// One recorded terminal.
#[derive(Serialize, ToSchema)]
#[schema(as = Recording, example = json!({
    "recording_id": "ses-abcdefghijkl.1", "session_id": "ses-abcdefghijkl", "number": 1,
    "env_id": "env-abcdefghijkl", "server_id": null, "tenant_id": "default", "user": "alice", "entrance": "gateway",
    "started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:05:06Z", "duration_s": 61.0,
    "cols": 120, "rows": 40, "bytes": 60000, "lost_bytes": 0, "complete": true,
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "seq": 50,
}))]
pub struct Item {
    recording_id: String,
    session_id: String,
    /// Terminals of one session are counted from 1.
    number: u64,
    /// Where it was recorded; one of the two.
    env_id: Option<String>,
    server_id: Option<String>,
    tenant_id: String,
    user: String,
    /// `gateway` or `web_terminal`.
    entrance: String,
    started_at: DateTime<Utc>,
    /// `null` while it goes on, and so the next.
    ended_at: Option<DateTime<Utc>>,
    duration_s: Option<f64>,
    /// The terminal at its beginning, in characters.
    cols: u64,
    rows: u64,
    /// Of the asciicast, as far as the log vouches for it.
    bytes: u64,
    /// Output that is missing.
    lost_bytes: u64,
    /// It ended, and all that the terminal showed is in it.
    complete: bool,
    /// Of the asciicast, hexadecimal.
    sha256: Option<String>,
    seq: u64,
}

impl From<RecordingRow> for Item {
    fn from(row: RecordingRow) -> Self {
        let lasted = |ended: DateTime<Utc>| (ended - row.started_at).as_seconds_f64().max(0.0);
        Self {
            recording_id: format!("{}.{}", row.session_id, row.number),
            session_id: row.session_id.to_string(),
            number: row.number,
            env_id: row.env_id.map(String::from),
            server_id: row.server_id.map(String::from),
            tenant_id: row.tenant.to_string(),
            user: row.user,
            entrance: row.entrance,
            started_at: row.started_at,
            ended_at: row.ended_at,
            duration_s: row.ended_at.map(lasted),
            cols: row.cols,
            rows: row.rows,
            bytes: row.bytes,
            lost_bytes: row.lost_bytes,
            complete: row.complete,
            sha256: row.sha256,
            seq: row.seq,
        }
    }
}

/// List an environment's recordings
///
/// Newest first; of an environment that is deleted, too. Terminals are recorded when the tenant asks for it, through
/// the gateway and in the browser.
#[utoipa::path(
    get, path = "/api/environments/{id}/recordings", tag = "recordings",
    params(
        ("id" = String, Path, description = "Environment id"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Item>, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let found = find(&app, &caller, &id).await?;
    let filter = Filter { tenant: Some(found.tenant), env: Some(found.id), server: None };
    let page = recordings::list(&app.projections, &filter, cursor.as_deref(), limit).await?;
    Ok(position::page(page.map(Item::from)))
}

/// Show a recording
///
/// As asciicast v2, once it was held against the log. Each showing is an event (`RecordingViewed`). The header
/// `Portreeve-Recording` says `complete`, `incomplete` or, while it goes on, `recording`. Who sees the environment's
/// sessions may see its recordings.
#[utoipa::path(
    get, path = "/api/recordings/{id}", tag = "recordings",
    params(
        ("id" = String, Path, description = "Recording id; a session id stands for its first recording"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = String, content_type = "application/x-asciicast", headers(
            ("Portreeve-Position" = u64), ("Portreeve-Recording" = String),
        )),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`recording_not_stored`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 410, description = "`recording_removed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 500, description = "`recording_damaged`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Extension(correlation): Extension<Correlation>,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    let unknown = || Problem::not_found("recording");
    let (session, number) = parse(&id).ok_or_else(unknown)?;
    app.caught_up(after).await?;
    let At { value: row, .. } =
        recordings::get(&app.projections, caller.tenant_seen(), &session, number).await?;
    let RecordingRow { tenant, env_id, server_id, ended_at, .. } = row.ok_or_else(unknown)?;
    let seen = match (env_id, server_id) {
        (Some(env), _) => find(&app, &caller, env.as_str()).await.map(drop),
        (None, Some(server)) => sees_sessions(&app, &caller, server.as_str()).await.map(drop),
        (None, None) => Err(unknown()),
    };
    seen.map_err(|problem| match problem.code() {
        "not_found" | "forbidden" => unknown(),
        _ => problem,
    })?;
    let place = app.playbacks.clone().try_acquire_owned().map_err(|_| {
        Problem::new("busy", format!("{PLAYBACKS_MAX} recordings are being shown; try again"))
    })?;
    let state = app.log.load::<Session>(&tenant, session.as_str()).await?.state;
    let told = state.recordings.get(&number).ok_or_else(unknown)?;
    let id = RecordingId { tenant, session, number };
    let checked = playback::check(&app.recordings, &id, told, Utc::now()).await?;
    let (cause, rule) = (fresh_cause(&caller, &correlation), |state: &Session| view_recording(state, number));
    let viewed =
        app.log.decide::<Session, _>(&id.tenant, id.session.as_str(), &cause, index::FIRST, rule).await?;
    let headers = [
        (header::CONTENT_TYPE, ASCIICAST),
        (header::CONTENT_LENGTH, HeaderValue::from(checked.bytes)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (STATE, HeaderValue::from_static(state_of(told, ended_at.is_some()))),
    ];
    Ok((headers, position::header(viewed.seq), body(&app, &id, checked, place)).into_response())
}

/// `<session id>.<number>`, or a session id alone.
fn parse(id: &str) -> Option<(SessionId, u32)> {
    let (session, number) = id.split_once('.').unwrap_or((id, "1"));
    Some((SessionId::parse(session).ok()?, number.parse().ok()?))
}

fn state_of(told: &Recording, session_ended: bool) -> &'static str {
    match told.end {
        Some(end) if end.complete => "complete",
        None if !session_ended => "recording",
        Some(_) | None => "incomplete",
    }
}

/// The chunks that were checked, and none that came since. What breaks off ends the connection, not the body.
fn body(app: &App, id: &RecordingId, checked: Checked, place: OwnedSemaphorePermit) -> Body {
    let reading = app.recordings.read(id);
    let chunks =
        stream::try_unfold((reading, checked.chunks, place), |(mut reading, left, place)| async move {
            if left == 0 {
                return Ok(None);
            }
            let chunk = reading.next().await?;
            Ok::<_, RecordingError>(chunk.map(|chunk| (chunk.to_vec(), (reading, left - 1, place))))
        });
    Body::from_stream(chunks)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_recording_is_named_by_its_session_and_number() {
        let of = |id: &str| parse(id).map(|(session, number)| (session.to_string(), number));
        assert_eq!(of("ses-abcdefghijkl.2"), Some(("ses-abcdefghijkl".to_owned(), 2)));
        assert_eq!(of("ses-abcdefghijkl"), Some(("ses-abcdefghijkl".to_owned(), 1)));
        for wrong in ["", ".1", "ses-a.", "ses-a.-1", "ses-a.1.2", "ses-a.99999999999", "A.1", "a>.1"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
