//! `GET /api/audit/verify`: is the log whole, unchanged, and what the read models show?

use std::convert::Infallible;
use std::time::Duration;

use audit::verdict::Report;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use events::user::Role;
use futures_util::stream;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::{Problem, ProblemDetails};

/// Verifications and exports at once: each reads the whole log several times.
pub const CHECKS_MAX: usize = 2;
/// White space goes out this often, so that nothing in between takes the connection for dead.
const STILL_EVERY: Duration = Duration::from_secs(5);

/// Verify the log
///
/// Three verdicts (`holds`, `fails`, `unknown`), each with the first sequence where it fails. *Integrity*: every hash
/// and every signature. *Completeness*: no sequence is missing, and every anchor came that was promised. *Fidelity*: a
/// fresh fold of the log gives exactly the rows of every read model. The answer begins at once and goes on until
/// everything was looked at; a long log takes minutes. For admins and auditors; rows that differ are shown to admins.
#[utoipa::path(
    get, path = "/api/audit/verify", tag = "audit",
    params(("after" = Option<u64>, Query, description = "Wait until the read model has this sequence")),
    responses(
        (status = 200, body = Value, example = json!({
            "ok": false, "first_sequence": 1, "last_sequence": 42, "events": 42, "records": 7,
            "anchored_upto": 42, "anchored_at": "2026-01-02T03:04:05Z",
            "integrity": {"ok": true, "verdict": "holds", "first_sequence": null, "what": null},
            "completeness": {"ok": true, "verdict": "holds", "first_sequence": null, "what": null},
            "fidelity": {"ok": false, "verdict": "fails", "first_sequence": 17,
                "what": "a row of environments is another than the log gives", "position": 42,
                "projections": ["environments"],
                "differences": [{"projection": "environments", "table": "environments", "sequence": 17}]},
            "keys": [{"key": 1, "public_key": "...", "fingerprint": "...", "from": "2026-01-02T03:04:05Z", "until": null}],
        })),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`busy`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn verify(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor])?;
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let place = app.checks.clone().try_acquire_owned().map_err(|_| busy())?;
    let shows_rows = caller.role == Role::Admin;
    let checking = tokio::spawn(async move {
        let mut report = audit::live::verify(&app.log, &app.anchors, &app.projections).await;
        drop(place);
        if !shows_rows {
            for one in &mut report.fidelity.differences {
                (one.live, one.log) = (None, None);
            }
        }
        report
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], body(checking)).into_response())
}

pub fn busy() -> Problem {
    Problem::new("busy", format!("{CHECKS_MAX} checks of the log are under way already; try again later"))
}

/// White space while it is looked, then the report.
fn body(checking: JoinHandle<Report>) -> Body {
    Body::from_stream(stream::unfold(Some(checking), |checking| async move {
        let mut checking = checking?;
        let (piece, rest) = match tokio::time::timeout(STILL_EVERY, &mut checking).await {
            Err(_) => (Bytes::from_static(b" "), Some(checking)),
            Ok(Ok(report)) => (serde_json::to_vec(&report).unwrap_or_default().into(), None),
            // an answer without an end: what broke is in the log
            Ok(Err(_)) => return None,
        };
        Some((Ok::<_, Infallible>(piece), rest))
    }))
}
