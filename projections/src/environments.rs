//! Which environments are there, and how are they?

use chrono::{DateTime, Utc};
use events::env::{EnvEvent, EnvFailed, EnvProgressed, EnvRequested, PortPurpose, RequestCause, Status};
use events::ids::{EnvId, TenantId, UserName};
use events::{Aggregate as _, Event, Recorded, Resources};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{
    RowError, check_text, column, decode_error, get_parsed, get_parsed_option, get_resources, get_unsigned,
    instant, milli, seq,
};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
use crate::table::{self, Stored, Table};

/// What is true of an environment after its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentRow {
    pub env_id: EnvId,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    pub owner: UserName,
    pub name: String,
    /// `creating`, `running`, `stopping`, `stopped`, `starting`, `failed`, `deleting`, `deleted`.
    pub status: String,
    /// Where it failed, or how far it is while it is coming up.
    pub phase: Option<String>,
    /// Why it failed, or what happened last on its way up, for programs.
    pub code: Option<String>,
    /// The same for a person.
    pub reason: Option<String>,
    /// Empty means the default image.
    pub image: String,
    pub resources: Resources,
    pub jupyter: bool,
    pub ssh_port: Option<u16>,
    pub jupyter_port: Option<u16>,
    /// Empty means everyone.
    pub allow_list: Vec<IpNet>,
    pub ttl_s: Option<u64>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Seconds without traffic after which it is stopped.
    pub idle_s: Option<u64>,
    /// A job was marked until then.
    pub job_until: Option<DateTime<Utc>>,
    /// It was said that it is stopped then, because it is idle.
    pub stops_at: Option<DateTime<Utc>>,
    /// It was said that it is deleted then, because its time ends.
    pub deletes_at: Option<DateTime<Utc>>,
    /// Out of its pending state by then, or failed.
    pub deadline: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(skip)]
    pub created_seq: u64,
    /// Sequence of its newest event.
    pub seq: u64,
}

/// Which environments; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub owner: Option<UserName>,
    pub name: Option<String>,
    /// Without it, deleted ones are left out.
    pub status: Option<String>,
}

impl Filter {
    /// The same as [`list`] asks PostgreSQL for.
    pub(crate) fn lets_through(&self, row: &EnvironmentRow) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
            && self.owner.as_ref().is_none_or(|owner| *owner == row.owner)
            && self.name.as_ref().is_none_or(|name| *name == row.name)
            && match &self.status {
                Some(status) => *status == row.status,
                None => !Environments::is_over(row),
            }
    }
}

const COLUMNS: &str = "env_id, tenant, owner, name, status, phase, code, reason, image, cpu_milli, memory_milli, \
    gpu, storage_milli, jupyter, ssh_port, jupyter_port, allow_list, ttl_s::text AS ttl_s, expires_at, \
    idle_s::text AS idle_s, job_until, stops_at, deletes_at, deadline, created_at, updated_at, created_seq, seq";

/// One environment, a deleted one too; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    env: &EnvId,
) -> Result<At<Option<EnvironmentRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("environments")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM environments WHERE env_id = "));
    query.push_bind(env.as_str());
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// Newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<EnvironmentRow>, QueryError> {
    let window = Window::new("environments", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("environments")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM environments WHERE created_seq < "));
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").push_bind(owner.as_str());
    }
    if let Some(name) = &filter.name {
        query.push(" AND name = ").push_bind(name);
    }
    match &filter.status {
        Some(status) => query.push(" AND status = ").push_bind(status),
        None => query.push(" AND status <> 'deleted'"),
    };
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &EnvironmentRow| row.created_seq))
}

impl FromRow<'_, PgRow> for EnvironmentRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let port = |column| -> Result<Option<u16>, sqlx::Error> {
            let port: Option<i32> = row.try_get(column)?;
            port.map(u16::try_from).transpose().map_err(|error| decode_error(column, error))
        };
        let allow_list: Vec<String> = row.try_get("allow_list")?;
        let ranges = allow_list.iter().map(|range| range.parse()).collect::<Result<_, _>>();
        Ok(Self {
            env_id: get_parsed(row, "env_id")?,
            tenant: get_parsed(row, "tenant")?,
            owner: get_parsed(row, "owner")?,
            name: row.try_get("name")?,
            status: row.try_get("status")?,
            phase: row.try_get("phase")?,
            code: row.try_get("code")?,
            reason: row.try_get("reason")?,
            image: row.try_get("image")?,
            resources: get_resources(row)?,
            jupyter: row.try_get("jupyter")?,
            ssh_port: port("ssh_port")?,
            jupyter_port: port("jupyter_port")?,
            allow_list: ranges.map_err(|error: ipnet::AddrParseError| decode_error("allow_list", error))?,
            ttl_s: get_parsed_option(row, "ttl_s")?,
            expires_at: row.try_get("expires_at")?,
            idle_s: get_parsed_option(row, "idle_s")?,
            job_until: row.try_get("job_until")?,
            stops_at: row.try_get("stops_at")?,
            deletes_at: row.try_get("deletes_at")?,
            deadline: row.try_get("deadline")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    table::feed::<Environments>(connection, events).await
}

pub(crate) struct Environments;

impl Table for Environments {
    type Row = EnvironmentRow;

    const PROJECTION: &'static str = "environments";
    const NAME: &'static str = "environments";

    fn key(recorded: &Recorded) -> Option<String> {
        change(recorded).map(|_| recorded.subject.id.clone())
    }

    fn key_of(row: &EnvironmentRow) -> String {
        row.env_id.as_str().to_owned()
    }

    fn birth(row: &EnvironmentRow) -> u64 {
        row.created_seq
    }

    fn born(row: &mut EnvironmentRow, birth: u64) {
        row.created_seq = birth;
    }

    fn tenant(row: &EnvironmentRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(row: &EnvironmentRow) -> bool {
        row.status == Status::Deleted.name()
    }

    /// Agrees with the fold `events::env::Env` (`tests/feeding.rs` compares).
    fn apply(row: Option<EnvironmentRow>, recorded: &Recorded) -> Result<Option<EnvironmentRow>, RowError> {
        let Some(event) = change(recorded) else { return Ok(row) };
        let mut row = match (row, event) {
            (Some(row), _) => row,
            (None, EnvEvent::EnvRequested(asked)) => created(recorded, asked)?,
            (None, _) => {
                let kind = recorded.event.event_type();
                return Err(RowError::Unfit(format!("{kind} of an environment that has no row")));
            }
        };
        row.updated_at = recorded.meta.time;
        row.seq = recorded.seq;
        match event {
            EnvEvent::EnvRequested(asked) => row.pending(Status::Creating, asked.deadline),
            EnvEvent::PortBound(bound) => match bound.purpose {
                PortPurpose::Ssh => row.ssh_port = Some(bound.port),
                PortPurpose::Jupyter => row.jupyter_port = Some(bound.port),
            },
            EnvEvent::PodCreated(_) => {}
            EnvEvent::PodReady(_) => row.settled(Status::Running),
            EnvEvent::PodLost(lost) => {
                row.pending(Status::Starting, lost.deadline);
                row.progressed(&lost.as_progress());
            }
            EnvEvent::EnvProgressed(progressed) => row.progressed(progressed),
            EnvEvent::EnvFailed(failed) => row.failed(failed),
            EnvEvent::EnvStopRequested(asked) => row.pending(Status::Stopping, asked.deadline),
            EnvEvent::EnvStopped(_) => row.settled(Status::Stopped),
            EnvEvent::EnvStartRequested(asked) => row.pending(Status::Starting, asked.deadline),
            EnvEvent::EnvDeleteRequested(asked) => row.pending(Status::Deleting, asked.deadline),
            EnvEvent::EnvDeleted(_) => {
                row.settled(Status::Deleted);
                row.ssh_port = None;
                row.jupyter_port = None;
            }
            EnvEvent::EnvEndsSoon(soon) => match soon.cause {
                RequestCause::Idle => row.stops_at = soon.at,
                RequestCause::TtlEnded => row.deletes_at = soon.at,
                RequestCause::Asked | RequestCause::NeverStarted => {}
            },
            EnvEvent::JobMarked(marked) => row.job_until = marked.until,
            EnvEvent::AllowListSet(set) => row.allow_list.clone_from(&set.ranges),
        }
        let EnvironmentRow { expires_at, job_until, stops_at, deletes_at, deadline, .. } = &mut row;
        for time in [expires_at, job_until, stops_at, deletes_at, deadline] {
            *time = time.map(instant);
        }
        check_text([&row.name, &row.image].into_iter().chain(&row.code).chain(&row.reason))?;
        Ok(Some(row))
    }
}

fn change(recorded: &Recorded) -> Option<&EnvEvent> {
    match &recorded.event {
        Event::Env(event) => Some(event),
        Event::Tenant(_)
        | Event::Quota(_)
        | Event::Port(_)
        | Event::Credential(_)
        | Event::SshKey(_)
        | Event::Login(_)
        | Event::Session(_)
        | Event::User(_)
        | Event::Token(_)
        | Event::SignIn(_)
        | Event::Server(_)
        | Event::Access(_)
        | Event::Relay(_)
        | Event::Batch(_)
        | Event::Command(_)
        | Event::Schedule(_)
        | Event::Subscription(_)
        | Event::NatsTap(_)
        | Event::Request(_) => None,
    }
}

fn created(recorded: &Recorded, asked: &EnvRequested) -> Result<EnvironmentRow, RowError> {
    let env_id =
        EnvId::parse(recorded.subject.id.as_str()).map_err(|error| RowError::Unfit(error.to_string()))?;
    let fold = events::env::Env::fold([(&EnvEvent::EnvRequested(asked.clone()), recorded.meta.time)]);
    Ok(EnvironmentRow {
        env_id,
        tenant: recorded.subject.tenant.clone(),
        owner: asked.owner.clone(),
        name: asked.name.clone(),
        status: Status::Creating.name().to_owned(),
        phase: None,
        code: None,
        reason: None,
        image: asked.image.clone(),
        resources: asked.resources,
        jupyter: asked.jupyter,
        ssh_port: None,
        jupyter_port: None,
        allow_list: asked.allow_list.clone(),
        ttl_s: asked.ttl_s,
        expires_at: fold.expires_at(),
        idle_s: asked.idle_s,
        job_until: None,
        stops_at: None,
        deletes_at: None,
        deadline: Some(asked.deadline),
        created_at: recorded.meta.time,
        updated_at: recorded.meta.time,
        created_seq: recorded.seq,
        seq: recorded.seq,
    })
}

impl EnvironmentRow {
    fn pending(&mut self, status: Status, deadline: DateTime<Utc>) {
        self.settled(status);
        self.deadline = Some(deadline);
    }

    fn settled(&mut self, status: Status) {
        status.name().clone_into(&mut self.status);
        self.deadline = None;
        self.stops_at = None;
        (self.phase, self.code, self.reason) = (None, None, None);
    }

    fn progressed(&mut self, progressed: &EnvProgressed) {
        if [Status::Creating, Status::Starting].iter().any(|status| status.name() == self.status) {
            self.phase = Some(progressed.phase.name().to_owned());
            self.code = Some(progressed.code.clone());
            self.reason = Some(progressed.message.clone());
        }
    }

    fn failed(&mut self, failed: &EnvFailed) {
        self.settled(Status::Failed);
        self.phase = Some(failed.phase.name().to_owned());
        self.code = Some(failed.code.clone());
        self.reason = Some(failed.reason.clone());
    }
}

const STORE: &str = "INSERT INTO environments (env_id, tenant, owner, name, status, phase, code, reason, \
    image, cpu_milli, memory_milli, gpu, storage_milli, jupyter, ssh_port, jupyter_port, allow_list, ttl_s, \
    expires_at, deadline, created_at, updated_at, created_seq, seq, idle_s, job_until, stops_at, deletes_at) \
    SELECT env_id, tenant, owner, name, status, phase, code, reason, image, cpu_milli, memory_milli, gpu, \
    storage_milli, jupyter, ssh_port, jupyter_port, string_to_array(allow_list, ' '), ttl_s::numeric, \
    expires_at, deadline, created_at, updated_at, created_seq, seq, idle_s::numeric, job_until, stops_at, \
    deletes_at \
    FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
    $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::boolean[], \
    $15::integer[], $16::integer[], $17::text[], $18::text[], $19::timestamptz[], $20::timestamptz[], \
    $21::timestamptz[], $22::timestamptz[], $23::bigint[], $24::bigint[], $25::text[], \
    $26::timestamptz[], $27::timestamptz[], $28::timestamptz[]) AS r(env_id, tenant, owner, name, \
    status, phase, code, reason, image, cpu_milli, memory_milli, gpu, storage_milli, jupyter, ssh_port, \
    jupyter_port, allow_list, ttl_s, expires_at, deadline, created_at, updated_at, created_seq, seq, idle_s, \
    job_until, stops_at, deletes_at) \
    ON CONFLICT (env_id) DO UPDATE SET status = EXCLUDED.status, phase = EXCLUDED.phase, \
    code = EXCLUDED.code, reason = EXCLUDED.reason, ssh_port = EXCLUDED.ssh_port, \
    jupyter_port = EXCLUDED.jupyter_port, allow_list = EXCLUDED.allow_list, deadline = EXCLUDED.deadline, \
    updated_at = EXCLUDED.updated_at, seq = EXCLUDED.seq, job_until = EXCLUDED.job_until, \
    stops_at = EXCLUDED.stops_at, deletes_at = EXCLUDED.deletes_at";

impl Stored for Environments {
    async fn load(
        connection: &mut PgConnection,
        keys: Vec<String>,
    ) -> Result<Vec<EnvironmentRow>, sqlx::Error> {
        let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM environments WHERE env_id = ANY("));
        query.push_bind(keys).push(")");
        query.build_query_as().fetch_all(connection).await
    }

    async fn store(connection: &mut PgConnection, rows: &[EnvironmentRow]) -> Result<(), RowError> {
        sqlx::query(STORE)
            .bind(column(rows, |row| row.env_id.as_str()))
            .bind(column(rows, |row| row.tenant.as_str()))
            .bind(column(rows, |row| row.owner.as_str()))
            .bind(column(rows, |row| row.name.as_str()))
            .bind(column(rows, |row| row.status.as_str()))
            .bind(column(rows, |row| row.phase.as_deref()))
            .bind(column(rows, |row| row.code.as_deref()))
            .bind(column(rows, |row| row.reason.as_deref()))
            .bind(column(rows, |row| row.image.as_str()))
            .bind(column(rows, |row| milli(row.resources.cpu)))
            .bind(column(rows, |row| milli(row.resources.memory)))
            .bind(column(rows, |row| i64::from(row.resources.gpu)))
            .bind(column(rows, |row| milli(row.resources.storage)))
            .bind(column(rows, |row| row.jupyter))
            .bind(column(rows, |row| row.ssh_port.map(i32::from)))
            .bind(column(rows, |row| row.jupyter_port.map(i32::from)))
            .bind(column(rows, |row| {
                row.allow_list.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" ")
            }))
            .bind(column(rows, |row| row.ttl_s.map(|ttl_s| ttl_s.to_string())))
            .bind(column(rows, |row| row.expires_at))
            .bind(column(rows, |row| row.deadline))
            .bind(column(rows, |row| row.created_at))
            .bind(column(rows, |row| row.updated_at))
            .bind(column(rows, |row| seq(row.created_seq)))
            .bind(column(rows, |row| seq(row.seq)))
            .bind(column(rows, |row| row.idle_s.map(|idle_s| idle_s.to_string())))
            .bind(column(rows, |row| row.job_until))
            .bind(column(rows, |row| row.stops_at))
            .bind(column(rows, |row| row.deletes_at))
            .execute(connection)
            .await?;
        Ok(())
    }
}
