//! `GET /api/audit/export`: the log with what vouches for it, to be checked without us.

use std::convert::Infallible;

use audit::export::{Range, export};
use audit::time_travel::Instant;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use events::user::Role;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::instant;
use crate::routes::verify_log::busy;

/// Pieces of a bundle that wait for a slow reader.
const PIECES_WAITING: usize = 8;

/// Export the log
///
/// One file: every record that vouches for the log, and the events as they are stored. `portreeve audit verify FILE`
/// checks it without a server; `docs/audit-bundle.md` says how. It begins and ends where anchors stand, so it may
/// have more than was asked for. For admins: events of all tenants are in it.
#[utoipa::path(
    get, path = "/api/audit/export", tag = "audit",
    params(
        ("from" = Option<String>, Query, description = "Sequence or RFC 3339 time of the first event; the beginning when absent"),
        ("to" = Option<String>, Query, description = "Sequence or RFC 3339 time of the last event; the end when absent"),
    ),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`busy`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn export_bundle(
    State(app): State<App>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin])?;
    let (from, to) = (params.parsed("from", instant), params.parsed("to", instant));
    params.end()?;
    let from = sequence(&app, from).await?;
    // the last event at a time is the one before the first after it
    let to = match to {
        Some(Instant::Time(time)) => {
            app.log.sequence_at(time).await?.map(|after| after.saturating_sub(1).max(1))
        }
        other => sequence(&app, other).await?,
    };
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::new("parameter_invalid", "from must not be after to"));
    }
    let place = app.checks.clone().try_acquire_owned().map_err(|_| busy())?;
    let (give, take) = mpsc::channel(PIECES_WAITING);
    tokio::spawn(async move {
        export(&app.log, &app.anchors, &app.projections, Range { from, to }, give).await;
        drop(place);
    });
    let pieces = stream::unfold(take, |mut take| async move {
        let piece = take.recv().await?;
        Some((Ok::<_, Infallible>(piece), take))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"portreeve-audit.ndjson\""),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn sequence(app: &App, bound: Option<Instant>) -> Result<Option<u64>, Problem> {
    Ok(match bound {
        None => None,
        Some(Instant::Sequence(sequence)) => Some(sequence),
        Some(Instant::Time(time)) => match app.log.sequence_at(time).await? {
            Some(sequence) => Some(sequence),
            // nothing is as new: what there is of the end
            None => Some(app.log.head().await?.max(1)),
        },
    })
}
