//! May a subscription be removed? Always, and what is parked goes with it.

use super::{Subscription, SubscriptionEvent, SubscriptionRefusal, SubscriptionRemoved};
use crate::aggregate::Decision;

pub fn remove(state: &Subscription) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    if state.set.is_none() {
        return Err(SubscriptionRefusal::NotFound);
    }
    Ok((!state.removed).then(|| SubscriptionRemoved {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::testing::{parked, webhook};
    use crate::testing::given;

    #[test]
    fn once_and_with_what_is_parked() {
        assert_eq!(remove(&Subscription::default()), Err(SubscriptionRefusal::NotFound));
        let past = || -> Vec<(i64, SubscriptionEvent)> { vec![(0, webhook().into()), (1, parked(9).into())] };
        let removed = remove(&given(past())).unwrap().unwrap();
        let state: Subscription = given([past(), vec![(2, removed)]].concat());
        assert!(state.parked.is_empty() && state.active().is_none());
        assert_eq!(remove(&state), Ok(None));
    }
}
