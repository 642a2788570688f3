//! What is true of relays, servers, batches and commands? A fold of the log; of batches and commands it keeps
//! those that have not ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::batch::{BatchEvent, BatchRequested};
use events::command::{Command, CommandEvent, Outcome, Stage, Via};
use events::ids::{BatchId, CommandId, EventId, HubId, RelayId, ServerId, TenantId};
use events::relay::connect::{Knock, admit};
use events::relay::{Relay, RelayEvent, RelayRefusal};
use events::server::{ServerChanged, ServerEvent, ServerRegistered, Settings};
use events::{Aggregate, Event, Kind, Recorded};
use uuid::Uuid;

/// The kinds that are folded.
pub const KINDS: [Kind; 4] = [Kind::Relay, Kind::Server, Kind::Batch, Kind::Command];

#[derive(Default)]
pub struct Desk {
    /// Sequence of the newest event that was folded.
    pub seq: u64,
    pub relays: BTreeMap<RelayId, RelayEntry>,
    pub servers: HashMap<ServerId, (TenantId, Settings)>,
    pub batches: BTreeMap<BatchId, BatchEntry>,
    pub commands: HashMap<CommandId, Entry>,
    /// Commands that were given away, by whom they were given to.
    pub held: HashMap<Holder, BTreeSet<CommandId>>,
    pub server_in_flight: HashMap<ServerId, u32>,
    /// When the time of what was given away, or waits, is over.
    pub deadlines: BTreeSet<(DateTime<Utc>, CommandId)>,
    /// Given to a relay's connection that is no more.
    pub orphans: BTreeSet<CommandId>,
    /// Batches that wait for a second person, by when that is over.
    pub awaiting: BTreeSet<(DateTime<Utc>, BatchId)>,
}

/// Who has a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    Relay(RelayId),
    Hub(HubId),
}

impl Holder {
    pub fn of(via: &Via) -> Self {
        match via {
            Via::Relay { relay, .. } => Self::Relay(relay.clone()),
            Via::Direct { hub } => Self::Hub(hub.clone()),
        }
    }
}

pub struct RelayEntry {
    pub tenant: TenantId,
    pub relay: Relay,
    /// Commands lost or timed out since one ended well.
    pub troubles: u32,
    /// Sequence of its newest command.
    pub used: u64,
}

/// The request that a command goes back to.
#[derive(Debug)]
pub struct Origin {
    pub event: EventId,
    pub correlation: Uuid,
    pub traceparent: Option<String>,
}

impl Origin {
    fn of(recorded: &Recorded) -> Self {
        let meta = &recorded.meta;
        Self { event: meta.id, correlation: meta.correlation, traceparent: meta.traceparent.clone() }
    }
}

pub struct BatchEntry {
    pub tenant: TenantId,
    pub origin: Arc<Origin>,
    pub requested: Arc<BatchRequested>,
    /// Its commands wait for their turn since; `None` while it waits for a second person.
    pub begun_at: Option<DateTime<Utc>>,
    pub cancelled: bool,
    pub stopped: bool,
    /// Commands that ended otherwise than with exit code 0, those called off aside.
    pub failures: u32,
    /// By their place in the batch.
    pub unrequested: BTreeMap<usize, CommandId>,
    pub queued: BTreeMap<usize, CommandId>,
    pub in_flight: u32,
    /// Commands that have not ended.
    left: usize,
}

impl BatchEntry {
    /// So much of it went wrong that no more is begun.
    pub fn is_spent(&self) -> bool {
        self.requested.is_over_at(self.failures)
    }
}

pub struct Entry {
    pub batch: BatchId,
    pub server: ServerId,
    place: usize,
    pub command: Command,
    /// When it began to wait.
    pub queued_at: DateTime<Utc>,
    /// Since when whoever has it is gone.
    pub orphaned_at: Option<DateTime<Utc>>,
}

impl Desk {
    pub fn apply(&mut self, recorded: &Recorded) {
        self.seq = recorded.seq;
        let at = recorded.meta.time;
        match &recorded.event {
            Event::Relay(event) => self.relay(recorded, event, at),
            Event::Server(event) => self.server(recorded, event),
            Event::Batch(event) => self.batch(recorded, event),
            Event::Command(event) => self.command(recorded, event, at),
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::Access(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::User(_)
            | Event::SignIn(_)
            | Event::Token(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }

    fn relay(&mut self, recorded: &Recorded, event: &RelayEvent, at: DateTime<Utc>) {
        let Ok(id) = RelayId::parse(recorded.subject.id.as_str()) else { return };
        let entry = self.relays.entry(id.clone()).or_insert_with(|| RelayEntry {
            tenant: recorded.subject.tenant.clone(),
            relay: Relay::default(),
            troubles: 0,
            used: 0,
        });
        entry.relay.evolve(event, at);
        match event {
            RelayEvent::RelayConnected(_)
            | RelayEvent::RelayDisconnected(_)
            | RelayEvent::RelayRevoked(_) => {
                let theirs = self.held.get(&Holder::Relay(id)).cloned().unwrap_or_default();
                theirs.iter().for_each(|command| self.orphan_if_left(command, at));
            }
            RelayEvent::RelayRegistered(_)
            | RelayEvent::RelayChanged(_)
            | RelayEvent::RelayAccepted(_)
            | RelayEvent::RelayKeyRotated(_) => {}
        }
    }

    fn server(&mut self, recorded: &Recorded, event: &ServerEvent) {
        let Ok(id) = ServerId::parse(recorded.subject.id.as_str()) else { return };
        match event {
            ServerEvent::ServerRegistered(ServerRegistered { settings })
            | ServerEvent::ServerChanged(ServerChanged { settings }) => {
                self.servers.insert(id, (recorded.subject.tenant.clone(), settings.clone()));
            }
            ServerEvent::ServerRemoved(_) => {
                self.servers.remove(&id);
            }
            ServerEvent::HostKeyPinned(_)
            | ServerEvent::HostKeyChangeSeen(_)
            | ServerEvent::HostKeyAccepted(_)
            | ServerEvent::ConnectionTested(_)
            | ServerEvent::FactsGathered(_)
            | ServerEvent::AccountChangeAsked(_)
            | ServerEvent::AccountChangeEnded(_) => {}
        }
    }

    fn batch(&mut self, recorded: &Recorded, event: &BatchEvent) {
        let Ok(id) = BatchId::parse(recorded.subject.id.as_str()) else { return };
        match event {
            BatchEvent::BatchRequested(requested) => self.begin(recorded, id, requested),
            BatchEvent::BatchCancelled(_) => {
                self.leave(&id);
                if let Some(batch) = self.batches.get_mut(&id) {
                    batch.cancelled = true;
                }
            }
            BatchEvent::BatchApproved(approved) => {
                if let Some(batch) = self.batches.get_mut(&id) {
                    batch.begun_at = Some(approved.at);
                    self.awaiting.retain(|(_, awaiting)| *awaiting != id);
                }
            }
            BatchEvent::BatchRejected(_) | BatchEvent::BatchExpired(_) => self.leave(&id),
            BatchEvent::BatchStopped(_) => {
                if let Some(batch) = self.batches.get_mut(&id) {
                    batch.stopped = true;
                }
            }
        }
    }

    /// A batch that waits for a second person ends with all its commands, of which none has begun to wait.
    fn leave(&mut self, id: &BatchId) {
        if self.batches.get(id).is_none_or(|batch| batch.begun_at.is_some()) {
            return;
        }
        let left = self.batches.remove(id).map(|batch| batch.unrequested).unwrap_or_default();
        left.values().for_each(|command| drop(self.commands.remove(command)));
        self.awaiting.retain(|(_, awaiting)| awaiting != id);
    }

    fn begin(&mut self, recorded: &Recorded, id: BatchId, requested: &BatchRequested) {
        let named = requested.servers.iter().map(|server| (server, CommandId::of(&id, server, requested.at)));
        let mut unrequested = BTreeMap::new();
        for (place, (server, command)) in named.enumerate() {
            let entry = Entry {
                batch: id.clone(),
                server: server.clone(),
                place,
                command: Command::default(),
                queued_at: recorded.meta.time,
                orphaned_at: None,
            };
            if self.commands.insert(command.clone(), entry).is_none() {
                unrequested.insert(place, command);
            }
        }
        let batch = BatchEntry {
            tenant: recorded.subject.tenant.clone(),
            origin: Arc::new(Origin::of(recorded)),
            requested: Arc::new(requested.clone()),
            begun_at: requested.begins_at_once().then_some(requested.at),
            cancelled: false,
            stopped: false,
            failures: 0,
            left: unrequested.len(),
            unrequested,
            queued: BTreeMap::new(),
            in_flight: 0,
        };
        if batch.left > 0 {
            self.awaiting.extend(requested.approval.iter().map(|asked| (asked.until, id.clone())));
            self.batches.insert(id, batch);
        }
    }

    fn command(&mut self, recorded: &Recorded, event: &CommandEvent, at: DateTime<Utc>) {
        let Ok(id) = CommandId::parse(recorded.subject.id.as_str()) else { return };
        let Some(mut entry) = self.commands.remove(&id) else { return };
        self.take_out(&id, &entry);
        entry.command.evolve(event, at);
        entry.orphaned_at = None;
        match event {
            CommandEvent::CommandRequested(_) => entry.queued_at = at,
            CommandEvent::CommandDispatched(dispatched) => {
                if let Via::Relay { relay, .. } = &dispatched.via
                    && let Some(relay) = self.relays.get_mut(relay)
                {
                    relay.used = recorded.seq;
                }
            }
            CommandEvent::CommandCompleted(_)
            | CommandEvent::CommandFailed(_)
            | CommandEvent::CommandTimedOut(_)
            | CommandEvent::CommandLost(_)
            | CommandEvent::CommandCancelled(_)
            | CommandEvent::CommandAnsweredLate(_) => {}
        }
        if let Some(outcome) = entry.command.outcome() {
            self.ended(&entry, outcome, went_wrong(event));
            return;
        }
        self.put_in(&id, &entry);
        self.commands.insert(id.clone(), entry);
        self.orphan_if_left(&id, at);
    }

    fn ended(&mut self, entry: &Entry, outcome: Outcome, went_wrong: bool) {
        if let Some(Via::Relay { relay, .. }) = entry.command.attempts.last()
            && let Some(relay) = self.relays.get_mut(relay)
        {
            match outcome {
                Outcome::Completed => relay.troubles = 0,
                Outcome::TimedOut | Outcome::Lost => relay.troubles = relay.troubles.saturating_add(1),
                Outcome::Failed | Outcome::Cancelled => {}
            }
        }
        if let Some(batch) = self.batches.get_mut(&entry.batch) {
            batch.left = batch.left.saturating_sub(1);
            batch.failures = batch.failures.saturating_add(u32::from(went_wrong));
            if batch.left == 0 {
                self.batches.remove(&entry.batch);
            }
        }
    }

    /// Takes it out of everything that it stands in.
    fn take_out(&mut self, id: &CommandId, entry: &Entry) {
        self.orphans.remove(id);
        if let Some(deadline) = entry.command.deadline() {
            self.deadlines.remove(&(deadline, id.clone()));
        }
        if let Some(batch) = self.batches.get_mut(&entry.batch) {
            match entry.command.stage {
                Stage::Absent => drop(batch.unrequested.remove(&entry.place)),
                Stage::Queued => drop(batch.queued.remove(&entry.place)),
                Stage::Dispatched { .. } => batch.in_flight = batch.in_flight.saturating_sub(1),
                Stage::Ended(_) => {}
            }
        }
        if let (Stage::Dispatched { .. }, Some(via)) = (&entry.command.stage, entry.command.attempts.last()) {
            let holder = Holder::of(via);
            if let Some(held) = self.held.get_mut(&holder) {
                held.remove(id);
                if held.is_empty() {
                    self.held.remove(&holder);
                }
            }
            if let Some(count) = self.server_in_flight.get_mut(&entry.server) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.server_in_flight.remove(&entry.server);
                }
            }
        }
    }

    /// Puts it wherever its stage belongs.
    fn put_in(&mut self, id: &CommandId, entry: &Entry) {
        if let Some(deadline) = entry.command.deadline() {
            self.deadlines.insert((deadline, id.clone()));
        }
        if let Some(batch) = self.batches.get_mut(&entry.batch) {
            match entry.command.stage {
                Stage::Absent => drop(batch.unrequested.insert(entry.place, id.clone())),
                Stage::Queued => drop(batch.queued.insert(entry.place, id.clone())),
                Stage::Dispatched { .. } => batch.in_flight += 1,
                Stage::Ended(_) => {}
            }
        }
        if let (Stage::Dispatched { .. }, Some(via)) = (&entry.command.stage, entry.command.attempts.last()) {
            self.held.entry(Holder::of(via)).or_default().insert(id.clone());
            *self.server_in_flight.entry(entry.server.clone()).or_default() += 1;
        }
    }

    fn orphan_if_left(&mut self, id: &CommandId, at: DateTime<Utc>) {
        let Some(entry) = self.commands.get_mut(id) else { return };
        let (Stage::Dispatched { .. }, Some(Via::Relay { relay, epoch })) =
            (&entry.command.stage, entry.command.attempts.last())
        else {
            return;
        };
        let there = self.relays.get(relay).is_some_and(|there| there.relay.is_connected(*epoch));
        if !there {
            entry.orphaned_at.get_or_insert(at);
            self.orphans.insert(id.clone());
        }
    }

    /// Whether the relay's connection of this number may stay: by the rule that let it in. One that came later than
    /// what is known here is not judged yet.
    pub fn may_stay(
        &self,
        relay: &RelayId,
        epoch: u64,
        knock: &Knock,
        now: DateTime<Utc>,
    ) -> Result<(), RelayRefusal> {
        let known = self.relays.get(relay).filter(|entry| entry.relay.epoch >= epoch);
        known.map_or(Ok(()), |entry| admit(&entry.relay, knock, now).map(drop))
    }

    pub fn waiting(&self) -> usize {
        let begun = self.batches.values().filter(|batch| batch.begun_at.is_some());
        begun.map(|batch| batch.unrequested.len() + batch.queued.len()).sum()
    }

    pub fn in_flight(&self) -> usize {
        self.held.values().map(BTreeSet::len).sum()
    }

    pub fn held_by(&self, holder: &Holder) -> usize {
        self.held.get(holder).map_or(0, BTreeSet::len)
    }
}

/// Whether this end counts against its batch.
fn went_wrong(event: &CommandEvent) -> bool {
    match event {
        CommandEvent::CommandCompleted(completed) => completed.exit_code != 0,
        CommandEvent::CommandFailed(_) | CommandEvent::CommandTimedOut(_) | CommandEvent::CommandLost(_) => {
            true
        }
        CommandEvent::CommandRequested(_)
        | CommandEvent::CommandDispatched(_)
        | CommandEvent::CommandCancelled(_)
        | CommandEvent::CommandAnsweredLate(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{Story, hub, t};

    #[test]
    fn a_batch_is_kept_until_its_last_command_ended() {
        let mut story = Story::new();
        let batch = story.batch(&["a", "b"], false);
        let (a, b) = (story.command(&batch, "a"), story.command(&batch, "b"));
        story.request(&a);
        story.dispatch(&a, story.direct(1));
        assert_eq!((story.desk.waiting(), story.desk.in_flight()), (1, 1));
        assert_eq!(story.desk.held_by(&Holder::Hub(hub(1))), 1);
        story.complete(&a);
        assert_eq!((story.desk.commands.len(), story.desk.batches.len()), (1, 1));
        story.request(&b);
        story.dispatch(&b, story.direct(1));
        story.complete(&b);
        assert!(story.desk.commands.is_empty() && story.desk.batches.is_empty());
        assert!(story.desk.held.is_empty() && story.desk.deadlines.is_empty());
        assert!(story.desk.server_in_flight.is_empty());
    }

    #[test]
    fn a_batch_that_waits_for_a_second_person_begins_or_is_forgotten() {
        let mut story = Story::new();
        let [approved, rejected, expired, cancelled] = [1, 2, 3, 4].map(|_| story.dangerous(&["a"]));
        assert_eq!((story.desk.awaiting.len(), story.desk.waiting()), (4, 0));
        story.approve(&approved, 50);
        story.reject(&rejected);
        story.expire(&expired);
        story.cancel(&cancelled);
        assert!(story.desk.awaiting.is_empty());
        assert_eq!(story.desk.batches.keys().collect::<Vec<_>>(), [&approved]);
        assert_eq!(story.desk.batches[&approved].begun_at, Some(t(50)));
        assert_eq!((story.desk.commands.len(), story.desk.waiting()), (1, 1));
    }

    #[test]
    fn what_follows_a_batch_that_this_hub_could_not_read_begins_nothing() {
        let mut story = Story::new();
        story.server("a", None);
        // its request is of a newer version, and left out
        let batch = BatchId::from_seed(&Uuid::nil());
        let a = story.command(&batch, "a");
        story.approve(&batch, 1);
        story.dispatch(&a, story.direct(1));
        assert!(story.desk.batches.is_empty() && story.desk.commands.is_empty());
        assert_eq!((story.desk.waiting(), story.desk.in_flight()), (0, 0));
        assert!(story.desk.deadlines.is_empty());
    }

    fn knock(digest: &str, address: [u8; 4]) -> Knock {
        let address = Some(address.into());
        Knock { hub: hub(1), digest: digest.into(), address, client: None, tunnels: None }
    }

    #[test]
    fn by_the_key_before_a_relay_stays_until_the_overlap_ends_whoever_was_restarted() {
        let mut story = Story::new();
        let relay = story.relay(1, None);
        story.connect(&relay, 1);
        let (old, new) = (knock("d", [10, 0, 0, 7]), knock("e", [10, 0, 0, 7]));
        assert_eq!(story.desk.may_stay(&relay, 1, &old, t(99)), Ok(()));
        // another hub let somebody in by a key that is not known here yet
        assert_eq!(story.desk.may_stay(&relay, 2, &new, t(0)), Ok(()));
        story.rotate(&relay, "e", 60);
        let stay = |story: &Story, epoch, knock, second| story.desk.may_stay(&relay, epoch, knock, t(second));
        assert_eq!(stay(&story, 1, &old, 59), Ok(()));
        assert_eq!(stay(&story, 1, &old, 60), Err(RelayRefusal::KeyRefused));
        // a hub that begins anew reads the same, and the relay came back to it by the same key
        story.connect(&relay, 2);
        assert_eq!(stay(&story, 2, &old, 59), Ok(()));
        assert_eq!(stay(&story, 2, &old, 60), Err(RelayRefusal::KeyRefused));
        story.connect(&relay, 3);
        assert_eq!(stay(&story, 3, &new, 999), Ok(()));
        // no key counts that is older than the one before
        story.rotate(&relay, "f", 90);
        assert_eq!(stay(&story, 2, &old, 1), Err(RelayRefusal::KeyRefused));
        assert_eq!(stay(&story, 3, &new, 89), Ok(()));
    }

    #[test]
    fn a_relay_stays_where_it_may_be() {
        let mut story = Story::new();
        let relay = story.relay(1, None);
        story.connect(&relay, 1);
        let [near, far] = [[10, 0, 0, 7], [192, 0, 2, 1]].map(|address| knock("d", address));
        story.limit(&relay, "10.0.0.0/8");
        assert_eq!(story.desk.may_stay(&relay, 1, &near, t(1)), Ok(()));
        let refused = RelayRefusal::AddressRefused([192, 0, 2, 1].into());
        assert_eq!(story.desk.may_stay(&relay, 1, &far, t(1)), Err(refused));
    }

    #[test]
    fn what_a_connection_had_is_left_behind_when_it_ends_or_is_fenced() {
        let mut story = Story::new();
        let relay = story.relay(1, None);
        story.connect(&relay, 1);
        let batch = story.batch(&["a"], false);
        let a = story.command(&batch, "a");
        story.request(&a);
        story.dispatch(&a, story.by(&relay, 1));
        assert!(story.desk.orphans.is_empty());
        story.second = 10;
        story.connect(&relay, 2);
        assert_eq!(story.desk.commands[&a].orphaned_at, Some(t(10)));
        story.second = 11;
        story.disconnect(&relay, 2);
        assert_eq!(story.desk.commands[&a].orphaned_at, Some(t(10)), "since the first");
        story.complete(&a);
        assert!(story.desk.orphans.is_empty());
    }

    #[test]
    fn what_is_given_to_a_connection_that_is_no_more_is_left_behind_at_once() {
        let mut story = Story::new();
        let relay = story.relay(1, None);
        story.connect(&relay, 1);
        story.connect(&relay, 2);
        let batch = story.batch(&["a"], true);
        let a = story.command(&batch, "a");
        story.request(&a);
        story.dispatch(&a, story.by(&relay, 1));
        assert!(story.desk.orphans.contains(&a));
    }
}
