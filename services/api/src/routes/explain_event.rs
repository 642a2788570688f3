//! `GET /api/audit/explain/{event_id}`, `/api/audit/timeline`: why did it happen, what came of it, and what else
//! happened to the same thing?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use axum::extract::{Path, State};
use axum::response::Response;
use events::decide_again::{Again, Decided, decide_again};
use events::ids::{ServerId, TenantId, UserName};
use events::user::Role;
use events::{CATALOGUE, docs};
use projections::audit_log::AuditRow;
use projections::timeline::{self, Named, Subject};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::position;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::routes::Listed;
use crate::routes::ports::env;

/// Events of one request that are looked at.
const REQUEST_EVENTS_MAX: u32 = 1_000;
/// Steps back to the request.
const CAUSES_MAX: usize = 100;
/// Events of one aggregate that a rule is asked on again.
const PAST_MAX: usize = 20_000;

/// An event with what led to it and what it led to.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct Explanation {
    #[schema(value_type = Value)]
    event: AuditRow,
    /// `user:<name>`, `token:<id>`, `service:<name>` or `sentry:<env id>`.
    actor: String,
    /// Stands for the request, or the timer, that everything began with.
    #[schema(value_type = String)]
    correlation_id: Uuid,
    rule: RuleView,
    /// The event that this one is a reaction to, then that one's, back to the request.
    #[schema(value_type = Vec<Value>)]
    causes: Vec<AuditRow>,
    /// Reactions to this event, and to those; in their order.
    #[schema(value_type = Vec<Value>)]
    consequences: Vec<AuditRow>,
    /// Everything that the same request set in motion, in its order.
    #[schema(value_type = Vec<Value>)]
    request: Vec<AuditRow>,
    /// There is more than is shown.
    truncated: bool,
}

/// The rule that decided.
#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedRule)]
struct RuleView {
    /// Below `events/src`.
    #[schema(example = "quota/claim.rs")]
    file: &'static str,
    /// What the event says happened.
    what: String,
    /// What it looked at: the aggregate after these events of it.
    state: StateView,
    again: AgainView,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedState)]
struct StateView {
    /// `ev.<tenant>.<kind>.<id>`
    subject: String,
    events: usize,
    /// The last of them; `null` when this is the first.
    last_sequence: Option<u64>,
    /// As the rule was given it.
    shown: String,
}

/// What the same rule says today of the same state.
#[derive(Serialize, ToSchema)]
#[schema(as = DecidedAgain)]
struct AgainView {
    /// `same`, `another`, `nothing`, `refused` or `unknown`.
    outcome: &'static str,
    /// Why it is refused or not known.
    detail: Option<String>,
    /// The other event.
    event: Option<Value>,
}

/// Explain an event
///
/// What it was a reaction to, back to the request; what came of it; who acted; and the rule that decided, asked again on
/// the state that it saw. Admins see all tenants; auditors and operators what belongs to their tenant.
#[utoipa::path(
    get, path = "/api/audit/explain/{event_id}", tag = "audit",
    params(
        ("event_id" = String, Path, description = "The event's id, or its sequence"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Explanation, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn explain(
    State(app): State<App>,
    caller: Caller,
    Path(event_id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor, Role::Operator])?;
    let after = params.number("after");
    params.end()?;
    let unknown = || Problem::not_found("event");
    let named = match (event_id.parse::<u64>(), event_id.parse::<Uuid>()) {
        (Ok(sequence), _) => Named::Sequence(sequence),
        (_, Ok(id)) => Named::Id(id),
        (Err(_), Err(_)) => return Err(unknown()),
    };
    app.caught_up(after).await?;
    let tenant = caller.tenant_seen();
    let found = timeline::event(&app.projections, tenant, named).await?;
    let event = found.value.ok_or_else(unknown)?;
    let request =
        timeline::of_request(&app.projections, tenant, event.correlation_id, REQUEST_EVENTS_MAX).await?;
    let answer = Explanation {
        actor: event.actor.clone(),
        correlation_id: event.correlation_id,
        rule: rule(&app, &event).await?,
        causes: causes(&app, tenant, &event, &request).await?,
        consequences: consequences(&event, &request),
        truncated: u32::try_from(request.len()).is_ok_and(|count| count >= REQUEST_EVENTS_MAX),
        request,
        event,
    };
    Ok(position::shown(found.position, answer))
}

async fn causes(
    app: &App,
    tenant: Option<&TenantId>,
    event: &AuditRow,
    request: &[AuditRow],
) -> Result<Vec<AuditRow>, Problem> {
    let known: BTreeMap<Uuid, &AuditRow> = request.iter().map(|row| (row.event_id, row)).collect();
    let (mut causes, mut next) = (Vec::<AuditRow>::new(), event.causation_id);
    while let Some(id) = next
        && causes.len() < CAUSES_MAX
    {
        let found = match known.get(&id) {
            Some(row) => Some((*row).clone()),
            None => timeline::event(&app.projections, tenant, Named::Id(id)).await?.value,
        };
        // what belongs to somebody else ends the chain
        let Some(row) = found else { break };
        next = row.causation_id;
        causes.push(row);
    }
    Ok(causes)
}

/// An event comes after what it is a reaction to.
fn consequences(event: &AuditRow, request: &[AuditRow]) -> Vec<AuditRow> {
    let mut ids = BTreeSet::from([event.event_id]);
    let mut found = Vec::new();
    for row in request {
        if row.causation_id.is_some_and(|cause| ids.contains(&cause)) {
            ids.insert(row.event_id);
            found.push(row.clone());
        }
    }
    found
}

async fn rule(app: &App, event: &AuditRow) -> Result<RuleView, Problem> {
    let entry = CATALOGUE.iter().find(|entry| entry.name == event.event_type);
    let recorded = app.log.event_at(event.seq).await?.ok_or_else(|| Problem::not_found("event"))?;
    let past = app.log.history(&recorded.subject, recorded.seq, PAST_MAX).await?;
    let (events, last_sequence) = match &past {
        Some(past) => (past.len(), past.last().map(|recorded| recorded.seq)),
        None => (PAST_MAX, None),
    };
    let Decided { state, again } = match past {
        Some(past) => decide_again(&past, &recorded),
        None => Decided { state: String::new(), again: Again::Unknown("the aggregate's past is too long") },
    };
    let nothing = |outcome| AgainView { outcome, detail: None, event: None };
    Ok(RuleView {
        file: entry.map_or("", |entry| entry.rule),
        what: entry.map(docs::summary).unwrap_or_default(),
        state: StateView { subject: recorded.subject.to_string(), events, last_sequence, shown: state },
        again: match again {
            Again::Same => nothing("same"),
            Again::Nothing => nothing("nothing"),
            Again::Another(event) => AgainView { event: Some(event.to_json()), ..nothing("another") },
            Again::Refused { code, why } => {
                AgainView { detail: Some(format!("{why} ({code})")), ..nothing("refused") }
            }
            Again::Unknown(why) => AgainView { detail: Some(why.to_owned()), ..nothing("unknown") },
        },
    })
}

fn user(text: &str) -> Result<UserName, String> {
    UserName::parse(text).map_err(|invalid| format!("must be {}", invalid.rule))
}

fn server(text: &str) -> Result<ServerId, String> {
    ServerId::parse(text).map_err(|invalid| format!("must be {}", invalid.rule))
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "must be an IPv4 or IPv6 address".to_owned())
}

/// Follow one thing through time
///
/// Every event about one environment, person, server or address, newest first; one of the four must be named. Admins
/// see all tenants; auditors and operators what belongs to their tenant.
#[utoipa::path(
    get, path = "/api/audit/timeline", tag = "audit",
    params(
        ("env" = Option<String>, Query, description = "Of this environment: also its logins, sessions, ports and quota"),
        ("user" = Option<String>, Query, description = "Of this person: what they and their tokens did, and what is about them"),
        ("server" = Option<String>, Query, description = "Of this server: also its sessions and grants"),
        ("address" = Option<String>, Query, description = "Of this address: sign-ins, logins, locks and sessions"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64))),
        (status = 400, description = "`parameter_invalid`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn timeline(
    State(app): State<App>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor, Role::Operator])?;
    let subjects = [
        params.parsed("env", env).map(Subject::Environment),
        params.parsed("user", user).map(Subject::User),
        params.parsed("server", server).map(Subject::Server),
        params.parsed("address", address).map(Subject::Address),
    ];
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    let mut subjects = subjects.into_iter().flatten();
    let (Some(subject), None) = (subjects.next(), subjects.next()) else {
        let detail = "exactly one of env, user, server and address must be given".to_owned();
        let wrong = FieldError { field: "env".to_owned(), code: "required", detail: detail.clone() };
        return Err(Problem::parameters(detail, vec![wrong]));
    };
    app.caught_up(after).await?;
    let tenant = caller.tenant_seen();
    Ok(position::page(timeline::list(&app.projections, tenant, &subject, cursor.as_deref(), limit).await?))
}
