//! How is a server asked by relays that carry nothing but commands? Each question is a command on record, with one
//! outcome as every other.

use std::time::Duration;

use chrono::{SubsecRound, Utc};
use events::batch::request::request;
use events::batch::{Batch, BatchRequested};
use events::command::Command;
use events::ids::{BatchId, CommandId, ServerId, TenantId, UserName};
use events::{Cause, Kind, Subject};
use projections::commands::{CommandRow, Kept};
use reach::{Courier, CourierError, Running, Said};
use uuid::Uuid;

use crate::app::App;
use crate::idempotency::index;
use crate::problem::Problem;

/// Beyond what the relay has: the outcome is on record by then.
const OUTCOME_WAIT: Duration = Duration::from_secs(5);
/// The read model has it by then.
const SHOWN_WAIT: Duration = Duration::from_secs(5);

/// Asks one server, on behalf of somebody.
pub struct RelayCourier {
    pub app: App,
    pub tenant: TenantId,
    pub server: ServerId,
    pub by: UserName,
}

impl std::fmt::Debug for RelayCourier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayCourier").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Courier for RelayCourier {
    fn run<'c>(
        &'c self,
        label: &'static str,
        command: String,
        wait: Duration,
        cause: &'c Cause,
    ) -> Running<'c> {
        Box::pin(async move {
            let name = format!("courier\n{label}");
            let cause = Cause { command: Uuid::new_v5(&cause.command, name.as_bytes()), ..cause.clone() };
            match self.ask(command, wait, &cause).await {
                Ok(Some(row)) => said(row),
                Ok(None) => Err(CourierError {
                    class: "timed_out".to_owned(),
                    reason: "the relay did not answer in time".to_owned(),
                    suggestion: Some("look whether the relay is connected, and at its log".to_owned()),
                }),
                Err(problem) => Err(CourierError {
                    class: problem.code().to_owned(),
                    reason: "what became of the question is not known".to_owned(),
                    suggestion: Some("try again".to_owned()),
                }),
            }
        })
    }
}

impl RelayCourier {
    /// The command with its outcome; `None` if it has none in time.
    async fn ask(
        &self,
        command: String,
        wait: Duration,
        cause: &Cause,
    ) -> Result<Option<CommandRow>, Problem> {
        let Self { app, tenant, server, by } = self;
        let batch = BatchId::from_seed(&cause.command);
        let requested = BatchRequested {
            command,
            servers: vec![server.clone()],
            timeout_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            // a question, or a script that may run twice
            idempotent: true,
            concurrency: 1,
            stop_after_failures: None,
            approval: None,
            by: by.clone(),
            at: Utc::now().trunc_subsecs(3),
        };
        let rule = |state: &Batch| request(state, requested.clone());
        let decided = app.log.decide::<Batch, _>(tenant, batch.as_str(), cause, index::FIRST, rule).await?;
        let at = decided.state.requested.map_or(requested.at, |begun| begun.at);
        let id = CommandId::of(&batch, server, at);
        let subject = Subject::new(tenant.clone(), Kind::Command, id.as_str());
        let mut bell = app.live.bell(vec![subject], wait + OUTCOME_WAIT);
        loop {
            let command = app.log.load::<Command>(tenant, id.as_str()).await?;
            if command.state.outcome().is_some() {
                app.projections.wait_for(command.seq, SHOWN_WAIT).await?;
                return Ok(projections::commands::get(&app.projections, Some(tenant), None, &id)
                    .await?
                    .value);
            }
            if !bell.ring().await {
                return Ok(None);
            }
        }
    }
}

fn said(row: CommandRow) -> Result<Said, CourierError> {
    let bytes = |kept: Option<Kept>| kept.map(|kept| kept.bytes).unwrap_or_default();
    let state = row.state;
    if state.status == "completed" {
        return Ok(Said::of(state.exit_code.unwrap_or_default(), bytes(state.stdout), bytes(state.stderr)));
    }
    Err(CourierError {
        class: state.class.unwrap_or_else(|| state.status.clone()),
        reason: state.reason.unwrap_or_else(|| "the relay did not answer in time".to_owned()),
        suggestion: state.suggestion,
    })
}
