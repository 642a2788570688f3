//! What changed in the fleet between two instants?

use events::ids::TenantId;
use serde::Serialize;

use super::Fleet;
use super::rows::Rows;
use crate::environments::EnvironmentRow;
use crate::port_mappings::PortMappingRow;
use crate::quotas::QuotaRow;
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
    /// It was deleted, released, closed or removed.
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
}

impl Fleet {
    /// From this fleet to a later one; `tenant` alone, or of all.
    pub fn differences(&self, later: &Self, tenant: Option<&TenantId>) -> Differences {
        Differences {
            environments: differences(&self.environments, &later.environments, tenant),
            ports: differences(&self.ports, &later.ports, tenant),
            sessions: differences(&self.sessions, &later.sessions, tenant),
            servers: differences(&self.servers, &later.servers, tenant),
            quotas: self.quota_differences(later, tenant),
        }
    }

    /// A tenant never goes.
    fn quota_differences(&self, later: &Self, tenant: Option<&TenantId>) -> Vec<Both<QuotaRow>> {
        let (mut was, mut is) = (self.used(), later.used());
        let mut found = Vec::new();
        for row in later.tenants.newest_first(u64::MAX) {
            if tenant.is_some_and(|tenant| *tenant != row.tenant) {
                continue;
            }
            let after = QuotaRow::of(row, is.remove(&row.tenant).unwrap_or_default());
            let before = self.tenants.get(row.tenant.as_str());
            let before = before.map(|row| QuotaRow::of(row, was.remove(&row.tenant).unwrap_or_default()));
            if before.as_ref() != Some(&after) {
                let change = if before.is_some() { Change::Changed } else { Change::Came };
                found.push(Both { change, before, after: Some(after) });
            }
        }
        found.reverse();
        found
    }
}

fn differences<T: Table>(one: &Rows<T>, other: &Rows<T>, tenant: Option<&TenantId>) -> Vec<Both<T::Row>> {
    let found = one.differences(other).into_iter().filter(|(was, is)| {
        let of = is.or(*was).map(T::tenant);
        tenant.is_none() || of == tenant
    });
    let both = found.map(|(was, is)| {
        let gone = is.is_none_or(T::is_over);
        let change = match (was.is_some(), gone) {
            (false, false) => Change::Came,
            (false, true) => Change::CameAndWent,
            (true, true) => Change::Went,
            (true, false) => Change::Changed,
        };
        Both { change, before: was.cloned(), after: is.cloned() }
    });
    both.collect()
}
