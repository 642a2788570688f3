//! What do a command and a batch look like from outside?

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use events::access::pattern::Pattern;
use events::batch::ApprovalAsked;
use events::command::Output;
use events::ids::{BatchId, CommandId, RelayId, ServerId, TenantId, UserName};
use projections::batches::{Answered, BatchRow, Counts};
use projections::commands::{CommandRow, Kept, Late};
use serde::Serialize;
use utoipa::ToSchema;

/// A command on a server.
#[derive(Serialize, ToSchema)]
#[schema(as = Command)]
pub struct View {
    #[schema(value_type = String, example = "cmd_1700000000123_abcdefghijkl")]
    pub command_id: CommandId,
    #[schema(value_type = String, example = "bat-abcdefghijkl")]
    pub batch_id: BatchId,
    #[schema(value_type = String, example = "srv-abcdefghijkl")]
    pub server_id: ServerId,
    /// The relay that has or had it; `null` when it went directly, or nowhere yet.
    #[schema(value_type = Option<String>)]
    pub relay_id: Option<RelayId>,
    /// `awaiting_approval`, `queued`, `dispatched`, or its one outcome: `completed`, `failed`, `timed_out`, `lost`, `cancelled`.
    #[schema(example = "completed")]
    pub status: String,
    /// When it ran to its end; 128 and the signal's number when a signal ended it.
    pub exit_code: Option<i32>,
    #[serde(flatten)]
    pub output: Option<Outputs>,
    /// Which way it failed.
    #[schema(example = "auth_failed")]
    pub class: Option<String>,
    /// What is known of a failure or a loss.
    pub reason: Option<String>,
    /// What a person can do about it.
    pub suggestion: Option<String>,
    /// What came after the outcome, or of an attempt that was given up.
    pub late: Option<LateView>,
    /// Ways by which it went: more than one where it may run twice and a relay was lost.
    pub attempts: u64,
    pub times: Times,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CommandTimes)]
pub struct Times {
    pub requested_at: DateTime<Utc>,
    pub dispatched_at: Option<DateTime<Utc>>,
    /// Its time is over then.
    pub deadline: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Both outputs, byte by byte.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandOutput)]
pub struct Outputs {
    /// As text; where it is none, what can be read of it, and all of it in `stdout_base64`.
    stdout: String,
    stderr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_base64: Option<String>,
    /// Bytes in all; where there are more than are shown, `/stdout` and `/stderr` below the command give the rest.
    stdout_bytes: u64,
    stderr_bytes: u64,
    /// Of what those give, where there is more than is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_sha256: Option<String>,
    /// Some of it was not kept.
    truncated: bool,
}

impl Outputs {
    fn of(stdout: &Kept, stderr: &Kept) -> Self {
        let text = |kept: &Kept| String::from_utf8_lossy(&kept.bytes).into_owned();
        let base64 = |kept: &Kept| {
            let is_text = std::str::from_utf8(&kept.bytes).is_ok();
            (!is_text).then(|| data_encoding::BASE64.encode(&kept.bytes))
        };
        let sha256 = |kept: &Kept| kept.stored.as_ref().map(|stored| stored.sha256.clone());
        let bytes = |kept: &Kept| kept.total.unwrap_or(kept.bytes.len() as u64);
        Self {
            stdout: text(stdout),
            stderr: text(stderr),
            stdout_base64: base64(stdout),
            stderr_base64: base64(stderr),
            stdout_bytes: bytes(stdout),
            stderr_bytes: bytes(stderr),
            stdout_sha256: sha256(stdout),
            stderr_sha256: sha256(stderr),
            truncated: stdout.truncated() || stderr.truncated(),
        }
    }
}

/// A result that is not the outcome.
#[derive(Serialize, ToSchema)]
#[schema(as = LateResult)]
pub struct LateView {
    #[schema(value_type = Option<String>)]
    relay_id: Option<RelayId>,
    exit_code: i32,
    #[serde(flatten)]
    output: Outputs,
    at: DateTime<Utc>,
}

impl From<Late> for LateView {
    fn from(late: Late) -> Self {
        let Late { relay_id, exit_code, stdout, stderr, at } = late;
        let kept = |output: &Output| Kept::from(output);
        Self { relay_id, exit_code, output: Outputs::of(&kept(&stdout), &kept(&stderr)), at }
    }
}

impl From<CommandRow> for View {
    fn from(row: CommandRow) -> Self {
        let state = row.state;
        let output = state.stdout.as_ref().zip(state.stderr.as_ref());
        Self {
            command_id: row.command_id,
            batch_id: row.batch_id,
            server_id: row.server_id,
            relay_id: state.relay_id,
            status: state.status,
            exit_code: state.exit_code,
            output: output.map(|(stdout, stderr)| Outputs::of(stdout, stderr)),
            class: state.class,
            reason: state.reason,
            suggestion: state.suggestion,
            late: state.late.map(LateView::from),
            attempts: state.attempts,
            times: Times {
                requested_at: row.requested_at,
                dispatched_at: state.dispatched_at,
                deadline: state.deadline,
                ended_at: state.ended_at,
            },
        }
    }
}

/// One command on many servers.
#[derive(Serialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchView {
    #[schema(value_type = String, example = "bat-abcdefghijkl")]
    pub batch_id: BatchId,
    #[schema(value_type = String)]
    pub tenant_id: TenantId,
    /// In whose name.
    #[schema(value_type = String)]
    pub by: UserName,
    #[schema(example = "uptime")]
    pub command: String,
    /// `awaiting_approval` while a second person is asked, `running`, or `ended` when every command has its outcome.
    #[schema(example = "running")]
    pub status: &'static str,
    pub servers: u64,
    pub counts: CountsView,
    pub timeout_ms: u64,
    pub idempotent: bool,
    pub concurrency: u64,
    /// No more are begun when so many went wrong; `null`: all are.
    pub stop_after_failures: Option<u64>,
    /// What a second person was asked, and said; `null` where nobody was.
    pub approval: Option<ApprovalView>,
    pub cancelled_at: Option<DateTime<Utc>>,
    /// When so many had gone wrong; what was not begun by then ends as `cancelled`.
    pub stopped_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// What a second person is asked.
#[derive(Serialize, ToSchema)]
#[schema(as = ApprovalNeeded, example = json!({"until": "2026-01-03T03:04:05Z", "patterns": ["*reboot*"]}))]
pub struct ApprovalNeeded {
    /// Not later.
    pub until: DateTime<Utc>,
    /// By which the command is dangerous.
    #[schema(value_type = Vec<String>)]
    pub patterns: BTreeSet<Pattern>,
}

impl From<ApprovalAsked> for ApprovalNeeded {
    fn from(asked: ApprovalAsked) -> Self {
        Self { until: asked.until, patterns: asked.patterns }
    }
}

/// What a second person was asked, and said.
#[derive(Serialize, ToSchema)]
#[schema(as = Approval, example = json!({
    "until": "2026-01-03T03:04:05Z", "patterns": ["*reboot*"], "answer": "rejected", "by": "bob",
    "at": "2026-01-02T04:05:06Z", "reason": "not on a Friday",
}))]
pub struct ApprovalView {
    #[serde(flatten)]
    needed: ApprovalNeeded,
    /// `approved`, `rejected`, or `expired` when nobody answered; `null` before.
    answer: Option<String>,
    #[schema(value_type = Option<String>)]
    by: Option<UserName>,
    at: Option<DateTime<Utc>>,
    reason: Option<String>,
}

impl ApprovalView {
    fn of(asked: ApprovalAsked, answered: Option<Answered>) -> Self {
        let needed = asked.into();
        match answered {
            None => Self { needed, answer: None, by: None, at: None, reason: None },
            Some(Answered { answer, by, at, reason }) => {
                Self { needed, answer: Some(answer), by, at: Some(at), reason }
            }
        }
    }
}

/// Commands of a batch by what became of them.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchCounts)]
pub struct CountsView {
    pub awaiting_approval: u64,
    pub queued: u64,
    pub dispatched: u64,
    pub completed: u64,
    /// Of the completed ones, those with another exit code than 0.
    pub completed_nonzero: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub lost: u64,
    pub cancelled: u64,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        Self {
            awaiting_approval: counts.awaiting_approval,
            queued: counts.queued,
            dispatched: counts.dispatched,
            completed: counts.completed,
            completed_nonzero: counts.completed_nonzero,
            failed: counts.failed,
            timed_out: counts.timed_out,
            lost: counts.lost,
            cancelled: counts.cancelled,
        }
    }
}

impl From<BatchRow> for BatchView {
    fn from(row: BatchRow) -> Self {
        Self {
            batch_id: row.batch_id,
            tenant_id: row.tenant,
            by: row.owner,
            command: row.command,
            status: match row.counts.pending() {
                _ if row.awaiting => "awaiting_approval",
                0 => "ended",
                _ => "running",
            },
            servers: row.servers,
            counts: row.counts.into(),
            timeout_ms: row.timeout_ms,
            idempotent: row.idempotent,
            concurrency: row.concurrency,
            stop_after_failures: row.stop_after_failures,
            approval: row.approval.map(|asked| ApprovalView::of(asked, row.answer)),
            cancelled_at: row.cancelled_at,
            stopped_at: row.stopped_at,
            created_at: row.created_at,
        }
    }
}
