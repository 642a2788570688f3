//! `GET /api/environments/{id}`: one environment, a deleted one too.

use axum::extract::{Path, State};
use axum::response::Response;
use events::ids::EnvId;

use crate::app::App;
use crate::auth::Caller;
use crate::environment::View;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;

/// Show an environment
#[utoipa::path(
    get, path = "/api/environments/{id}", tag = "environments",
    params(
        ("id" = String, Path, description = "Environment id"),
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
    let unknown = || Problem::not_found("environment");
    let id = EnvId::parse(id).map_err(|_| unknown())?;
    let found = app.reading(after, as_of).await?.environment(caller.tenant_seen(), &id).await?;
    let row = found.value.filter(|row| caller.sees(&row.tenant, Some(&row.owner))).ok_or_else(unknown)?;
    Ok(position::shown(found.position, View::of(row, &app.shown)))
}
