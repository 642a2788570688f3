//! What is to be done next? Pure: from what is true, what is under way, who is there, and what time it is.

mod way;

use std::collections::{HashMap, HashSet, btree_map};

use chrono::{DateTime, TimeDelta, Utc};
use events::command::dispatch::Place;
use events::command::{CommandFailed, Via};
use events::ids::{BatchId, CommandId, HubId, RelayId, ServerId};

use crate::desk::{BatchEntry, Desk, Entry, Holder};

/// A relay that left may come back with the result; so long it is waited for.
pub const RETURN_WITHIN: TimeDelta = TimeDelta::seconds(5);

/// One thing to append, after which others follow.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A command of a batch begins to wait.
    Request(CommandId),
    Dispatch {
        command: CommandId,
        via: Via,
        place: Place,
    },
    Fail {
        command: CommandId,
        failed: CommandFailed,
    },
    TimeOut(CommandId),
    Lose {
        command: CommandId,
        via: Via,
        reason: String,
    },
    Cancel(CommandId),
    /// Too much of a batch went wrong: the rest is left.
    Stop {
        batch: BatchId,
        failures: u32,
    },
    /// Nobody approved of a batch in time.
    Expire(BatchId),
    /// A relay's connection ended with its hub.
    Disconnect {
        relay: RelayId,
        epoch: u64,
    },
}

impl Step {
    pub fn key(&self) -> Key {
        match self {
            Self::Request(command)
            | Self::Dispatch { command, .. }
            | Self::Fail { command, .. }
            | Self::TimeOut(command)
            | Self::Lose { command, .. }
            | Self::Cancel(command) => Key::Command(command.clone()),
            Self::Disconnect { relay, .. } => Key::Relay(relay.clone()),
            Self::Stop { batch, .. } | Self::Expire(batch) => Key::Batch(batch.clone()),
        }
    }

    /// To whom it gives a command.
    pub fn holder(&self) -> Option<Holder> {
        match self {
            Self::Dispatch { via, .. } => Some(Holder::of(via)),
            Self::Request(_)
            | Self::Fail { .. }
            | Self::TimeOut(_)
            | Self::Lose { .. }
            | Self::Cancel(_)
            | Self::Stop { .. }
            | Self::Expire(_)
            | Self::Disconnect { .. } => None,
        }
    }
}

/// What a step is about: one step at a time for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    Command(CommandId),
    Relay(RelayId),
    Batch(BatchId),
}

/// Steps under way, with whom a command is being given to.
pub type Busy = HashMap<Key, Option<Holder>>;

pub struct View<'v> {
    pub own: &'v HubId,
    pub busy: &'v Busy,
    /// Hubs that are gone for sure.
    pub is_gone: &'v dyn Fn(&HubId) -> bool,
    pub now: DateTime<Utc>,
    /// Batches take turns; another one begins each time.
    pub turn: usize,
}

/// At most `room` steps, the most urgent first.
pub fn plan(desk: &Desk, view: &View<'_>, room: usize) -> Vec<Step> {
    let taken = Taken::of(desk, view.busy);
    let mut plan = Plan { desk, view, room, steps: Vec::new(), planned: HashSet::new(), taken };
    plan.overdue();
    plan.unanswered();
    plan.gone_hubs();
    plan.left_behind();
    plan.gone_wrong();
    plan.called_off();
    plan.give_away();
    plan.begin_to_wait();
    plan.steps
}

struct Plan<'p> {
    desk: &'p Desk,
    view: &'p View<'p>,
    room: usize,
    steps: Vec<Step>,
    planned: HashSet<Key>,
    taken: Taken,
}

/// What is being given away in this moment, beyond what the desk knows.
#[derive(Default)]
struct Taken {
    holders: HashMap<Holder, usize>,
    servers: HashMap<ServerId, u32>,
    batches: HashMap<String, u32>,
}

impl Taken {
    fn of(desk: &Desk, busy: &Busy) -> Self {
        let mut taken = Self::default();
        for (key, holder) in busy {
            if let (Key::Command(id), Some(holder)) = (key, holder)
                && let Some(entry) = desk.commands.get(id)
                // the desk may know of it already
                && !desk.held.get(holder).is_some_and(|held| held.contains(id))
            {
                taken.add(holder.clone(), entry);
            }
        }
        taken
    }

    fn add(&mut self, holder: Holder, entry: &Entry) {
        *self.holders.entry(holder).or_default() += 1;
        *self.servers.entry(entry.server.clone()).or_default() += 1;
        *self.batches.entry(entry.batch.to_string()).or_default() += 1;
    }
}

impl Plan<'_> {
    fn has_room(&self) -> bool {
        self.steps.len() < self.room
    }

    fn is_free(&self, id: &CommandId) -> bool {
        let key = Key::Command(id.clone());
        !self.view.busy.contains_key(&key) && !self.planned.contains(&key)
    }

    fn push(&mut self, step: Step) {
        self.planned.insert(step.key());
        self.steps.push(step);
    }

    fn overdue(&mut self) {
        let desk = self.desk;
        for (deadline, id) in &desk.deadlines {
            if *deadline > self.view.now || !self.has_room() {
                return;
            }
            if self.is_free(id) {
                self.push(Step::TimeOut(id.clone()));
            }
        }
    }

    fn unanswered(&mut self) {
        let (desk, now) = (self.desk, self.view.now);
        for (_, id) in desk.awaiting.iter().take_while(|(until, _)| *until <= now) {
            if self.has_room() && !self.view.busy.contains_key(&Key::Batch(id.clone())) {
                self.push(Step::Expire(id.clone()));
            }
        }
    }

    fn gone_hubs(&mut self) {
        let desk = self.desk;
        for (id, entry) in &desk.relays {
            let gone = entry.relay.connected.as_ref().is_some_and(|hub| (self.view.is_gone)(hub));
            if gone && self.has_room() && !self.view.busy.contains_key(&Key::Relay(id.clone())) {
                self.push(Step::Disconnect { relay: id.clone(), epoch: entry.relay.epoch });
            }
        }
    }

    /// Commands whose holder is gone: given to another where that does no harm, lost otherwise.
    fn left_behind(&mut self) {
        let (desk, view) = (self.desk, self.view);
        let of_relays = desk.orphans.iter().filter_map(|id| {
            let entry = desk.commands.get(id)?;
            Some((id, entry, view.now >= entry.orphaned_at? + RETURN_WITHIN))
        });
        let is_gone = |holder: &Holder| matches!(holder, Holder::Hub(hub) if (view.is_gone)(hub));
        let gone = desk.held.iter().filter(|(holder, _)| is_gone(holder));
        let of_hubs =
            gone.flat_map(|(_, held)| held).filter_map(|id| Some((id, desk.commands.get(id)?, true)));
        for (id, entry, over) in of_relays.chain(of_hubs) {
            let Some(via) = entry.command.attempts.last().filter(|_| self.has_room() && self.is_free(id))
            else {
                continue;
            };
            if entry.command.may_go_again() {
                let batch = desk.batches.get(&entry.batch);
                if let Some(step) = batch.and_then(|batch| self.way(id, entry, batch)) {
                    self.push(step);
                }
            } else if over {
                let reason = lost(via);
                self.push(Step::Lose { command: id.clone(), via: via.clone(), reason });
            }
        }
    }

    fn gone_wrong(&mut self) {
        for (id, batch) in &self.desk.batches {
            let free = !self.view.busy.contains_key(&Key::Batch(id.clone()));
            if batch.is_spent() && !batch.stopped && !batch.cancelled && free && self.has_room() {
                self.push(Step::Stop { batch: id.clone(), failures: batch.failures });
            }
        }
    }

    /// All of a batch that was cancelled; of one that stopped, what is not begun.
    fn called_off(&mut self) {
        let desk = self.desk;
        for (batch_id, batch) in desk.batches.iter().filter(|(_, batch)| batch.cancelled || batch.stopped) {
            let of_batch = |id: &&CommandId| {
                batch.cancelled && desk.commands.get(id).is_some_and(|entry| entry.batch == *batch_id)
            };
            let in_flight = desk.held.values().flatten().filter(of_batch);
            for id in batch.queued.values().chain(in_flight) {
                if self.has_room() && self.is_free(id) {
                    self.push(Step::Cancel(id.clone()));
                }
            }
        }
    }

    /// Batches take turns, one command each.
    fn give_away(&mut self) {
        let desk = self.desk;
        let mut lanes: Vec<_> = (desk.batches.iter())
            .filter(|(_, batch)| !batch.cancelled && !batch.is_spent())
            .map(|(id, batch)| (id, batch, batch.queued.values()))
            .collect();
        let begin = self.view.turn.checked_rem(lanes.len()).unwrap_or(0);
        lanes.rotate_left(begin);
        while !lanes.is_empty() {
            lanes.retain_mut(|(id, batch, queue)| {
                let taken = self.taken.batches.get(id.as_str()).copied().unwrap_or(0);
                self.has_room()
                    && batch.in_flight + taken < batch.requested.concurrency
                    && self.next_of(batch, queue)
            });
        }
    }

    /// The next of the batch that can go; `false` if none can.
    fn next_of(&mut self, batch: &BatchEntry, queue: &mut btree_map::Values<'_, usize, CommandId>) -> bool {
        for id in queue {
            let Some(entry) = self.desk.commands.get(id).filter(|_| self.is_free(id)) else { continue };
            if let Some(step) = self.way(id, entry, batch) {
                self.push(step);
                return true;
            }
        }
        false
    }

    fn begin_to_wait(&mut self) {
        let desk = self.desk;
        let begun = desk.batches.values().filter(|batch| batch.begun_at.is_some());
        let mut lanes: Vec<_> = begun.map(|batch| batch.unrequested.values()).collect();
        while !lanes.is_empty() && self.has_room() {
            lanes.retain_mut(|lane| match lane.find(|id| self.is_free(id)) {
                Some(id) if self.has_room() => {
                    self.push(Step::Request(id.clone()));
                    true
                }
                Some(_) | None => false,
            });
        }
    }
}

/// What is known of a command whose holder is gone.
fn lost(via: &Via) -> String {
    match via {
        Via::Relay { relay, .. } => {
            format!(
                "the connection of relay {relay} ended before a result came: it may have run, or be running"
            )
        }
        Via::Direct { .. } => {
            "the process that ran it ended before a result came: it may have run, or be running".to_owned()
        }
    }
}

#[cfg(test)]
mod tests;
