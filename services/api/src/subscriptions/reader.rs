//! How is a subscription read by whoever asks? From the kept position on, by one reader at a time: the newest.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use events::ids::{SubscriptionId, TenantId};
use events::subscription::{Delivery, Subscription, SubscriptionRefusal, SubscriptionSet};
use futures_util::FutureExt;
use uuid::Uuid;

use super::{Found, kept, reads, standing};
use crate::access::Caller;
use crate::app::App;
use crate::event_reader::{From, Reading};
use crate::problem::Problem;
use crate::scope::Scope;
use crate::tap;

/// Between two looks at whether the reader may read on: so long two may read at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Ends whoever read before.
pub async fn open(app: &App, found: Found, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    let Found { tenant, id, state, set } = found;
    reads(&caller, &set)?;
    rests(&state)?;
    by_asking(&set)?;
    let maker = standing(app, &tenant, &set).await.map_err(|problem| maker_is_gone(&set, problem))?;
    let reader = Uuid::now_v7();
    let position = kept::alter(app, &tenant, &id, &set, |kept| {
        kept.reader = Some(reader);
        Ok(kept.position)
    });
    let from = From::Sequence(position.await?.saturating_add(1));
    let scope = Scope::subscription(maker, set.filter);
    let until = until_it_ends(app.clone(), tenant, id, reader).boxed();
    tap::open_for(app, scope, from, Reading { caller, headers: Some(headers), until })
}

/// Moves the position; answers where it is.
pub async fn acknowledge(
    app: &App,
    found: &Found,
    caller: &Caller,
    sequence: u64,
    reset: bool,
) -> Result<u64, Problem> {
    let Found { tenant, id, state, set } = found;
    reads(caller, set)?;
    if state.removed {
        return Err(Problem::refused(&SubscriptionRefusal::NotFound));
    }
    by_asking(set)?;
    kept::alter(app, tenant, id, set, |kept| {
        if sequence < kept.position && !reset {
            let at = kept.position;
            let detail = format!("the position is at {at} already; to go back to {sequence} say reset: true");
            return Err(Problem::new("position_behind", detail));
        }
        kept.position = sequence;
        Ok(sequence)
    })
    .await
}

fn by_asking(set: &SubscriptionSet) -> Result<(), Problem> {
    match set.delivery {
        Delivery::Pull => Ok(()),
        Delivery::Webhook { .. } => Err(Problem::new(
            "delivery_differs",
            "it is a webhook: its events are posted, and its position moves with them",
        )),
    }
}

fn rests(state: &Subscription) -> Result<(), Problem> {
    if state.removed {
        return Err(Problem::refused(&SubscriptionRefusal::NotFound));
    }
    match state.paused {
        None => Ok(()),
        Some(_) => Err(Problem::new("subscription_paused", "the subscription is paused; resume it first")),
    }
}

fn maker_is_gone(set: &SubscriptionSet, problem: Problem) -> Problem {
    if problem.code() != "unauthorized" {
        return problem;
    }
    // the reader is known well enough: it is the other one who is not
    Problem::new(
        "forbidden",
        format!("{}, who set it, was shut out or is no more; set another one", set.actor),
    )
}

/// Why the reader may not read on, once it may not. What cannot be looked at for a moment ends nothing.
async fn until_it_ends(app: App, tenant: TenantId, id: SubscriptionId, reader: Uuid) -> Problem {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match goes_on(&app, &tenant, &id, reader).await {
            Err(problem) if !problem.status().is_server_error() => return problem,
            Ok(()) | Err(_) => {}
        }
    }
}

async fn goes_on(app: &App, tenant: &TenantId, id: &SubscriptionId, reader: Uuid) -> Result<(), Problem> {
    let state = app.log.load::<Subscription>(tenant, id.as_str()).await?.state;
    rests(&state)?;
    let Some(set) = state.there() else { return Err(Problem::refused(&SubscriptionRefusal::NotFound)) };
    if kept::load(app, tenant, id, set).await?.kept.reader != Some(reader) {
        return Err(Problem::new("reader_replaced", "somebody newer reads this subscription"));
    }
    standing(app, tenant, set).await.map(drop).map_err(|problem| maker_is_gone(set, problem))
}
