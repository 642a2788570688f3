//! `/api/subscriptions/{id}/events`, `.../position`: what has a subscription not told yet, and how far is it?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use events::ids::SubscriptionId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::subscriptions::{fields, find, manages, reader};

/// Read a subscription
///
/// Server-sent events without end, as of `GET /api/events`: what was not acknowledged yet, then what happens. One
/// reader at a time: the newest ends the one before within a second (`event: end` with `reader_replaced`). Reading
/// moves nothing: acknowledge with `POST .../position`, and after a lost connection what was not acknowledged comes
/// again. `Portreeve-Position` is the position. `Last-Event-ID` is not looked at.
#[utoipa::path(
    get, path = "/api/subscriptions/{id}/events", tag = "subscriptions",
    params(("id" = String, Path, description = "Subscription id")),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = 403, description = "`forbidden`: it tells more than you see", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`delivery_differs`, `subscription_paused`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.end()?;
    let found = find(&app, &caller, &id).await?;
    reader::open(&app, found, caller, headers).await
}

/// What somebody has had of a subscription.
#[derive(ToSchema)]
#[schema(as = SubscriptionPositionAsked, example = json!({"sequence": 42}))]
#[allow(dead_code)] // a description
pub struct PositionShape {
    /// Everything up to this sequence is done.
    sequence: u64,
    /// `true`: it may lie before the position that is kept.
    reset: Option<bool>,
}

/// Where a subscription is.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionPosition, example = json!({
    "subscription_id": "sub-abcdefghijkl", "position": 42, "head": 57,
}))]
pub struct At {
    #[schema(value_type = String)]
    subscription_id: SubscriptionId,
    position: u64,
    /// The newest sequence of the log.
    head: u64,
}

/// Acknowledge events
///
/// What is up to `sequence` is not told again. Back it goes only with `reset`; what lies beyond the log is refused.
/// An open stream goes on as it was.
#[utoipa::path(
    post, path = "/api/subscriptions/{id}/position", tag = "subscriptions", request_body = PositionShape,
    params(("id" = String, Path, description = "Subscription id")),
    responses(
        (status = 200, body = At),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`position_behind`, `delivery_differs`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn acknowledge(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let (sequence, reset) = fields::position(&incoming.body.json)?;
    let found = find(&app, &incoming.caller, &id).await?;
    manages(&incoming.caller)?;
    let head = app.log.head().await?;
    if sequence > head {
        let detail = format!("must be at most {head}, the newest of the log");
        let wrong = FieldError { field: "sequence".to_owned(), code: "out_of_range", detail };
        return Err(Problem::fields(vec![wrong]));
    }
    let position = reader::acknowledge(&app, &found, &incoming.caller, sequence, reset).await?;
    Ok(Json(At { subscription_id: found.id, position, head }).into_response())
}
