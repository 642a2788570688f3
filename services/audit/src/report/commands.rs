//! `commands`: what was run on which server, in whose name, by which way, when, and how did it end? Beside it who
//! approved of what is dangerous, who did not, and what was called off.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use events::batch::{BatchEvent, BatchRequested};
use events::command::{CommandAnsweredLate, CommandEvent, CommandRequested, Outcome, Via};
use events::ids::{BatchId, ServerId, TenantId, UserName};
use events::{Event, Kind, Recorded};

use super::rows::{Cell, Row, Rows};
use super::{Fold, Report, words};

pub const REPORT: Report = Report {
    name: "commands",
    about: "commands that were run, and approvals of them",
    version: 1,
    columns: &[
        "tenant",
        "what",
        "command",
        "who",
        "server",
        "relay",
        "outcome",
        "exit_code",
        "class",
        "reason",
        "requested_at",
        "started_at",
        "ended_at",
        "attempts",
        "by",
        "batch_id",
        "command_id",
        "sequence",
    ],
    kinds: &[Kind::Batch, Kind::Command],
    fold: || Box::<Commands>::default(),
};

#[derive(Default)]
struct Commands {
    batches: BTreeMap<String, Batch>,
    /// Those that have not ended.
    open: BTreeMap<String, Open>,
}

/// A batch of which something is to come.
struct Batch {
    /// As it is shown.
    command: String,
    who: UserName,
    at: DateTime<Utc>,
    /// Its commands that have not ended.
    left: usize,
    /// Nothing of it is begun before somebody answers.
    awaits: bool,
    approved_by: Option<UserName>,
}

struct Open {
    tenant: TenantId,
    batch: BatchId,
    server: ServerId,
    requested_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    via: Option<Via>,
    attempts: u32,
    /// Its newest event.
    sequence: u64,
}

/// A row by the names of its columns.
#[derive(Default)]
struct Line {
    what: Cell,
    command: Cell,
    who: Cell,
    server: Cell,
    relay: Cell,
    outcome: Cell,
    exit_code: Cell,
    class: Cell,
    reason: Cell,
    requested_at: Cell,
    started_at: Cell,
    ended_at: Cell,
    attempts: Cell,
    by: Cell,
    batch_id: Cell,
    command_id: Cell,
}

impl Fold for Commands {
    fn take(&mut self, event: &Recorded, rows: &mut Rows) {
        if let Event::Batch(batch) = &event.event {
            self.batch(event, batch, rows);
        }
        if let Event::Command(command) = &event.event {
            self.command(event, command, rows);
        }
    }

    fn finish(&mut self, rows: &mut Rows) {
        for (id, open) in &self.open {
            let outcome = if open.via.is_some() { "dispatched" } else { "queued" };
            let batch = self.batches.get(open.batch.as_str());
            rows.put(open.sequence, &open.tenant, || {
                let line = Line { outcome: outcome.into(), ..open.line(id, batch) };
                line.row(&open.tenant, open.sequence)
            });
        }
    }
}

impl Commands {
    fn batch(&mut self, event: &Recorded, said: &BatchEvent, rows: &mut Rows) {
        let id = event.subject.id.as_str();
        if let BatchEvent::BatchRequested(requested) = said {
            self.batches.insert(id.to_owned(), Batch::of(requested));
        }
        let actor = event.meta.actor.clone();
        let (what, by, reason) = match said {
            BatchEvent::BatchRequested(requested) => {
                let Some(asked) = &requested.approval else { return };
                let quoted = asked.patterns.iter().map(|pattern| format!("{:?}", pattern.as_str()));
                let why = format!("dangerous by {}, until {}", words::joined(quoted), asked.until);
                ("approval_asked", actor, Some(why))
            }
            BatchEvent::BatchApproved(approved) => {
                if let Some(batch) = self.batches.get_mut(id) {
                    (batch.awaits, batch.approved_by) = (false, Some(approved.by.clone()));
                }
                ("approved", approved.by.to_string(), None)
            }
            BatchEvent::BatchRejected(rejected) => {
                ("rejected", rejected.by.to_string(), rejected.reason.clone())
            }
            BatchEvent::BatchExpired(_) => ("expired", actor, None),
            BatchEvent::BatchCancelled(_) => ("called_off", actor, None),
            BatchEvent::BatchStopped(stopped) => {
                ("stopped", actor, Some(format!("{} of its commands went wrong", stopped.failures)))
            }
        };
        let batch = self.batches.get(id);
        rows.event(event.seq, &event.subject.tenant, || {
            let line = Line {
                what: what.into(),
                reason: reason.into(),
                ended_at: event.meta.time.into(),
                by: by.into(),
                batch_id: id.into(),
                ..Line::of(batch)
            };
            line.row(&event.subject.tenant, event.seq)
        });
        let ends = match said {
            BatchEvent::BatchRejected(_) | BatchEvent::BatchExpired(_) | BatchEvent::BatchCancelled(_) => {
                true
            }
            BatchEvent::BatchRequested(_) | BatchEvent::BatchApproved(_) | BatchEvent::BatchStopped(_) => {
                false
            }
        };
        // what waits for an answer ends with it: its commands have no events
        if ends && batch.is_some_and(|batch| batch.awaits) {
            self.batches.remove(id);
        }
    }

    fn command(&mut self, event: &Recorded, said: &CommandEvent, rows: &mut Rows) {
        let id = event.subject.id.as_str();
        let end = match said {
            CommandEvent::CommandRequested(asked) => {
                self.open.insert(id.to_owned(), Open::of(event, asked));
                return;
            }
            CommandEvent::CommandDispatched(dispatched) => {
                if let Some(open) = self.open.get_mut(id) {
                    open.started_at.get_or_insert(event.meta.time);
                    (open.via, open.attempts) = (Some(dispatched.via.clone()), dispatched.attempt);
                    open.sequence = event.seq;
                }
                return;
            }
            CommandEvent::CommandAnsweredLate(late) => {
                rows.event(event.seq, &event.subject.tenant, || late_answer(event, late));
                return;
            }
            CommandEvent::CommandCompleted(completed) => {
                Line { exit_code: completed.exit_code.into(), ..Line::default() }
            }
            CommandEvent::CommandFailed(failed) => Line {
                class: failed.class.as_str().into(),
                reason: failed.reason.as_str().into(),
                ..Line::default()
            },
            CommandEvent::CommandLost(lost) => {
                Line { reason: lost.reason.as_str().into(), ..Line::default() }
            }
            CommandEvent::CommandTimedOut(_) | CommandEvent::CommandCancelled(_) => Line::default(),
        };
        if let Some(open) = self.open.remove(id) {
            self.ended(event, said.outcome(), &open, end, rows);
        }
    }

    fn ended(&mut self, event: &Recorded, outcome: Option<Outcome>, open: &Open, end: Line, rows: &mut Rows) {
        let batch = self.batches.get(open.batch.as_str());
        rows.event(event.seq, &open.tenant, || {
            let line = Line {
                outcome: outcome.map(Outcome::name).into(),
                exit_code: end.exit_code,
                class: end.class,
                reason: end.reason,
                ended_at: event.meta.time.into(),
                ..open.line(&event.subject.id, batch)
            };
            line.row(&open.tenant, event.seq)
        });
        if let Some(batch) = self.batches.get_mut(open.batch.as_str()) {
            batch.left = batch.left.saturating_sub(1);
            if batch.left == 0 {
                self.batches.remove(open.batch.as_str());
            }
        }
    }
}

impl Batch {
    fn of(requested: &BatchRequested) -> Self {
        Self {
            command: words::command(&requested.command),
            who: requested.by.clone(),
            at: requested.at,
            left: requested.servers.iter().collect::<BTreeSet<_>>().len(),
            awaits: requested.approval.is_some(),
            approved_by: None,
        }
    }
}

impl Open {
    fn of(event: &Recorded, asked: &CommandRequested) -> Self {
        Self {
            tenant: event.subject.tenant.clone(),
            batch: asked.batch.clone(),
            server: asked.server.clone(),
            requested_at: event.meta.time,
            started_at: None,
            via: None,
            attempts: 0,
            sequence: event.seq,
        }
    }

    /// But for how it ended.
    fn line(&self, id: &str, batch: Option<&Batch>) -> Line {
        Line {
            what: "command".into(),
            server: self.server.as_str().into(),
            relay: self.via.as_ref().map(way).into(),
            requested_at: self.requested_at.into(),
            started_at: self.started_at.into(),
            attempts: self.attempts.into(),
            by: batch.and_then(|batch| batch.approved_by.as_ref()).map(UserName::as_str).into(),
            batch_id: self.batch.as_str().into(),
            command_id: id.into(),
            ..Line::of(batch)
        }
    }
}

impl Line {
    /// What a batch says, if it is known still.
    fn of(batch: Option<&Batch>) -> Self {
        Self {
            command: batch.map(|batch| batch.command.as_str()).into(),
            who: batch.map(|batch| batch.who.as_str()).into(),
            requested_at: batch.map(|batch| batch.at).into(),
            ..Self::default()
        }
    }

    fn row(self, tenant: &TenantId, sequence: u64) -> Row {
        vec![
            tenant.as_str().into(),
            self.what,
            self.command,
            self.who,
            self.server,
            self.relay,
            self.outcome,
            self.exit_code,
            self.class,
            self.reason,
            self.requested_at,
            self.started_at,
            self.ended_at,
            self.attempts,
            self.by,
            self.batch_id,
            self.command_id,
            sequence.into(),
        ]
    }
}

/// The relay, or that there was none.
fn way(via: &Via) -> String {
    match via {
        Via::Relay { relay, .. } => relay.to_string(),
        Via::Direct { .. } => "direct".to_owned(),
    }
}

/// What came after the outcome, when nothing of the command is kept any more.
fn late_answer(event: &Recorded, late: &CommandAnsweredLate) -> Row {
    let line = Line {
        what: "late_answer".into(),
        relay: way(&late.via).into(),
        exit_code: late.exit_code.into(),
        ended_at: event.meta.time.into(),
        command_id: event.subject.id.as_str().into(),
        ..Line::default()
    };
    line.row(&event.subject.tenant, event.seq)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::batch::{ApprovalAsked, BatchApproved, BatchRejected};
    use events::command::{CommandCompleted, CommandDispatched, CommandLost, Output};
    use events::ids::RelayId;
    use events::user::Role;
    use uuid::Uuid;

    use super::super::testing::{SERVER, at, cells, columns, shown, t};
    use super::*;

    const BATCH: &str = "bat-abcdefghijkl";
    const ONE: &str = "cmd_1_abcdefghijkl";
    const OTHER: &str = "cmd_1_mnopqrstuvwx";

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn asked(approval: bool) -> BatchEvent {
        let other = ServerId::from_seed(&Uuid::from_u128(1));
        let patterns = [events::access::pattern::Pattern::parse("*reboot*").unwrap()].into();
        let asked = BatchRequested {
            command: "reboot now".into(),
            servers: vec![ServerId::parse(SERVER).unwrap(), other],
            timeout_ms: 1,
            idempotent: false,
            concurrency: 1,
            stop_after_failures: None,
            approval: approval.then(|| ApprovalAsked { until: t(100), role: Role::Developer, patterns }),
            by: user("alice"),
            at: t(0),
        };
        asked.into()
    }

    fn batch(sequence: u64, event: impl Into<BatchEvent>) -> Recorded {
        let event: BatchEvent = event.into();
        at(sequence, Kind::Batch, BATCH, event)
    }

    fn command(sequence: u64, id: &str, event: impl Into<CommandEvent>) -> Recorded {
        let event: CommandEvent = event.into();
        at(sequence, Kind::Command, id, event)
    }

    fn requested(sequence: u64, id: &str) -> Recorded {
        let asked = CommandRequested {
            batch: BatchId::parse(BATCH).unwrap(),
            server: ServerId::parse(SERVER).unwrap(),
            timeout_ms: 1,
            idempotent: false,
            start_by: t(100),
        };
        command(sequence, id, asked)
    }

    fn dispatched(sequence: u64, id: &str) -> Recorded {
        let via = Via::Relay { relay: RelayId::parse("rel-abcdefghijkl").unwrap(), epoch: 1 };
        let (host, username) = ("h".into(), "u".into());
        let given = CommandDispatched { via, host, port: 22, username, attempt: 1, deadline: t(50) };
        command(sequence, id, given)
    }

    fn completed(exit_code: i32) -> CommandCompleted {
        CommandCompleted { exit_code, stdout: Output::default(), stderr: Output::default() }
    }

    fn story() -> Vec<Recorded> {
        vec![
            batch(1, asked(true)),
            batch(2, BatchApproved { by: user("olga"), at: t(2) }),
            requested(3, ONE),
            requested(4, OTHER),
            dispatched(5, ONE),
            dispatched(6, OTHER),
            command(7, ONE, completed(-1)),
            command(8, OTHER, CommandLost { reason: "it left".into() }),
        ]
    }

    const SHOWN: &[&str] = &["what", "command", "who", "relay", "outcome", "exit_code", "by", "sequence"];

    #[test]
    fn each_command_is_told_with_its_batch_its_way_and_its_end() {
        let rows = cells(&REPORT, 1, None, &story());
        let relay = "rel-abcdefghijkl";
        let expected = [
            ["approval_asked", "reboot now", "alice", "", "", "", "user:olga", "1"].map(str::to_owned),
            ["approved", "reboot now", "alice", "", "", "", "olga", "2"].map(str::to_owned),
            ["command", "reboot now", "alice", relay, "completed", "-1", "olga", "7"].map(str::to_owned),
            ["command", "reboot now", "alice", relay, "lost", "", "olga", "8"].map(str::to_owned),
        ];
        assert_eq!(columns(&REPORT, &rows, SHOWN), expected);
        let times = columns(&REPORT, &rows, &["requested_at", "started_at", "ended_at"]);
        assert_eq!(times[2], [shown(3), shown(5), shown(7)]);
        // nothing is kept of what has ended
        let (mut fold, mut rows) = (Commands::default(), Rows::new(None, 1));
        story().iter().for_each(|event| fold.take(event, &mut rows));
        assert!(fold.batches.is_empty() && fold.open.is_empty());
    }

    #[test]
    fn a_range_has_what_ended_in_it_and_what_goes_on_at_its_end() {
        let seen = |from, upto: usize| {
            let rows = cells(&REPORT, from, None, &story()[..upto]);
            columns(&REPORT, &rows, &["outcome", "sequence"]).concat()
        };
        assert_eq!(seen(8, 8), ["lost", "8"]);
        assert_eq!(seen(7, 7), ["dispatched", "6", "completed", "7"]);
        assert_eq!(seen(4, 4), ["queued", "3", "queued", "4"]);
    }

    #[test]
    fn what_is_rejected_leaves_nothing_behind() {
        let rejected = BatchRejected { by: user("olga"), reason: Some("not today".into()) };
        let all = [batch(1, asked(true)), batch(2, rejected)];
        let rows = cells(&REPORT, 2, None, &all);
        assert_eq!(columns(&REPORT, &rows, &["what", "by", "reason"]), [["rejected", "olga", "not today"]]);
        let (mut fold, mut rows) = (Commands::default(), Rows::new(None, 1));
        all.iter().for_each(|event| fold.take(event, &mut rows));
        assert!(fold.batches.is_empty());
    }
}
