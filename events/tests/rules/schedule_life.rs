//! Whoever looks whenever, and knows however little of the others: is each due time begun once, or said to be skipped?

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use events::Aggregate;
use events::ids::{BatchId, UserName};
use events::schedule::due::{Due, due};
use events::schedule::*;
use proptest::prelude::*;
use uuid::Uuid;

fn t(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

/// What one of several processes does, with what it read so many events ago.
#[derive(Debug, Clone)]
enum Step {
    Begin { behind: usize },
    Busy { behind: usize },
    Rename(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3).prop_map(|behind| Step::Begin { behind }),
        2 => (0usize..3).prop_map(|behind| Step::Busy { behind }),
        1 => any::<u8>().prop_map(Step::Rename),
    ]
}

fn asked(when: When) -> ScheduleSet {
    ScheduleSet {
        name: "one".into(),
        run: Run {
            command: "uptime".into(),
            which: Which::Servers(vec![]),
            timeout_ms: 1,
            idempotent: false,
            concurrency: 1,
            stop_after_failures: None,
        },
        when,
        late_s_max: 300,
        by: UserName::parse("alice").unwrap(),
        actor: "user:alice".into(),
        since: t(0),
    }
}

/// What somebody appends who sees `known`, if the rule on the newest state lets them.
fn decide(newest: &Schedule, known: &Schedule, step: &Step, now: DateTime<Utc>) -> Option<ScheduleEvent> {
    let skip = |first, last, count, why| {
        let skipped = ScheduleSkipped { first, last, count, why, reason: None, at: now };
        skip::skip(newest, skipped)
    };
    let decision = match (step, due(known, now)) {
        (Step::Rename(number), _) => {
            let set = newest.set.clone()?;
            set::change(newest, ScheduleSet { name: format!("name {number}"), since: now, ..set })
        }
        (_, None) => return None,
        (_, Some(Due::Missed { first, last, count })) => skip(first, last, count, Why::Missed),
        (Step::Busy { .. }, Some(Due::Now(at))) => skip(at, at, 1, Why::StillRunning),
        (Step::Begin { .. }, Some(Due::Now(due_at))) => {
            let batch_id = BatchId::from_seed(&Uuid::nil());
            fire::fire(
                newest,
                ScheduleFired { due_at, batch_id, servers: vec![], left_out: 0, approval: None, at: now },
            )
        }
    };
    decision.unwrap()
}

proptest! {
    #[test]
    fn no_due_time_is_begun_twice_and_none_between_is_lost(
        fields in prop::sample::select(vec!["* * * * *", "*/7 * * * *", "30 2 * * *", "0 * * * *"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        steps in prop::collection::vec((prop_oneof![3 => 0i64..90, 1 => 0i64..40_000], step()), 0..80),
    ) {
        let when = When::Cron { fields: fields.into(), time_zone: zone.into() };
        let mut states = vec![Schedule::default()];
        let first = set::set(&states[0], asked(when.clone())).unwrap().unwrap();
        states[0].evolve(&first, t(0));
        let (mut second, mut begun, mut on_record) = (0, BTreeSet::new(), Vec::new());
        for (pause, step) in steps {
            second += pause;
            let newest = states.last().unwrap().clone();
            let behind = match step {
                Step::Begin { behind } | Step::Busy { behind } => behind,
                Step::Rename(_) => 0,
            };
            let known = &states[states.len().saturating_sub(1 + behind)];
            let Some(event) = decide(&newest, known, &step, t(second)) else { continue };
            match &event {
                ScheduleEvent::ScheduleFired(fired) => {
                    prop_assert!(begun.insert(fired.due_at), "twice: {}", fired.due_at);
                    prop_assert!(t(second) - fired.due_at <= TimeDelta::seconds(300), "too late");
                    on_record.push((fired.due_at, fired.due_at, 1));
                }
                ScheduleEvent::ScheduleSkipped(skipped) => {
                    on_record.push((skipped.first, skipped.last, skipped.count));
                }
                ScheduleEvent::ScheduleSet(_)
                | ScheduleEvent::SchedulePaused(_)
                | ScheduleEvent::ScheduleResumed(_)
                | ScheduleEvent::ScheduleRemoved(_) => {}
            }
            let mut next = newest;
            next.evolve(&event, t(second));
            states.push(next);
        }
        // what is on record is, in order, exactly what was due until then
        let covered = states.last().unwrap().covered;
        let mut times = when.after(t(0)).take_while(|time| *time <= covered);
        for (first, last, count) in on_record {
            let those: Vec<_> = times.by_ref().take(count as usize).collect();
            prop_assert_eq!((those.first(), those.last()), (Some(&first), Some(&last)));
            prop_assert_eq!(those.len(), count as usize);
        }
        prop_assert_eq!(times.next(), None);
    }
}
