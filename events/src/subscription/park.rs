//! May a delivery be parked? Once for an event, and again when it was tried once more in vain; within a bound.

use super::{DeliveryParked, PARKED_MAX, Subscription, SubscriptionEvent, SubscriptionRefusal};
use crate::aggregate::Decision;

pub fn park(
    state: &Subscription,
    parked: DeliveryParked,
) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    state.there().ok_or(SubscriptionRefusal::NotFound)?;
    match state.parked.get(&parked.sequence) {
        Some(before) => Ok(before.retrying.then(|| parked.into())),
        None if state.parked.len() >= PARKED_MAX => Err(SubscriptionRefusal::TooManyParked),
        None => Ok(Some(parked.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::testing::{parked, webhook};
    use crate::subscription::{DeliveryRetried, SubscriptionRemoved};
    use crate::testing::given;

    #[test]
    fn once_and_again_after_a_retry() {
        let mut past: Vec<(i64, SubscriptionEvent)> = vec![(0, webhook().into())];
        assert_eq!(park(&given(past.clone()), parked(9)), Ok(Some(parked(9).into())));
        past.push((1, parked(9).into()));
        assert_eq!(park(&given(past.clone()), parked(9)), Ok(None), "whoever comes second");
        past.push((2, DeliveryRetried { sequence: 9 }.into()));
        let again = DeliveryParked { attempts: 11, ..parked(9) };
        assert_eq!(park(&given(past.clone()), again.clone()), Ok(Some(again.clone().into())));
        past.push((3, again.into()));
        let state: Subscription = given(past.clone());
        assert!(!state.parked[&9].retrying && state.parked[&9].attempts == 11);
        past.push((4, SubscriptionRemoved {}.into()));
        assert_eq!(park(&given(past), parked(10)), Err(SubscriptionRefusal::NotFound));
    }

    #[test]
    fn there_is_a_bound() {
        let mut past: Vec<(i64, SubscriptionEvent)> = vec![(0, webhook().into())];
        past.extend((0..PARKED_MAX as u64).map(|sequence| (1, parked(sequence).into())));
        let full: Subscription = given(past);
        assert_eq!(park(&full, parked(1_000)), Err(SubscriptionRefusal::TooManyParked));
        assert_eq!(park(&full, parked(1)), Ok(None));
    }
}
