//! May a webhook have another secret? Always; deliveries are signed with the one before too, for a while.

use super::{Subscription, SubscriptionEvent, SubscriptionRefusal, SubscriptionSecretRotated};
use crate::aggregate::Decision;

pub fn rotate_secret(
    state: &Subscription,
    asked: SubscriptionSecretRotated,
) -> Decision<SubscriptionEvent, SubscriptionRefusal> {
    state.there().ok_or(SubscriptionRefusal::NotFound)?;
    let current = state.secret().ok_or(SubscriptionRefusal::NotAWebhook)?;
    Ok((*current != asked.secret).then(|| asked.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::testing::{secret, set, webhook};
    use crate::subscription::{Delivery, Previous, SubscriptionSet};
    use crate::testing::{given, t};

    #[test]
    fn the_one_before_counts_a_while_and_a_change_keeps_the_new_one() {
        let rotated =
            |version, until| SubscriptionSecretRotated { secret: secret(version), previous_until: t(until) };
        let state = given::<Subscription>(vec![(0, webhook().into())]);
        assert_eq!(rotate_secret(&state, rotated(2, 60)), Ok(Some(rotated(2, 60).into())));
        let state = given::<Subscription>(vec![(0, webhook().into()), (1, rotated(2, 60).into())]);
        assert_eq!(state.secret(), Some(&secret(2)));
        assert_eq!(state.previous, Some(Previous { secret: secret(1), until: t(60) }));
        assert_eq!(rotate_secret(&state, rotated(2, 70)), Ok(None), "it is that one already");
        let asked = SubscriptionSet { name: "other".into(), ..state.set.clone().unwrap() };
        let changed = crate::subscription::set::change(&state, asked).unwrap().unwrap();
        let state =
            given::<Subscription>(vec![(0, webhook().into()), (1, rotated(2, 60).into()), (2, changed)]);
        assert_eq!(state.secret(), Some(&secret(2)));
    }

    #[test]
    fn only_a_webhook_has_one() {
        let pull = given::<Subscription>(vec![(0, set(Delivery::Pull).into())]);
        let asked = SubscriptionSecretRotated { secret: secret(2), previous_until: t(1) };
        assert_eq!(rotate_secret(&pull, asked.clone()), Err(SubscriptionRefusal::NotAWebhook));
        assert_eq!(rotate_secret(&Subscription::default(), asked), Err(SubscriptionRefusal::NotFound));
    }
}
