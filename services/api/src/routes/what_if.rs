//! `POST /api/audit/what-if`: which decisions of a period would another policy have made otherwise?

use audit::time_travel::{Instant, TravelError};
use audit::what_if::{Period, WhatIfError, what_if};
use axum::extract::State;
use axum::response::Response;
use chrono::Utc;
use events::ids::TenantId;
use events::tenant::Tenant;
use events::user::Role;
use events::what_if::{Difference, ListOf, OtherList, OtherPolicy};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::environment::find;
use crate::incoming::Asking;
use crate::position;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::reading;
use crate::routes::verify_log::busy;
use crate::what_if_fields::{self, AskedShape, Policy, Whose};

/// What would have been decided otherwise, in the order of the log.
#[derive(Serialize, ToSchema)]
#[schema(as = WhatIf, example = json!({
    "from_sequence": 17, "to_sequence": 42, "decided": 9, "differing": 1, "items": [{
        "sequence": 21, "event_id": "1190a1b2-c3d4-5e5f-8a9b-0c1d2e3f4a5b", "time": "2026-01-02T03:04:05Z",
        "type": "LoginSucceeded", "kind": "login", "id": "env-abcdefghijkl", "tenant_id": "default",
        "actor": "service:gateway", "address": "192.0.2.7", "was": {"outcome": "let_in"},
        "would_be": {"outcome": "refused", "code": "address_locked"},
        "reason": "every entrance is closed to this address until 2026-01-02 03:34:00 UTC",
    }], "truncated": false,
}))]
pub struct Answer {
    /// Both are in the period; it has no event when the second is before the first.
    from_sequence: u64,
    to_sequence: u64,
    /// How many decisions were looked at.
    decided: u64,
    /// How many of them would have been others.
    differing: u64,
    /// The first 1,000 of these.
    #[schema(value_type = Vec<serde_json::Value>)]
    items: Vec<Difference>,
    /// There are more than are shown.
    truncated: bool,
}

/// Ask what another policy would have decided
///
/// The rules that decide are asked again with other thresholds of the lockout, another quota, another allow-list, or
/// several of them, on what the log would have had. Outcomes are `let_in`, `tried` (a password or a key), `refused`
/// (with its code), `turned_away` (so many times), `closed` (until), `open`, `unlocked` and `claimed`.
///
/// *Lockout*: each failed password, lock, unlock, refusal and login, of all environments that the caller may ask about;
/// what failed before the period counts in it. *Quota*: each claim; one that would have been refused holds nothing
/// afterwards. *Allow-list*: each login and try, and each guest of a shared terminal; who was in when the period begins
/// is not looked at.
///
/// Only what is on record can differ. Requests beyond a quota and addresses that an allow-list kept out leave no event,
/// so what a wider one would have let in does not show. Tries at a closed address were never checked: that they would
/// have been let try is known, what would have come of it is not. And people do something else after another decision.
///
/// Nothing is recorded. For admins (all tenants), auditors and operators (their tenant).
#[utoipa::path(
    post, path = "/api/audit/what-if", tag = "audit", request_body = AskedShape,
    responses(
        (status = 200, body = Answer, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: the environment or the tenant", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`busy`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 504, description = "`timed_out`: ask about a shorter period", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn ask(State(app): State<App>, Asking(incoming): Asking) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    caller.needs(&[Role::Admin, Role::Auditor, Role::Operator])?;
    let asked = what_if_fields::asked(&incoming.body.json)?;
    let policy = other(&app, caller, asked.policy).await?;
    let period = period(&app, asked.from, asked.to).await?;
    let place = app.checks.clone().try_acquire_owned().map_err(|_| busy())?;
    let found = what_if(&app.log, policy, caller.tenant_seen(), period).await?;
    drop(place);
    let answer = Answer {
        from_sequence: period.first,
        to_sequence: period.last,
        decided: found.decided,
        differing: found.differing,
        truncated: found.is_truncated(),
        items: found.items,
    };
    Ok(position::shown(period.last, answer))
}

/// The policy, where what it names exists for the caller.
async fn other(app: &App, caller: &Caller, asked: Policy) -> Result<OtherPolicy, Problem> {
    if let Some(quota) = &asked.quota {
        exists(app, caller, &quota.tenant).await?;
    }
    let allow_list = match asked.allow_list {
        Some((Whose::Env(env), ranges)) => {
            let found = find(app, caller, env.as_str()).await?;
            Some(OtherList { of: ListOf::Env(found.tenant, found.id), ranges })
        }
        Some((Whose::Tenant(tenant), ranges)) => {
            exists(app, caller, &tenant).await?;
            Some(OtherList { of: ListOf::Tenant(tenant), ranges })
        }
        None => None,
    };
    Ok(OtherPolicy { lockout: asked.lockout, quota: asked.quota, allow_list })
}

async fn exists(app: &App, caller: &Caller, tenant: &TenantId) -> Result<(), Problem> {
    let unknown = || Problem::not_found("tenant");
    if caller.tenant_seen().is_some_and(|own| own != tenant) {
        return Err(unknown());
    }
    let name = app.log.load::<Tenant>(tenant, tenant.as_str()).await?.state.name;
    name.map(drop).ok_or_else(unknown)
}

/// A time is the last moment before the period, and the last one in it.
async fn period(app: &App, from: Instant, to: Option<Instant>) -> Result<Period, Problem> {
    let at = sequence(app, "from", from).await?;
    let last = match to {
        Some(to) => sequence(app, "to", to).await?,
        None => app.log.head().await?,
    };
    let (first, is_after) = match from {
        Instant::Sequence(_) => (at.max(1), at > last),
        Instant::Time(_) => (at + 1, at > last),
    };
    if is_after {
        return Err(wrong("from", "after_to", "must not be after to".to_owned()));
    }
    Ok(Period { first, last })
}

async fn sequence(app: &App, field: &str, instant: Instant) -> Result<u64, Problem> {
    let found = app.time_travel.sequence(instant, Utc::now()).await;
    found.map_err(|error| match error {
        TravelError::NotYet { .. } | TravelError::Future { .. } => {
            wrong(field, "in_future", error.to_string())
        }
        TravelError::Log(_) | TravelError::Replay { .. } => reading::problem(field, error),
    })
}

fn wrong(field: &str, code: &'static str, detail: String) -> Problem {
    let said = format!("{field}: {detail}");
    Problem::with_fields(said, vec![FieldError { field: field.to_owned(), code, detail }])
}

impl From<WhatIfError> for Problem {
    fn from(error: WhatIfError) -> Self {
        match error {
            WhatIfError::Log(error) => error.into(),
            WhatIfError::Tail(_) => {
                Self::caused("log_unavailable", "the event log did not answer; try again", &error)
            }
            WhatIfError::TooLong => Self::new("timed_out", format!("{error}; ask about a shorter one")),
        }
    }
}
