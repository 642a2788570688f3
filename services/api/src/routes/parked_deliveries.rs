//! `/api/subscriptions/{id}/parked`: what could not be delivered, and shall it be tried once more or given up?

use axum::extract::{Path, State};
use axum::response::Response;
use events::aggregate::Decision;
use events::subscription::retry::{give_up, retry as retry_rule};
use events::subscription::{Subscription, SubscriptionEvent, SubscriptionRefusal};
use projections::{Page, subscriptions};

use crate::access::Caller;
use crate::app::App;
use crate::fields::Fields;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;
use crate::subscriptions::view::ParkedView;
use crate::subscriptions::{Found, find, manages};

/// List parked deliveries
///
/// All of them, at most 500, in the order of their events.
#[utoipa::path(
    get, path = "/api/subscriptions/{id}/parked", tag = "subscriptions",
    params(
        ("id" = String, Path, description = "Subscription id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<ParkedView>, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    let Found { id, .. } = find(&app, &caller, &id).await?;
    app.caught_up(after).await?;
    let found = subscriptions::get(&app.projections, caller.tenant_seen(), &id).await?;
    let parked = found.value.map(|row| row.state.parked).unwrap_or_default();
    let items = parked.iter().map(|(sequence, parked)| ParkedView::of(*sequence, parked)).collect();
    Ok(position::page(Page { items, next_cursor: None, position: found.position }))
}

/// Retry a parked delivery
///
/// It is tried once more at once, beside the others, under the same `webhook-id`; if that fails it is parked again. Of
/// a paused subscription it is tried when that is resumed.
#[utoipa::path(
    post, path = "/api/subscriptions/{id}/parked/{sequence}/retry", tag = "subscriptions",
    params(
        ("id" = String, Path, description = "Subscription id"),
        ("sequence" = u64, Path, description = "Sequence of the event"),
    ),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"subscription_id": "sub-abcdefghijkl", "sequence": 42})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`not_parked`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn retry(
    State(app): State<App>,
    Path((id, sequence)): Path<(String, String)>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    decide(&app, &id, &sequence, &incoming, retry_rule).await
}

/// Drop a parked delivery
///
/// It is given up for good.
#[utoipa::path(
    delete, path = "/api/subscriptions/{id}/parked/{sequence}", tag = "subscriptions",
    params(
        ("id" = String, Path, description = "Subscription id"),
        ("sequence" = u64, Path, description = "Sequence of the event"),
    ),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"subscription_id": "sub-abcdefghijkl", "sequence": 42})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`not_parked`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn give_up_one(
    State(app): State<App>,
    Path((id, sequence)): Path<(String, String)>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    decide(&app, &id, &sequence, &incoming, give_up).await
}

type Rule = fn(&Subscription, u64) -> Decision<SubscriptionEvent, SubscriptionRefusal>;

async fn decide(
    app: &App,
    id: &str,
    sequence: &str,
    incoming: &Incoming,
    rule: Rule,
) -> Result<Response, Problem> {
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let Found { tenant, id, .. } = find(app, &incoming.caller, id).await?;
    manages(&incoming.caller)?;
    let sequence: u64 = sequence.parse().map_err(|_| Problem::not_found("delivery"))?;
    let cause = incoming.accept(app).await?;
    let rule = |state: &Subscription| rule(state, sequence);
    let decided = app.log.decide::<Subscription, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"subscription_id": id, "sequence": sequence})))
}
