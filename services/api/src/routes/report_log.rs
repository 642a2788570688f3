//! `GET /api/audit/reports/{name}`: what does the log say of a range, so that it can be computed again and compared?

use audit::report::{self, Asked as ReportAsked, ReportError, compute};
use audit::time_travel::Instant;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use events::ids::TenantId;
use events::user::Role;

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::position;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::reading::Asked;
use crate::routes::verify_log::busy;

/// What is said of all rows, as JSON: a table has no place for it.
const HEAD: HeaderName = HeaderName::from_static("portreeve-report");

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Json,
    Csv,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        _ => Err("must be json or csv".to_owned()),
    }
}

fn tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|invalid| format!("must be {}", invalid.rule))
}

/// Compute a report
///
/// `access` (who had access to what, from when until when), `logins` (failed logins, refusals, lockouts), `commands`
/// (what was run, and approvals), `passwords` (resets and reveals) or `privileged` (privileged actions). The same range
/// of sequences gives the same rows for ever: ask again with `from_sequence` and `to_sequence`, and compare `digest`
/// (the chain's hash of the log up to the end of the range) and `rows_digest`. As CSV the rows come alone; what is said
/// of them stands in the header `Portreeve-Report` (JSON, in both formats). `docs/audit-reports.md` says how the digests
/// are made. For admins (all tenants, or one) and auditors (their tenant).
#[utoipa::path(
    get, path = "/api/audit/reports/{name}", tag = "audit",
    params(
        ("name" = String, Path, description = "`access`, `logins`, `commands`, `passwords` or `privileged`"),
        ("from" = Option<String>, Query, description = "Sequence of the first event, or RFC 3339 time, inclusive; the beginning when absent"),
        ("to" = Option<String>, Query, description = "Sequence of the last event, or RFC 3339 time, exclusive; not in the future; now when absent"),
        ("format" = Option<String>, Query, description = "`json` (when absent) or `csv`"),
        ("tenant" = Option<String>, Query, description = "Only this tenant (admins)"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, headers(("Portreeve-Position" = u64), ("Portreeve-Report" = String)), content(
            (Value = "application/json", example = json!({
                "report": "logins", "version": 1, "tenant": "default", "from_sequence": 1, "to_sequence": 42,
                "from": "2026-01-02T03:04:05Z", "to": "2026-01-02T04:05:06Z", "messages": 42, "unreadable": 0,
                "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "rows_digest": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
                "columns": ["tenant", "what", "time"],
                "rows": [["default", "locked", "2026-01-02T03:04:05.000000Z"]],
            })),
            (String = "text/csv"),
        )),
        (status = 400, description = "`parameter_invalid`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`report_too_long`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`busy`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn report(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor])?;
    let (from, to) = (params.instant("from"), params.instant("to"));
    let format = params.parsed("format", format).unwrap_or(Format::Json);
    let tenant = params.parsed("tenant", tenant);
    let after = params.number("after");
    params.end()?;
    let report = report::named(&name).ok_or_else(|| Problem::not_found("report"))?;
    let seen = caller.tenant_seen().cloned().or_else(|| tenant.clone());
    if tenant.is_some_and(|asked| seen.as_ref() != Some(&asked)) {
        return Err(Problem::not_found("tenant"));
    }
    // the log has what was written; whoever waits for the read model says so
    if after.is_some() {
        app.caught_up(after).await?;
    }
    let (from, to) = range(&app, from, to).await?;
    let _place = app.checks.clone().try_acquire_owned().map_err(|_| busy())?;
    let asked = ReportAsked { report, from, to, tenant: seen };
    let made = compute(&app.log, asked).await.map_err(problem)?;
    let head = serde_json::to_string(&made.head).map_err(|error| Problem::internal(&error))?;
    let head = HeaderValue::from_str(&head).map_err(|error| Problem::internal(&error))?;
    let (kind, body, ending) = match format {
        Format::Json => ("application/json", made.to_json(), "json"),
        Format::Csv => ("text/csv; charset=utf-8; header=present", made.to_csv(), "csv"),
    };
    let named = format!("attachment; filename=\"portreeve-{name}-{from}-{to}.{ending}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, named)];
    Ok((position::header(to), [(HEAD, head)], headers, body).into_response())
}

/// The first and the last event. Of times the first counts and the last does not, so that a month ends where the next
/// one begins; a range that has no event ends before it begins.
async fn range(app: &App, from: Option<Asked>, to: Option<Asked>) -> Result<(u64, u64), Problem> {
    let first = match from {
        None => 1,
        Some(Asked { instant: Instant::Sequence(sequence), .. }) => sequence.max(1),
        Some(asked @ Asked { instant: Instant::Time(_), .. }) => last_before(app, asked).await? + 1,
    };
    let last = match to {
        None => app.log.head().await?,
        Some(asked) => last_before(app, asked).await?,
    };
    let turned = match (from.map(|from| from.instant), to.map(|to| to.instant)) {
        (Some(Instant::Time(from)), Some(Instant::Time(to))) => from > to,
        (_, _) => false,
    };
    if turned || first > last + 1 {
        let detail = "from must not be after to".to_owned();
        let wrong = FieldError { field: "from".to_owned(), code: "after_to", detail: detail.clone() };
        return Err(Problem::parameters(detail, vec![wrong]));
    }
    Ok((first, last))
}

/// The last event that was stored before a time, which is not in the future; a sequence is meant itself.
async fn last_before(app: &App, asked: Asked) -> Result<u64, Problem> {
    let upto = app.sequence(asked).await?;
    let Instant::Time(time) = asked.instant else { return Ok(upto) };
    let next = app.log.sequence_at(time).await?;
    Ok(next.map_or(upto, |next| next.saturating_sub(1)))
}

fn problem(error: ReportError) -> Problem {
    match error {
        ReportError::TooLong => Problem::new("report_too_long", error.to_string()),
        ReportError::Log(error) => error.into(),
        ReportError::Short { .. } => {
            Problem::caused("log_unavailable", "the event log did not answer to its end; try again", &error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_code() {
        assert_eq!(problem(ReportError::TooLong).status().as_u16(), 422);
        assert_eq!(problem(ReportError::Short { to: 2, upto: 1 }).code(), "log_unavailable");
    }
}
