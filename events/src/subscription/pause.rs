//! May a subscription be paused, and go on again?

use super::{
    Subscription, SubscriptionEvent, SubscriptionPaused, SubscriptionRefusal, SubscriptionResumed, Why,
};
use crate::aggregate::Decision;

/// The reason that came first stays.
pub fn pause(state: &Subscription, why: Why) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    state.there().ok_or(SubscriptionRefusal::NotFound)?;
    Ok(state.paused.is_none().then(|| SubscriptionPaused { why }.into()))
}

/// Nothing that happened meanwhile is left out.
pub fn resume(state: &Subscription) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    state.there().ok_or(SubscriptionRefusal::NotFound)?;
    Ok(state.paused.is_some().then(|| SubscriptionResumed {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::SubscriptionRemoved;
    use crate::subscription::testing::webhook;
    use crate::testing::{given, t};

    #[test]
    fn each_once_and_of_one_that_is_there() {
        let active = given::<Subscription>(vec![(0, webhook().into())]);
        let paused = SubscriptionPaused { why: Why::Asked };
        assert_eq!(pause(&active, Why::Asked), Ok(Some(paused.clone().into())));
        assert_eq!(resume(&active), Ok(None));
        let resting = given::<Subscription>(vec![(0, webhook().into()), (1, paused.clone().into())]);
        assert_eq!(pause(&resting, Why::Gone), Ok(None));
        assert_eq!(resume(&resting), Ok(Some(SubscriptionResumed {}.into())));
        let again = given::<Subscription>(vec![
            (0, webhook().into()),
            (1, paused.into()),
            (4, SubscriptionResumed {}.into()),
        ]);
        assert_eq!((again.paused, again.fresh_since), (None, t(4)));
        let gone = given::<Subscription>(vec![(0, webhook().into()), (1, SubscriptionRemoved {}.into())]);
        assert_eq!(pause(&gone, Why::Asked), Err(SubscriptionRefusal::NotFound));
        assert_eq!(resume(&Subscription::default()), Err(SubscriptionRefusal::NotFound));
    }
}
