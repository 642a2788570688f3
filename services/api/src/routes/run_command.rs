//! `POST /api/commands`: run one command on many servers. One outcome for each.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound, Utc};
use events::batch::request::request;
use events::batch::{Batch, BatchRequested};
use events::ids::{BatchId, CommandId, ServerId};
use events::schedule::Run;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::command::ApprovalNeeded;
use crate::command_fields::{self, AskedShape};
use crate::command_policy::{self, APPROVE_WITHIN_S, APPROVE_WITHIN_S_DEFAULT};
use crate::fields::{Fields, whole};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::selection;

/// A batch that was begun.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchBegun, example = json!({
    "batch_id": "bat-abcdefghijkl", "status": "running", "approval": null, "position": 42,
    "commands": [{"command_id": "cmd_1700000000123_abcdefghijkl", "server_id": "srv-abcdefghijkl"}],
}))]
pub struct Begun {
    #[schema(value_type = String)]
    batch_id: BatchId,
    /// `running`, or `awaiting_approval`: a second person has to approve of it first.
    status: &'static str,
    /// What it waits for, then.
    approval: Option<ApprovalNeeded>,
    /// In the order of the servers.
    commands: Vec<Named>,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CommandNamed)]
pub struct Named {
    #[schema(value_type = String)]
    command_id: CommandId,
    #[schema(value_type = String)]
    server_id: ServerId,
}

/// What is to be run, and how long a second person may take to approve of it.
fn read(body: &Value) -> Result<(Run, u64), Problem> {
    let mut fields = Fields::of(body);
    let within_s = fields.optional("approve_within_s", whole(APPROVE_WITHIN_S.0, APPROVE_WITHIN_S.1));
    let run = command_fields::run(&mut fields);
    fields.finish(run.map(|run| (run, within_s.unwrap_or(APPROVE_WITHIN_S_DEFAULT))))
}

/// Run a command on servers
///
/// Answers as soon as it is on record; each server gets a command of its own, which ends in exactly one outcome:
/// `GET /api/batches/{id}` shows them all, `/events` follows them.
#[utoipa::path(
    post, path = "/api/commands", tag = "commands", request_body = AskedShape,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the key repeats the answer, and runs nothing again")),
    responses(
        (status = 202, body = Begun, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`; `command_refused`: grants do not let the command through on these servers", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn run(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    let (asked, within_s) = read(&incoming.body.json)?;
    let caller = &incoming.caller;
    let (tenant, servers) = selection::servers(&app, caller, &asked.which).await?;
    let person = caller.person();
    let approval = command_policy::ask(&app, &tenant, person, &servers, &asked.command, within_s).await?;
    let cause = incoming.accept(&app).await?;
    let id = BatchId::from_seed(&cause.command);
    let requested = BatchRequested {
        command: asked.command,
        servers: servers.into_iter().map(|(server, _)| server).collect(),
        timeout_ms: asked.timeout_ms,
        idempotent: asked.idempotent,
        concurrency: asked.concurrency,
        stop_after_failures: asked.stop_after_failures,
        approval,
        by: caller.owner.clone(),
        at: Utc::now().trunc_subsecs(3),
    };
    let rule = |batch: &Batch| request(batch, requested.clone());
    let decided = app.log.decide::<Batch, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    // a repeated request finds what the first one began
    let begun = decided.state.requested.unwrap_or(requested);
    let commands = begun.servers.iter().map(|server| named(&id, server, begun.at)).collect();
    let status = if begun.approval.is_some() { "awaiting_approval" } else { "running" };
    let approval = begun.approval.map(ApprovalNeeded::from);
    let begun = Begun { batch_id: id, status, approval, commands, position: decided.seq };
    Ok((StatusCode::ACCEPTED, position::header(begun.position), Json(begun)).into_response())
}

fn named(batch: &BatchId, server: &ServerId, at: DateTime<Utc>) -> Named {
    Named { command_id: CommandId::of(batch, server, at), server_id: server.clone() }
}
