//! What was the fleet at an instant? The rows of environments, ports, sessions, quotas, servers, relays, batches,
//! commands and schedules after a sequence of the log, made in memory by the functions that make the rows of the read
//! models, asked by the filters of those.

mod differences;
mod kept;
mod replay;
mod rows;
mod runs;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use events::Recorded;
use events::ids::{EnvId, ServerId, TenantId};

pub use differences::{Both, Change, Differences};
pub use kept::SNAPSHOT_EVERY;
pub use replay::ReplayError;

use crate::batches::Batches;
use crate::chunk::{Chunk, Gap};
use crate::command_rows::{Orders, OwnRows};
use crate::environments::{self, EnvironmentRow, Environments};
use crate::paging::{Page, QueryError, Window};
use crate::port_mappings::{self, PortMappingRow, PortMappings};
use crate::quotas::{Claims, QuotaRow, TenantRow, Tenants, Used};
use crate::relays::Relays;
use crate::schedule_runs::Runs;
use crate::schedules::Schedules;
use crate::server_rows::Servers;
use crate::servers::{self, ServerRow};
use crate::sessions::{self, SessionRow, Sessions};
use crate::table::Table;
use rows::Rows;

/// A projection and a subject that it does not follow any more.
type Parked = BTreeSet<(String, String)>;

/// The fleet after one event of the log. A clone shares what neither changes.
#[derive(Clone, Default, PartialEq)]
pub struct Fleet {
    position: u64,
    parked: Parked,
    environments: Rows<Environments>,
    ports: Rows<PortMappings>,
    sessions: Rows<Sessions>,
    servers: Rows<Servers>,
    tenants: Rows<Tenants>,
    claims: Rows<Claims>,
    relays: Rows<Relays>,
    batches: Rows<Batches>,
    /// What batches say of their commands.
    orders: Rows<Orders>,
    /// What commands say themselves, without their outputs.
    commands: Rows<OwnRows>,
    schedules: Rows<Schedules>,
    runs: Rows<Runs>,
}

impl Fleet {
    /// The last sequence of the log that it has.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where a row begins that is not the same in both, the earliest; 0 when what is parked differs.
    pub fn first_difference(&self, other: &Self) -> Option<u64> {
        let mut first = (self.parked != other.parked).then_some(0);
        macro_rules! compare {
            ($($table:ident)+) => {$(
                let births = self.$table.different_births(&other.$table);
                first = first.into_iter().chain(births).min();
            )+};
        }
        compare!(environments ports sessions servers tenants claims relays batches orders commands schedules runs);
        first
    }

    /// Takes what follows. As in the read models, an event whose row cannot be made parks its subject.
    pub fn take(&mut self, chunk: &Chunk) -> Result<(), Gap> {
        if chunk.from != self.position {
            return Err(Gap { expected: self.position + 1, found: chunk.from + 1 });
        }
        for recorded in &chunk.events {
            macro_rules! apply_to {
                ($($table:ident)+) => {$( apply(&mut self.$table, &mut self.parked, recorded); )+};
            }
            apply_to!(environments ports sessions servers tenants claims relays batches orders commands schedules runs);
        }
        self.position = chunk.to;
        Ok(())
    }

    /// An environment, a deleted one too; `tenant: None` looks in all.
    pub fn environment(&self, tenant: Option<&TenantId>, env: &EnvId) -> Option<EnvironmentRow> {
        of_tenant::<Environments>(self.environments.get(env.as_str()), tenant)
    }

    /// Newest first, as [`environments::list`] answers.
    pub fn environments(
        &self,
        filter: &environments::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<EnvironmentRow>, QueryError> {
        self.page(&self.environments, cursor, limit, |row| filter.lets_through(row))
    }

    /// Newest allocation first, as [`port_mappings::list`] answers.
    pub fn ports(
        &self,
        filter: &port_mappings::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<PortMappingRow>, QueryError> {
        self.page(&self.ports, cursor, limit, |row| filter.lets_through(row))
    }

    /// Newest first, as [`sessions::list`] answers.
    pub fn sessions(
        &self,
        filter: &sessions::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<SessionRow>, QueryError> {
        self.page(&self.sessions, cursor, limit, |row| filter.lets_through(row))
    }

    /// A server, a removed one too; `tenant: None` looks in all.
    pub fn server(&self, tenant: Option<&TenantId>, server: &ServerId) -> Option<ServerRow> {
        of_tenant::<Servers>(self.servers.get(server.as_str()), tenant)
    }

    /// Newest first, as [`servers::list`] answers.
    pub fn servers(
        &self,
        filter: &servers::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<ServerRow>, QueryError> {
        self.page(&self.servers, cursor, limit, |row| filter.lets_through(row))
    }

    pub fn quota(&self, tenant: &TenantId) -> Option<QuotaRow> {
        let row = self.tenants.get(tenant.as_str())?;
        Some(QuotaRow::of(row, self.used().remove(tenant).unwrap_or_default()))
    }

    /// Newest first, as [`crate::quotas::list`] answers.
    pub fn quotas(
        &self,
        tenant: Option<&TenantId>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<QuotaRow>, QueryError> {
        let page = self.page(&self.tenants, cursor, limit, |row: &TenantRow| {
            tenant.is_none_or(|tenant| *tenant == row.tenant)
        })?;
        let mut used = self.used();
        let quota = |row: TenantRow| QuotaRow::of(&row, used.remove(&row.tenant).unwrap_or_default());
        Ok(Page {
            items: page.items.into_iter().map(quota).collect(),
            next_cursor: page.next_cursor,
            position: page.position,
        })
    }

    /// Of `tenant`, or of all.
    fn all_quotas(&self, tenant: Option<&TenantId>) -> Vec<QuotaRow> {
        let mut used = self.used();
        let rows = self.tenants.newest_first(u64::MAX);
        let rows = rows.filter(|row| tenant.is_none_or(|tenant| *tenant == row.tenant));
        rows.map(|row| QuotaRow::of(row, used.remove(&row.tenant).unwrap_or_default())).collect()
    }

    /// What each tenant has in use: the sum of its claims.
    fn used(&self) -> BTreeMap<TenantId, Used> {
        let mut used = BTreeMap::<TenantId, Used>::new();
        for claim in self.claims.newest_first(u64::MAX) {
            used.entry(claim.tenant.clone()).or_default().add(&claim.resources);
        }
        used
    }

    fn page<T: Table>(
        &self,
        rows: &Rows<T>,
        cursor: Option<&str>,
        limit: u32,
        lets_through: impl Fn(&T::Row) -> bool,
    ) -> Result<Page<T::Row>, QueryError> {
        let window = Window::new(T::NAME, cursor, limit)?;
        let before = u64::try_from(window.before).unwrap_or_default();
        let fetch = usize::try_from(window.fetch()).unwrap_or_default();
        let found = rows.newest_first(before).filter(|row| lets_through(row)).take(fetch);
        Ok(window.page(found.cloned().collect(), self.position, T::birth))
    }
}

fn of_tenant<T: Table>(row: Option<&T::Row>, tenant: Option<&TenantId>) -> Option<T::Row> {
    row.filter(|row| tenant.is_none_or(|tenant| tenant == T::tenant(row))).cloned()
}

fn apply<T: Table>(rows: &mut Rows<T>, parked: &mut Parked, recorded: &Recorded) {
    let Some(key) = T::key(recorded) else { return };
    let name = || (T::PROJECTION.to_owned(), recorded.subject.to_string());
    if !parked.is_empty() && parked.contains(&name()) {
        return;
    }
    if rows.apply(key, recorded).is_err() {
        parked.insert(name());
    }
}
