//! `GET /api/environments/{id}/ssh`: how does one get in? Showing the password is a fact.

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use events::credential::Credential;
use events::env::PortPurpose;
use events::ids::EnvId;
use events::user::Role;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::correlation::Correlation;
use crate::environment::{Entrance, find, jupyter_url, reveal_password};
use crate::idempotency::fresh_cause;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

/// The ways in.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionInfo, example = json!({
    "env_id": "env-abcdefghijkl", "ssh_host": "127.0.0.1", "ssh_port": 30000,
    "ssh_username": "developer", "ssh_password": "k7-Wq2mX:Rt4_bNp9cYd",
    "ssh_command": "ssh developer@127.0.0.1 -p 30000",
    "gateway_command": "ssh env-abcdefghijkl@127.0.0.1 -p 2222",
    "vscode_config": "Host env-abcdefghijkl\n    HostName 127.0.0.1\n    Port 30000\n    User developer\n",
    "sftp_url": "sftp://developer@127.0.0.1:30000", "jupyter_url": null, "has_password": true,
}))]
pub struct ConnectionInfo {
    #[schema(value_type = String)]
    env_id: EnvId,
    ssh_host: String,
    /// `null` while no port is bound, as are the commands that name it; the gateway's where the
    /// environment has none of its own.
    ssh_port: Option<u16>,
    /// The account, or the environment's id at the gateway.
    ssh_username: String,
    /// `null` while there is none, and always for auditors.
    ssh_password: Option<String>,
    ssh_command: Option<String>,
    gateway_command: String,
    /// A block for `~/.ssh/config`.
    vscode_config: Option<String>,
    sftp_url: Option<String>,
    /// With its token, so only together with the password; `null` without `jupyter`.
    jupyter_url: Option<String>,
    /// Whether there is a password, shown or not.
    has_password: bool,
}

/// Whether the password stays hidden.
fn hidden(text: &str) -> Result<bool, String> {
    match text {
        "hide" => Ok(true),
        "show" => Ok(false),
        _ => Err("must be show or hide".to_owned()),
    }
}

/// Show the ways in
///
/// The password is shown, and that is an event (`PasswordRevealed`). With `?password=hide` it is not,
/// and nothing is recorded. Auditors see no password.
#[utoipa::path(
    get, path = "/api/environments/{id}/ssh", tag = "environments",
    params(
        ("id" = String, Path, description = "Environment id"),
        ("after" = Option<u64>, Query, description = "Taken as everywhere; this answer is always the newest"),
        ("password" = Option<String>, Query, description = "`show` (when absent) or `hide`"),
    ),
    responses(
        (status = 200, body = ConnectionInfo, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn connection_info(
    State(app): State<App>,
    caller: Caller,
    Extension(correlation): Extension<Correlation>,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    // what the log says is never behind
    let _after = params.number("after");
    let hidden = params.parsed("password", hidden).unwrap_or_default() || caller.role == Role::Auditor;
    params.end()?;
    let found = find(&app, &caller, &id).await?;
    if !found.env.exists() {
        return Err(Problem::not_found("environment"));
    }
    let credential = app.log.load::<Credential>(&found.tenant, found.id.as_str()).await?;
    let has_password = credential.state.password.is_some();
    let password = if has_password && !hidden {
        let cause = fresh_cause(&caller, &correlation);
        reveal_password(&app, &found.tenant, &found.id, &cause).await?
    } else {
        None
    };
    let position = password.as_ref().map_or(found.seq.max(credential.seq), |(_, seq)| found.seq.max(*seq));
    let gateway_only = found.env.requested.as_ref().is_some_and(|requested| requested.gateway_only);
    let entrance = app.shown.entrance(&found.id, found.env.port(PortPurpose::Ssh), gateway_only);
    let entrance = entrance.as_ref();
    let jupyter_url = if hidden { None } else { jupyter_url(&app, &found.id, &found.env).await? };
    let info = ConnectionInfo {
        ssh_host: app.shown.ssh_host.clone(),
        ssh_port: entrance.map(|entrance| entrance.port),
        ssh_username: Entrance::user_of(entrance),
        ssh_password: password.map(|(secret, _)| secret.expose_secret().to_owned()),
        ssh_command: entrance.map(|entrance| app.shown.ssh_command(entrance)),
        gateway_command: app.shown.gateway_command(&found.id),
        vscode_config: entrance.map(|entrance| app.shown.vscode_config(&found.id, entrance)),
        sftp_url: entrance.map(|entrance| app.shown.sftp_url(entrance)),
        jupyter_url,
        has_password,
        env_id: found.id,
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, position::shown(position, info)).into_response())
}
