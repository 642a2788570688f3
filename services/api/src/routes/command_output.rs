//! `GET /api/commands/{id}/stdout`, `/stderr`: an output byte by byte, also where it is long.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use events::command::output::Stored;
use events::ids::CommandId;
use nats::OutputId;
use projections::commands::{self, CommandRow, Kept};
use sha2::{Digest, Sha256};

use crate::access::Caller;
use crate::app::App;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

/// Read a command's standard output
///
/// As it came. One that is longer than an event holds is checked against its digest first.
#[utoipa::path(
    get, path = "/api/commands/{id}/stdout", tag = "commands",
    params(
        ("id" = String, Path, description = "Command id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream", body = String),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 410, description = "`output_removed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn stdout(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    show(&app, &caller, &id, params, |row| row.state.stdout.as_ref()).await
}

/// Read a command's error output
#[utoipa::path(
    get, path = "/api/commands/{id}/stderr", tag = "commands",
    params(
        ("id" = String, Path, description = "Command id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream", body = String),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 410, description = "`output_removed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn stderr(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    show(&app, &caller, &id, params, |row| row.state.stderr.as_ref()).await
}

async fn show(
    app: &App,
    caller: &Caller,
    id: &str,
    mut params: Params,
    which: impl Fn(&CommandRow) -> Option<&Kept>,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    let unknown = || Problem::not_found("command");
    let id = CommandId::parse(id).map_err(|_| unknown())?;
    app.caught_up(after).await?;
    let found = commands::get(&app.projections, caller.tenant_seen(), caller.owner_seen(), &id).await?;
    let row = found.value.ok_or_else(unknown)?;
    let bytes = match which(&row) {
        None => Vec::new(),
        Some(Kept { stored: Some(stored), .. }) => whole(app, &row, stored).await?,
        Some(kept) => kept.bytes.clone(),
    };
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, position::header(found.position), bytes).into_response())
}

async fn whole(app: &App, row: &CommandRow, stored: &Stored) -> Result<Vec<u8>, Problem> {
    let id = OutputId::of(&row.tenant, &row.command_id, stored);
    let bytes = app.outputs.read(&id).await?;
    if bytes.is_empty() {
        let days = nats::topology::OUTPUTS_KEPT_DAYS;
        let detail =
            format!("long outputs are kept for {days} days; the beginning is shown with the command");
        return Err(Problem::new("output_removed", detail));
    }
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&*bytes));
    if digest != stored.sha256 {
        return Err(Problem::new("output_damaged", "what is stored is not what the log says of it"));
    }
    Ok(bytes.to_vec())
}
