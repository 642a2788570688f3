//! `POST /api/environments/{id}/unlock`: may a closed address try again now?

use std::net::IpAddr;

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::Utc;
use events::login::{Login, unlock::unlock as rule};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::environment::find;
use crate::fields::Fields;
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::readers;

/// The body may be left out.
#[derive(Serialize, ToSchema)]
#[schema(as = Unlock, example = json!({"ip": "192.0.2.7"}))]
pub struct Unlock {
    /// One address; absent means all.
    #[schema(value_type = Option<String>)]
    ip: Option<IpAddr>,
}

/// Open the entrances to an address again
///
/// For operators, admins and the environment's owner.
#[utoipa::path(
    post, path = "/api/environments/{id}/unlock", tag = "environments", request_body = Option<Unlock>,
    params(("id" = String, Path, description = "Environment id")),
    responses(
        (status = 200, body = Unlock, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`not_locked`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn unlock(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    found.stays()?;
    let mut fields = Fields::of(&incoming.body.json);
    let ip = fields.optional("ip", readers::address);
    let asked = fields.finish(Some(Unlock { ip }))?;
    let cause = incoming.accept(&app).await?;
    let decide = |login: &Login| rule(login, asked.ip, Utc::now());
    let decided =
        app.log.decide::<Login, _>(&found.tenant, found.id.as_str(), &cause, index::FIRST, decide).await?;
    Ok(position::shown(decided.seq, asked))
}
