//! `/api/subscriptions`: who wants to be told of which events, how, and how far behind are they?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use events::credential::SecretRef;
use events::ids::{SubscriptionId, TenantId};
use events::subscription::pause::{pause, resume};
use events::subscription::remove::remove as remove_rule;
use events::subscription::rotate_secret::rotate_secret;
use events::subscription::set::{change, set};
use events::subscription::{
    Delivery, Subscription, SubscriptionRefusal, SubscriptionSecretRotated, SubscriptionSet, Why,
};
use projections::{Page, subscriptions};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::Caller;
use crate::app::App;
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;
use crate::subscriptions::fields::{AskedShape, ChangeShape, asked, change as read_change};
use crate::subscriptions::view::{View, shown};
use crate::subscriptions::{Found, SUBSCRIPTIONS_MAX, find, manages, sees};
use crate::webhooks::signature::new_secret;

/// Seconds that the secret before may count: to a month; a day when nothing is said.
const OVERLAP_S_MAX: u64 = 30 * 24 * 3_600;
const OVERLAP_S_DEFAULT: u64 = 24 * 3_600;

/// The facts of one change, by their index.
mod step {
    use super::index;
    pub const SET: u32 = index::FIRST;
    pub const PAUSE: u32 = index::FIRST + 1;
}

/// A subscription that was set, or its new secret.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionSaved, example = json!({
    "subscription_id": "sub-abcdefghijkl", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "previous_until": null, "position": 42,
}))]
pub struct Saved {
    #[schema(value_type = String)]
    subscription_id: SubscriptionId,
    /// With what deliveries of a webhook are signed; shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Until when deliveries are also signed with the secret before.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<DateTime<Utc>>,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

fn saved(status: StatusCode, saved: Saved) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, no_store, position::header(saved.position), Json(saved)).into_response()
}

/// Set a subscription
///
/// It tells what you see of your tenant now, as long as you do; credentials, subscriptions themselves and taps of NATS it
/// never tells.
/// With `url` each event is posted there as a CloudEvent, in order, at least once, signed as Standard Webhooks has it
/// (`webhook-id`, `webhook-timestamp`, `webhook-signature`); a receiver answers with 2xx within 15 seconds. The secret
/// is shown once: repeating the request with the same `Idempotency-Key` is answered with 409 `key_shown_before`.
#[utoipa::path(
    post, path = "/api/subscriptions", tag = "subscriptions", request_body = AskedShape,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the key sets nothing again")),
    responses(
        (status = 201, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`too_many_subscriptions`, `key_shown_before`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    manages(caller)?;
    let asked = asked(&incoming.body.json, caller, app.postman.settings())?;
    let tenant = &caller.tenant;
    room(&app, tenant).await?;
    let cause = incoming.accept(&app).await?;
    let id = SubscriptionId::from_seed(&cause.command);
    let after = match asked.from {
        Some(from) => from.saturating_sub(1),
        None => app.log.head().await?,
    };
    let (delivery, secret) = match asked.url {
        None => (Delivery::Pull, None),
        Some(url) => {
            let (secret, text) = keep_secret(&app, &id).await?;
            (Delivery::Webhook { url, secret: secret.clone() }, Some((secret, text)))
        }
    };
    let wanted = SubscriptionSet {
        name: asked.name,
        filter: asked.filter,
        delivery,
        after,
        by: caller.owner.clone(),
        actor: caller.actor.clone(),
        role: caller.role,
    };
    let rule = |subscription: &Subscription| set(subscription, wanted.clone());
    let decided = app.log.decide::<Subscription, _>(tenant, id.as_str(), &cause, step::SET, rule).await?;
    let secret = shown_once(&app, secret, &decided.state).await?;
    let position = decided.seq;
    Ok(saved(StatusCode::CREATED, Saved { subscription_id: id, secret, previous_until: None, position }))
}

/// As far as the read model knows: a few that come at the same moment may be more.
async fn room(app: &App, tenant: &TenantId) -> Result<(), Problem> {
    if subscriptions::count(&app.projections, tenant).await? < SUBSCRIPTIONS_MAX {
        return Ok(());
    }
    let detail = format!("{tenant} has {SUBSCRIPTIONS_MAX} subscriptions already; remove one first");
    Err(Problem::new("too_many_subscriptions", detail))
}

/// The secret first: a fact never names one that is not there.
async fn keep_secret(app: &App, id: &SubscriptionId) -> Result<(SecretRef, String), Problem> {
    let name = SecretRef::webhook(id, Uuid::now_v7());
    let secret = new_secret().map_err(|error| Problem::internal(&error))?;
    app.vault.put(&name, &secret).await?;
    Ok((name, secret.expose_secret().to_owned()))
}

/// A repeated command finds the secret that it made before, whose text nobody is shown again.
async fn shown_once(
    app: &App,
    made: Option<(SecretRef, String)>,
    state: &Subscription,
) -> Result<Option<String>, Problem> {
    let Some((name, text)) = made else { return Ok(None) };
    if state.secret() == Some(&name) {
        return Ok(Some(text));
    }
    app.vault.remove(&name).await?;
    Err(Problem::refused(&SubscriptionRefusal::ShownBefore))
}

/// List subscriptions
///
/// Newest first, without the removed ones; with how far each is behind.
#[utoipa::path(
    get, path = "/api/subscriptions", tag = "subscriptions",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<View>, headers(("Portreeve-Position" = u64))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    sees(&caller)?;
    app.caught_up(after).await?;
    let page = subscriptions::list(&app.projections, caller.tenant_seen(), cursor.as_deref(), limit).await?;
    let (next_cursor, position) = (page.next_cursor, page.position);
    Ok(position::page(Page { items: shown(&app, page.items).await?, next_cursor, position }))
}

/// Show a subscription
///
/// A removed one too.
#[utoipa::path(
    get, path = "/api/subscriptions/{id}", tag = "subscriptions",
    params(
        ("id" = String, Path, description = "Subscription id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = View, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    let unknown = || Problem::not_found("subscription");
    sees(&caller).map_err(|_| unknown())?;
    let id = SubscriptionId::parse(id).map_err(|_| unknown())?;
    app.caught_up(after).await?;
    let found = subscriptions::get(&app.projections, caller.tenant_seen(), &id).await?;
    let row = found.value.ok_or_else(unknown)?;
    let view = shown(&app, vec![row]).await?.pop().ok_or_else(unknown)?;
    Ok(position::shown(found.position, view))
}

/// Change, pause or resume a subscription
///
/// What is left out stays. It tells by the rights of who set it, so they alone change what it tells and where; whoever
/// else manages subscriptions here pauses and resumes it. Nothing that happens during a pause is left out.
#[utoipa::path(
    patch, path = "/api/subscriptions/{id}", tag = "subscriptions", request_body = ChangeShape,
    params(("id" = String, Path, description = "Subscription id")),
    responses(
        (status = 200, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`delivery_differs`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    let asked = read_change(&incoming.body.json, caller, app.postman.settings())?;
    let Found { tenant, id, .. } = find(&app, caller, &id).await?;
    manages(caller)?;
    let cause = incoming.accept(&app).await?;
    let mut decided = app.log.load::<Subscription>(&tenant, id.as_str()).await?;
    if asked.sets() {
        let rule = |subscription: &Subscription| {
            let before = subscription.there().ok_or(SubscriptionRefusal::NotFound)?;
            if before.by != caller.owner {
                return Err(SubscriptionRefusal::NotYours(before.by.clone()));
            }
            change(subscription, asked.of(before, caller).ok_or(SubscriptionRefusal::NotAWebhook)?)
        };
        let changed =
            app.log.decide::<Subscription, _>(&tenant, id.as_str(), &cause, step::SET, rule).await?;
        (decided.state, decided.seq) = (changed.state, changed.seq);
    }
    if let Some(paused) = asked.paused {
        let rule = |state: &Subscription| if paused { pause(state, Why::Asked) } else { resume(state) };
        let changed =
            app.log.decide::<Subscription, _>(&tenant, id.as_str(), &cause, step::PAUSE, rule).await?;
        (decided.state, decided.seq) = (changed.state, changed.seq);
    }
    if decided.state.removed {
        return Err(Problem::refused(&SubscriptionRefusal::NotFound));
    }
    let position = decided.seq;
    Ok(saved(StatusCode::OK, Saved { subscription_id: id, secret: None, previous_until: None, position }))
}

/// Remove a subscription
///
/// Nothing of it is delivered any more; what is parked goes with it.
#[utoipa::path(
    delete, path = "/api/subscriptions/{id}", tag = "subscriptions",
    params(("id" = String, Path, description = "Subscription id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"subscription_id": "sub-abcdefghijkl", "removed": true})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let Found { tenant, id, .. } = find(&app, &incoming.caller, &id).await?;
    manages(&incoming.caller)?;
    let cause = incoming.accept(&app).await?;
    let decided =
        app.log.decide::<Subscription, _>(&tenant, id.as_str(), &cause, index::FIRST, remove_rule).await?;
    let previous = decided.state.previous.as_ref().map(|previous| &previous.secret);
    for secret in decided.state.secret().into_iter().chain(previous) {
        app.vault.remove(secret).await?;
    }
    Ok(position::shown(decided.seq, serde_json::json!({"subscription_id": id, "removed": true})))
}

#[derive(ToSchema)]
#[schema(as = SubscriptionSecretAsked, example = json!({"overlap_s": 3600}))]
#[allow(dead_code)] // a description
pub struct RotateShape {
    /// Seconds that deliveries are also signed with the secret before, 0 to 2592000; a day when absent.
    overlap_s: Option<u64>,
}

/// Give a webhook another secret
///
/// It is shown once. For `overlap_s` deliveries have two signatures, so that the receiver can be told meanwhile.
#[utoipa::path(
    post, path = "/api/subscriptions/{id}/rotate-secret", tag = "subscriptions", request_body = RotateShape,
    params(("id" = String, Path, description = "Subscription id")),
    responses(
        (status = 200, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`delivery_differs`, `key_shown_before`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let mut fields = Fields::of(&incoming.body.json);
    let overlap_s =
        fields.optional("overlap_s", fields::whole(0, OVERLAP_S_MAX)).unwrap_or(OVERLAP_S_DEFAULT);
    fields.finish(Some(()))?;
    let Found { tenant, id, state, .. } = find(&app, &incoming.caller, &id).await?;
    manages(&incoming.caller)?;
    if state.secret().is_none() {
        return Err(Problem::refused(&SubscriptionRefusal::NotAWebhook));
    }
    let cause = incoming.accept(&app).await?;
    let (secret, text) = keep_secret(&app, &id).await?;
    let overlap = TimeDelta::seconds(i64::try_from(overlap_s).unwrap_or_default());
    let previous_until = Utc::now().trunc_subsecs(3) + overlap;
    let asked = SubscriptionSecretRotated { secret: secret.clone(), previous_until };
    let rule = |subscription: &Subscription| rotate_secret(subscription, asked.clone());
    let decided = app.log.decide::<Subscription, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    let text = shown_once(&app, Some((secret, text)), &decided.state).await?;
    // nothing is signed with the one before the one before
    if let Some(superseded) = state.previous {
        app.vault.remove(&superseded.secret).await?;
    }
    let (secret, previous_until, position) = (text, Some(previous_until), decided.seq);
    Ok(saved(StatusCode::OK, Saved { subscription_id: id, secret, previous_until, position }))
}
