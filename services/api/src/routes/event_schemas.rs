//! `GET /api/events/schemas/{type}`: what shape has an event?

use axum::Json;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use events::schema;

use crate::problem::{Problem, ProblemDetails};

/// Show the schema of an event
///
/// JSON Schema 2020-12 of what taps show as `data`, with an example: by its type, or by type and version, which
/// is refused where another version is written. `CloudEvent` is the envelope around it. `GET /asyncapi.json`
/// has all of them together, `GET /docs/events` shows them to people.
#[utoipa::path(
    get, path = "/api/events/schemas/{type}", tag = "events", security(()),
    params(("type" = String, Path, description = "`EnvRequested` or `EnvRequested.v1`")),
    responses(
        (status = 200, description = "JSON Schema", body = Value, content_type = "application/schema+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(Path(asked): Path<String>) -> Result<Response, Problem> {
    let found = schema::find(&asked).ok_or_else(|| {
        let detail = "there is no such event type, or another version is written: /docs/events lists them";
        Problem::new("not_found", detail)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/schema+json")], Json(found)).into_response())
}
