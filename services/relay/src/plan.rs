//! What is to be done next? Pure: from what is true, what is under way, who is there, and what time it is.

use std::collections::{HashMap, HashSet, btree_map};

use chrono::{DateTime, TimeDelta, Utc};
use events::command::choose::{Candidate, Choice, choose};
use events::command::dispatch::Place;
use events::command::{CommandFailed, Via};
use events::ids::{BatchId, CommandId, HubId, RelayId, ServerId, TenantId};
use events::server::Settings;

use crate::desk::{BatchEntry, Desk, Entry, Holder};

/// A relay that left may come back with the result; so long it is waited for.
pub const RETURN_WITHIN: TimeDelta = TimeDelta::seconds(5);
/// Commands on one server at once, of all batches.
pub const SERVER_IN_FLIGHT_MAX: u32 = 4;
/// Commands that this hub runs itself at once.
pub const DIRECT_IN_FLIGHT_MAX: usize = 64;

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

    /// What becomes of this command now, if anything.
    fn way(&mut self, id: &CommandId, entry: &Entry, batch: &BatchEntry) -> Option<Step> {
        let server = self.desk.servers.get(&entry.server).filter(|(tenant, _)| *tenant == batch.tenant);
        let Some((_, settings)) = server else {
            return entry.command.attempts.is_empty().then(|| failed(id, &Unable::ServerRemoved));
        };
        let on_server = self.desk.server_in_flight.get(&entry.server).copied().unwrap_or(0);
        let more = self.taken.servers.get(&entry.server).copied().unwrap_or(0);
        let again = u32::from(!entry.command.attempts.is_empty());
        if on_server + more >= SERVER_IN_FLIGHT_MAX + again {
            return None;
        }
        let via = match choose(settings, self.candidates(&batch.tenant)) {
            Choice::Relay(relay) => {
                let epoch = self.desk.relays.get(&relay)?.relay.epoch;
                Via::Relay { relay, epoch }
            }
            Choice::Direct => {
                let holder = Holder::Hub(self.view.own.clone());
                if self.held_by(&holder) >= DIRECT_IN_FLIGHT_MAX {
                    return None;
                }
                Via::Direct { hub: self.view.own.clone() }
            }
            Choice::Busy => return None,
            Choice::NoRelay => {
                let timeout = i64::try_from(batch.requested.timeout_ms).unwrap_or(i64::MAX);
                let waited = (self.view.now - entry.queued_at).num_milliseconds();
                let first = entry.command.attempts.is_empty();
                return (first && waited >= timeout).then(|| failed(id, &Unable::NoRelay(settings)));
            }
        };
        if entry.command.attempts.contains(&via) {
            return None;
        }
        self.taken.add(Holder::of(&via), entry);
        let Settings { host, port, username, .. } = settings;
        let place = Place { host: host.clone(), port: *port, username: username.clone() };
        Some(Step::Dispatch { command: id.clone(), via, place })
    }

    fn candidates<'c>(&'c self, tenant: &'c TenantId) -> impl Iterator<Item = Candidate<'c>> {
        let theirs = self.desk.relays.iter().filter(move |(_, entry)| entry.tenant == *tenant);
        theirs.filter_map(|(id, entry)| {
            let settings = entry.relay.there()?;
            let held = self.held_by(&Holder::Relay(id.clone()));
            Some(Candidate {
                id,
                settings,
                connected: entry.relay.connected.is_some(),
                in_flight: u32::try_from(held).unwrap_or(u32::MAX),
                troubles: entry.troubles,
                used: entry.used,
            })
        })
    }

    fn held_by(&self, holder: &Holder) -> usize {
        self.desk.held_by(holder) + self.taken.holders.get(holder).copied().unwrap_or(0)
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

/// Why a command is given to nobody.
enum Unable<'s> {
    ServerRemoved,
    NoRelay(&'s Settings),
}

fn failed(id: &CommandId, unable: &Unable<'_>) -> Step {
    let (class, reason, suggestion) = match unable {
        Unable::ServerRemoved => ("server_removed", "the server is not there any more".to_owned(), None),
        Unable::NoRelay(settings) => {
            let which = match (&settings.relay, &settings.zone) {
                (Some(relay), _) => format!("relay {relay}"),
                (None, Some(zone)) => format!("a relay of zone {zone}"),
                (None, None) => "a relay".to_owned(),
            };
            let reason = format!("the way leads through {which}, and none was connected in time");
            let what = "start the relay, or take it out of the server's settings";
            ("relay_unavailable", reason, Some(what.to_owned()))
        }
    };
    let failed = CommandFailed { class: class.to_owned(), reason, suggestion };
    Step::Fail { command: id.clone(), failed }
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::testing::{Story, hub, t};

    fn at(story: &Story, second: i64) -> Vec<Step> {
        with(story, second, &Busy::new())
    }

    fn with(story: &Story, second: i64, busy: &Busy) -> Vec<Step> {
        let is_gone = |gone: &HubId| *gone == hub(9);
        let view = View { own: &hub(1), busy, is_gone: &is_gone, now: t(second), turn: 0 };
        plan(&story.desk, &view, 100)
    }

    fn vias(steps: &[Step]) -> Vec<&Via> {
        steps
            .iter()
            .filter_map(|step| if let Step::Dispatch { via, .. } = step { Some(via) } else { None })
            .collect()
    }

    /// Servers of the zone and a batch on them that waits.
    fn waiting(story: &mut Story, names: &[&str], zone: Option<&str>, idempotent: bool) -> Vec<CommandId> {
        names.iter().for_each(|name| story.server(name, zone));
        let batch = story.batch(names, idempotent);
        let commands: Vec<_> = names.iter().map(|name| story.command(&batch, name)).collect();
        commands.iter().for_each(|command| story.request(command));
        commands
    }

    #[test]
    fn what_waits_goes_directly_where_no_relay_serves() {
        let mut story = Story::new();
        let a = waiting(&mut story, &["a"], None, false);
        let steps = at(&story, 1);
        assert_eq!(vias(&steps), [&story.direct(1)]);
        let busy = Busy::from([(Key::Command(a[0].clone()), None)]);
        assert_eq!(with(&story, 1, &busy), [], "it is under way");
    }

    #[test]
    fn batches_take_turns_within_their_concurrency() {
        let mut story = Story::new();
        let names: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let one = waiting(&mut story, &names, None, false);
        let two = waiting(&mut story, &names, None, false);
        let given: Vec<_> = at(&story, 1).iter().map(Step::key).collect();
        assert_eq!(given.len(), 6, "three of each at once");
        let first = [&one[0], &two[0]].map(|id| Key::Command(id.clone()));
        assert!(given[..2].iter().all(|key| first.contains(key)), "{given:?}");
    }

    #[test]
    fn a_server_has_at_most_so_many_at_once_and_holds_nobody_up() {
        let mut story = Story::new();
        for _ in 0..4 {
            let full = waiting(&mut story, &["full"], None, false);
            story.dispatch(&full[0], story.direct(1));
        }
        let more = waiting(&mut story, &["full", "free"], None, false);
        let steps = at(&story, 1);
        assert_eq!(steps.iter().map(Step::key).collect::<Vec<_>>(), [Key::Command(more[1].clone())]);
    }

    #[test]
    fn relays_share_the_work_and_are_not_overfilled() {
        let mut story = Story::new();
        let (one, two) = (story.relay(1, Some("dmz")), story.relay(2, Some("dmz")));
        story.connect(&one, 4);
        story.connect(&two, 7);
        for _ in 0..2 {
            waiting(&mut story, &["a", "b", "c"], Some("dmz"), false);
        }
        let steps = at(&story, 1);
        let vias = vias(&steps);
        for via in [story.by(&one, 4), story.by(&two, 7)] {
            assert_eq!(vias.iter().filter(|given| ***given == via).count(), 2, "{vias:?}");
        }
    }

    #[test]
    fn without_a_relay_a_command_waits_its_time_and_fails() {
        let mut story = Story::new();
        story.relay(1, Some("dmz"));
        waiting(&mut story, &["a"], Some("dmz"), false);
        assert_eq!(at(&story, 9), []);
        let steps = at(&story, 10);
        let [Step::Fail { failed, .. }] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(failed.class, "relay_unavailable");
        assert!(failed.reason.contains("zone dmz"), "{}", failed.reason);
    }

    #[test]
    fn what_a_lost_relay_had_is_lost_after_a_while_or_goes_to_another_at_once() {
        let mut story = Story::new();
        let (one, two) = (story.relay(1, Some("dmz")), story.relay(2, Some("dmz")));
        story.connect(&one, 1);
        let harm = waiting(&mut story, &["a"], Some("dmz"), false);
        let safe = waiting(&mut story, &["b"], Some("dmz"), true);
        story.dispatch(&harm[0], story.by(&one, 1));
        story.dispatch(&safe[0], story.by(&one, 1));
        story.disconnect(&one, 1);
        assert_eq!(at(&story, 4), [], "nobody is there to take the other");
        story.connect(&two, 1);
        let steps = at(&story, 4);
        assert_eq!(vias(&steps), [&story.by(&two, 1)]);
        assert_eq!(steps[0].key(), Key::Command(safe[0].clone()));
        let steps = at(&story, 5);
        assert!(steps.iter().any(|step| matches!(step, Step::Lose { command, .. } if *command == harm[0])));
    }

    #[test]
    fn whoever_is_gone_is_said_to_be_and_what_they_had_is_lost() {
        let mut story = Story::new();
        let a = waiting(&mut story, &["a"], None, false);
        story.dispatch(&a[0], story.direct(9));
        let steps = at(&story, 1);
        assert!(matches!(&steps[..], [Step::Lose { command, .. }] if *command == a[0]), "{steps:?}");
    }

    #[test]
    fn time_is_over_for_what_runs() {
        let mut story = Story::new();
        let a = waiting(&mut story, &["a"], None, false);
        story.dispatch(&a[0], story.direct(1));
        assert_eq!(at(&story, 9), []);
        assert_eq!(at(&story, 10), [Step::TimeOut(a[0].clone())]);
    }

    #[test]
    fn a_batch_that_is_called_off_begins_nothing_and_ends_everything() {
        let mut story = Story::new();
        ["a", "b", "c"].iter().for_each(|name| story.server(name, None));
        let batch = story.batch(&["a", "b", "c"], false);
        let [a, b, c] = ["a", "b", "c"].map(|name| story.command(&batch, name));
        story.request(&a);
        story.dispatch(&a, story.direct(1));
        story.request(&b);
        story.cancel(&batch);
        let steps = at(&story, 1);
        assert_eq!(steps, [Step::Cancel(b), Step::Cancel(a), Step::Request(c)]);
    }

    #[test]
    fn nothing_of_a_batch_begins_before_a_second_person_says_so_and_its_waiting_ends() {
        let mut story = Story::new();
        story.server("a", None);
        let [batch, other] = [1, 2].map(|_| story.dangerous(&["a"]));
        assert_eq!(at(&story, 99), []);
        story.second = 99;
        story.approve(&batch, 99);
        let command = story.command(&batch, "a");
        let expire = Step::Expire(other.clone());
        assert_eq!(at(&story, 100), [expire.clone(), Step::Request(command)]);
        let busy = Busy::from([(Key::Batch(other.clone()), None)]);
        assert!(!with(&story, 100, &busy).contains(&expire), "it is under way");
        story.expire(&other);
        assert_eq!(at(&story, 101).len(), 1);
    }

    #[test]
    fn of_a_batch_that_went_wrong_too_often_the_rest_is_left_and_what_runs_goes_on() {
        let mut story = Story::new();
        let names = ["a", "b", "c", "d", "e"];
        let commands = waiting(&mut story, &names, None, false);
        let direct = story.direct(1);
        commands[..3].iter().for_each(|id| story.dispatch(id, direct.clone()));
        story.end_with(&commands[0], 1);
        assert_eq!(vias(&at(&story, 1)).len(), 1, "one failure is borne");
        story.end_with(&commands[1], 2);
        let batch = story.desk.commands[&commands[2]].batch.clone();
        assert_eq!(at(&story, 1), [Step::Stop { batch: batch.clone(), failures: 2 }]);
        assert!(with(&story, 1, &Busy::from([(Key::Batch(batch.clone()), None)])).is_empty());
        story.stop(&batch);
        let left: Vec<_> = commands[3..].iter().map(|id| Step::Cancel(id.clone())).collect();
        assert_eq!(at(&story, 1), left);
    }
}
