//! What do a schedule and what became of its due times look like from outside?

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::ids::{BatchId, ScheduleId, ServerId, TenantId, UserName};
use events::schedule::{Run, ScheduleSet, Selector, When, Which};
use projections::schedule_runs::RunRow;
use projections::schedules::ScheduleRow;
use serde::Serialize;
use utoipa::ToSchema;

use crate::command_fields::SelectorShape;

/// A schedule.
#[derive(Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct View {
    #[schema(value_type = String, example = "sch-abcdefghijkl")]
    pub schedule_id: ScheduleId,
    #[schema(value_type = String)]
    pub tenant_id: TenantId,
    pub name: String,
    /// In whose name, and by whose rights when it is due.
    #[schema(value_type = String)]
    pub by: UserName,
    /// `active`, `paused`, `ended` (it is never due again) or `removed`.
    #[schema(example = "active")]
    pub status: &'static str,
    pub run: RunView,
    /// Once, then.
    pub at: Option<DateTime<Utc>>,
    /// Minute, hour, day of the month, month, day of the week.
    #[schema(example = "0 3 * * *")]
    pub cron: Option<String>,
    /// Of whose clocks `cron` speaks.
    #[schema(example = "Europe/Berlin")]
    pub time_zone: Option<String>,
    /// What is later than that is not begun any more, in seconds.
    pub late_s_max: u64,
    /// `null` where nothing is due as it is.
    pub next_due: Option<DateTime<Utc>>,
    /// What became of the newest due time.
    pub last: Option<DueView>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What is run. Of `servers` and `selector` there is one.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduledRun)]
pub struct RunView {
    #[schema(example = "uptime")]
    pub command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub servers: Option<Vec<ServerId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SelectorShape>)]
    pub selector: Option<Selector>,
    pub timeout_ms: u64,
    pub idempotent: bool,
    pub concurrency: u32,
    pub stop_after_failures: Option<u32>,
}

/// What became of a due time, or of several that were skipped together.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduleDue)]
pub struct DueView {
    /// The first of them.
    pub due_at: DateTime<Utc>,
    /// The last of them.
    pub last_due_at: DateTime<Utc>,
    /// How many.
    pub count: u64,
    /// `running`; `succeeded`: exit code 0 on every server; `failed`: not so on some; `skipped`: not begun.
    #[schema(example = "succeeded")]
    pub outcome: &'static str,
    /// What was begun: `GET /api/batches/{id}`.
    #[schema(value_type = Option<String>)]
    pub batch_id: Option<BatchId>,
    pub servers: u64,
    /// Servers that were named and are gone, or on which the person may run nothing any more.
    pub left_out: u64,
    /// Why it was skipped: `missed`, `still_running`, `not_allowed`, `no_servers`.
    #[schema(example = "still_running")]
    pub why: Option<String>,
    /// The same for people, where there is more to say.
    pub reason: Option<String>,
    /// When that was decided.
    pub at: DateTime<Utc>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let Run { command, which, timeout_ms, idempotent, concurrency, stop_after_failures } = run;
        let (servers, selector) = match which {
            Which::Servers(servers) => (Some(servers), None),
            Which::Selector(selector) => (None, Some(selector)),
        };
        Self { command, servers, selector, timeout_ms, idempotent, concurrency, stop_after_failures }
    }
}

impl From<RunRow> for DueView {
    fn from(row: RunRow) -> Self {
        let outcome = match row.batch_id {
            None => "skipped",
            // its batch is about to be there, or its commands have not all ended
            Some(_) if row.known == 0 || row.pending > 0 => "running",
            Some(_) if row.good == row.servers => "succeeded",
            Some(_) => "failed",
        };
        Self {
            due_at: row.due_at,
            last_due_at: row.last_due_at,
            count: row.count,
            outcome,
            batch_id: row.batch_id,
            servers: row.servers,
            left_out: row.left_out,
            why: row.why,
            reason: row.reason,
            at: row.at,
        }
    }
}

impl View {
    pub fn of(row: ScheduleRow, last: Option<DueView>) -> Self {
        let status = match (row.removed, row.paused, row.next_due) {
            (true, _, _) => "removed",
            (false, true, _) => "paused",
            (false, false, None) => "ended",
            (false, false, Some(_)) => "active",
        };
        let ScheduleSet { name, run, when, late_s_max, by, .. } = row.set;
        let (at, cron, time_zone) = match when {
            When::At(at) => (Some(at), None, None),
            When::Cron { fields, time_zone } => (None, Some(fields), Some(time_zone)),
        };
        Self {
            schedule_id: row.schedule_id,
            tenant_id: row.tenant,
            name,
            by,
            status,
            run: run.into(),
            at,
            cron,
            time_zone,
            late_s_max,
            next_due: row.next_due,
            last,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Each with what became of its newest due time, where there was one.
pub fn views(rows: Vec<ScheduleRow>, newest: Vec<RunRow>) -> Vec<View> {
    let mut newest: HashMap<ScheduleId, DueView> =
        newest.into_iter().map(|run| (run.schedule_id.clone(), run.into())).collect();
    let view = |row: ScheduleRow| {
        let last = newest.remove(&row.schedule_id);
        View::of(row, last)
    };
    rows.into_iter().map(view).collect()
}
