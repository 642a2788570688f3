//! `GET /api/server-authority`: whose certificates does a server have to trust, to be entered without a secret?

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

#[derive(Serialize, ToSchema)]
#[schema(as = ServerAuthority, example = json!({
    "public_key": "ssh-ed25519 AAAA",
    "sshd_config": "TrustedUserCAKeys /etc/ssh/portreeve_ca.pub",
}))]
pub struct View {
    /// For a file on the server.
    public_key: String,
    /// The line of `sshd_config` that names this file. A certificate is for the user name alone that is registered,
    /// and for three minutes.
    sshd_config: &'static str,
}

/// Show the authority for servers
///
/// A server that trusts it is registered with `"certificate": true`: nothing secret is kept for it.
#[utoipa::path(
    get, path = "/api/server-authority", tag = "servers",
    responses(
        (status = 200, body = View, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    params.end()?;
    caller.keeps_servers()?;
    let public_key = app.reach.authority().await?.public_line();
    let position = app.projections.position().await?;
    let sshd_config = "TrustedUserCAKeys /etc/ssh/portreeve_ca.pub";
    Ok(position::shown(position, View { public_key, sshd_config }))
}
