//! What do events make of the rows of commands? A batch makes them, an answer ends their waiting for a second person,
//! and from then on each has events of its own.

use chrono::{DateTime, Utc};
use events::batch::{BatchEvent, BatchRequested};
use events::command::{CommandEvent, CommandRequested, Via};
use events::ids::{BatchId, CommandId, RelayId, ServerId, TenantId, UserName};
use events::{Event, Recorded};
use serde::{Deserialize, Serialize};

use crate::columns::{RowError, check_text, instant};
use crate::commands::{CommandRow, CommandState, Kept, Late};
use crate::table::Table;

pub(crate) const AWAITING: &str = "awaiting_approval";
const QUEUED: &str = "queued";

/// What a batch says of its commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderRow {
    pub batch_id: BatchId,
    pub tenant: TenantId,
    pub owner: UserName,
    pub servers: Vec<ServerId>,
    /// Part of the commands' names.
    pub at: DateTime<Utc>,
    pub requested_at: DateTime<Utc>,
    /// They wait for a second person, until there is an answer.
    pub asks: bool,
    pub answer: Option<Answer>,
    #[serde(skip)]
    pub created_seq: u64,
}

/// How commands stopped to wait for a second person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub approved: bool,
    /// Why they are never begun, where there is more to say.
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
    pub seq: u64,
}

impl Answer {
    /// `None`: the event ends no waiting.
    pub fn of(recorded: &Recorded, event: &BatchEvent) -> Result<Option<Self>, RowError> {
        let (approved, reason) = match event {
            BatchEvent::BatchApproved(_) => (true, None),
            BatchEvent::BatchRejected(rejected) => {
                check_text(&rejected.reason)?;
                let why = rejected.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                (false, Some(format!("rejected by {}{why}", rejected.by)))
            }
            BatchEvent::BatchExpired(_) => (false, Some("nobody approved of it in time".to_owned())),
            BatchEvent::BatchCancelled(_) => (false, None),
            BatchEvent::BatchRequested(_) | BatchEvent::BatchStopped(_) => return Ok(None),
        };
        Ok(Some(Self { approved, reason, at: recorded.meta.time, seq: recorded.seq }))
    }

    /// A command that waits begins to wait for its turn, or has ended.
    pub fn end_waiting(&self, state: &mut CommandState) {
        state.seq = self.seq;
        if self.approved {
            state.status = QUEUED.to_owned();
        } else {
            state.status = "cancelled".to_owned();
            state.ended_at = Some(self.at);
            state.reason.clone_from(&self.reason);
        }
    }
}

impl OrderRow {
    pub fn of(recorded: &Recorded, requested: &BatchRequested) -> Result<Self, RowError> {
        Ok(Self {
            batch_id: BatchId::parse(recorded.subject.id.as_str())
                .map_err(|error| RowError::Unfit(error.to_string()))?,
            tenant: recorded.subject.tenant.clone(),
            owner: requested.by.clone(),
            servers: requested.servers.clone(),
            at: requested.at,
            requested_at: recorded.meta.time,
            asks: requested.approval.is_some(),
            answer: None,
            created_seq: recorded.seq,
        })
    }

    /// What is true of each of its commands before that has events of its own.
    pub fn state(&self) -> CommandState {
        let status = if self.asks { AWAITING } else { QUEUED }.to_owned();
        let mut state = CommandState { status, seq: self.created_seq, ..CommandState::default() };
        if let Some(answer) = &self.answer {
            answer.end_waiting(&mut state);
        }
        state
    }

    /// Its commands from this place on, as the batch alone makes them.
    pub fn commands(&self, from: usize) -> impl Iterator<Item = CommandRow> {
        let state = self.state();
        self.servers.iter().enumerate().skip(from).map(move |(place, server)| CommandRow {
            command_id: CommandId::of(&self.batch_id, server, self.at),
            tenant: self.tenant.clone(),
            batch_id: self.batch_id.clone(),
            server_id: server.clone(),
            place: place as u64,
            owner: self.owner.clone(),
            requested_at: self.requested_at,
            state: state.clone(),
        })
    }
}

impl CommandState {
    /// What an event of the command makes of it, but for the outputs.
    pub(crate) fn change(&mut self, recorded: &Recorded, event: &CommandEvent) -> Result<(), RowError> {
        let at = recorded.meta.time;
        match event {
            CommandEvent::CommandRequested(_)
            | CommandEvent::CommandTimedOut(_)
            | CommandEvent::CommandCancelled(_) => {}
            CommandEvent::CommandDispatched(dispatched) => {
                self.status = "dispatched".to_owned();
                self.relay_id = relay_of(&dispatched.via);
                self.attempts = u64::from(dispatched.attempt);
                (self.dispatched_at, self.deadline) = (Some(at), Some(instant(dispatched.deadline)));
            }
            CommandEvent::CommandCompleted(completed) => self.exit_code = Some(completed.exit_code),
            CommandEvent::CommandFailed(failed) => {
                check_text([&failed.class, &failed.reason].into_iter().chain(&failed.suggestion))?;
                self.class = Some(failed.class.clone());
                self.reason = Some(failed.reason.clone());
                self.suggestion.clone_from(&failed.suggestion);
            }
            CommandEvent::CommandLost(lost) => {
                check_text([&lost.reason])?;
                self.reason = Some(lost.reason.clone());
            }
            CommandEvent::CommandAnsweredLate(late) => check_text([&late.stdout.text, &late.stderr.text])?,
        }
        if let Some(outcome) = event.outcome() {
            self.status = outcome.name().to_owned();
            self.ended_at = Some(at);
        }
        self.seq = recorded.seq;
        Ok(())
    }

    /// Takes the outputs that an event has.
    pub(crate) fn hear(&mut self, recorded: &Recorded, event: &CommandEvent) {
        if let CommandEvent::CommandCompleted(completed) = event {
            self.stdout = Some(Kept::from(&completed.stdout));
            self.stderr = Some(Kept::from(&completed.stderr));
        } else if let CommandEvent::CommandAnsweredLate(late) = event {
            self.late = Some(Late {
                relay_id: relay_of(&late.via),
                exit_code: late.exit_code,
                stdout: late.stdout.clone(),
                stderr: late.stderr.clone(),
                at: recorded.meta.time,
            });
        }
    }
}

impl CommandRow {
    /// Takes the outputs that an event of the command has.
    pub fn hear(&mut self, recorded: &Recorded) {
        if let Event::Command(event) = &recorded.event {
            self.state.hear(recorded, event);
        }
    }
}

fn relay_of(via: &Via) -> Option<RelayId> {
    match via {
        Via::Relay { relay, .. } => Some(relay.clone()),
        Via::Direct { .. } => None,
    }
}

/// What the fleet of an instant has of a batch's commands as long as they have no events of their own.
pub(crate) struct Orders;

impl Table for Orders {
    type Row = OrderRow;

    const PROJECTION: &'static str = "commands";
    const NAME: &'static str = "orders";

    fn key(recorded: &Recorded) -> Option<String> {
        let Event::Batch(_) = &recorded.event else { return None };
        Some(recorded.subject.id.clone())
    }

    fn key_of(row: &OrderRow) -> String {
        row.batch_id.as_str().to_owned()
    }

    fn birth(row: &OrderRow) -> u64 {
        row.created_seq
    }

    fn born(row: &mut OrderRow, birth: u64) {
        row.created_seq = birth;
    }

    fn tenant(row: &OrderRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(row: &OrderRow) -> bool {
        row.answer.as_ref().is_some_and(|answer| !answer.approved)
    }

    fn apply(row: Option<OrderRow>, recorded: &Recorded) -> Result<Option<OrderRow>, RowError> {
        let Event::Batch(event) = &recorded.event else { return Ok(row) };
        let answer = Answer::of(recorded, event)?;
        let mut row = match (row, event) {
            (None, BatchEvent::BatchRequested(requested)) => OrderRow::of(recorded, requested)?,
            (Some(row), _) => row,
            (None, _) => return Ok(None),
        };
        // the first answer counts
        if row.asks && row.answer.is_none() {
            row.answer = answer;
        }
        Ok(Some(row))
    }
}

/// What the fleet of an instant has of a command that has events of its own. Its outputs stay in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwnRow {
    pub command_id: CommandId,
    pub tenant: TenantId,
    pub batch_id: BatchId,
    pub state: CommandState,
    /// The events that have its outputs, in their order.
    pub spoke: Vec<u64>,
    #[serde(skip)]
    pub begun_seq: u64,
}

pub(crate) struct OwnRows;

impl Table for OwnRows {
    type Row = OwnRow;

    const PROJECTION: &'static str = "commands";
    const NAME: &'static str = "commands";

    fn key(recorded: &Recorded) -> Option<String> {
        let Event::Command(_) = &recorded.event else { return None };
        Some(recorded.subject.id.clone())
    }

    fn key_of(row: &OwnRow) -> String {
        row.command_id.as_str().to_owned()
    }

    fn birth(row: &OwnRow) -> u64 {
        row.begun_seq
    }

    fn born(row: &mut OwnRow, birth: u64) {
        row.begun_seq = birth;
    }

    fn tenant(row: &OwnRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(row: &OwnRow) -> bool {
        row.state.ended_at.is_some()
    }

    fn apply(row: Option<OwnRow>, recorded: &Recorded) -> Result<Option<OwnRow>, RowError> {
        let Event::Command(event) = &recorded.event else { return Ok(row) };
        let mut row = match (row, event) {
            (Some(row), _) => row,
            (None, CommandEvent::CommandRequested(requested)) => OwnRow::of(recorded, requested)?,
            (None, _) => {
                let kind = recorded.event.event_type();
                return Err(RowError::Unfit(format!("{kind} of a command that does not wait")));
            }
        };
        row.state.change(recorded, event)?;
        if matches!(event, CommandEvent::CommandCompleted(_) | CommandEvent::CommandAnsweredLate(_)) {
            row.spoke.push(recorded.seq);
        }
        Ok(Some(row))
    }
}

impl OwnRow {
    fn of(recorded: &Recorded, requested: &CommandRequested) -> Result<Self, RowError> {
        let status = QUEUED.to_owned();
        Ok(Self {
            command_id: CommandId::parse(recorded.subject.id.as_str())
                .map_err(|error| RowError::Unfit(error.to_string()))?,
            tenant: recorded.subject.tenant.clone(),
            batch_id: requested.batch.clone(),
            state: CommandState { status, seq: recorded.seq, ..CommandState::default() },
            spoke: Vec::new(),
            begun_seq: recorded.seq,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::batch::{ApprovalAsked, BatchApproved, BatchRejected};
    use events::command::{CommandAnsweredLate, CommandDispatched, CommandPhase, CommandTimedOut, Output};
    use events::ids::HubId;
    use events::user::Role;
    use events::{Cause, Subject};
    use uuid::Uuid;

    use super::*;

    fn recorded(seq: u64, id: &str, event: impl Into<Event>) -> Recorded {
        let event = event.into();
        let subject = Subject::new(TenantId::parse("acme").unwrap(), event.kind(), id);
        let meta = Cause::new(Uuid::nil(), "user:alice").meta(0, DateTime::default());
        Recorded { seq, subject, meta, event }
    }

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[test]
    fn the_first_answer_ends_the_waiting_of_all_commands() {
        let batch = BatchId::from_seed(&Uuid::nil());
        let servers = [1, 2].map(|number| ServerId::from_seed(&Uuid::from_u128(number)));
        let until = DateTime::default();
        let asked = BatchRequested {
            command: "reboot".to_owned(),
            servers: servers.to_vec(),
            timeout_ms: 1,
            idempotent: false,
            concurrency: 1,
            stop_after_failures: None,
            approval: Some(ApprovalAsked { until, role: Role::Developer, patterns: [].into() }),
            by: user("alice"),
            at: until,
        };
        let after = |order: Option<OrderRow>, seq: u64, event: BatchEvent| {
            Orders::apply(order, &recorded(seq, batch.as_str(), event)).unwrap().unwrap()
        };
        let approved = BatchApproved { by: user("bob"), at: until };
        let rejected = BatchRejected { by: user("bob"), reason: Some("no".to_owned()) };
        let waits = after(None, 1, asked.into());
        assert_eq!(waits.commands(0).map(|row| row.server_id).collect::<Vec<_>>(), servers);
        assert!(waits.commands(0).all(|row| row.state.status == AWAITING && row.state.seq == 1));
        let goes = after(Some(waits.clone()), 2, approved.into());
        let stays = after(Some(goes.clone()), 3, rejected.clone().into());
        assert_eq!((goes.state().status.as_str(), goes.state().seq), (QUEUED, 2));
        assert_eq!(stays, goes, "the first answer counts");
        let never = after(Some(waits), 2, rejected.into()).state();
        let said = (never.status.as_str(), never.reason.as_deref());
        assert_eq!(said, ("cancelled", Some("rejected by bob: no")));
    }

    #[test]
    fn a_command_of_the_fleet_knows_where_its_outputs_are() {
        let server = ServerId::from_seed(&Uuid::nil());
        let batch = BatchId::from_seed(&Uuid::nil());
        let id = CommandId::of(&batch, &server, DateTime::default());
        let via = Via::Direct { hub: HubId::from_seed(&Uuid::nil()) };
        let deadline = DateTime::default();
        let (host, username) = ("10.0.0.1".to_owned(), "deploy".to_owned());
        let (port, attempt) = (22, 1);
        let dispatched = CommandDispatched { via: via.clone(), host, port, username, attempt, deadline };
        let asked = CommandRequested { batch, server, timeout_ms: 1, idempotent: false, start_by: deadline };
        let stdout = Output::of(b"late", 4);
        let late = CommandAnsweredLate { via, exit_code: 3, stdout, stderr: Output::default() };
        let events: [(CommandEvent, &str); 4] = [
            (asked.into(), "queued"),
            (dispatched.clone().into(), "dispatched"),
            (CommandTimedOut { phase: CommandPhase::Dispatched }.into(), "timed_out"),
            (late.clone().into(), "timed_out"),
        ];
        assert!(OwnRows::apply(None, &recorded(1, id.as_str(), CommandEvent::from(dispatched))).is_err());
        let mut row = None;
        for (seq, (event, status)) in (1..).zip(events) {
            row = OwnRows::apply(row, &recorded(seq, id.as_str(), event)).unwrap();
            let state = row.as_ref().map(|row| (row.state.status.as_str(), row.state.seq));
            assert_eq!(state, Some((status, seq)));
        }
        let OwnRow { mut state, spoke, .. } = row.unwrap();
        assert_eq!((state.late.is_some(), spoke), (false, vec![4]));
        state.hear(&recorded(4, id.as_str(), CommandEvent::from(late.clone())), &late.into());
        assert_eq!(state.late.map(|late| late.stdout.bytes()), Some(b"late".to_vec()));
    }
}
