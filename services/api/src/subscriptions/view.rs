//! What does a subscription look like from outside, with how far it is behind?

use chrono::{DateTime, Utc};
use events::ids::{EventId, SubscriptionId, TenantId, UserName};
use events::subscription::{Delivery, Parked};
use futures_util::{StreamExt, TryStreamExt, stream};
use projections::subscriptions::{LAG_EVENTS_MAX, SubscriptionRow, Waiting, lags};
use serde::Serialize;
use utoipa::ToSchema;

use super::in_the_name_of;
use super::kept::{self, Kept, Trouble};
use crate::app::App;
use crate::problem::Problem;
use crate::scope::kinds_hidden;

/// Positions looked at at once.
const POSITIONS_AT_ONCE: usize = 16;

/// A subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub struct View {
    #[schema(value_type = String, example = "sub-abcdefghijkl")]
    pub subscription_id: SubscriptionId,
    #[schema(value_type = String)]
    pub tenant_id: TenantId,
    pub name: String,
    /// By whose rights it tells.
    #[schema(value_type = String)]
    pub by: UserName,
    /// `active`, `paused` or `removed`.
    #[schema(example = "active")]
    pub status: &'static str,
    /// Why it is paused: `asked`, `gone` (the receiver answered with 410), `not_allowed` (whoever set it may not see so
    /// much any more), `too_many_parked`.
    #[schema(example = "gone")]
    pub why: Option<&'static str>,
    /// `pull` or `webhook`.
    #[schema(example = "webhook")]
    pub delivery: &'static str,
    pub url: Option<String>,
    pub types: Vec<String>,
    pub kinds: Vec<String>,
    pub ids: Vec<String>,
    /// Everything up to this sequence was delivered or acknowledged, is parked, or is not for it.
    pub position: u64,
    /// The newest sequence that was looked at for the lag.
    pub head: u64,
    /// Events for it after `position`.
    pub lag_events: u64,
    /// How long the first of them waits.
    pub lag_s: u64,
    /// There may be more: only so much of the log was looked at.
    pub lag_is_least: bool,
    /// What is tried again and again now.
    pub failing: Option<FailingView>,
    /// Deliveries that were given up and wait for somebody: `GET /api/subscriptions/{id}/parked`.
    pub parked: usize,
    /// Until when deliveries are also signed with the secret before.
    pub previous_secret_until: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A delivery that failed and is tried again.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionFailing)]
pub struct FailingView {
    /// Of the event.
    pub sequence: u64,
    pub attempts: u32,
    pub last_at: DateTime<Utc>,
    pub next_at: DateTime<Utc>,
    /// `status`, `timeout`, `connect`, `name`, `address_refused`, `tls`, `insecure`, `broken`.
    #[schema(example = "status")]
    pub class: &'static str,
    /// HTTP's, where the receiver answered.
    pub http_status: Option<u16>,
}

/// A delivery that was given up.
#[derive(Serialize, ToSchema)]
#[schema(as = ParkedDelivery)]
pub struct ParkedView {
    /// Of the event; names the delivery.
    pub sequence: u64,
    /// The header `webhook-id`.
    #[schema(value_type = String)]
    pub event_id: EventId,
    pub attempts: u32,
    #[schema(example = "status")]
    pub class: &'static str,
    pub http_status: Option<u16>,
    /// When it was parked.
    pub at: DateTime<Utc>,
    /// It is to be tried once more.
    pub retrying: bool,
}

impl From<Trouble> for FailingView {
    fn from(trouble: Trouble) -> Self {
        Self {
            sequence: trouble.sequence,
            attempts: trouble.attempts,
            last_at: trouble.at,
            next_at: trouble.next_at,
            class: trouble.failure.class.name(),
            http_status: trouble.failure.status,
        }
    }
}

impl ParkedView {
    pub fn of(sequence: u64, parked: &Parked) -> Self {
        Self {
            sequence,
            event_id: parked.event_id,
            attempts: parked.attempts,
            class: parked.failure.class.name(),
            http_status: parked.failure.status,
            at: parked.at,
            retrying: parked.retrying,
        }
    }
}

/// With positions and lags as they are now.
pub async fn shown(app: &App, rows: Vec<SubscriptionRow>) -> Result<Vec<View>, Problem> {
    let kept: Vec<Kept> = stream::iter(rows.clone())
        .map(|row| async move {
            // one without a first event has no row
            let Some(set) = &row.state.set else { return Ok(Kept::default()) };
            Ok::<_, Problem>(kept::load(app, &row.tenant, &row.subscription_id, set).await?.kept)
        })
        .buffered(POSITIONS_AT_ONCE)
        .try_collect()
        .await?;
    let waiting: Vec<Waiting<'_>> = rows
        .iter()
        .zip(&kept)
        .filter_map(|(row, kept)| {
            let set = row.state.set.as_ref()?;
            let hidden = kinds_hidden(&in_the_name_of(&row.tenant, set));
            Some(Waiting { tenant: &row.tenant, wanted: &set.filter, hidden, after: kept.position })
        })
        .collect();
    let counted = lags(&app.projections, &waiting).await?;
    let (head, now) = (counted.position, Utc::now());
    let views = rows.into_iter().zip(kept).zip(counted.value).filter_map(|((row, kept), lag)| {
        let set = row.state.set?;
        let previous = row.state.previous.map(|previous| previous.until);
        let (delivery, url) = match set.delivery {
            Delivery::Pull => ("pull", None),
            Delivery::Webhook { url, .. } => ("webhook", Some(url)),
        };
        let waits = lag.oldest.map_or(0, |oldest| (now - oldest).num_seconds().max(0).unsigned_abs());
        Some(View {
            subscription_id: row.subscription_id,
            tenant_id: row.tenant,
            name: set.name,
            by: set.by,
            status: match (row.state.removed, row.state.paused) {
                (true, _) => "removed",
                (false, Some(_)) => "paused",
                (false, None) => "active",
            },
            why: row.state.paused.map(|why| why.name()),
            delivery,
            url,
            types: set.filter.types.into_iter().collect(),
            kinds: set.filter.kinds.into_iter().collect(),
            ids: set.filter.ids.into_iter().collect(),
            position: kept.position,
            head,
            lag_events: lag.events,
            lag_s: waits,
            lag_is_least: head > kept.position.saturating_add(LAG_EVENTS_MAX),
            failing: kept.trouble.map(FailingView::from),
            parked: row.state.parked.len(),
            previous_secret_until: previous.filter(|until| *until > now),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    });
    Ok(views.collect())
}
