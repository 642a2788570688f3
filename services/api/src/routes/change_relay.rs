//! `PATCH /api/relays/{id}`: what shall be otherwise of a relay?

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use events::ids::{RelayId, Tag};
use events::relay::change::change;
use events::relay::{Relay, RelaySettings};
use ipnet::IpNet;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::relay_fields::{self, ChangeShape};
use crate::routes::relays::find;

/// What is said of a relay now.
#[derive(Serialize, ToSchema)]
#[schema(as = RelaySaved, example = json!({
    "relay_id": "rel-abcdefghijkl", "name": "dmz one", "zone": "dmz", "labels": {}, "addresses": ["203.0.113.0/24"],
    "in_flight_max": 32, "position": 42,
}))]
pub struct Saved {
    #[schema(value_type = String)]
    relay_id: RelayId,
    name: String,
    #[schema(value_type = Option<String>)]
    zone: Option<Tag>,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    labels: BTreeMap<Tag, Tag>,
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpNet>,
    in_flight_max: u32,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

/// Change a relay
///
/// What is left out stays; `null` takes the zone away. Where it is connected from somewhere else than `addresses` now
/// say, its connection is closed.
#[utoipa::path(
    patch, path = "/api/relays/{id}", tag = "relays", request_body = ChangeShape,
    params(("id" = String, Path, description = "Relay id")),
    responses(
        (status = 200, body = Saved, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`relay_revoked`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let asked = relay_fields::change(&incoming.body.json)?;
    let (tenant, id) = find(&app, &incoming.caller, &id).await?;
    incoming.caller.keeps_servers()?;
    let cause = incoming.accept(&app).await?;
    let rule = |relay: &Relay| change(relay, &asked);
    let decided = app.log.decide::<Relay, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    let settings = decided.state.settings.ok_or_else(|| Problem::not_found("relay"))?;
    let RelaySettings { name, zone, labels, addresses, in_flight_max } = settings;
    let saved = Saved { relay_id: id, name, zone, labels, addresses, in_flight_max, position: decided.seq };
    Ok(position::shown(decided.seq, saved))
}
