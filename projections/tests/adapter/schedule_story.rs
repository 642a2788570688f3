//! What may have happened to schedules? Part of the histories of `story`.

use chrono::{DateTime, TimeDelta, Utc};
use events::batch::{self, Batch};
use events::ids::{BatchId, ScheduleId, TenantId};
use events::schedule::{
    self, Run, Schedule, ScheduleFired, ScheduleSet, ScheduleSkipped, Selector, When, Which, Why, due,
};
use uuid::Uuid;

use crate::server_story::server;
use crate::story::{Story, owner};

impl Story {
    pub fn step_of_schedule(&mut self, what: u8, which: u8, tenant: &TenantId) {
        let id = schedule(tenant, which);
        let mut begun = None;
        self.decide::<Schedule, _>(tenant, id.as_str(), |state, now| match what {
            0 | 1 => schedule::set::set(state, asked(which, now)),
            2 => schedule::set::change(state, asked(which / 2, now)),
            3 if state.paused => schedule::pause::resume(state, now),
            3 if which.is_multiple_of(3) => schedule::pause::pause(state),
            4 if which.is_multiple_of(11) => schedule::remove::remove(state),
            _ => match due::due(state, now) {
                Some(due::Due::Missed { first, last, count }) => {
                    let why = Why::Missed;
                    schedule::skip::skip(
                        state,
                        ScheduleSkipped { first, last, count, why, reason: None, at: now },
                    )
                }
                Some(due::Due::Now(at)) if which.is_multiple_of(4) => {
                    let reason = Some("bat-a runs".to_owned());
                    let why = Why::StillRunning;
                    schedule::skip::skip(
                        state,
                        ScheduleSkipped { first: at, last: at, count: 1, why, reason, at: now },
                    )
                }
                Some(due::Due::Now(due_at)) => {
                    let batch_id = BatchId::of_schedule(&id, due_at);
                    let left_out = u32::from(which % 2);
                    let servers = vec![server(which)];
                    let fired =
                        ScheduleFired { due_at, batch_id, servers, left_out, approval: None, at: now };
                    let decided = schedule::fire::fire(state, fired);
                    begun = decided.clone().ok().flatten().map(|event| {
                        let mut state = state.clone();
                        events::Aggregate::evolve(&mut state, &event, now);
                        state.newest.expect("it was just begun")
                    });
                    decided
                }
                None => Ok(None),
            },
        });
        // sometimes whoever began it is gone before its batch is there
        if let Some(begun) = begun.filter(|_| !which.is_multiple_of(5)) {
            self.decide::<Batch, _>(tenant, begun.batch_id.as_str(), |state, _| {
                batch::request::request(state, begun.requested)
            });
        }
    }
}

fn schedule(tenant: &TenantId, which: u8) -> ScheduleId {
    ScheduleId::from_seed(&Uuid::new_v5(&Uuid::nil(), format!("{tenant} {}", which % 4).as_bytes()))
}

fn asked(which: u8, now: DateTime<Utc>) -> ScheduleSet {
    let selector = Selector { labels: [].into(), zone: None, group: "web".parse().ok() };
    let which_servers = match which % 3 {
        0 => Which::Selector(selector),
        _ => Which::Servers(vec![server(which)]),
    };
    let by = owner(0);
    ScheduleSet {
        name: format!("schedule {}", which % 7),
        run: Run {
            command: format!("echo {which}"),
            which: which_servers,
            timeout_ms: 60_000,
            idempotent: which.is_multiple_of(2),
            concurrency: 10,
            stop_after_failures: None,
        },
        when: match which % 5 {
            0 => When::At(now + TimeDelta::seconds(i64::from(which))),
            _ => When::Cron { fields: "* * * * *".into(), time_zone: "Europe/Berlin".into() },
        },
        late_s_max: 30,
        actor: format!("user:{by}"),
        by,
        since: now,
    }
}
