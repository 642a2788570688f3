//! `POST /api/batches/{id}/approve`, `/reject`: what does a second person say to a command that is marked dangerous?

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{SubsecRound, Utc};
use events::batch::approve::approve as approve_rule;
use events::batch::reject::reject as reject_rule;
use events::batch::{Batch, BatchRequested};
use events::user::Role;
use serde_json::json;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::command_policy;
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::batches::find;

/// Who is asked, whoever asked for the command.
const APPROVERS: [Role; 2] = [Role::Admin, Role::Operator];
const REASON_LENGTH_MAX: usize = 500;

#[derive(ToSchema)]
#[schema(as = BatchRejection, example = json!({"reason": "not on a Friday"}))]
#[allow(dead_code)] // a description
pub struct RejectionShape {
    /// Shown to who asked; at most 500 characters.
    reason: Option<String>,
}

/// One's own request is nobody's to answer but another's, and is said so by the rule.
fn may_answer(caller: &Caller, requested: &BatchRequested) -> Result<(), Problem> {
    if caller.owner == requested.by { Ok(()) } else { caller.needs(&APPROVERS) }
}

/// Approve of a command
///
/// It begins now. Whoever asked for it must still have the grants; approving twice changes nothing.
#[utoipa::path(
    post, path = "/api/batches/{id}/approve", tag = "commands",
    params(("id" = String, Path, description = "Batch id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"batch_id": "bat-abcdefghijkl", "approved": true})),
        (status = 403, description = "`forbidden`; `own_request`: somebody else has to; `command_refused`: who asked may not any more", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`not_awaiting`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn approve(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    let (tenant, id, requested) = find(&app, caller, &id).await?;
    may_answer(caller, &requested)?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let batch = app.log.load::<Batch>(&tenant, id.as_str()).await?.state;
    if batch.waits_for().is_some() && caller.owner != requested.by {
        command_policy::ask_again(&app, &tenant, &requested).await?;
    }
    let cause = incoming.accept(&app).await?;
    let rule = |batch: &Batch| approve_rule(batch, &caller.owner, Utc::now().trunc_subsecs(3));
    let decided = app.log.decide::<Batch, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, json!({"batch_id": id, "approved": true})))
}

/// Reject a command
///
/// It is never begun. Rejecting twice changes nothing.
#[utoipa::path(
    post, path = "/api/batches/{id}/reject", tag = "commands", request_body = RejectionShape,
    params(("id" = String, Path, description = "Batch id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"batch_id": "bat-abcdefghijkl", "rejected": true})),
        (status = 403, description = "`forbidden`; `own_request`: somebody else has to; call it off instead", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`not_awaiting`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn reject(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let caller = &incoming.caller;
    let mut fields = Fields::of(&incoming.body.json);
    let reason = fields.optional("reason", fields::text(0, REASON_LENGTH_MAX));
    let reason = fields.finish(Some(reason))?.filter(|reason| !reason.trim().is_empty());
    let (tenant, id, requested) = find(&app, caller, &id).await?;
    may_answer(caller, &requested)?;
    let cause = incoming.accept(&app).await?;
    let rule = |batch: &Batch| reject_rule(batch, &caller.owner, reason.clone());
    let decided = app.log.decide::<Batch, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, json!({"batch_id": id, "rejected": true})))
}
