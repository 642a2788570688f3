//! `PUT /api/environments/{id}/allow-list`: who may connect to the environment?

use axum::extract::{Path, State};
use axum::response::Response;
use events::env::Env;
use events::env::allow_list::{RANGES_MAX, set_allow_list};
use ipnet::IpNet;
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

#[derive(Serialize, ToSchema)]
#[schema(as = AllowList, example = json!({"ranges": ["10.0.0.0/8"]}))]
pub struct AllowList {
    /// At most 100 ranges or addresses; none means everyone. Shown with host bits cut off.
    #[schema(value_type = Vec<String>)]
    ranges: Vec<IpNet>,
}

fn read(body: &serde_json::Value) -> Result<AllowList, Problem> {
    let mut fields = Fields::of(body);
    let ranges = fields.required_list("ranges", RANGES_MAX, readers::range);
    fields.finish(Some(AllowList { ranges }))
}

/// Set who may connect
///
/// Every entrance honours it, for new connections and for those that are open.
#[utoipa::path(
    put, path = "/api/environments/{id}/allow-list", tag = "environments", request_body = AllowList,
    params(("id" = String, Path, description = "Environment id")),
    responses(
        (status = 200, body = AllowList, headers(("Portreeve-Position" = u64))),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn set(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    let asked = read(&incoming.body.json)?;
    let cause = incoming.accept(&app).await?;
    let rule = |env: &Env| set_allow_list(env, asked.ranges.clone());
    let decided =
        app.log.decide::<Env, _>(&found.tenant, found.id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, asked))
}
