//! `GET /api/environments`: the environments that the caller may see, newest first.

use axum::extract::State;
use axum::response::Response;
use events::env::Status;
use projections::environments::Filter;

use crate::app::App;
use crate::auth::Caller;
use crate::environment::View;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::routes::Listed;

const STATUSES: [Status; 8] = [
    Status::Creating,
    Status::Running,
    Status::Stopping,
    Status::Stopped,
    Status::Starting,
    Status::Failed,
    Status::Deleting,
    Status::Deleted,
];

fn status(text: &str) -> Result<String, String> {
    let known = STATUSES.iter().find(|status| status.name() == text);
    known
        .map(|status| status.name().to_owned())
        .ok_or_else(|| format!("must be one of {}", STATUSES.map(Status::name).join(", ")))
}

/// List environments
///
/// Newest first. Deleted ones are left out unless `?status=deleted`.
#[utoipa::path(
    get, path = "/api/environments", tag = "environments",
    params(
        ("status" = Option<String>, Query, description = "Only those with this status"),
        ("name" = Option<String>, Query, description = "Only those of this name"),
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
        owner: caller.owner_seen().cloned(),
        name: params.text("name"),
        status: params.parsed("status", status),
    };
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let reading = app.reading(after, as_of).await?;
    let page = reading.environments(&filter, cursor.as_deref(), limit).await?;
    Ok(position::page(page.map(|row| View::of(row, &app.shown))))
}
