//! What changed in the fleet between two instants?

use std::collections::BTreeMap;

use events::ids::TenantId;
use serde::Serialize;

use super::Fleet;
use super::rows::Rows;
use crate::batches::{BatchRow, Batches};
use crate::environments::EnvironmentRow;
use crate::port_mappings::PortMappingRow;
use crate::quotas::QuotaRow;
use crate::relays::{RelayRow, Relays};
use crate::schedule_runs::RunRow;
use crate::schedules::{ScheduleRow, Schedules};
use crate::servers::ServerRow;
use crate::sessions::SessionRow;
use crate::table::Table;

/// What became of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there before.
    Came,
    Changed,
    /// It was deleted, released, closed, removed or revoked, or all its commands ended.
    Went,
    CameAndWent,
}

/// One row at both instants.
#[derive(Debug, Clone, PartialEq)]
pub struct Both<R> {
    pub change: Change,
    pub before: Option<R>,
    pub after: Option<R>,
}

/// The rows that are not the same; of each table by their beginnings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    pub environments: Vec<Both<EnvironmentRow>>,
    pub ports: Vec<Both<PortMappingRow>>,
    pub sessions: Vec<Both<SessionRow>>,
    pub servers: Vec<Both<ServerRow>>,
    pub quotas: Vec<Both<QuotaRow>>,
    /// With what became of their commands, which are not told one by one.
    pub batches: Vec<Both<BatchRow>>,
    pub relays: Vec<Both<RelayRow>>,
    /// With the newest run of each.
    pub schedules: Vec<Both<(ScheduleRow, Option<RunRow>)>>,
}

impl Fleet {
    /// From this fleet to a later one; `tenant` alone, or of all.
    pub fn differences(&self, later: &Self, tenant: Option<&TenantId>) -> Differences {
        Differences {
            environments: differences(&self.environments, &later.environments, tenant),
            ports: differences(&self.ports, &later.ports, tenant),
            sessions: differences(&self.sessions, &later.sessions, tenant),
            servers: differences(&self.servers, &later.servers, tenant),
            quotas: compared(
                (self.all_quotas(tenant), later.all_quotas(tenant)),
                |row| row.created_seq,
                // a tenant never goes
                |_| false,
            ),
            batches: compared(
                (self.all_batches(tenant), later.all_batches(tenant)),
                Batches::birth,
                Batches::is_over,
            ),
            relays: compared(
                (self.all_relays(tenant), later.all_relays(tenant)),
                Relays::birth,
                Relays::is_over,
            ),
            schedules: compared(
                (self.all_schedules(tenant), later.all_schedules(tenant)),
                |(row, _)| Schedules::birth(row),
                |(row, _)| Schedules::is_over(row),
            ),
        }
    }
}

/// Where rows alone do not tell what has changed: all that there was, and all that there is. What was once there stays.
fn compared<R: PartialEq>(
    (was, is): (Vec<R>, Vec<R>),
    birth: impl Fn(&R) -> u64,
    is_over: impl Fn(&R) -> bool,
) -> Vec<Both<R>> {
    let mut was: BTreeMap<u64, R> = was.into_iter().map(|row| (birth(&row), row)).collect();
    let is: BTreeMap<u64, R> = is.into_iter().map(|row| (birth(&row), row)).collect();
    let both = is.into_iter().map(|(birth, after)| (was.remove(&birth), after));
    let changed = both.filter(|(before, after)| before.as_ref() != Some(after));
    let told = changed.map(|(before, after)| {
        let change = change(before.is_some(), is_over(&after));
        Both { change, before, after: Some(after) }
    });
    told.collect()
}

fn change(was_there: bool, is_over: bool) -> Change {
    match (was_there, is_over) {
        (false, false) => Change::Came,
        (false, true) => Change::CameAndWent,
        (true, true) => Change::Went,
        (true, false) => Change::Changed,
    }
}

fn differences<T: Table>(one: &Rows<T>, other: &Rows<T>, tenant: Option<&TenantId>) -> Vec<Both<T::Row>> {
    let found = one.differences(other).into_iter().filter(|(was, is)| {
        let of = is.or(*was).map(T::tenant);
        tenant.is_none() || of == tenant
    });
    let both = found.map(|(was, is)| {
        let change = change(was.is_some(), is.is_none_or(T::is_over));
        Both { change, before: was.cloned(), after: is.cloned() }
    });
    both.collect()
}
