//! Which relays are there, and is each connected?

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use chrono::{DateTime, Utc};
use events::ids::{HubId, RelayId, TenantId};
use events::relay::{Relay, RelayEvent, RelaySettings};
use events::{Aggregate as _, Event, Recorded};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, get_parsed, get_parsed_option, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
use crate::snapshot::Snapshot;

/// What is true of a relay after its events; of its keys nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayRow {
    pub relay_id: RelayId,
    pub tenant: TenantId,
    pub settings: RelaySettings,
    /// It registered itself and waits to be accepted.
    pub pending: bool,
    pub revoked: bool,
    pub epoch: u64,
    /// Where it is connected now.
    pub hub: Option<HubId>,
    /// Of its newest connection, as the next three.
    pub address: Option<IpAddr>,
    pub client: Option<String>,
    /// Where its hub is asked for tunnels through it.
    pub tunnels: Option<SocketAddr>,
    /// When its newest connection began or ended.
    pub changed_at: Option<DateTime<Utc>>,
    /// Why its newest connection ended.
    pub reason: Option<String>,
    /// Commands that it was given and that have no outcome yet.
    pub in_flight: u64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub created_seq: u64,
    pub seq: u64,
}

/// Which relays; each part left out lets everything through. Revoked ones are listed when they are asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub revoked: bool,
    pub pending: Option<bool>,
    pub connected: Option<bool>,
}

const COLUMNS: &str = "relay_id, tenant, settings, pending, revoked, epoch, hub, host(address) AS address, client, \
    tunnels, changed_at, reason, created_at, updated_at, created_seq, seq";
/// Counted of the commands, whose table is fed in the same transaction; cheap by its index of those in flight.
const IN_FLIGHT: &str = ", (SELECT count(*) FROM commands WHERE commands.relay_id = relays.relay_id \
    AND commands.status = 'dispatched') AS in_flight";
/// For who feeds: it looks at nothing but its own table, and writes no count.
const UNCOUNTED: &str = ", 0::bigint AS in_flight";

/// One relay, a revoked one too; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    relay: &RelayId,
) -> Result<At<Option<RelayRow>>, QueryError> {
    let mut snapshot = snapshot(projections).await?;
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS}{IN_FLIGHT} FROM relays WHERE relay_id = "));
    query.push_bind(relay.as_str());
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

async fn snapshot(projections: &Projections) -> Result<Snapshot, QueryError> {
    projections.snapshot_with(projection::of!("relays"), projection::of!("commands")).await
}

/// Newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<RelayRow>, QueryError> {
    let window = Window::new("relays", cursor, limit)?;
    let mut snapshot = snapshot(projections).await?;
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS}{IN_FLIGHT} FROM relays WHERE created_seq < "));
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if !filter.revoked {
        query.push(" AND NOT revoked");
    }
    if let Some(pending) = filter.pending {
        query.push(" AND pending = ").push_bind(pending);
    }
    if let Some(connected) = filter.connected {
        query.push(" AND connected = ").push_bind(connected);
    }
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &RelayRow| row.created_seq))
}

impl RelayRow {
    /// Counts as connected.
    pub fn connected(&self) -> bool {
        self.hub.is_some() && !self.revoked
    }
}

impl FromRow<'_, PgRow> for RelayRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            relay_id: get_parsed(row, "relay_id")?,
            tenant: get_parsed(row, "tenant")?,
            settings: row.try_get::<Json<_>, _>("settings")?.0,
            pending: row.try_get("pending")?,
            revoked: row.try_get("revoked")?,
            epoch: get_unsigned(row, "epoch")?,
            hub: get_parsed_option(row, "hub")?,
            address: get_parsed_option(row, "address")?,
            client: row.try_get("client")?,
            tunnels: get_parsed_option(row, "tunnels")?,
            changed_at: row.try_get("changed_at")?,
            reason: row.try_get("reason")?,
            in_flight: get_unsigned(row, "in_flight")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// Loads the rows that the events change, folds, and writes each once.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let changes: Vec<(&Recorded, &RelayEvent)> = events.iter().filter_map(|event| change(event)).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let mut ids = column(&changes, |(recorded, _)| recorded.subject.id.as_str());
    ids.sort_unstable();
    ids.dedup();
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS}{UNCOUNTED} FROM relays WHERE relay_id = ANY("));
    query.push_bind(ids).push(")");
    let rows: Vec<RelayRow> = query.build_query_as().fetch_all(&mut *connection).await?;
    let mut rows: BTreeMap<String, RelayRow> =
        rows.into_iter().map(|row| (row.relay_id.to_string(), row)).collect();
    for (recorded, event) in changes {
        let before = rows.remove(&recorded.subject.id);
        let after = apply(before, recorded, event)?;
        rows.insert(recorded.subject.id.clone(), after);
    }
    store(connection, &rows.into_values().collect::<Vec<_>>()).await
}

fn change(recorded: &Recorded) -> Option<(&Recorded, &RelayEvent)> {
    match &recorded.event {
        Event::Relay(event) => Some((recorded, event)),
        Event::Tenant(_)
        | Event::Quota(_)
        | Event::Env(_)
        | Event::Port(_)
        | Event::Credential(_)
        | Event::SshKey(_)
        | Event::Login(_)
        | Event::Session(_)
        | Event::Server(_)
        | Event::Access(_)
        | Event::Batch(_)
        | Event::Command(_)
        | Event::Schedule(_)
        | Event::Subscription(_)
        | Event::User(_)
        | Event::SignIn(_)
        | Event::Token(_)
        | Event::Request(_) => None,
    }
}

fn apply(row: Option<RelayRow>, recorded: &Recorded, event: &RelayEvent) -> Result<RelayRow, RowError> {
    let at = recorded.meta.time;
    let mut row = match (row, event) {
        (Some(row), _) => row,
        (None, RelayEvent::RelayRegistered(registered)) => RelayRow {
            relay_id: RelayId::parse(recorded.subject.id.as_str())
                .map_err(|error| RowError::Unfit(error.to_string()))?,
            tenant: recorded.subject.tenant.clone(),
            settings: registered.settings.clone(),
            pending: false,
            revoked: false,
            epoch: 0,
            hub: None,
            address: None,
            client: None,
            tunnels: None,
            changed_at: None,
            reason: None,
            in_flight: 0,
            created_at: at,
            updated_at: at,
            created_seq: recorded.seq,
            seq: recorded.seq,
        },
        (None, _) => {
            let kind = recorded.event.event_type();
            return Err(RowError::Unfit(format!("{kind} of a relay that has no row")));
        }
    };
    // what is connected is decided where everybody decides it
    let mut relay = Relay {
        settings: Some(row.settings.clone()),
        pending: row.pending,
        revoked: row.revoked,
        epoch: row.epoch,
        connected: row.hub.clone(),
        ..Relay::default()
    };
    relay.evolve(event, at);
    match event {
        RelayEvent::RelayRegistered(registered) => check_text([&registered.settings.name])?,
        RelayEvent::RelayConnected(connected) => {
            check_text(&connected.client)?;
            (row.address, row.client) = (connected.address, connected.client.clone());
            row.tunnels = connected.tunnels;
            (row.changed_at, row.reason) = (Some(at), None);
        }
        RelayEvent::RelayDisconnected(ended) => {
            check_text([&ended.reason])?;
            if ended.epoch == row.epoch {
                (row.changed_at, row.reason) = (Some(at), Some(ended.reason.clone()));
            }
        }
        RelayEvent::RelayAccepted(_) | RelayEvent::RelayKeyRotated(_) | RelayEvent::RelayRevoked(_) => {}
    }
    if let Some(settings) = relay.settings {
        row.settings = settings;
    }
    (row.pending, row.revoked) = (relay.pending, relay.revoked);
    (row.epoch, row.hub) = (relay.epoch, relay.connected);
    (row.updated_at, row.seq) = (at, recorded.seq);
    Ok(row)
}

const STORE: &str = "INSERT INTO relays (relay_id, tenant, name, zone, settings, revoked, epoch, connected, hub, \
    address, client, changed_at, reason, created_at, updated_at, created_seq, seq, pending, tunnels) \
    SELECT relay_id, tenant, name, zone, settings, revoked, epoch, connected, hub, address::inet, client, \
    changed_at, reason, created_at, updated_at, created_seq, seq, pending, tunnels \
    FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::boolean[], $7::bigint[], \
    $8::boolean[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::timestamptz[], \
    $15::timestamptz[], $16::bigint[], $17::bigint[], $18::boolean[], $19::text[]) AS r(relay_id, tenant, name, zone, settings, \
    revoked, epoch, connected, hub, address, client, changed_at, reason, created_at, updated_at, created_seq, seq, \
    pending, tunnels) \
    ON CONFLICT (relay_id) DO UPDATE SET name = EXCLUDED.name, zone = EXCLUDED.zone, \
    settings = EXCLUDED.settings, revoked = EXCLUDED.revoked, epoch = EXCLUDED.epoch, \
    connected = EXCLUDED.connected, hub = EXCLUDED.hub, address = EXCLUDED.address, client = EXCLUDED.client, \
    changed_at = EXCLUDED.changed_at, reason = EXCLUDED.reason, updated_at = EXCLUDED.updated_at, \
    seq = EXCLUDED.seq, pending = EXCLUDED.pending, tunnels = EXCLUDED.tunnels";

async fn store(connection: &mut PgConnection, rows: &[RelayRow]) -> Result<(), RowError> {
    sqlx::query(STORE)
        .bind(column(rows, |row| row.relay_id.as_str()))
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.settings.name.as_str()))
        .bind(column(rows, |row| row.settings.zone.as_ref().map(ToString::to_string)))
        .bind(column(rows, |row| Json(&row.settings)))
        .bind(column(rows, |row| row.revoked))
        .bind(column(rows, |row| seq(row.epoch)))
        .bind(column(rows, RelayRow::connected))
        .bind(column(rows, |row| row.hub.as_ref().map(ToString::to_string)))
        .bind(column(rows, |row| row.address.map(|address| address.to_string())))
        .bind(column(rows, |row| row.client.clone()))
        .bind(column(rows, |row| row.changed_at))
        .bind(column(rows, |row| row.reason.clone()))
        .bind(column(rows, |row| row.created_at))
        .bind(column(rows, |row| row.updated_at))
        .bind(column(rows, |row| seq(row.created_seq)))
        .bind(column(rows, |row| seq(row.seq)))
        .bind(column(rows, |row| row.pending))
        .bind(column(rows, |row| row.tunnels.map(|door| door.to_string())))
        .execute(connection)
        .await?;
    Ok(())
}
