//! What do events make of the row of a server, and how is it written?

use chrono::{DateTime, Utc};
use events::ids::{ServerId, TenantId};
use events::server::{Facts, Server, ServerEvent, Stage};
use events::{Aggregate as _, Event, Recorded};
use sqlx::QueryBuilder;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use crate::columns::{RowError, check_text, column, seq};
use crate::servers::{COLUMNS, ServerRow, label};
use crate::table::{self, Stored, Table};

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    table::feed::<Servers>(connection, events).await
}

pub(crate) struct Servers;

impl Table for Servers {
    type Row = ServerRow;

    const PROJECTION: &'static str = "servers";
    const NAME: &'static str = "servers";

    fn key(recorded: &Recorded) -> Option<String> {
        change(recorded).map(|_| recorded.subject.id.clone())
    }

    fn key_of(row: &ServerRow) -> String {
        row.server_id.as_str().to_owned()
    }

    fn birth(row: &ServerRow) -> u64 {
        row.created_seq
    }

    fn born(row: &mut ServerRow, birth: u64) {
        row.created_seq = birth;
    }

    fn tenant(row: &ServerRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(row: &ServerRow) -> bool {
        row.server.stage == Stage::Removed
    }

    fn apply(row: Option<ServerRow>, recorded: &Recorded) -> Result<Option<ServerRow>, RowError> {
        match change(recorded) {
            Some(event) => apply(row, recorded, event).map(Some),
            None => Ok(row),
        }
    }
}

fn change(recorded: &Recorded) -> Option<&ServerEvent> {
    match &recorded.event {
        Event::Server(event) => Some(event),
        Event::Tenant(_)
        | Event::Quota(_)
        | Event::Env(_)
        | Event::Port(_)
        | Event::Credential(_)
        | Event::SshKey(_)
        | Event::Login(_)
        | Event::Session(_)
        | Event::Access(_)
        | Event::Relay(_)
        | Event::Batch(_)
        | Event::Command(_)
        | Event::Schedule(_)
        | Event::Subscription(_)
        | Event::User(_)
        | Event::Token(_)
        | Event::SignIn(_)
        | Event::NatsTap(_)
        | Event::Request(_) => None,
    }
}

fn apply(row: Option<ServerRow>, recorded: &Recorded, event: &ServerEvent) -> Result<ServerRow, RowError> {
    check_texts(event)?;
    let mut row = match (row, event) {
        (Some(row), _) => row,
        (None, ServerEvent::ServerRegistered(_)) => ServerRow {
            server_id: ServerId::parse(recorded.subject.id.as_str())
                .map_err(|error| RowError::Unfit(error.to_string()))?,
            tenant: recorded.subject.tenant.clone(),
            server: Server::default(),
            tested_at: None,
            facts_at: None,
            created_at: recorded.meta.time,
            updated_at: recorded.meta.time,
            created_seq: recorded.seq,
            seq: recorded.seq,
        },
        (None, _) => {
            let kind = recorded.event.event_type();
            return Err(RowError::Unfit(format!("{kind} of a server that has no row")));
        }
    };
    row.server.evolve(event, recorded.meta.time);
    if matches!(event, ServerEvent::ConnectionTested(_)) {
        row.tested_at = Some(recorded.meta.time);
    }
    row.tested_at = row.tested_at.filter(|_| row.server.tested.is_some());
    if matches!(event, ServerEvent::FactsGathered(_)) {
        row.facts_at = Some(recorded.meta.time);
    }
    row.facts_at = row.facts_at.filter(|_| row.server.facts.is_some());
    (row.updated_at, row.seq) = (recorded.meta.time, recorded.seq);
    Ok(row)
}

fn check_texts(event: &ServerEvent) -> Result<(), RowError> {
    match event {
        ServerEvent::ServerRegistered(events::server::ServerRegistered { settings })
        | ServerEvent::ServerChanged(events::server::ServerChanged { settings }) => {
            let secret = settings.credential.secret.iter().flat_map(|secret| [&secret.owner, &secret.name]);
            check_text([&settings.name, &settings.host, &settings.username].into_iter().chain(secret))
        }
        ServerEvent::ServerRemoved(_) => Ok(()),
        ServerEvent::HostKeyPinned(events::server::HostKeyPinned { host_key })
        | ServerEvent::HostKeyAccepted(events::server::HostKeyAccepted { host_key }) => {
            check_text([&host_key.line, &host_key.fingerprint])
        }
        ServerEvent::HostKeyChangeSeen(seen) => check_text([&seen.seen.line, &seen.seen.fingerprint]),
        ServerEvent::ConnectionTested(tested) => {
            let said = [&tested.class, &tested.reason, &tested.suggestion, &tested.identification];
            let always = [&tested.host, &tested.username, &tested.step];
            check_text(said.into_iter().flatten().chain(always))
        }
        ServerEvent::FactsGathered(gathered) => check_facts(&gathered.facts),
        ServerEvent::AccountChangeAsked(asked) => check_text(asked.keys.iter().chain([&asked.account])),
        ServerEvent::AccountChangeEnded(ended) => {
            let said = [&ended.class, &ended.reason, &ended.suggestion];
            check_text(said.into_iter().flatten().chain([&ended.account]))
        }
    }
}

fn check_facts(facts: &Facts) -> Result<(), RowError> {
    let Facts { hostname, system, kernel, kernel_release, machine, virtualisation, cpu_model, .. } = facts;
    check_text([hostname, &system.id, &system.name, kernel, kernel_release, machine])?;
    check_text([virtualisation, cpu_model, &system.version].into_iter().flatten())?;
    check_text(
        facts.disks.iter().flat_map(|disk| [&disk.device, &disk.mount].into_iter().chain(&disk.kind)),
    )?;
    check_text(facts.addresses.iter().flat_map(|one| [&one.address].into_iter().chain(&one.interface)))
}

const STORE: &str = "INSERT INTO servers (server_id, tenant, name, zone, groups, labels, removed, ok, settings, \
    host_key, host_key_seen, tested, tested_at, facts, facts_at, accounts, account_due, created_at, updated_at, created_seq, \
    seq) SELECT server_id, tenant, name, zone, string_to_array(groups, ' '), string_to_array(labels, ' '), removed, \
    ok, settings, host_key, host_key_seen, tested, tested_at, facts, facts_at, accounts, account_due, \
    created_at, updated_at, created_seq, seq FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], \
    $8::boolean[], $9::jsonb[], $10::jsonb[], $11::jsonb[], $12::jsonb[], $13::timestamptz[], \
    $14::jsonb[], $15::timestamptz[], $16::jsonb[], $17::timestamptz[], $18::timestamptz[], \
    $19::timestamptz[], $20::bigint[], $21::bigint[]) AS r(server_id, tenant, name, zone, groups, labels, \
    removed, ok, settings, host_key, host_key_seen, tested, tested_at, facts, facts_at, accounts, account_due, \
    created_at, updated_at, created_seq, seq) \
    ON CONFLICT (server_id) DO UPDATE SET name = EXCLUDED.name, zone = EXCLUDED.zone, \
    groups = EXCLUDED.groups, labels = EXCLUDED.labels, removed = EXCLUDED.removed, ok = EXCLUDED.ok, \
    settings = EXCLUDED.settings, host_key = EXCLUDED.host_key, host_key_seen = EXCLUDED.host_key_seen, \
    tested = EXCLUDED.tested, tested_at = EXCLUDED.tested_at, facts = EXCLUDED.facts, \
    facts_at = EXCLUDED.facts_at, accounts = EXCLUDED.accounts, account_due = EXCLUDED.account_due, updated_at = EXCLUDED.updated_at, \
    seq = EXCLUDED.seq";

impl Stored for Servers {
    async fn load(connection: &mut PgConnection, keys: Vec<String>) -> Result<Vec<ServerRow>, sqlx::Error> {
        let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM servers WHERE server_id = ANY("));
        query.push_bind(keys).push(")");
        query.build_query_as().fetch_all(connection).await
    }

    async fn store(connection: &mut PgConnection, rows: &[ServerRow]) -> Result<(), RowError> {
        store(connection, rows).await
    }
}

async fn store(connection: &mut PgConnection, rows: &[ServerRow]) -> Result<(), RowError> {
    let settings = |row: &ServerRow| row.server.settings.clone();
    let names = |row: &ServerRow| settings(row).map(|settings| settings.name).unwrap_or_default();
    let zones = |row: &ServerRow| settings(row).and_then(|settings| settings.zone).map(String::from);
    let groups = |row: &ServerRow| joined(settings(row).map(|settings| settings.groups).unwrap_or_default());
    let labels = |row: &ServerRow| {
        let labels = settings(row).map(|settings| settings.labels).unwrap_or_default();
        joined(labels.iter().map(|(key, value)| label(key, value)))
    };
    sqlx::query(STORE)
        .bind(column(rows, |row| row.server_id.as_str()))
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, names))
        .bind(column(rows, zones))
        .bind(column(rows, groups))
        .bind(column(rows, labels))
        .bind(column(rows, |row| row.server.stage == Stage::Removed))
        .bind(column(rows, |row| row.server.tested.as_ref().map(|tested| tested.ok)))
        .bind(column(rows, |row| row.server.settings.as_ref().map(Json)))
        .bind(column(rows, |row| row.server.host_key.as_ref().map(Json)))
        .bind(column(rows, |row| row.server.host_key_seen.as_ref().map(Json)))
        .bind(column(rows, |row| row.server.tested.as_ref().map(Json)))
        .bind(column(rows, |row| row.tested_at))
        .bind(column(rows, |row| row.server.facts.as_ref().map(Json)))
        .bind(column(rows, |row| row.facts_at))
        .bind(column(rows, |row| Json(&row.server.accounts)))
        .bind(column(rows, due))
        .bind(column(rows, |row| row.created_at))
        .bind(column(rows, |row| row.updated_at))
        .bind(column(rows, |row| seq(row.created_seq)))
        .bind(column(rows, |row| seq(row.seq)))
        .execute(connection)
        .await?;
    Ok(())
}

/// A server that is gone has nothing to wait for.
fn due(row: &ServerRow) -> Option<DateTime<Utc>> {
    row.server.there()?;
    row.server.accounts.values().filter_map(|account| Some(account.pending.as_ref()?.deadline)).min()
}

/// Tags have no blanks.
fn joined<T: ToString>(texts: impl IntoIterator<Item = T>) -> String {
    texts.into_iter().map(|text| text.to_string()).collect::<Vec<_>>().join(" ")
}
