//! `PUT /api/environments/{id}/job`: does a job run that must not be stopped?

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::env::Env;
use events::env::job::{JOB_S_MAX, NOTE_LENGTH_MAX, mark};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::environment::find;
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

#[derive(ToSchema)]
#[schema(as = Job, example = json!({"for_s": 86400, "note": "training"}))]
pub struct Job {
    /// Seconds from now, at most 604800 (a week); 0 takes the mark away.
    for_s: u64,
    /// At most 200 characters, for people.
    #[schema(value_type = Option<String>)]
    note: String,
}

/// The mark as it stands now.
#[derive(Serialize, ToSchema)]
#[schema(as = JobMarked, example = json!({"job_until": "2026-01-03T03:04:05Z"}))]
pub struct Marked {
    job_until: Option<DateTime<Utc>>,
}

fn read(body: &Value) -> Result<Job, Problem> {
    let mut fields = Fields::of(body);
    let for_s = fields.required("for_s", fields::whole(0, JOB_S_MAX));
    let note = fields.optional("note", fields::text(0, NOTE_LENGTH_MAX)).unwrap_or_default();
    fields.finish(for_s.map(|for_s| Job { for_s, note }))
}

/// Mark a running job
///
/// Until the mark ends, the environment neither counts as idle nor is it deleted at the end of its time
/// to live.
#[utoipa::path(
    put, path = "/api/environments/{id}/job", tag = "environments", request_body = Job,
    params(("id" = String, Path, description = "Environment id")),
    responses(
        (status = 200, body = Marked, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`environment_deleting`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn mark_job(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    let asked = read(&incoming.body.json)?;
    let cause = incoming.accept(&app).await?;
    let rule = |env: &Env| mark(env, asked.for_s, &asked.note, Utc::now());
    let decided =
        app.log.decide::<Env, _>(&found.tenant, found.id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, Marked { job_until: decided.state.job_until }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mark_is_bounded_and_says_how_long() {
        assert!(
            read(&json!({"for_s": 0})).is_ok() && read(&json!({"for_s": 60, "note": "training"})).is_ok()
        );
        for wrong in [
            json!({}),
            json!({"for_s": -1}),
            json!({"for_s": 604_801}),
            json!({"for_s": 1, "note": "x".repeat(201)}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
