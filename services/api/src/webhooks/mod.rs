//! Who posts events to webhooks? One API process, for all; each subscription by itself, in order, one event at a time.
//!
//! Processes hear of each other and the first one posts. That two believe to be first for a moment does no harm: who
//! moves a position names the value they know, so one of them stops, and a receiver knows an event that comes twice by
//! its `webhook-id`. What is tried again, and when, lies with the position: a restart forgets nothing of it.

pub mod back_off;
mod deliver;
pub mod send;
pub mod signature;
pub mod target;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use events::ids::{ApiId, SubscriptionId, TenantId};
use ipnet::IpNet;
use nats::Presence;
use projections::subscriptions;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::metrics::OfSubscription;
use crate::subscriptions::view::shown;

/// Between two looks at which there are.
const INTERVAL: Duration = Duration::from_secs(1);
/// Every so many looks it is measured how far each is behind.
const MEASURED_EVERY: u64 = 15;
/// Subscriptions of an installation that are delivered at once.
const SUBSCRIPTIONS_MAX: u32 = 10_000;
/// An attempt waits so long for a receiver's answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// What an answer says after its head is waited for so long.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// How webhooks may be posted.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Addresses that they may reach besides those of the public network.
    pub ranges: Vec<IpNet>,
    /// They may do without TLS.
    pub http: bool,
    /// Waits after failed attempts; after the last of them a delivery is parked.
    pub retry_after: Vec<Duration>,
    /// An attempt takes at most so long.
    pub timeout: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            ranges: Vec::new(),
            http: false,
            retry_after: back_off::RETRY_AFTER_S.map(Duration::from_secs).to_vec(),
            timeout: TIMEOUT,
        }
    }
}

/// One that is being delivered.
struct Running {
    ends: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ends.cancel();
    }
}

pub async fn keep_delivering(app: App, mut presence: Presence<ApiId>, shutdown: CancellationToken) {
    let mut running: HashMap<SubscriptionId, Running> = HashMap::new();
    let mut measured = HashSet::new();
    for looks in 0_u64.. {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
        presence.listen();
        if !presence.is_first() {
            running.clear();
            forget(&app, &mut measured);
            continue;
        }
        // the read model says itself that it is away, to whoever asks; what is under way goes on
        let Ok(wanted) = subscriptions::to_deliver(&app.projections, SUBSCRIPTIONS_MAX).await else {
            continue;
        };
        run(&app, &mut running, &wanted, &shutdown);
        if looks.is_multiple_of(MEASURED_EVERY) {
            measure(&app, &mut measured).await;
        }
    }
}

/// Each that is wanted, and no other; one that ended by itself is begun anew, and finds out what is true of it.
fn run(
    app: &App,
    running: &mut HashMap<SubscriptionId, Running>,
    wanted: &[(TenantId, SubscriptionId)],
    shutdown: &CancellationToken,
) {
    let ids: HashSet<&SubscriptionId> = wanted.iter().map(|(_, id)| id).collect();
    running.retain(|id, one| ids.contains(id) && !one.task.is_finished());
    for (tenant, id) in wanted {
        if running.contains_key(id) {
            continue;
        }
        let (ends, app, tenant, of) = (shutdown.child_token(), app.clone(), tenant.clone(), id.clone());
        let until = ends.clone();
        let task = tokio::spawn(async move {
            until.run_until_cancelled(deliver::keep_delivering(app, tenant, of)).await;
        });
        running.insert(id.clone(), Running { ends, task });
    }
}

/// How far each subscription is behind, those that are asked for too.
async fn measure(app: &App, measured: &mut HashSet<SubscriptionId>) {
    let mut found = HashSet::new();
    let mut cursor: Option<String> = None;
    loop {
        let page =
            subscriptions::list(&app.projections, None, cursor.as_deref(), projections::LIMIT_MAX).await;
        let Ok(page) = page else { return };
        let Ok(views) = shown(app, page.items).await else { return };
        for view in views {
            let of = OfSubscription { subscription: view.subscription_id.to_string() };
            let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            app.metrics.subscription_lag_events.get_or_create(&of).set(gauge(view.lag_events));
            app.metrics.subscription_lag_s.get_or_create(&of).set(gauge(view.lag_s));
            app.metrics.subscription_parked.get_or_create(&of).set(gauge(view.parked as u64));
            found.insert(view.subscription_id);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let mut gone: HashSet<SubscriptionId> = measured.difference(&found).cloned().collect();
    forget(app, &mut gone);
    *measured = found;
}

/// Whoever measures shows; nobody else shows what was.
fn forget(app: &App, measured: &mut HashSet<SubscriptionId>) {
    for id in measured.drain() {
        let of = OfSubscription { subscription: id.to_string() };
        app.metrics.subscription_lag_events.remove(&of);
        app.metrics.subscription_lag_s.remove(&of);
        app.metrics.subscription_parked.remove(&of);
    }
}
