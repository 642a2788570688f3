//! `/api/nats-taps`: who may follow a tenant's events by NATS itself, and how far have they come?

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use events::Kind;
use events::ids::{NatsTapId, TenantId, UserName};
use events::nats_tap::leave::leaves;
use events::nats_tap::{NatsTap, NatsTapIssued, NatsTapRefusal, issue::issue, revoke::revoke as revoke_rule};
use events::user::Role;
use nats::followers::{FOLLOWED, FOLLOWERS_API};
use nats::{TapPosition, Way, inbox_prefix};
use projections::nats_taps::{self, Filter, NatsTapRow};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::{Caller, Whose};
use crate::app::App;
use crate::auth::token_digest;
use crate::fields::{Fields, Wrong};
use crate::idempotency::index;
use crate::incoming::Asking;
use crate::params::{Params, yes_or_no};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::readers;
use crate::routes::Listed;
use crate::routes::users::must_exist;

/// Taps of a tenant at one time: each is a consumer on the server.
const TAPS_MAX: u32 = 100;
/// Of a password: 200 random bits.
const PASSWORD_BYTES: usize = 25;

/// Who is to follow what.
#[derive(ToSchema)]
#[schema(as = NatsTapAsked, example = json!({"name": "warehouse", "kinds": ["env", "session"]}))]
#[allow(dead_code)] // a description
pub struct AskedShape {
    /// Any text of 1 to 63 characters; not unique.
    name: String,
    /// Kinds of things whose events are followed; all that may leave and that you see when absent.
    kinds: Option<Vec<String>>,
    /// The caller's own when absent.
    tenant_id: Option<String>,
}

/// One who hears what happens, as it happens. What is missed while one is not there is not told.
#[derive(Serialize, ToSchema)]
#[schema(as = NatsTapLive)]
pub struct Live {
    user: String,
    /// Subjects to subscribe to.
    subjects: Vec<String>,
}

/// One who comes back to where they were: pulls from a consumer whose place the server keeps, and acknowledges.
#[derive(Serialize, ToSchema)]
#[schema(as = NatsTapResume)]
pub struct Resume {
    user: String,
    stream: &'static str,
    consumer: String,
    /// Prefix of JetStream's API here, instead of `$JS.API`.
    api_prefix: &'static str,
    /// How the client's inboxes must begin.
    inbox_prefix: String,
    /// Subjects of what comes.
    subjects: Vec<String>,
}

/// A tap without its password.
#[derive(Serialize, ToSchema)]
#[schema(as = NatsTap)]
pub struct View {
    #[schema(value_type = String, example = "tap-abcdefghijkl")]
    tap_id: NatsTapId,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    name: String,
    kinds: Vec<String>,
    #[schema(value_type = String)]
    issued_by: UserName,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    /// Where the server is.
    #[schema(example = "nats://127.0.0.1:4222")]
    url: String,
    /// The same for WebSockets, where there are some.
    #[schema(example = "wss://nats.example.org:8090")]
    websocket_url: Option<String>,
    live: Live,
    resume: Resume,
}

/// A new tap; its password is shown this once, and is that of both users.
#[derive(Serialize, ToSchema)]
#[schema(as = NatsTapShown)]
pub struct Shown {
    #[serde(flatten)]
    tap: View,
    #[schema(example = "ptp_abcdefghijklmnopqrstuvwxyz234567abcdefgh")]
    password: String,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

/// A tap, and how far it has come.
#[derive(Serialize, ToSchema)]
#[schema(as = NatsTapWhole)]
pub struct Whole {
    #[serde(flatten)]
    tap: View,
    /// Absent while nobody has followed by it with `resume` yet, or the server does not say.
    progress: Option<Progress>,
}

/// Where a tap is that comes back to where it was.
#[derive(Serialize, ToSchema)]
#[schema(as = NatsTapProgress)]
pub struct Progress {
    /// Sequence in the log of the last event that was handed out.
    delivered: u64,
    /// Every event up to this sequence is acknowledged.
    acknowledged: u64,
    /// Events that were handed out and are not acknowledged.
    unacknowledged: u64,
    /// Events that were not handed out yet: how far it is behind.
    pending: u64,
}

impl From<TapPosition> for Progress {
    fn from(position: TapPosition) -> Self {
        let TapPosition { delivered, acknowledged, unacknowledged, pending } = position;
        Self { delivered, acknowledged, unacknowledged, pending }
    }
}

fn view(app: &App, row: NatsTapRow) -> View {
    let subjects = |way: Way| way.subjects(&row.tenant, row.kinds.iter().map(String::as_str));
    View {
        url: app.nats_taps.at.url.clone(),
        websocket_url: app.nats_taps.at.websocket_url.clone(),
        live: Live { user: Way::Live.user(&row.tap_id), subjects: subjects(Way::Live) },
        resume: Resume {
            user: Way::Resume.user(&row.tap_id),
            stream: FOLLOWED,
            inbox_prefix: inbox_prefix(&row.consumer),
            subjects: subjects(Way::Resume),
            consumer: row.consumer,
            api_prefix: FOLLOWERS_API,
        },
        tap_id: row.tap_id,
        tenant_id: row.tenant,
        name: row.name,
        kinds: row.kinds,
        issued_by: row.issued_by,
        created_at: row.created_at,
        revoked_at: row.revoked_at,
    }
}

/// The kinds that may leave and that this caller sees, whosever they are.
fn seen(caller: &Caller) -> BTreeSet<Kind> {
    let whose = Whose { tenant: Some(caller.tenant.clone()), owner: None };
    let kinds = Kind::ALL.iter().copied();
    kinds.filter(|kind| leaves(*kind) && caller.sees_event(*kind, &whose)).collect()
}

struct Asked {
    name: String,
    tenant: TenantId,
    kinds: BTreeSet<Kind>,
}

fn read(body: &Value, caller: &Caller) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::label);
    let tenant = fields.optional("tenant_id", readers::tenant).unwrap_or_else(|| caller.tenant.clone());
    let may = seen(caller);
    let asked = fields.list("kinds", Kind::ALL.len(), |value| {
        let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
        Kind::from_wire(text).filter(|kind| may.contains(kind)).ok_or_else(|| {
            let known: Vec<&str> = may.iter().map(|kind| kind.wire_name()).collect();
            Wrong::new("malformed", format!("must be of {}", known.join(", ")))
        })
    });
    let kinds = if fields.has("kinds") { asked.into_iter().collect() } else { may };
    if kinds.is_empty() && !fields.has_errors() {
        fields.note("kinds", Wrong::new("too_short", "must have at least one kind, or be left out for all"));
    }
    fields.finish(name.map(|name| Asked { name, tenant, kinds }))
}

/// Those who see a tenant's events whosever they are.
fn sees_taps(caller: &Caller) -> Result<(), Problem> {
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])
}

/// Issue a tap of NATS
///
/// Two users of the server with one password, which is shown once: `live` hears events as they are stored, `resume`
/// pulls from a consumer of its own and goes on where it was. Both see the tenant's events of these kinds and nothing
/// else, and change nothing. Messages are events as they were stored, with CloudEvents' attributes as headers. What
/// tells of secrets (kinds `credential`, `server`, `relay`, `subscription`, `nats_tap`) and what stands under the
/// system's own tenant does not leave.
#[utoipa::path(
    post, path = "/api/nats-taps", tag = "events", request_body = AskedShape,
    responses(
        (status = 201, body = Shown, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`key_shown_before`, `too_many_taps`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`nats_taps_unavailable`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, Asking(incoming): Asking) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    sees_taps(caller)?;
    let asked = read(&incoming.body.json, caller)?;
    if asked.tenant != caller.tenant && caller.tenant_seen().is_some() {
        return Err(Problem::new("forbidden", format!("your taps show events of {}", caller.tenant)));
    }
    must_exist(&app, &asked.tenant).await?;
    if !app.nats_taps.possible {
        let detail = "this installation's NATS has one account for everything: see nats/server.conf";
        return Err(Problem::new("nats_taps_unavailable", detail));
    }
    room(&app, &asked.tenant).await?;
    let cause = incoming.accept(&app).await?;
    let id = NatsTapId::from_seed(&cause.command);
    let password = new_password()?;
    let issued = NatsTapIssued {
        name: asked.name,
        kinds: asked.kinds.into_iter().map(|kind| kind.wire_name().to_owned()).collect(),
        by: caller.owner.clone(),
        digest: token_digest(&password),
    };
    let rule = |tap: &NatsTap| issue(tap, issued.clone());
    let decided =
        app.log.decide::<NatsTap, _>(&asked.tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    // a repeated command finds the tap it made before, whose password nobody has any more
    if decided.state.issued.as_ref().is_none_or(|there| there.digest != issued.digest) {
        return Err(Problem::refused(&NatsTapRefusal::ShownBefore));
    }
    let row = NatsTapRow {
        consumer: issued.consumer(&id),
        tap_id: id,
        tenant: asked.tenant,
        name: issued.name,
        kinds: issued.kinds.into_iter().collect(),
        issued_by: issued.by,
        revoked_at: None,
        created_at: Utc::now(),
        created_seq: decided.seq,
        seq: decided.seq,
    };
    let shown = Shown { tap: view(&app, row), password, position: decided.seq };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, position::header(decided.seq), Json(shown)).into_response())
}

fn new_password() -> Result<String, Problem> {
    let mut secret = [0_u8; PASSWORD_BYTES];
    getrandom::fill(&mut secret).map_err(|error| Problem::internal(&error))?;
    Ok(format!("ptp_{}", data_encoding::BASE32_NOPAD.encode(&secret).to_ascii_lowercase()))
}

/// As far as the read model knows: a few that come at the same moment may be more.
async fn room(app: &App, tenant: &TenantId) -> Result<(), Problem> {
    let filter = Filter { tenant: Some(tenant.clone()), revoked: false };
    let there = nats_taps::list(&app.projections, &filter, None, TAPS_MAX).await?;
    if there.items.len() < TAPS_MAX as usize {
        return Ok(());
    }
    let detail = format!("{tenant} has {TAPS_MAX} taps of NATS already; revoke one first");
    Err(Problem::new("too_many_taps", detail))
}

/// List taps of NATS
///
/// Newest first, never their passwords.
#[utoipa::path(
    get, path = "/api/nats-taps", tag = "events",
    params(
        ("revoked" = Option<bool>, Query, description = "Revoked ones too"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<View>, headers(("Portreeve-Position" = u64))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let revoked = params.parsed("revoked", yes_or_no).unwrap_or_default();
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    sees_taps(&caller)?;
    app.caught_up(after).await?;
    let filter = Filter { tenant: caller.tenant_seen().cloned(), revoked };
    let page = nats_taps::list(&app.projections, &filter, cursor.as_deref(), limit).await?;
    Ok(position::page(page.map(|row| view(&app, row))))
}

/// Show a tap of NATS
///
/// With how far the one has come that comes back to where it was.
#[utoipa::path(
    get, path = "/api/nats-taps/{id}", tag = "events",
    params(
        ("id" = String, Path, description = "Tap id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Whole, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let (position, row) = find(&app, &caller, &id).await?;
    let progress = match app.nats_taps.positions.of(&row.consumer).await {
        Ok(progress) => progress.map(Progress::from),
        Err(error) => {
            tracing::warn!(
                error = kit::error::chain(&error),
                "the server does not say how far a tap has come"
            );
            None
        }
    };
    Ok(position::shown(position, Whole { tap: view(&app, row), progress }))
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<(u64, NatsTapRow), Problem> {
    let unknown = || Problem::refused(&NatsTapRefusal::NotFound);
    sees_taps(caller).map_err(|_| unknown())?;
    let id = NatsTapId::parse(id).map_err(|_| unknown())?;
    let found = nats_taps::get(&app.projections, caller.tenant_seen(), &id).await?;
    Ok((found.position, found.value.ok_or_else(unknown)?))
}

/// Revoke a tap of NATS
///
/// Nobody is let in by it any more, who is connected is sent out, and its place is forgotten. Operators and admins revoke
/// any of the tenant, auditors those that they asked for.
#[utoipa::path(
    delete, path = "/api/nats-taps/{id}", tag = "events",
    params(("id" = String, Path, description = "Tap id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"tap_id": "tap-abcdefghijkl", "revoked": true})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    Asking(incoming): Asking,
) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    let (tenant, id, issued) = there(&app, caller, &id).await?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    if caller.role == Role::Auditor && issued.by != caller.owner {
        return Err(Problem::new("forbidden", "an auditor revokes the taps that they asked for"));
    }
    let cause = incoming.accept(&app).await?;
    let decided =
        app.log.decide::<NatsTap, _>(&tenant, id.as_str(), &cause, index::FIRST, revoke_rule).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"tap_id": id, "revoked": true})))
}

/// Looks in the caller's tenant; for an admin then in all, where the read model says which.
async fn there(
    app: &App,
    caller: &Caller,
    id: &str,
) -> Result<(TenantId, NatsTapId, NatsTapIssued), Problem> {
    let unknown = || Problem::refused(&NatsTapRefusal::NotFound);
    sees_taps(caller).map_err(|_| unknown())?;
    let id = NatsTapId::parse(id).map_err(|_| unknown())?;
    let mut tenant = caller.tenant.clone();
    let mut tap = app.log.load::<NatsTap>(&tenant, id.as_str()).await?.state;
    if tap.issued.is_none() && caller.tenant_seen().is_none() {
        let row = nats_taps::get(&app.projections, None, &id).await?.value;
        tenant = row.ok_or_else(unknown)?.tenant;
        tap = app.log.load::<NatsTap>(&tenant, id.as_str()).await?.state;
    }
    Ok((tenant, id, tap.issued.ok_or_else(unknown)?))
}
