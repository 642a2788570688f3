//! Does a rule say again what it said? Of relays, batches and what servers are asked; environments and commands have
//! properties of their own (`life.rs`, `command_life.rs`).

use chrono::{DateTime, TimeDelta, Utc};
use events::aggregate::{AggregateEvent, Decision, Refusal};
use events::batch::{self, ApprovalAsked, BatchRequested};
use events::credential::SecretRef;
use events::decide_again::{Again, decide_again};
use events::ids::{BatchId, EventId, HubId, TenantId, UserName};
use events::relay::{self, RelayRegistered, RelaySettings, change::Change, connect::Knock};
use events::schedule::{
    self, Run, Schedule, ScheduleFired, ScheduleSet, ScheduleSkipped, When, Which, Why, due,
};
use events::server::account::{AccountAction, AccountChangeAsked, AccountChangeEnded, AccountOutcome};
use events::server::{self, Credential, Facts, Method, Settings};
use events::subscription::{
    Class, Delivery, DeliveryParked, Failure, Filter, Subscription, SubscriptionSecretRotated,
    SubscriptionSet,
};
use events::user::Role;
use events::{Aggregate, Cause, Event, Recorded, Subject};
use uuid::Uuid;

fn t(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

/// What one aggregate went through; each event is asked for again as it comes.
struct Life<A> {
    state: A,
    past: Vec<Recorded>,
}

impl<A: Aggregate + Default> Life<A> {
    fn new() -> Self {
        Self { state: A::default(), past: Vec::new() }
    }

    fn then<R: Refusal>(&mut self, rule: impl FnOnce(&A, DateTime<Utc>) -> Decision<A::Event, R>) {
        let seq = self.past.len() as u64 + 1;
        let now = t(i64::try_from(seq).unwrap());
        let Ok(Some(event)) = rule(&self.state, now) else { panic!("step {seq} adds nothing") };
        let kind = <A::Event as AggregateEvent>::KIND;
        let subject = Subject::new(TenantId::parse("acme").unwrap(), kind, "one");
        let cause = Cause::new(Uuid::from_u128(seq.into()), "user:alice");
        // events are stamped a moment after the rule was asked
        let at = now + TimeDelta::milliseconds(7);
        let event: Event = event.into();
        let decided = Recorded { seq, subject, meta: cause.meta(0, at), event };
        let again = decide_again(&self.past, &decided);
        assert_eq!(again.again, Again::Same, "{decided:?} on {}", again.state);
        self.state.evolve(A::Event::from_event(&decided.event).unwrap(), at);
        self.past.push(decided);
    }
}

#[test]
fn of_a_relay_with_the_key_that_opened() {
    let settings = RelaySettings {
        name: "one".into(),
        zone: None,
        labels: [].into(),
        addresses: vec!["10.0.0.0/8".parse().unwrap()],
        in_flight_max: 4,
    };
    let knock = |digest: &str| Knock {
        hub: HubId::from_seed(&Uuid::nil()),
        digest: digest.into(),
        address: Some([10, 0, 0, 7].into()),
        client: Some("engine.io 4".into()),
        tunnels: None,
    };
    let mut relay = Life::<relay::Relay>::new();
    relay.then(|state, _| {
        relay::register::register(
            state,
            RelayRegistered { settings: settings.clone(), digest: "a".into(), pending: true },
        )
    });
    relay.then(|state, _| relay::accept::accept(state));
    let near = Change { addresses: Some(vec!["10.0.0.0/24".parse().unwrap()]), ..Change::default() };
    relay.then(|state, _| relay::change::change(state, &near));
    relay.then(|state, now| relay::connect::connect(state, &knock("a"), now));
    relay.then(|state, now| relay::rotate_key::rotate_key(state, "b", now + TimeDelta::seconds(60)));
    relay.then(|state, now| relay::connect::connect(state, &knock("a"), now));
    relay.then(|state, now| relay::connect::connect(state, &knock("b"), now));
    relay.then(|state, _| relay::connect::disconnect(state, 3, "silent"));
    relay.then(|state, _| relay::revoke::revoke(state));
}

#[test]
fn of_a_batch() {
    let asked = BatchRequested {
        command: "uptime".into(),
        servers: vec![],
        timeout_ms: 1,
        idempotent: false,
        concurrency: 1,
        stop_after_failures: Some(2),
        approval: None,
        by: UserName::parse("alice").unwrap(),
        at: t(0),
    };
    let mut batch = Life::<batch::Batch>::new();
    batch.then(|state, _| batch::request::request(state, asked.clone()));
    batch.then(|state, _| batch::stop::stop(state, 2));
    let mut other = Life::<batch::Batch>::new();
    other.then(|state, _| batch::request::request(state, asked.clone()));
    other.then(|state, _| batch::cancel::cancel(state));
    let approval = ApprovalAsked { until: t(2), role: Role::Developer, patterns: [].into() };
    let dangerous = BatchRequested { approval: Some(approval), ..asked };
    let second = UserName::parse("bob").unwrap();
    let waiting = || {
        let mut batch = Life::<batch::Batch>::new();
        batch.then(|state, _| batch::request::request(state, dangerous.clone()));
        batch
    };
    waiting().then(|state, _| batch::approve::approve(state, &second, t(1)));
    waiting().then(|state, _| batch::reject::reject(state, &second, Some("no".into())));
    waiting().then(batch::expire::expire);
    waiting().then(|state, _| batch::cancel::cancel(state));
}

#[test]
fn of_a_schedule() {
    let asked = ScheduleSet {
        name: "each minute".into(),
        run: Run {
            command: "uptime".into(),
            which: Which::Servers(vec![]),
            timeout_ms: 1,
            idempotent: false,
            concurrency: 1,
            stop_after_failures: None,
        },
        when: When::Cron { fields: "* * * * *".into(), time_zone: "Europe/Berlin".into() },
        late_s_max: 600,
        by: UserName::parse("alice").unwrap(),
        actor: "user:alice".into(),
        since: t(0),
    };
    let fired = |due_at, at| ScheduleFired {
        due_at,
        batch_id: BatchId::from_seed(&Uuid::nil()),
        servers: vec![],
        left_out: 0,
        approval: None,
        at,
    };
    let mut schedule = Life::<Schedule>::new();
    schedule.then(|state, _| schedule::set::set(state, asked.clone()));
    schedule.then(|state, _| {
        let Some(due::Due::Missed { first, last, count }) = due::due(state, t(170)) else { panic!("missed") };
        let skipped = ScheduleSkipped { first, last, count, why: Why::Missed, reason: None, at: t(170) };
        schedule::skip::skip(state, skipped)
    });
    schedule.then(|state, _| schedule::fire::fire(state, fired(t(160), t(171))));
    schedule.then(|state, _| {
        let busy = ScheduleSkipped {
            first: t(220),
            last: t(220),
            count: 1,
            why: Why::StillRunning,
            reason: Some("bat-a runs".into()),
            at: t(221),
        };
        schedule::skip::skip(state, busy)
    });
    let named = ScheduleSet { name: "otherwise".into(), since: t(230), ..asked.clone() };
    schedule.then(|state, _| schedule::set::change(state, named.clone()));
    let moved = ScheduleSet { when: When::At(t(900)), ..named };
    schedule.then(|state, _| schedule::set::change(state, moved.clone()));
    schedule.then(|state, _| schedule::pause::pause(state));
    schedule.then(|state, _| schedule::pause::resume(state, t(240)));
    schedule.then(|state, _| schedule::fire::fire(state, fired(t(900), t(900))));
    schedule.then(|state, _| schedule::remove::remove(state));
}

#[test]
fn of_a_subscription() {
    use events::subscription::{park, pause, release, remove, retry, rotate_secret, set};
    let secret = |version| SecretRef {
        owner: "sub-a".into(),
        name: "webhook".into(),
        version: Uuid::from_u128(version),
    };
    let asked = SubscriptionSet {
        name: "to the archive".into(),
        filter: Filter::default(),
        delivery: Delivery::Webhook { url: "https://example.org/".into(), secret: secret(1) },
        after: 7,
        by: UserName::parse("alice").unwrap(),
        actor: "user:alice".into(),
        role: Role::Operator,
    };
    let parked = |sequence, attempts| DeliveryParked {
        sequence,
        event_id: EventId(Uuid::from_u128(9)),
        attempts,
        failure: Failure { class: Class::Timeout, status: None },
    };
    let mut subscription = Life::<Subscription>::new();
    subscription.then(|state, _| set::set(state, asked.clone()));
    let named = SubscriptionSet { name: "otherwise".into(), ..asked };
    subscription.then(|state, _| set::change(state, named));
    subscription.then(|state, now| {
        let rotated = SubscriptionSecretRotated { secret: secret(2), previous_until: now };
        rotate_secret::rotate_secret(state, rotated)
    });
    subscription.then(|state, _| park::park(state, parked(8, 10)));
    subscription.then(|state, _| retry::retry(state, 8));
    subscription.then(|state, _| park::park(state, parked(8, 11)));
    subscription.then(|state, _| retry::retry(state, 8));
    subscription.then(|state, _| release::release(state, 8));
    subscription.then(|state, _| park::park(state, parked(9, 10)));
    subscription.then(|state, _| retry::give_up(state, 9));
    subscription.then(|state, _| pause::pause(state, events::subscription::Why::Gone));
    subscription.then(|state, _| pause::resume(state));
    subscription.then(|state, _| remove::remove(state));
}

#[test]
fn of_what_a_server_says_of_itself_and_of_its_accounts() {
    let settings = Settings {
        name: "web".into(),
        host: "10.0.0.1".into(),
        port: 22,
        username: "deploy".into(),
        credential: Credential { method: Method::Certificate, secret: None },
        zone: None,
        relay: None,
        groups: [].into(),
        labels: [].into(),
    };
    let asked = AccountChangeAsked {
        change_id: Uuid::from_u128(1),
        account: "alice".into(),
        action: AccountAction::Push,
        keys: ["ssh-ed25519 AAAA".to_owned()].into(),
        deadline: t(60),
    };
    let ended = AccountChangeEnded {
        change_id: asked.change_id,
        account: "alice".into(),
        action: AccountAction::Push,
        outcome: AccountOutcome::Done,
        class: None,
        reason: None,
        suggestion: None,
        made: true,
    };
    let late = AccountChangeAsked { change_id: Uuid::from_u128(2), deadline: t(1), ..asked.clone() };
    let mut server = Life::<server::Server>::new();
    server.then(|state, _| server::register::register(state, settings.clone()));
    let facts = Facts { hostname: "web".into(), ..Facts::default() };
    server.then(|state, _| server::facts::gathered(state, &settings, facts));
    server.then(|state, _| server::account::ask(state, asked));
    server.then(|state, _| server::account::end(state, ended));
    server.then(|state, _| server::account::ask(state, late));
    server.then(server::account::expire);
}
