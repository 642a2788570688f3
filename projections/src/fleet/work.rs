//! What was run on which servers at an instant, and how far was it? Batches with their commands, and what relays had of
//! them. Outputs are not held: which events have them is told.

use std::collections::HashMap;

use events::ids::{BatchId, CommandId, RelayId, TenantId, UserName};

use super::{Fleet, of_tenant};
use crate::batches::{self, BatchRow, Counts};
use crate::command_rows::OrderRow;
use crate::commands::{self, CommandRow};
use crate::paging::{Onward, Page, QueryError};
use crate::relays::{self, RelayRow, Relays};

/// A command without its outputs, and the sequences of the events that have them, in their order.
pub type Told<'f> = (CommandRow, &'f [u64]);

impl Fleet {
    /// A command; `tenant: None` looks in all, `owner: None` for everybody's.
    pub fn command(
        &self,
        tenant: Option<&TenantId>,
        owner: Option<&UserName>,
        command: &CommandId,
    ) -> Option<Told<'_>> {
        let asked_at_ms = command.asked_at_ms()?;
        let orders = self.orders.newest_first(u64::MAX);
        let then = orders.filter(|order| order.at.timestamp_millis() == asked_at_ms);
        let seen = then.filter(|order| {
            tenant.is_none_or(|tenant| *tenant == order.tenant)
                && owner.is_none_or(|owner| *owner == order.owner)
        });
        seen.flat_map(move |order| self.commands_of(order, 0)).find(|(row, _)| row.command_id == *command)
    }

    /// Commands of a batch, in its order, as [`commands::of_batch`] answers.
    pub fn commands(
        &self,
        batch: &BatchId,
        filter: &commands::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<CommandRow>, QueryError> {
        let onward = Onward::new("commands", cursor, limit)?;
        let from = usize::try_from(onward.after.saturating_add(1)).unwrap_or_default();
        let fetch = usize::try_from(onward.fetch()).unwrap_or_default();
        let order = self.orders.get(batch.as_str()).into_iter();
        let rows = order.flat_map(|order| self.commands_of(order, from)).map(|(row, _)| row);
        let rows = rows.filter(|row| filter.lets_through(row)).take(fetch).collect();
        Ok(onward.page(rows, self.position, |row: &CommandRow| row.place))
    }

    /// What the batch says of each, and where a command has events of its own, those.
    fn commands_of<'f>(&'f self, order: &'f OrderRow, from: usize) -> impl Iterator<Item = Told<'f>> {
        order.commands(from).map(move |row| match self.commands.get(row.command_id.as_str()) {
            Some(own) => (CommandRow { state: own.state.clone(), ..row }, own.spoke.as_slice()),
            None => (row, Default::default()),
        })
    }

    /// A batch that the filter lets through.
    pub fn batch(&self, filter: &batches::Filter, batch: &BatchId) -> Option<BatchRow> {
        let row = self.batches.get(batch.as_str()).filter(|row| filter.lets_through(row))?;
        let counts = self.counts([batch]).remove(batch).unwrap_or_default();
        Some(BatchRow { counts, ..row.clone() })
    }

    /// Newest first, as [`batches::list`] answers.
    pub fn batches(
        &self,
        filter: &batches::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<BatchRow>, QueryError> {
        let mut page = self.page(&self.batches, cursor, limit, |row| filter.lets_through(row))?;
        self.count(&mut page.items);
        Ok(page)
    }

    /// All of `tenant`, or of all.
    pub(super) fn all_batches(&self, tenant: Option<&TenantId>) -> Vec<BatchRow> {
        let rows = self.batches.newest_first(u64::MAX);
        let rows = rows.filter(|row| tenant.is_none_or(|tenant| *tenant == row.tenant));
        let mut rows: Vec<BatchRow> = rows.cloned().collect();
        self.count(&mut rows);
        rows
    }

    fn count(&self, rows: &mut [BatchRow]) {
        let mut counts = self.counts(rows.iter().map(|row| &row.batch_id));
        for row in rows {
            row.counts = counts.remove(&row.batch_id).unwrap_or_default();
        }
    }

    /// Of each of these batches its commands by what became of them.
    pub(super) fn counts<'b>(
        &self,
        batches: impl IntoIterator<Item = &'b BatchId>,
    ) -> HashMap<BatchId, Counts> {
        let orders = batches.into_iter().filter_map(|batch| self.orders.get(batch.as_str()));
        let orders: Vec<&OrderRow> = orders.collect();
        let first = orders.iter().map(|order| order.created_seq).min().unwrap_or(u64::MAX);
        let mut counts: HashMap<BatchId, Counts> =
            orders.iter().map(|order| (order.batch_id.clone(), Counts::default())).collect();
        // a command begins after its batch
        for own in self.commands.newest_first(u64::MAX).take_while(|own| own.begun_seq > first) {
            if let Some(counts) = counts.get_mut(&own.batch_id) {
                counts.add(&own.state, 1);
            }
        }
        // the others are as their batch left them
        for order in orders {
            if let Some(counts) = counts.get_mut(&order.batch_id) {
                let others = (order.servers.len() as u64).saturating_sub(counts.total());
                counts.add(&order.state(), others);
            }
        }
        counts
    }

    /// A relay, a revoked one too; `tenant: None` looks in all.
    pub fn relay(&self, tenant: Option<&TenantId>, relay: &RelayId) -> Option<RelayRow> {
        let row = of_tenant::<Relays>(self.relays.get(relay.as_str()), tenant)?;
        let in_flight = self.in_flight().remove(relay).unwrap_or_default();
        Some(RelayRow { in_flight, ..row })
    }

    /// Newest first, as [`relays::list`] answers.
    pub fn relays(
        &self,
        filter: &relays::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<RelayRow>, QueryError> {
        let mut page = self.page(&self.relays, cursor, limit, |row| filter.lets_through(row))?;
        self.weigh(&mut page.items);
        Ok(page)
    }

    /// All of `tenant`, or of all.
    pub(super) fn all_relays(&self, tenant: Option<&TenantId>) -> Vec<RelayRow> {
        let rows = self.relays.newest_first(u64::MAX);
        let rows = rows.filter(|row| tenant.is_none_or(|tenant| *tenant == row.tenant));
        let mut rows: Vec<RelayRow> = rows.cloned().collect();
        self.weigh(&mut rows);
        rows
    }

    fn weigh(&self, rows: &mut [RelayRow]) {
        let mut in_flight = self.in_flight();
        for row in rows {
            row.in_flight = in_flight.remove(&row.relay_id).unwrap_or_default();
        }
    }

    /// How many commands each relay had.
    fn in_flight(&self) -> HashMap<RelayId, u64> {
        let mut in_flight = HashMap::new();
        for own in self.commands.newest_first(u64::MAX) {
            if let Some(relay) = &own.state.relay_id
                && own.state.status == "dispatched"
            {
                *in_flight.entry(relay.clone()).or_default() += 1;
            }
        }
        in_flight
    }
}
