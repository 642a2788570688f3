//! Does the rule of a subscription say again what it said? All that it looked at stands in its events.

use super::{Case, Decided};
use crate::subscription::park::park;
use crate::subscription::pause::{pause, resume};
use crate::subscription::release::release;
use crate::subscription::remove::remove;
use crate::subscription::retry::{give_up, retry};
use crate::subscription::rotate_secret::rotate_secret;
use crate::subscription::set::{change, set};
use crate::subscription::{Subscription, SubscriptionEvent};

pub(super) fn again(case: &Case<'_>, event: &SubscriptionEvent) -> Decided {
    match event.clone() {
        SubscriptionEvent::SubscriptionSet(asked) => case.on(|state: &Subscription| match state.set {
            None => set(state, asked),
            Some(_) => change(state, asked),
        }),
        SubscriptionEvent::SubscriptionPaused(paused) => case.on(|state| pause(state, paused.why)),
        SubscriptionEvent::SubscriptionResumed(_) => case.on(resume),
        SubscriptionEvent::SubscriptionRemoved(_) => case.on(remove),
        SubscriptionEvent::SubscriptionSecretRotated(asked) => case.on(|state| rotate_secret(state, asked)),
        SubscriptionEvent::DeliveryParked(parked) => case.on(|state| park(state, parked)),
        SubscriptionEvent::DeliveryRetried(retried) => case.on(|state| retry(state, retried.sequence)),
        SubscriptionEvent::DeliveryReleased(released) => case.on(|state| release(state, released.sequence)),
        SubscriptionEvent::DeliveryDropped(dropped) => case.on(|state| give_up(state, dropped.sequence)),
    }
}
