//! What was to be run when, at an instant, and what had become of the times that were due by then?

use std::collections::HashMap;

use events::ids::{ScheduleId, TenantId};

use super::Fleet;
use crate::paging::{Page, QueryError};
use crate::schedule_runs::RunRow;
use crate::schedules::{self, ScheduleRow};

impl Fleet {
    /// A schedule that the filter lets through, a removed one too.
    pub fn schedule(&self, filter: &schedules::Filter, schedule: &ScheduleId) -> Option<ScheduleRow> {
        self.schedules.get(schedule.as_str()).filter(|row| filter.is_of(row)).cloned()
    }

    /// Newest first, as [`schedules::list`] answers.
    pub fn schedules(
        &self,
        filter: &schedules::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRow>, QueryError> {
        self.page(&self.schedules, cursor, limit, |row| filter.lets_through(row))
    }

    /// All of `tenant`, or of all, a removed one too; with the newest run of each.
    pub(super) fn all_schedules(&self, tenant: Option<&TenantId>) -> Vec<(ScheduleRow, Option<RunRow>)> {
        let rows = self.schedules.newest_first(u64::MAX);
        let rows = rows.filter(|row| tenant.is_none_or(|tenant| *tenant == row.tenant));
        let rows: Vec<ScheduleRow> = rows.cloned().collect();
        let newest = self.newest_runs(rows.iter().map(|row| &row.schedule_id)).into_iter();
        let mut newest: HashMap<ScheduleId, RunRow> =
            newest.map(|run| (run.schedule_id.clone(), run)).collect();
        let whole = |row: ScheduleRow| {
            let run = newest.remove(&row.schedule_id);
            (row, run)
        };
        rows.into_iter().map(whole).collect()
    }

    /// The newest ones of a schedule, newest first, as [`crate::schedule_runs::of_schedule`] answers.
    pub fn runs(&self, schedule: &ScheduleId, limit: u32) -> Vec<RunRow> {
        let runs = self.runs.newest_first(u64::MAX).map(|row| &row.run);
        let runs = runs.filter(|run| run.schedule_id == *schedule).take(limit as usize);
        self.counted(runs.cloned().collect())
    }

    /// The newest one of each of these.
    pub fn newest_runs<'s>(&self, schedules: impl IntoIterator<Item = &'s ScheduleId>) -> Vec<RunRow> {
        let rows = schedules.into_iter().filter_map(|schedule| self.runs.get(schedule.as_str()));
        self.counted(rows.map(|row| row.run.clone()).collect())
    }

    fn counted(&self, mut runs: Vec<RunRow>) -> Vec<RunRow> {
        let counts = self.counts(runs.iter().filter_map(|run| run.batch_id.as_ref()));
        for run in &mut runs {
            let batch = run.batch_id.as_ref().and_then(|batch| counts.get(batch));
            run.count_commands(&batch.copied().unwrap_or_default());
        }
        runs
    }
}
