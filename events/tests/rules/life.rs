//! Whatever is asked and seen, in whatever order: does an environment's life keep its rules?

use chrono::{DateTime, TimeDelta, Utc};
use events::catalogue::EnvEvent;
use events::decide_again::{Again, decide_again};
use events::env::*;
use events::ids::{PoolName, TenantId, UserName};
use events::{Aggregate, CATALOGUE, Cause, Event, Kind, Recorded, Resources, Subject};
use proptest::prelude::*;
use uuid::Uuid;

fn t(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

#[derive(Debug, Clone)]
enum Step {
    Request { ttl_s: Option<u64> },
    BindPort(u16),
    Created,
    Ready,
    Lost,
    Progress(u8),
    Fail,
    Stop,
    Stopped,
    Start,
    Delete,
    Deleted,
    AllowList,
    Overdue,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::option::of(1u64..5000).prop_map(|ttl_s| Step::Request { ttl_s }),
        2 => (30000u16..30010).prop_map(Step::BindPort),
        2 => Just(Step::Created),
        3 => Just(Step::Ready),
        1 => Just(Step::Lost),
        2 => any::<u8>().prop_map(Step::Progress),
        1 => Just(Step::Fail),
        1 => Just(Step::Stop),
        1 => Just(Step::Stopped),
        1 => Just(Step::Start),
        1 => Just(Step::Delete),
        1 => Just(Step::Deleted),
        1 => Just(Step::AllowList),
        2 => Just(Step::Overdue),
        1 => Just(Step::Expire),
    ]
}

/// Another one each time.
fn door(now: DateTime<Utc>) -> InnerDoor {
    let port = u16::try_from(now.timestamp() % 60_000).unwrap();
    InnerDoor { addr: ([10, 0, 0, 1], port).into(), host_key: "ssh-ed25519 AAAA".into() }
}

fn recorded(seq: u64, event: EnvEvent, at: DateTime<Utc>) -> Recorded {
    let subject = Subject::new(TenantId::parse("acme").unwrap(), Kind::Env, "env-abcdefghijkl");
    let cause = Cause::new(Uuid::from_u128(seq.into()), "user:alice");
    Recorded { seq, subject, meta: cause.meta(0, at), event: event.into() }
}

fn decide(state: &Env, step: &Step, now: DateTime<Utc>) -> Option<EnvEvent> {
    let asked = |ttl_s| EnvRequested {
        name: "one".into(),
        owner: UserName::parse("alice").unwrap(),
        image: String::new(),
        resources: Resources::default(),
        ssh_public_keys: vec![],
        jupyter: false,
        ttl_s,
        idle_s: ttl_s,
        allow_list: vec![],
        datasets: vec![],
        gateway_only: false,
        deadline: deadlines::create(now),
    };
    let bound = |port| PortBound { pool: PoolName::parse("main").unwrap(), port, purpose: PortPurpose::Ssh };
    let failed = EnvFailed { phase: Phase::Start, code: "engine".into(), reason: "no".into() };
    let decision = match step {
        Step::Request { ttl_s } => request::request(state, asked(*ttl_s)),
        Step::BindPort(port) => bind_port::bind_port(state, bound(*port)),
        Step::Created => observe::created(state, PodCreated { engine_ref: "c".into() }),
        Step::Ready => observe::ready(state, Some(door(now))),
        Step::Lost => observe::lost(state, "killed", now),
        Step::Progress(number) => progress::progress(
            state,
            EnvProgressed {
                phase: Phase::Image,
                code: "pulling".into(),
                message: format!("{number}"),
                trouble: number % 2 == 0,
            },
        ),
        Step::Fail => fail::fail(state, failed),
        Step::Stop => stop::request_stop(state, RequestCause::Asked, now),
        Step::Stopped => stop::stopped(state),
        Step::Start => start::request_start(state, now),
        Step::Delete => delete::request_delete(state, RequestCause::Asked, now),
        Step::Deleted => delete::deleted(state),
        Step::AllowList => allow_list::set_allow_list(state, vec!["10.0.0.0/8".parse().unwrap()]),
        Step::Overdue => fail::overdue(state, now),
        Step::Expire => expire::expire(state, now),
    };
    decision.unwrap_or(None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_pending_state_has_a_deadline_and_ends_by_it(
        steps in prop::collection::vec((0i64..200, step()), 0..60)
    ) {
        let mut state = Env::default();
        let mut second = 0;
        let mut delete_asked = false;
        for (pause, step) in steps {
            second += pause;
            let before = state.status;
            if let Some(event) = decide(&state, &step, t(second)) {
                state.evolve(&event, t(second));
            }
            delete_asked |= state.status == Status::Deleting;
            prop_assert_eq!(state.status.is_pending(), state.deadline.is_some(), "{:?}", state);
            prop_assert_eq!(state.status == Status::Failed, state.failure.is_some());
            prop_assert!(state.progress.is_empty() || state.status.is_coming_up());
            prop_assert!(state.progress.len() <= progress::PROGRESS_MAX);
            prop_assert_eq!(state.inner.is_some(), state.status == Status::Running, "{:?}", state);
            if before == Status::Deleted {
                prop_assert_eq!(state.status, Status::Deleted, "nothing comes back");
            }
            if delete_asked {
                let going = [Status::Deleting, Status::Deleted, Status::Failed];
                prop_assert!(going.contains(&state.status), "{:?} after a delete was asked for", state.status);
            }
        }
        if let Some(deadline) = state.deadline {
            let event = decide(&state, &Step::Overdue, deadline).expect("overdue at its deadline");
            state.evolve(&event, deadline);
            prop_assert_eq!(state.status, Status::Failed);
        }
    }

    /// Each event of a life is what the rule says again of what was before it; and not what another event would be.
    #[test]
    fn the_same_rule_gives_the_same_event_again(
        steps in prop::collection::vec((0i64..200, step()), 0..60)
    ) {
        let (mut state, mut past, mut second) = (Env::default(), Vec::<Recorded>::new(), 0);
        for (pause, step) in steps {
            second += pause;
            let Some(event) = decide(&state, &step, t(second)) else { continue };
            // events are stamped a moment after the rule was asked
            let at = t(second) + TimeDelta::milliseconds(7);
            let decided = recorded(past.len() as u64 + 1, event.clone(), at);
            let again = decide_again(&past, &decided);
            prop_assert_eq!(&again.again, &Again::Same, "{:?} on {}", &decided, &again.state);
            let foreign = EnvEvent::from(EnvStopped {});
            if state.status != Status::Stopping {
                let foreign = recorded(past.len() as u64 + 1, foreign, at);
                prop_assert_eq!(decide_again(&past, &foreign).again, Again::Nothing);
            }
            state.evolve(&event, at);
            past.push(decided);
        }
    }

    /// Even a history that no rule would have made can be folded.
    #[test]
    fn evolve_never_fails_on_any_sequence(picks in prop::collection::vec((any::<prop::sample::Index>(), -1000i64..1_000_000), 0..80)) {
        fold_all(&picks.iter().map(|(pick, second)| (golden(pick), t(*second))).collect::<Vec<_>>());
    }
}

fn golden(pick: &prop::sample::Index) -> Event {
    let row = pick.get(CATALOGUE);
    let path = format!("{}/wire/{}.v{}.json", env!("CARGO_MANIFEST_DIR"), row.name, row.version);
    Event::from_wire(row.kind, row.name, row.version, &std::fs::read(path).unwrap()).unwrap()
}

fn fold_all(history: &[(Event, DateTime<Utc>)]) {
    for kind in Kind::ALL {
        match kind {
            Kind::Tenant => fold::<events::tenant::Tenant>(history),
            Kind::Quota => fold::<events::quota::Quota>(history),
            Kind::Env => fold::<Env>(history),
            Kind::Port => fold::<events::ports::Port>(history),
            Kind::Credential => fold::<events::credential::Credential>(history),
            Kind::SshKey => fold::<events::ssh_key::SshKey>(history),
            Kind::Login => fold::<events::login::Login>(history),
            Kind::Session => fold::<events::session::Session>(history),
            Kind::Server => fold::<events::server::Server>(history),
            Kind::Access => fold::<events::access::Access>(history),
            Kind::Relay => fold::<events::relay::Relay>(history),
            Kind::Batch => fold::<events::batch::Batch>(history),
            Kind::Command => fold::<events::command::Command>(history),
            Kind::Schedule => fold::<events::schedule::Schedule>(history),
            Kind::Subscription => fold::<events::subscription::Subscription>(history),
            Kind::User => fold::<events::user::User>(history),
            Kind::SignIn => fold::<events::sign_in::SignIn>(history),
            Kind::Token => fold::<events::token::Token>(history),
            Kind::NatsTap => fold::<events::nats_tap::NatsTap>(history),
            Kind::Request => fold::<events::request::Request>(history),
        }
    }
}

fn fold<A: Aggregate>(history: &[(Event, DateTime<Utc>)]) {
    use events::AggregateEvent;
    let own = history.iter().filter_map(|(event, at)| Some((A::Event::from_event(event)?, *at)));
    let _state = A::fold(own);
}
