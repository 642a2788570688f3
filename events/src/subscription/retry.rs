//! May a parked delivery be tried once more, or given up? As long as it is parked.

use super::{DeliveryDropped, DeliveryRetried, Subscription, SubscriptionEvent, SubscriptionRefusal};
use crate::aggregate::Decision;

pub fn retry(state: &Subscription, sequence: u64) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    state.there().ok_or(SubscriptionRefusal::NotFound)?;
    let parked = state.parked.get(&sequence).ok_or(SubscriptionRefusal::NotParked(sequence))?;
    Ok((!parked.retrying).then(|| DeliveryRetried { sequence }.into()))
}

pub fn give_up(state: &Subscription, sequence: u64) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    state.there().ok_or(SubscriptionRefusal::NotFound)?;
    state.parked.get(&sequence).ok_or(SubscriptionRefusal::NotParked(sequence))?;
    Ok(Some(DeliveryDropped { sequence }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::testing::{parked, webhook};
    use crate::testing::given;

    #[test]
    fn what_is_parked_is_tried_once_more_or_given_up() {
        let mut past: Vec<(i64, SubscriptionEvent)> =
            vec![(0, webhook().into()), (1, parked(9).into()), (1, parked(12).into())];
        let state: Subscription = given(past.clone());
        assert_eq!(state.to_retry(), None);
        assert_eq!(retry(&state, 10), Err(SubscriptionRefusal::NotParked(10)));
        assert_eq!(give_up(&state, 10), Err(SubscriptionRefusal::NotParked(10)));
        assert_eq!(retry(&Subscription::default(), 9), Err(SubscriptionRefusal::NotFound));
        past.push((2, retry(&state, 12).unwrap().unwrap()));
        let state: Subscription = given(past.clone());
        assert_eq!(state.to_retry().map(|(sequence, _)| sequence), Some(12));
        assert_eq!(retry(&state, 12), Ok(None), "it is under way");
        past.push((3, give_up(&state, 12).unwrap().unwrap()));
        let state: Subscription = given(past);
        assert_eq!(state.parked.keys().collect::<Vec<_>>(), [&9]);
    }
}
