//! May a subscription be set, or set otherwise? Once under its id; changed by whoever set it.

use super::{Subscription, SubscriptionEvent, SubscriptionRefusal, SubscriptionSet};
use crate::aggregate::Decision;

/// A repeated request finds what the first one set.
pub fn set(state: &Subscription, asked: SubscriptionSet) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    Ok(state.set.is_none().then(|| asked.into()))
}

/// What is told goes by the rights of who set it, so nobody else says what and where.
pub fn change(
    state: &Subscription,
    asked: SubscriptionSet,
) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    let before = state.there().ok_or(SubscriptionRefusal::NotFound)?;
    if before.by != asked.by {
        return Err(SubscriptionRefusal::NotYours(before.by.clone()));
    }
    Ok((*before != asked).then(|| asked.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserName;
    use crate::subscription::testing::webhook;
    use crate::subscription::{SubscriptionPaused, SubscriptionRemoved, Why};
    use crate::testing::{given, t};

    #[test]
    fn it_is_set_once_and_changed_by_whose_it_is() {
        assert_eq!(set(&Subscription::default(), webhook()), Ok(Some(webhook().into())));
        assert_eq!(change(&Subscription::default(), webhook()), Err(SubscriptionRefusal::NotFound));
        let state = given::<Subscription>(vec![(0, webhook().into())]);
        assert_eq!(set(&state, webhook()), Ok(None));
        assert_eq!(change(&state, webhook()), Ok(None), "nothing is otherwise");
        let named = SubscriptionSet { name: "other".into(), ..webhook() };
        assert_eq!(change(&state, named.clone()), Ok(Some(named.clone().into())));
        let bob = SubscriptionSet { by: UserName::parse("bob").unwrap(), ..named.clone() };
        assert_eq!(change(&state, bob), Err(SubscriptionRefusal::NotYours(webhook().by)));
        let gone = given::<Subscription>(vec![(0, webhook().into()), (1, SubscriptionRemoved {}.into())]);
        assert_eq!(change(&gone, named), Err(SubscriptionRefusal::NotFound));
    }

    #[test]
    fn a_change_forgets_what_failed_and_keeps_the_pause() {
        let paused = SubscriptionPaused { why: Why::Gone };
        let state = given::<Subscription>(vec![
            (0, webhook().into()),
            (1, paused.into()),
            (5, SubscriptionSet { name: "other".into(), ..webhook() }.into()),
        ]);
        assert_eq!((state.fresh_since, state.paused), (t(5), Some(Why::Gone)));
        assert!(state.there().is_some() && state.active().is_none());
    }
}
