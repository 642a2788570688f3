//! `GET /api/audit/diff`: what changed in the fleet between two instants?

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use events::access::Access;
use events::ids::TenantId;
use events::user::Role;
use projections::batches::BatchRow;
use projections::fleet::{Both, Change, Differences};
use projections::relays::RelayRow;
use projections::schedule_runs::RunRow;
use projections::schedules::ScheduleRow;
use projections::servers::ServerRow;
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
use crate::reading::Asked;
use crate::routes::relays;
use crate::routes::replay_log::{missing, stored_at};
use crate::schedule::{self, DueView};
use crate::server;

/// One thing that is not as it was.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetDifference, example = json!({
    "what": "environment", "id": "env-abcdefghijkl", "tenant_id": "default", "change": "changed",
    "fields": ["status", "updated_at"], "before": {"status": "creating"}, "after": {"status": "running"},
}))]
pub struct Difference {
    /// `environment`, `port`, `session`, `server`, `quota`, `relay`, `schedule` or `batch`: one whose commands got further,
    /// too.
    what: &'static str,
    id: String,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// `came`, `changed`, `went` (deleted, released, closed, removed, revoked, ended) or `came_and_went`.
    #[schema(value_type = String)]
    change: Change,
    /// Which fields are not the same, where it was there before and after.
    fields: Vec<String>,
    /// As the read of its kind showed it; `null` when it was not there.
    before: Option<Value>,
    after: Option<Value>,
}

/// What changed after `from`, up to and with `to`.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetDifferences)]
pub struct Compared {
    from: u64,
    to: u64,
    /// When the event `from` was stored.
    from_time: Option<DateTime<Utc>>,
    to_time: Option<DateTime<Utc>>,
    /// How many there are on all pages.
    count: usize,
    items: Vec<Difference>,
    next_cursor: Option<String>,
}

/// Compare two instants
///
/// What came, changed and went between them, with both states of each. For admins (all tenants), auditors and operators
/// (their tenant).
#[utoipa::path(
    get, path = "/api/audit/diff", tag = "audit",
    params(
        ("from" = String, Query, description = "Sequence or RFC 3339 time; not in the future"),
        ("to" = Option<String>, Query, description = "Likewise, not before `from`; now when absent"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; ask with the sequences of its answer"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Compared, headers(("Portreeve-Position" = u64))),
        (status = 400, description = "`parameter_invalid`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn diff(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor, Role::Operator])?;
    let (from, to) = (params.instant("from"), params.instant("to"));
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    let from = from.ok_or_else(|| missing("from"))?;
    let offset = offset(cursor.as_deref())?;
    app.caught_up(after).await?;
    let before = app.fleet(from).await?;
    let after = match to {
        Some(to) => app.fleet(to).await?,
        None => app.fleet(now(&app).await?).await?,
    };
    if before.position() > after.position() {
        let detail = "from must not be after to".to_owned();
        let wrong = FieldError { field: "from".to_owned(), code: "after_to", detail: detail.clone() };
        return Err(Problem::parameters(detail, vec![wrong]));
    }
    let found = before.differences(&after, caller.tenant_seen());
    let all = shown(found, &app, &caller);
    let (count, limit) = (all.len(), limit as usize);
    let items: Vec<Difference> = all.into_iter().skip(offset).take(limit).collect();
    let next = offset.saturating_add(items.len());
    let answer = Compared {
        from: before.position(),
        to: after.position(),
        from_time: stored_at(&app, before.position()).await?,
        to_time: stored_at(&app, after.position()).await?,
        count,
        items,
        next_cursor: (next < count).then(|| BASE64URL_NOPAD.encode(format!("diff:{next}").as_bytes())),
    };
    Ok(position::shown(after.position(), answer))
}

async fn now(app: &App) -> Result<Asked, Problem> {
    let head = app.log.head().await?;
    Ok(Asked { parameter: "to", instant: audit::time_travel::Instant::Sequence(head) })
}

/// How many differences the pages before had; the order of all is the same each time.
fn offset(cursor: Option<&str>) -> Result<usize, Problem> {
    let Some(cursor) = cursor else { return Ok(0) };
    let text = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let offset = text.and_then(|text| text.strip_prefix("diff:")?.parse().ok());
    offset.ok_or_else(|| projections::QueryError::CursorInvalid.into())
}

fn shown(found: Differences, app: &App, caller: &Caller) -> Vec<Difference> {
    // whoever may ask this sees servers by their role, not by grants
    let (access, now) = (Access::default(), Utc::now());
    let mut all = Vec::new();
    all.extend(found.environments.into_iter().filter_map(|both| {
        difference("environment", both, environment_name, |row| json(environment::View::of(row, &app.shown)))
    }));
    all.extend(
        found.ports.into_iter().filter_map(|both| {
            difference("port", both, |row| (row.port.to_string(), row.tenant.clone()), json)
        }),
    );
    all.extend(found.sessions.into_iter().filter_map(|both| {
        difference("session", both, |row| (row.session_id.to_string(), row.tenant.clone()), json)
    }));
    all.extend(found.servers.into_iter().filter_map(|both| {
        let view = |row: ServerRow| server::View::of(row, &access, caller, now).and_then(json);
        difference("server", both, |row| (row.server_id.to_string(), row.tenant.clone()), view)
    }));
    all.extend(found.quotas.into_iter().filter_map(|both| {
        difference("quota", both, |row| (row.tenant.to_string(), row.tenant.clone()), json)
    }));
    all.extend(found.relays.into_iter().filter_map(|both| {
        let view = |row: RelayRow| json(relays::View::from(row));
        difference("relay", both, |row| (row.relay_id.to_string(), row.tenant.clone()), view)
    }));
    all.extend(found.schedules.into_iter().filter_map(|both| {
        let view =
            |(row, run): (ScheduleRow, Option<RunRow>)| json(schedule::View::of(row, run.map(DueView::from)));
        difference("schedule", both, |(row, _)| (row.schedule_id.to_string(), row.tenant.clone()), view)
    }));
    all.extend(found.batches.into_iter().filter_map(|both| {
        let view = |row: BatchRow| json(BatchView::from(row));
        difference("batch", both, |row| (row.batch_id.to_string(), row.tenant.clone()), view)
    }));
    all
}

fn environment_name(row: &projections::environments::EnvironmentRow) -> (String, TenantId) {
    (row.env_id.to_string(), row.tenant.clone())
}

fn json<T: Serialize>(row: T) -> Option<Value> {
    serde_json::to_value(row).ok()
}

fn difference<R>(
    what: &'static str,
    both: Both<R>,
    name: impl Fn(&R) -> (String, TenantId),
    view: impl Fn(R) -> Option<Value>,
) -> Option<Difference> {
    let (id, tenant_id) = both.after.as_ref().or(both.before.as_ref()).map(name)?;
    let (before, after) = (both.before.and_then(&view), both.after.and_then(&view));
    let fields = match (&before, &after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let differs = |name: &&String| before.get(*name) != after.get(*name);
            after.keys().filter(differs).cloned().collect()
        }
        (_, _) => Vec::new(),
    };
    Some(Difference { what, id, tenant_id, change: both.change, fields, before, after })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_page_goes_on_where_the_one_before_ended() {
        let cursor = BASE64URL_NOPAD.encode(b"diff:50");
        assert_eq!(offset(Some(&cursor)).ok(), Some(50));
        assert_eq!(offset(None).ok(), Some(0));
        for wrong in ["", "x", "ZGlmZjo"] {
            assert!(offset(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_the_same_is_named() {
        let both = Both { change: Change::Changed, before: Some((1, 2)), after: Some((1, 3)) };
        let tenant = TenantId::parse("acme").unwrap();
        let view = |(a, b): (i32, i32)| Some(serde_json::json!({"a": a, "b": b}));
        let found = difference("environment", both, |_| ("x".to_owned(), tenant.clone()), view).unwrap();
        assert_eq!((found.fields, found.id.as_str()), (vec!["b".to_owned()], "x"));
    }
}
