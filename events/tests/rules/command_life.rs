//! Whoever says what in whatever order: does a command end in exactly one outcome, and run once where it must?

use chrono::{DateTime, TimeDelta, Utc};
use events::command::dispatch::{ATTEMPTS_MAX, Place};
use events::command::*;
use events::decide_again::{Again, decide_again};
use events::ids::{BatchId, HubId, RelayId, ServerId, TenantId};
use events::{Aggregate, Cause, Kind, Recorded, Subject};
use proptest::prelude::*;
use uuid::Uuid;

const TIMEOUT_S: i64 = 60;

fn t(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

#[derive(Debug, Clone)]
enum Step {
    Request,
    Dispatch(Via),
    Answer(Via),
    Fail(Option<Via>),
    Lose(Via),
    Cancel,
    TimeOut,
}

fn via() -> impl Strategy<Value = Via> {
    let relay = |(number, epoch)| Via::Relay { relay: RelayId::from_seed(&Uuid::from_u128(number)), epoch };
    prop_oneof![
        4 => (1u128..4, 1u64..4).prop_map(relay),
        1 => (1u128..3).prop_map(|number| Via::Direct { hub: HubId::from_seed(&Uuid::from_u128(number)) }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Request),
        5 => via().prop_map(Step::Dispatch),
        4 => via().prop_map(Step::Answer),
        1 => prop::option::of(via()).prop_map(Step::Fail),
        2 => via().prop_map(Step::Lose),
        1 => Just(Step::Cancel),
        2 => Just(Step::TimeOut),
    ]
}

fn decide(state: &Command, step: &Step, idempotent: bool, now: DateTime<Utc>) -> Option<CommandEvent> {
    let asked = CommandRequested {
        batch: BatchId::from_seed(&Uuid::nil()),
        server: ServerId::from_seed(&Uuid::nil()),
        timeout_ms: TIMEOUT_S.unsigned_abs() * 1_000,
        idempotent,
        start_by: now + TimeDelta::seconds(TIMEOUT_S),
    };
    let place = Place { host: "10.0.0.1".into(), port: 22, username: "deploy".into() };
    let completed =
        CommandCompleted { exit_code: 0, stdout: Output::of(b"ok", 2), stderr: Output::default() };
    let failed = CommandFailed { class: "auth_failed".into(), reason: "no".into(), suggestion: None };
    let decision = match step {
        Step::Request => request::request(state, asked),
        Step::Dispatch(via) => dispatch::dispatch(state, via, &place, now),
        Step::Answer(via) => answer::answer(state, via, &completed, now),
        Step::Fail(via) => fail::fail(state, via.as_ref(), &failed),
        Step::Lose(via) => lose::lose(state, via, "gone"),
        Step::Cancel => cancel::cancel(state),
        Step::TimeOut => time_out::time_out(state, now),
    };
    decision.unwrap_or(None)
}

fn recorded(seq: u64, event: CommandEvent, at: DateTime<Utc>) -> Recorded {
    let subject = Subject::new(TenantId::parse("acme").unwrap(), Kind::Command, "cmd-abcdefghijkl");
    let cause = Cause::new(Uuid::from_u128(seq.into()), "service:relay");
    Recorded { seq, subject, meta: cause.meta(0, at), event: event.into() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_sequence_ends_in_exactly_one_outcome(
        idempotent in any::<bool>(),
        steps in prop::collection::vec((0i64..20, step()), 0..50),
    ) {
        let mut state = Command::default();
        let (mut second, mut outcomes, mut sent, mut late) = (0, 0, 0, 0);
        let steps = std::iter::once((0, Step::Request)).chain(steps);
        for (pause, step) in steps {
            second += pause;
            let before = state.clone();
            let Some(event) = decide(&state, &step, idempotent, t(second)) else { continue };
            state.evolve(&event, t(second));
            outcomes += u32::from(event.outcome().is_some());
            prop_assert!(outcomes <= 1, "{event:?} on {before:?}");
            prop_assert!(event.outcome().is_none() || before.outcome().is_none());
            match event {
                CommandEvent::CommandDispatched(dispatched) => {
                    sent += 1;
                    prop_assert!(before.outcome().is_none(), "given away after its end");
                    prop_assert!(!before.attempts.contains(&dispatched.via), "twice by one way");
                }
                CommandEvent::CommandAnsweredLate(answer) => {
                    late += 1;
                    let Via::Relay { relay: from, .. } = &answer.via else { continue };
                    let theirs = |via: &Via| matches!(via, Via::Relay { relay, .. } if relay == from);
                    prop_assert!(before.attempts.iter().any(theirs), "never sent there");
                }
                CommandEvent::CommandCompleted(_) => prop_assert!(sent > 0, "nobody had it"),
                CommandEvent::CommandRequested(_)
                | CommandEvent::CommandFailed(_)
                | CommandEvent::CommandTimedOut(_)
                | CommandEvent::CommandLost(_)
                | CommandEvent::CommandCancelled(_) => {}
            }
            prop_assert!(sent <= if idempotent { ATTEMPTS_MAX } else { 1 }, "{sent} times");
            prop_assert!(late <= 1);
            prop_assert_eq!(state.deadline().is_some(), state.outcome().is_none(), "pending has a deadline");
        }
        if let Some(deadline) = state.deadline() {
            prop_assert!(deadline <= t(second + TIMEOUT_S), "{deadline}");
            let event = decide(&state, &Step::TimeOut, idempotent, deadline).expect("over at its deadline");
            state.evolve(&event, deadline);
            outcomes += u32::from(event.outcome().is_some());
        }
        prop_assert_eq!((outcomes, state.outcome().is_some()), (1, true));
    }

    /// Each event of a command is what the rule says again of what was before it.
    #[test]
    fn the_same_rule_gives_the_same_event_again(
        idempotent in any::<bool>(),
        steps in prop::collection::vec((0i64..20, step()), 0..50),
    ) {
        let (mut state, mut past, mut second) = (Command::default(), Vec::<Recorded>::new(), 0);
        for (pause, step) in std::iter::once((0, Step::Request)).chain(steps) {
            second += pause;
            let Some(event) = decide(&state, &step, idempotent, t(second)) else { continue };
            // events are stamped a moment after the rule was asked
            let decided = recorded(past.len() as u64 + 1, event.clone(), t(second) + TimeDelta::milliseconds(7));
            let again = decide_again(&past, &decided);
            prop_assert_eq!(&again.again, &Again::Same, "{:?} on {}", &decided, &again.state);
            state.evolve(&event, decided.meta.time);
            past.push(decided);
        }
    }
}
