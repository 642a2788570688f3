//! `/api/relays`: which relays may dial out to us, with which keys, and are they connected?

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{RelayId, Tag, TenantId};
use events::relay::accept::accept as accept_rule;
use events::relay::register::register;
use events::relay::revoke::revoke;
use events::relay::rotate_key::rotate_key;
use events::relay::{Relay, RelayRefusal, RelayRegistered, RelaySettings};
use events::user::Role;
use ipnet::IpNet;
use projections::relays::{self, Filter, RelayRow};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::auth::token_digest;
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::{Enrolling, Incoming};
use crate::params::{Params, yes_or_no};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::relay_fields::{self, AskedShape};
use crate::routes::Listed;

/// How long the key before counts: not at all to a month; a day when nothing is said.
const OVERLAP_S_MAX: u64 = 30 * 24 * 3600;
const OVERLAP_S_DEFAULT: u64 = 24 * 3600;
/// Relays of a tenant that may wait to be accepted: whoever has a token of the role `enroller` makes no more.
const PENDING_MAX: u32 = 100;
/// Of a key: 200 random bits.
const KEY_BYTES: usize = 25;

/// A relay's key, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = RelayKey, example = json!({
    "relay_id": "rel-abcdefghijkl", "proxy_id": "rel-abcdefghijkl",
    "api_key": "prk_abcdefghijklmnopqrstuvwxyz234567abcdefgh", "previous_until": null, "position": 42,
}))]
pub struct Shown {
    #[schema(value_type = String)]
    relay_id: RelayId,
    /// What the relay sends as `proxyId`.
    #[schema(value_type = String)]
    proxy_id: RelayId,
    /// What the relay sends as `apiKey`.
    api_key: String,
    /// Until when the key before counts too.
    previous_until: Option<DateTime<Utc>>,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

/// A relay from outside: everything but its key.
#[derive(Serialize, ToSchema)]
#[schema(as = Relay)]
pub struct View {
    #[schema(value_type = String, example = "rel-abcdefghijkl")]
    relay_id: RelayId,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    name: String,
    #[schema(value_type = Option<String>)]
    zone: Option<Tag>,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    labels: BTreeMap<Tag, Tag>,
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpNet>,
    in_flight_max: u32,
    /// Commands that it was given and that have no outcome yet.
    in_flight: u64,
    connected: bool,
    /// It registered itself and waits for an operator.
    pending: bool,
    revoked: bool,
    /// Counts its connections.
    epoch: u64,
    /// From where its newest connection came, and how it speaks.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
    #[schema(example = "engine.io 4 websocket")]
    client: Option<String>,
    /// When its newest connection began, or ended.
    changed_at: Option<DateTime<Utc>>,
    /// Why its newest connection ended.
    #[schema(example = "relay_left")]
    reason: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<RelayRow> for View {
    fn from(row: RelayRow) -> Self {
        let connected = row.connected();
        let RelaySettings { name, zone, labels, addresses, in_flight_max } = row.settings;
        Self {
            relay_id: row.relay_id,
            tenant_id: row.tenant,
            name,
            zone,
            labels,
            addresses,
            in_flight_max,
            in_flight: row.in_flight,
            connected,
            pending: row.pending,
            revoked: row.revoked,
            epoch: row.epoch,
            address: row.address,
            client: row.client,
            changed_at: row.changed_at,
            reason: row.reason,
            created_at: row.created_at,
        }
    }
}

fn new_key() -> Result<String, Problem> {
    let mut secret = [0_u8; KEY_BYTES];
    getrandom::fill(&mut secret).map_err(|error| Problem::internal(&error))?;
    Ok(format!("prk_{}", data_encoding::BASE32_NOPAD.encode(&secret).to_ascii_lowercase()))
}

fn shown(status: StatusCode, shown: Shown) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, no_store, position::header(shown.position), Json(shown)).into_response()
}

/// Register a relay
///
/// It connects to `/socket.io/`, namespace `/proxy`, with `proxyId` and `apiKey`. Its key is shown once: repeating
/// the request with the same `Idempotency-Key` is answered with 409 `key_shown_before`. Registered with a token of the
/// role `enroller` it waits: its connections are refused with `relay_pending` until an operator accepts it.
#[utoipa::path(
    post, path = "/api/relays", tag = "relays", request_body = AskedShape,
    responses(
        (status = 201, body = Shown, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`key_shown_before`, `too_many_pending`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, Enrolling(incoming): Enrolling) -> Result<Response, Problem> {
    let pending = incoming.caller.role == Role::Enroller;
    if !pending {
        incoming.caller.keeps_servers()?;
    }
    let settings = relay_fields::asked(&incoming.body.json)?;
    if pending {
        room_to_wait(&app, &incoming.caller.tenant).await?;
    }
    let cause = incoming.accept(&app).await?;
    let id = RelayId::from_seed(&cause.command);
    let api_key = new_key()?;
    let registered = RelayRegistered { settings, digest: token_digest(&api_key), pending };
    let rule = |relay: &Relay| register(relay, registered.clone());
    let tenant = &incoming.caller.tenant;
    let decided = app.log.decide::<Relay, _>(tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    // a repeated command finds the key it made before, whose text nobody has any more
    if decided.state.digest != registered.digest {
        return Err(Problem::refused(&RelayRefusal::ShownBefore));
    }
    let (relay_id, proxy_id) = (id.clone(), id);
    let made = Shown { relay_id, proxy_id, api_key, previous_until: None, position: decided.seq };
    Ok(shown(StatusCode::CREATED, made))
}

/// As far as the read model knows: a few that come at the same moment may be more.
async fn room_to_wait(app: &App, tenant: &TenantId) -> Result<(), Problem> {
    let filter = Filter { tenant: Some(tenant.clone()), pending: Some(true), ..Filter::default() };
    let waiting = relays::list(&app.projections, &filter, None, PENDING_MAX).await?;
    if waiting.items.len() < PENDING_MAX as usize {
        return Ok(());
    }
    let detail =
        format!("{PENDING_MAX} relays wait to be accepted already; an operator accepts or removes them");
    Err(Problem::new("too_many_pending", detail))
}

/// Give a relay another key
///
/// The key before counts for `overlap_s` more, a day when nothing is said. What is connected by it stays as long, and is
/// closed then; with 0 that is at once: for a key that somebody else may have.
#[utoipa::path(
    post, path = "/api/relays/{id}/rotate-key", tag = "relays", request_body = RotateShape,
    params(("id" = String, Path, description = "Relay id")),
    responses(
        (status = 200, body = Shown, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let (tenant, id) = find(&app, &incoming.caller, &id).await?;
    incoming.caller.keeps_servers()?;
    let mut fields = Fields::of(&incoming.body.json);
    let overlap_s =
        fields.optional("overlap_s", fields::whole(0, OVERLAP_S_MAX)).unwrap_or(OVERLAP_S_DEFAULT);
    fields.finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let api_key = new_key()?;
    let digest = token_digest(&api_key);
    let until = Utc::now() + TimeDelta::seconds(i64::try_from(overlap_s).unwrap_or_default());
    let rule = |relay: &Relay| rotate_key(relay, &digest, until);
    let decided = app.log.decide::<Relay, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    if decided.state.digest != digest {
        return Err(Problem::refused(&RelayRefusal::ShownBefore));
    }
    let (relay_id, proxy_id) = (id.clone(), id);
    let made = Shown { relay_id, proxy_id, api_key, previous_until: Some(until), position: decided.seq };
    Ok(shown(StatusCode::OK, made))
}

#[derive(ToSchema)]
#[schema(as = RelayKeyAsked, example = json!({"overlap_s": 3600}))]
#[allow(dead_code)] // a description
pub struct RotateShape {
    /// Seconds that the key before still counts, 0 to 2592000.
    overlap_s: Option<u64>,
}

/// Accept a relay
///
/// One that registered itself may connect from now on; it tries again by itself.
#[utoipa::path(
    post, path = "/api/relays/{id}/accept", tag = "relays",
    params(("id" = String, Path, description = "Relay id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"relay_id": "rel-abcdefghijkl", "pending": false})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`relay_revoked`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn accept(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let (tenant, id) = find(&app, &incoming.caller, &id).await?;
    incoming.caller.keeps_servers()?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let decided = app.log.decide::<Relay, _>(&tenant, id.as_str(), &cause, index::FIRST, accept_rule).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"relay_id": id, "pending": false})))
}

/// Remove a relay
///
/// Its key opens nothing any more, and its connection is closed at once.
#[utoipa::path(
    delete, path = "/api/relays/{id}", tag = "relays",
    params(("id" = String, Path, description = "Relay id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"relay_id": "rel-abcdefghijkl", "revoked": true})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let (tenant, id) = find(&app, &incoming.caller, &id).await?;
    incoming.caller.keeps_servers()?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let decided = app.log.decide::<Relay, _>(&tenant, id.as_str(), &cause, index::FIRST, revoke).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"relay_id": id, "revoked": true})))
}

/// Looks in the caller's tenant; for an admin then in all, where the read model says which.
pub async fn find(app: &App, caller: &Caller, id: &str) -> Result<(TenantId, RelayId), Problem> {
    let unknown = || Problem::not_found("relay");
    sees_relays(caller).map_err(|_| unknown())?;
    let id = RelayId::parse(id).map_err(|_| unknown())?;
    let relay = app.log.load::<Relay>(&caller.tenant, id.as_str()).await?.state;
    if relay.settings.is_some() {
        return Ok((caller.tenant.clone(), id));
    }
    if caller.tenant_seen().is_some() {
        return Err(unknown());
    }
    let row = relays::get(&app.projections, None, &id).await?.value.ok_or_else(unknown)?;
    Ok((row.tenant, id))
}

fn sees_relays(caller: &Caller) -> Result<(), Problem> {
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])
}

/// List relays
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/relays", tag = "relays",
    params(
        ("connected" = Option<bool>, Query, description = "Only those that are connected, or are not"),
        ("pending" = Option<bool>, Query, description = "Only those that wait to be accepted, or do not"),
        ("revoked" = Option<bool>, Query, description = "Revoked ones too"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<View>, headers(("Portreeve-Position" = u64))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let filter = Filter {
        tenant: caller.tenant_seen().cloned(),
        revoked: params.parsed("revoked", yes_or_no).unwrap_or_default(),
        pending: params.parsed("pending", yes_or_no),
        connected: params.parsed("connected", yes_or_no),
    };
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    sees_relays(&caller)?;
    let page = app.reading(after, as_of).await?.relays(&filter, cursor.as_deref(), limit).await?;
    Ok(position::page(page.map(View::from)))
}

/// Show a relay
#[utoipa::path(
    get, path = "/api/relays/{id}", tag = "relays",
    params(
        ("id" = String, Path, description = "Relay id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = View, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let unknown = || Problem::not_found("relay");
    sees_relays(&caller).map_err(|_| unknown())?;
    let id = RelayId::parse(id).map_err(|_| unknown())?;
    let found = app.reading(after, as_of).await?.relay(caller.tenant_seen(), &id).await?;
    Ok(position::shown(found.position, View::from(found.value.ok_or_else(unknown)?)))
}
