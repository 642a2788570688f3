//! What may have happened to subscriptions, and do the rows say so? Part of the histories of `story`.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use events::credential::SecretRef;
use events::ids::{EventId, SubscriptionId, TenantId};
use events::subscription::{
    Class, Delivery, DeliveryParked, Failure, Filter, Subscription, SubscriptionSecretRotated,
    SubscriptionSet, Why, park, pause, release, remove, retry, rotate_secret, set,
};
use events::user::Role;
use events::{Kind, Recorded};
use projections::{Projections, subscriptions};
use uuid::Uuid;

use crate::story::{Story, owner};

impl Story {
    pub fn step_of_subscription(&mut self, what: u8, which: u8, tenant: &TenantId) {
        let id = SubscriptionId::from_seed(&Uuid::new_v5(
            &Uuid::nil(),
            format!("{tenant} {}", which % 4).as_bytes(),
        ));
        let sequence = u64::from(which % 3);
        self.decide::<Subscription, _>(tenant, id.as_str(), |state, now| match what {
            0 | 1 => set::set(state, asked(&id, which)),
            2 => set::change(state, asked(&id, which / 2)),
            3 if state.paused.is_some() => pause::resume(state),
            3 if which.is_multiple_of(3) => pause::pause(state, Why::Gone),
            4 if which.is_multiple_of(11) => remove::remove(state),
            4 => rotate_secret::rotate_secret(state, rotated(&id, which, now)),
            5 | 6 => park::park(state, parked(sequence, which)),
            7 => retry::retry(state, sequence),
            8 => release::release(state, sequence),
            _ => retry::give_up(state, sequence),
        });
    }
}

fn asked(id: &SubscriptionId, which: u8) -> SubscriptionSet {
    let kinds = if which.is_multiple_of(2) { vec!["env".to_owned(), "login".to_owned()] } else { vec![] };
    let types = if which.is_multiple_of(5) { vec!["EnvRequested".to_owned()] } else { vec![] };
    let delivery = match which % 3 {
        0 => Delivery::Pull,
        _ => Delivery::Webhook {
            url: format!("https://example.org/{which}"),
            secret: SecretRef::webhook(id, Uuid::nil()),
        },
    };
    let by = owner(0);
    SubscriptionSet {
        name: format!("subscription {}", which % 7),
        filter: Filter {
            kinds: kinds.into_iter().collect(),
            types: types.into_iter().collect(),
            ids: [].into(),
        },
        delivery,
        after: u64::from(which),
        actor: format!("user:{by}"),
        by,
        role: Role::Operator,
    }
}

fn rotated(id: &SubscriptionId, which: u8, now: DateTime<Utc>) -> SubscriptionSecretRotated {
    let secret = SecretRef::webhook(id, Uuid::from_u128(which.into()));
    SubscriptionSecretRotated { secret, previous_until: now + TimeDelta::seconds(60) }
}

fn parked(sequence: u64, which: u8) -> DeliveryParked {
    let failure = match which % 2 {
        0 => Failure { class: Class::Timeout, status: None },
        _ => Failure { class: Class::Status, status: Some(500) },
    };
    DeliveryParked { sequence, event_id: EventId(Uuid::from_u128(which.into())), attempts: 10, failure }
}

/// Each row is the fold, those to be delivered are named, and what waits is counted as the filter says.
pub async fn assert_subscriptions(projections: &Projections, log: &[Recorded]) {
    let mut to_deliver = BTreeSet::new();
    let head = log.len() as u64;
    for subject in Story::subjects(log, Kind::Subscription) {
        let id = SubscriptionId::parse(subject.id.as_str()).unwrap();
        let row = subscriptions::get(projections, None, &id).await.unwrap().value.unwrap();
        let fold: Subscription = Story::fold(log, &subject);
        assert_eq!(row.state, fold);
        if fold.active().is_some() && fold.secret().is_some() {
            to_deliver.insert((subject.tenant.clone(), id));
        }
        // what waits is what the filter wants of the tenant, without what is hidden
        let wanted = &fold.set.as_ref().unwrap().filter;
        let after = head / 3;
        let waiting =
            subscriptions::Waiting { tenant: &subject.tenant, wanted, hidden: vec!["login"], after };
        let lag = subscriptions::lags(projections, &[waiting]).await.unwrap().value.remove(0);
        let mut expected = log.iter().filter(|event| {
            event.seq > after
                && event.subject.tenant == subject.tenant
                && event.subject.kind != Kind::Login
                && wanted.wants(event)
        });
        let oldest = expected.next();
        assert_eq!(lag.oldest, oldest.map(|event| event.meta.time));
        assert_eq!(lag.events, oldest.map_or(0, |_| 1 + expected.count() as u64));
    }
    let found = subscriptions::to_deliver(projections, 500).await.unwrap();
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), to_deliver);
}
