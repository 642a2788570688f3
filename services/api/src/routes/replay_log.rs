//! `GET /api/audit/replay`: what was the fleet at an instant?

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::access::Access;
use events::ids::{EnvId, TenantId};
use events::user::Role;
use projections::fleet::Fleet;
use projections::port_mappings::PortMappingRow;
use projections::quotas::QuotaRow;
use projections::servers::ServerRow;
use projections::sessions::SessionRow;
use projections::{
    Page, QueryError, batches, environments, port_mappings, relays, schedules, servers, sessions,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::command::BatchView;
use crate::environment;
use crate::params::Params;
use crate::position;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::routes::Listed;
use crate::routes::{ports, relays as relay};
use crate::schedule;
use crate::server;

/// What there was, after the event of sequence `position`. Each part is a page: the rest is in the read of its kind
/// with `?as_of=<position>&cursor=<next_cursor>`.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetThen)]
pub struct Then {
    /// The last event that it has; 0 before the first.
    position: u64,
    /// When that event was stored.
    time: Option<DateTime<Utc>>,
    environments: Listed<environment::View>,
    /// Those that were held.
    #[schema(value_type = Listed<Value>)]
    ports: Page<PortMappingRow>,
    /// Those that were open.
    #[schema(value_type = Listed<Value>)]
    sessions: Page<SessionRow>,
    servers: Listed<server::View>,
    #[schema(value_type = Listed<Value>)]
    quotas: Page<QuotaRow>,
    relays: Listed<relay::View>,
    schedules: Listed<schedule::View>,
    /// With what had become of their commands by then.
    batches: Listed<BatchView>,
}

/// Replay the log
///
/// The fleet as it was at an instant: environments that were there, ports that were held, sessions that were open,
/// servers, quotas with what was in use, relays, schedules, and batches with how far they were. With `port` or `env` only
/// that environment, its ports and its sessions: `?at=2026-01-02T14:05:00Z&port=30422` says who held the port. For
/// admins (all tenants), auditors and operators (their tenant).
#[utoipa::path(
    get, path = "/api/audit/replay", tag = "audit",
    params(
        ("at" = String, Query, description = "Sequence or RFC 3339 time; not in the future"),
        ("port" = Option<u16>, Query, description = "Only the environment that held this port"),
        ("env" = Option<String>, Query, description = "Only this environment"),
        ("limit" = Option<u32>, Query, description = "Of each part: 1 to 500; 50 when absent"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Then, headers(("Portreeve-Position" = u64))),
        (status = 400, description = "`parameter_invalid`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn replay(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor, Role::Operator])?;
    let at = params.instant("at");
    let (port, env) = (params.parsed("port", ports::port), params.parsed("env", ports::env));
    let (limit, after) = (params.limit(), params.number("after"));
    params.end()?;
    let at = at.ok_or_else(|| missing("at"))?;
    app.caught_up(after).await?;
    let fleet = app.fleet(at).await?;
    let tenant = caller.tenant_seen();
    let held = |env: Option<EnvId>| {
        let filter = port_mappings::Filter { tenant: tenant.cloned(), env, port, held: true };
        fleet.ports(&filter, None, limit)
    };
    let ports = held(env.clone())?;
    let narrowed = match (port, env) {
        (None, None) => None,
        (None, Some(env)) => Some(vec![env]),
        (Some(_), _) => Some(ports.items.iter().map(|row| row.env_id.clone()).collect()),
    };
    let time = stored_at(&app, fleet.position()).await?;
    let answer = match narrowed {
        None => whole(&app, &caller, &fleet, limit)?,
        Some(envs) => of_environments(&app, &fleet, tenant, &envs, limit)?,
    };
    Ok(position::shown(fleet.position(), Then { time, ports, ..answer }))
}

pub fn missing(parameter: &str) -> Problem {
    let detail = "must be given: a sequence or an RFC 3339 time".to_owned();
    let wrong = FieldError { field: parameter.to_owned(), code: "required", detail: detail.clone() };
    Problem::parameters(format!("{parameter} {detail}"), vec![wrong])
}

/// When the event of a sequence was stored.
pub async fn stored_at(app: &App, sequence: u64) -> Result<Option<DateTime<Utc>>, Problem> {
    if sequence == 0 {
        return Ok(None);
    }
    let found = app.log.stored_at(sequence).await?;
    Ok(found.map(|stored| stored.time))
}

fn whole(app: &App, caller: &Caller, fleet: &Fleet, limit: u32) -> Result<Then, QueryError> {
    let tenant = caller.tenant_seen();
    let filter = environments::Filter { tenant: tenant.cloned(), ..Default::default() };
    let environments = fleet.environments(&filter, None, limit)?;
    let filter = sessions::Filter { tenant: tenant.cloned(), open: true, ..Default::default() };
    let sessions = fleet.sessions(&filter, None, limit)?;
    let filter = servers::Filter { tenant: tenant.cloned(), ..Default::default() };
    let servers = fleet.servers(&filter, None, limit)?;
    // whoever may ask this sees servers by their role, not by grants
    let (access, now) = (Access::default(), Utc::now());
    let view = |row: ServerRow| server::View::of(row, &access, caller, now);
    let filter = relays::Filter { tenant: tenant.cloned(), ..Default::default() };
    let relays = fleet.relays(&filter, None, limit)?;
    let filter = batches::Filter { tenant: tenant.cloned(), ..Default::default() };
    let batches = fleet.batches(&filter, None, limit)?;
    let filter = schedules::Filter { tenant: tenant.cloned(), ..Default::default() };
    let schedules = fleet.schedules(&filter, None, limit)?;
    let newest = fleet.newest_runs(schedules.items.iter().map(|row| &row.schedule_id));
    Ok(Then {
        position: fleet.position(),
        time: None,
        environments: Listed {
            items: environments.items.into_iter().map(|row| environment::View::of(row, &app.shown)).collect(),
            next_cursor: environments.next_cursor,
        },
        ports: nothing(fleet),
        sessions,
        servers: Listed {
            items: servers.items.into_iter().filter_map(view).collect(),
            next_cursor: servers.next_cursor,
        },
        quotas: fleet.quotas(tenant, None, limit)?,
        relays: Listed {
            items: relays.items.into_iter().map(relay::View::from).collect(),
            next_cursor: relays.next_cursor,
        },
        schedules: Listed {
            items: schedule::views(schedules.items, newest),
            next_cursor: schedules.next_cursor,
        },
        batches: Listed {
            items: batches.items.into_iter().map(BatchView::from).collect(),
            next_cursor: batches.next_cursor,
        },
    })
}

fn of_environments(
    app: &App,
    fleet: &Fleet,
    tenant: Option<&TenantId>,
    envs: &[EnvId],
    limit: u32,
) -> Result<Then, QueryError> {
    let rows = envs.iter().filter_map(|env| fleet.environment(tenant, env));
    let items = rows.map(|row| environment::View::of(row, &app.shown)).collect();
    let mut open = nothing(fleet);
    for env in envs {
        let filter = sessions::Filter {
            tenant: tenant.cloned(),
            env: Some(env.clone()),
            open: true,
            ..Default::default()
        };
        let page = fleet.sessions(&filter, None, limit)?;
        open.items.extend(page.items);
        open.next_cursor = page.next_cursor;
    }
    Ok(Then {
        position: fleet.position(),
        time: None,
        environments: Listed { items, next_cursor: None },
        ports: nothing(fleet),
        sessions: open,
        servers: none(),
        quotas: nothing(fleet),
        relays: none(),
        schedules: none(),
        batches: none(),
    })
}

fn nothing<T>(fleet: &Fleet) -> Page<T> {
    Page { items: Vec::new(), next_cursor: None, position: fleet.position() }
}

fn none<T>() -> Listed<T> {
    Listed { items: Vec::new(), next_cursor: None }
}
