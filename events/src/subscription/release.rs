//! What becomes of a parked delivery that got through? It is parked no more.

use super::{DeliveryReleased, Subscription, SubscriptionEvent, SubscriptionRefusal};
use crate::aggregate::Decision;

/// One that was given up, or removed with its subscription, stays so.
pub fn release(state: &Subscription, sequence: u64) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    let is_tried = state.parked.get(&sequence).is_some_and(|parked| parked.retrying);
    Ok(is_tried.then(|| DeliveryReleased { sequence }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::DeliveryRetried;
    use crate::subscription::testing::{parked, webhook};
    use crate::testing::given;

    #[test]
    fn what_was_tried_once_more_and_nothing_else() {
        let mut past: Vec<(i64, SubscriptionEvent)> = vec![(0, webhook().into()), (1, parked(9).into())];
        assert_eq!(release(&given(past.clone()), 9), Ok(None));
        past.push((2, DeliveryRetried { sequence: 9 }.into()));
        let released = release(&given(past.clone()), 9).unwrap().unwrap();
        assert_eq!(released, SubscriptionEvent::from(DeliveryReleased { sequence: 9 }));
        past.push((3, released));
        let state: Subscription = given(past);
        assert!(state.parked.is_empty());
        assert_eq!(release(&state, 9), Ok(None));
    }
}
