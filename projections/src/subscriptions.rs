//! Who wants to be told of which events, how, and how many wait to be told?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{SubscriptionId, TenantId};
use events::subscription::{Delivery, Filter as Wanted, Subscription, SubscriptionEvent};
use events::{Aggregate as _, Event, Recorded};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, get_parsed, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// What is true of a subscription after its events.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionRow {
    pub subscription_id: SubscriptionId,
    pub tenant: TenantId,
    pub state: Subscription,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub created_seq: u64,
    pub seq: u64,
}

const COLUMNS: &str = "subscription_id, tenant, state, created_at, updated_at, created_seq, seq";

/// One subscription, a removed one too.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    id: &SubscriptionId,
) -> Result<At<Option<SubscriptionRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("subscriptions")).await?;
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS} FROM subscriptions WHERE subscription_id = "));
    query.push_bind(id.as_str());
    confine(&mut query, tenant);
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// Newest first, without removed ones. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    tenant: Option<&TenantId>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<SubscriptionRow>, QueryError> {
    let window = Window::new("subscriptions", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("subscriptions")).await?;
    let mut query = QueryBuilder::new(format!(
        "SELECT {COLUMNS} FROM subscriptions WHERE NOT removed AND created_seq < "
    ));
    query.push_bind(window.before);
    confine(&mut query, tenant);
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &SubscriptionRow| row.created_seq))
}

/// How many this tenant has.
pub async fn count(projections: &Projections, tenant: &TenantId) -> Result<u64, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("subscriptions")).await?;
    let query = sqlx::query("SELECT count(*) AS count FROM subscriptions WHERE tenant = $1 AND NOT removed");
    let row = query.bind(tenant.as_str()).fetch_one(&mut *snapshot.transaction).await?;
    Ok(get_unsigned(&row, "count")?)
}

/// Those that are to be delivered by us now, the oldest first.
pub async fn to_deliver(
    projections: &Projections,
    limit: u32,
) -> Result<Vec<(TenantId, SubscriptionId)>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("subscriptions")).await?;
    let mut query = QueryBuilder::new(
        "SELECT tenant, subscription_id FROM subscriptions WHERE delivers ORDER BY created_seq LIMIT ",
    );
    query.push_bind(i64::from(limit));
    let rows = query.build().fetch_all(&mut *snapshot.transaction).await?;
    let of = |row: &PgRow| Ok((get_parsed(row, "tenant")?, get_parsed(row, "subscription_id")?));
    rows.iter().map(of).collect::<Result<_, sqlx::Error>>().map_err(QueryError::from)
}

/// The longest part of the log in which is counted what waits.
pub const LAG_EVENTS_MAX: u64 = 100_000;

/// Of which events is counted what waits: those that `wanted` names, without the kinds of `hidden`.
#[derive(Debug, Clone)]
pub struct Waiting<'w> {
    pub tenant: &'w TenantId,
    pub wanted: &'w Wanted,
    pub hidden: Vec<&'static str>,
    /// After this sequence.
    pub after: u64,
}

/// What waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lag {
    pub events: u64,
    /// Of the first of them.
    pub oldest: Option<DateTime<Utc>>,
}

/// In the order of those asked for; each counted within [`LAG_EVENTS_MAX`] events of the log.
pub async fn lags(projections: &Projections, waiting: &[Waiting<'_>]) -> Result<At<Vec<Lag>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("audit_log")).await?;
    let rows = sqlx::query(
        "SELECT l.events, l.oldest FROM UNNEST($1::text[], $2::bigint[], $3::jsonb[], $4::jsonb[], $5::jsonb[], \
         $6::jsonb[]) WITH ORDINALITY AS p(tenant, after, kinds, types, ids, hidden, place), \
         LATERAL (SELECT count(*) AS events, min(a.time) AS oldest FROM audit_log a \
         WHERE a.tenant = p.tenant AND a.seq > p.after AND a.seq <= p.after + $7 \
         AND NOT jsonb_exists(p.hidden, a.kind) \
         AND (p.kinds = '[]'::jsonb OR jsonb_exists(p.kinds, a.kind)) \
         AND (p.types = '[]'::jsonb OR jsonb_exists(p.types, a.type)) \
         AND (p.ids = '[]'::jsonb OR jsonb_exists(p.ids, a.aggregate_id))) l ORDER BY p.place",
    )
    .bind(column(waiting, |asked| asked.tenant.as_str()))
    .bind(column(waiting, |asked| seq(asked.after)))
    .bind(column(waiting, |asked| Json(&asked.wanted.kinds)))
    .bind(column(waiting, |asked| Json(&asked.wanted.types)))
    .bind(column(waiting, |asked| Json(&asked.wanted.ids)))
    .bind(column(waiting, |asked| Json(&asked.hidden)))
    .bind(seq(LAG_EVENTS_MAX))
    .fetch_all(&mut *snapshot.transaction)
    .await?;
    let of = |row: &PgRow| Ok(Lag { events: get_unsigned(row, "events")?, oldest: row.try_get("oldest")? });
    let value = rows.iter().map(of).collect::<Result<_, sqlx::Error>>()?;
    Ok(At { position: snapshot.position, value })
}

fn confine(query: &mut QueryBuilder<sqlx::Postgres>, tenant: Option<&TenantId>) {
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.to_string());
    }
}

impl FromRow<'_, PgRow> for SubscriptionRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            subscription_id: get_parsed(row, "subscription_id")?,
            tenant: get_parsed(row, "tenant")?,
            state: row.try_get::<Json<_>, _>("state")?.0,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// Loads the rows that the events change, folds, and writes each once.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let changes: Vec<(&Recorded, &SubscriptionEvent)> =
        events.iter().filter_map(|event| change(event)).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let mut ids = column(&changes, |(recorded, _)| recorded.subject.id.as_str());
    ids.sort_unstable();
    ids.dedup();
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS} FROM subscriptions WHERE subscription_id = ANY("));
    query.push_bind(ids).push(")");
    let rows: Vec<SubscriptionRow> = query.build_query_as().fetch_all(&mut *connection).await?;
    let mut rows: BTreeMap<String, SubscriptionRow> =
        rows.into_iter().map(|row| (row.subscription_id.to_string(), row)).collect();
    for (recorded, event) in &changes {
        let before = rows.remove(&recorded.subject.id);
        let after = apply(before, recorded, event)?;
        rows.insert(recorded.subject.id.clone(), after);
    }
    store(connection, &rows.into_values().collect::<Vec<_>>()).await
}

fn change(recorded: &Recorded) -> Option<(&Recorded, &SubscriptionEvent)> {
    match &recorded.event {
        Event::Subscription(event) => Some((recorded, event)),
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
        | Event::Relay(_)
        | Event::Batch(_)
        | Event::Command(_)
        | Event::Schedule(_)
        | Event::User(_)
        | Event::SignIn(_)
        | Event::Token(_)
        | Event::NatsTap(_)
        | Event::Request(_) => None,
    }
}

fn apply(
    row: Option<SubscriptionRow>,
    recorded: &Recorded,
    event: &SubscriptionEvent,
) -> Result<SubscriptionRow, RowError> {
    let at = recorded.meta.time;
    let mut row = match (row, event) {
        (Some(row), _) => row,
        (None, SubscriptionEvent::SubscriptionSet(_)) => SubscriptionRow {
            subscription_id: SubscriptionId::parse(recorded.subject.id.as_str())
                .map_err(|error| RowError::Unfit(error.to_string()))?,
            tenant: recorded.subject.tenant.clone(),
            state: Subscription::default(),
            created_at: at,
            updated_at: at,
            created_seq: recorded.seq,
            seq: recorded.seq,
        },
        (None, _) => {
            let kind = recorded.event.event_type();
            return Err(RowError::Unfit(format!("{kind} of a subscription that has no row")));
        }
    };
    match event {
        SubscriptionEvent::SubscriptionSet(set) => {
            check_text([&set.name, &set.actor])?;
            check_text(&set.filter.types)?;
            check_text(&set.filter.kinds)?;
            check_text(&set.filter.ids)?;
            if let Delivery::Webhook { url, secret } = &set.delivery {
                check_text([url, &secret.owner, &secret.name])?;
            }
        }
        SubscriptionEvent::SubscriptionSecretRotated(rotated) => {
            check_text([&rotated.secret.owner, &rotated.secret.name])?;
        }
        SubscriptionEvent::SubscriptionPaused(_)
        | SubscriptionEvent::SubscriptionResumed(_)
        | SubscriptionEvent::SubscriptionRemoved(_)
        | SubscriptionEvent::DeliveryParked(_)
        | SubscriptionEvent::DeliveryRetried(_)
        | SubscriptionEvent::DeliveryReleased(_)
        | SubscriptionEvent::DeliveryDropped(_) => {}
    }
    row.state.evolve(event, at);
    (row.updated_at, row.seq) = (at, recorded.seq);
    Ok(row)
}

const STORE: &str = "INSERT INTO subscriptions (subscription_id, tenant, state, removed, delivers, created_at, \
    updated_at, created_seq, seq) \
    SELECT subscription_id, tenant, state, removed, delivers, created_at, updated_at, created_seq, seq \
    FROM UNNEST($1::text[], $2::text[], $3::jsonb[], $4::boolean[], $5::boolean[], $6::timestamptz[], \
    $7::timestamptz[], $8::bigint[], $9::bigint[]) AS \
    r(subscription_id, tenant, state, removed, delivers, created_at, updated_at, created_seq, seq) \
    ON CONFLICT (subscription_id) DO UPDATE SET state = EXCLUDED.state, removed = EXCLUDED.removed, \
    delivers = EXCLUDED.delivers, updated_at = EXCLUDED.updated_at, seq = EXCLUDED.seq";

async fn store(connection: &mut PgConnection, rows: &[SubscriptionRow]) -> Result<(), RowError> {
    let delivers = |row: &SubscriptionRow| row.state.active().is_some() && row.state.secret().is_some();
    sqlx::query(STORE)
        .bind(column(rows, |row| row.subscription_id.as_str()))
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| Json(&row.state)))
        .bind(column(rows, |row| row.state.removed))
        .bind(column(rows, delivers))
        .bind(column(rows, |row| row.created_at))
        .bind(column(rows, |row| row.updated_at))
        .bind(column(rows, |row| seq(row.created_seq)))
        .bind(column(rows, |row| seq(row.seq)))
        .execute(connection)
        .await?;
    Ok(())
}
