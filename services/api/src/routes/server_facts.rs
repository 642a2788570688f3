//! `GET /api/servers/{id}/facts`, `POST /api/servers/{id}/facts`: what is the machine itself?

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::access::Right;
use events::server::Facts;
use projections::servers;
use reach::Who;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::fields::Fields;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::server::{TestView, find};

/// What a machine said of itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerFacts, example = json!({
    "facts": {"hostname": "web1", "system": {"id": "debian", "name": "Debian GNU/Linux 12 (bookworm)", "version": "12"},
        "kernel": "Linux", "kernel_release": "6.1.0-18-amd64", "machine": "x86_64", "virtualisation": "kvm",
        "cpu_model": "AMD EPYC 7713", "cpus": 4, "memory_kib": 8152000, "swap_kib": 0,
        "disks": [{"device": "/dev/vda1", "mount": "/", "kind": "ext4", "size_kib": 41152000, "used_kib": 9000000}],
        "addresses": [{"interface": "eth0", "address": "10.0.0.7/24"}], "uptime_s": 86400},
    "gathered_at": "2026-01-02T03:04:05Z", "test": null,
}))]
pub struct FactsView {
    /// As the event `FactsGathered` has them; `null` when nobody got there, or asked before.
    #[schema(value_type = Option<serde_json::Value>)]
    facts: Option<Facts>,
    gathered_at: Option<DateTime<Utc>>,
    /// How it went to get there, in the answer of the gathering itself.
    test: Option<TestView>,
}

/// Gather a server's facts
///
/// Processors, memory, disks, addresses, system, kernel and virtualisation, by nothing but the POSIX shell that is
/// there. Goes the way of test and terminals; if nobody gets in, `test` says why. For whom facts are granted.
#[utoipa::path(
    post, path = "/api/servers/{id}/facts", tag = "servers",
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = FactsView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn gather(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    found.needs(&[Right::Facts])?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let reach = found.reach(&app, &incoming.caller).await?;
    let cause = incoming.accept(&app).await?;
    let who = Who { session: "facts", user: incoming.caller.owner.as_str() };
    let gathered = reach.gather(&found.tenant, &found.id, who, &cause).await?;
    let gathered_at = gathered.facts.as_ref().map(|_| Utc::now());
    let test = Some(TestView::of(gathered.outcome, None));
    Ok(position::shown(gathered.seq, FactsView { facts: gathered.facts, gathered_at, test }))
}

/// Show a server's facts
///
/// The newest that were gathered, as long as the server is where it was.
#[utoipa::path(
    get, path = "/api/servers/{id}/facts", tag = "servers",
    params(
        ("id" = String, Path, description = "Server id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = FactsView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
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
    let found = find(&app, &caller, &id).await?;
    found.needs(&[Right::Facts])?;
    let row = servers::get(&app.projections, Some(&found.tenant), &found.id).await?;
    let (facts, gathered_at) = row.value.map(|row| (row.server.facts, row.facts_at)).unwrap_or_default();
    Ok(position::shown(row.position, FactsView { facts, gathered_at, test: None }))
}
