//! When is what looked at? What the log brings is folded; after each piece, and when a time is over, the next
//! steps are planned and taken, many at once.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use events::command::{CommandEvent, Via};
use events::ids::{CommandId, HubId, RelayId};
use events::relay::RelayEvent;
use events::{Event, Recorded};
use kit::error::chain;
use kit::health::Health;
use nats::{Log, Presence, Start, Tailed};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, KINDS};
use crate::lines::Job;
use crate::plan::{self, Busy, Key, Step, View};
use crate::steps::Act;
use crate::{Door, Hub, NATS};

/// Steps taken at once.
const STEPS_AT_ONCE_MAX: usize = 256;
/// A step that failed is planned again after so long.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Who is not first, or has no room, looks again after so long.
const STANDBY: Duration = Duration::from_millis(20);
/// After planning it rests so many times as long as that took.
const REST_FACTOR: u32 = 3;
/// What only time changes is looked at so often, at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Events taken from the log at once, and how long to wait for the first.
const CHUNK_MAX: usize = 500;
const CHUNK_WAIT: Duration = Duration::from_millis(500);
/// Pieces of the log that wait to be folded.
const PIECES_MAX: usize = 4;
/// Pause after a tail that broke.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);
/// Results of what runs are waited for so long at the shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// A piece of the log.
struct Piece {
    events: Vec<Tailed>,
    /// Sequence before the next.
    up_to: u64,
    /// There was nothing more when it was read.
    at_head: bool,
}

/// Gives commands away until shutdown; then waits for what runs, and ends the relays' connections.
pub async fn run(
    hub: &Arc<Hub>,
    presence: Presence,
    door: &Door,
    health: &Health,
    shutdown: CancellationToken,
) {
    let (pieces, mut next_piece) = mpsc::channel(PIECES_MAX);
    let reading = tokio::spawn(read(hub.log.clone(), pieces));
    let (done, mut next_done) = mpsc::channel(STEPS_AT_ONCE_MAX);
    let mut dispatcher = Dispatcher {
        hub: Arc::clone(hub),
        presence,
        desk: Desk::default(),
        busy: Busy::new(),
        settling: Vec::new(),
        caught_up: false,
        turn: 0,
        done,
        dirty: true,
        rest_until: Instant::now(),
        part_at: Instant::now(),
    };
    while !shutdown.is_cancelled() {
        let until = dispatcher.look_again();
        tokio::select! {
            piece = next_piece.recv() => match piece {
                Some(piece) => dispatcher.fold(&piece, door, health),
                None => break,
            },
            Some((key, seq)) = next_done.recv() => {
                dispatcher.taken(key, seq);
                while let Ok((key, seq)) = next_done.try_recv() {
                    dispatcher.taken(key, seq);
                }
            }
            () = tokio::time::sleep_until(until) => dispatcher.dirty = true,
            () = shutdown.cancelled() => break,
        }
        dispatcher.part();
        dispatcher.plan();
    }
    dispatcher.drain(&mut next_piece, door, health).await;
    reading.abort();
}

struct Dispatcher {
    hub: Arc<Hub>,
    presence: Presence,
    desk: Desk,
    busy: Busy,
    /// Steps whose event is on record and not folded yet.
    settling: Vec<(u64, Key)>,
    /// Everything that was there at the start is folded.
    caught_up: bool,
    turn: usize,
    /// Something is known that was not planned on.
    dirty: bool,
    /// Not before this instant, so that planning on much leaves time for the rest.
    rest_until: Instant,
    /// When it is looked next at which relays may stay.
    part_at: Instant,
    done: Sender<(Key, Option<u64>)>,
}

impl Dispatcher {
    fn fold(&mut self, piece: &Piece, door: &Door, health: &Health) {
        self.dirty |= !piece.events.is_empty() || piece.at_head != self.caught_up;
        for tailed in &piece.events {
            match tailed {
                Tailed::Event(recorded) => {
                    self.desk.apply(recorded);
                    self.react(recorded);
                }
                Tailed::Unreadable { seq, subject, why, .. } => {
                    tracing::error!(event.seq = seq, subject, why, "an event cannot be read; it is left out");
                }
            }
        }
        self.hub.lines.read_up_to(piece.up_to);
        let folded = piece.up_to;
        let settled = self.settling.extract_if(.., |(seq, _)| *seq <= folded);
        for (_, key) in settled.collect::<Vec<_>>() {
            self.busy.remove(&key);
        }
        if piece.at_head && !self.caught_up {
            self.caught_up = true;
            health.ready(NATS);
            door.open(&self.hub);
        }
    }

    /// What this hub does about what has happened, beyond knowing it.
    fn react(&mut self, recorded: &Recorded) {
        let id = recorded.subject.id.as_str();
        match &recorded.event {
            Event::Relay(event) => {
                if let Ok(relay) = RelayId::parse(id) {
                    self.relay(relay, recorded, event);
                }
            }
            Event::Command(event) => {
                if let Ok(command) = CommandId::parse(id) {
                    self.command(command, recorded, event);
                }
            }
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Batch(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::User(_)
            | Event::SignIn(_)
            | Event::Token(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }

    fn relay(&mut self, relay: RelayId, recorded: &Recorded, event: &RelayEvent) {
        let lines = &self.hub.lines;
        match event {
            RelayEvent::RelayRegistered(_) => lines.belongs(relay, recorded.subject.tenant.clone()),
            RelayEvent::RelayConnected(connected) => lines.fence(&relay, connected.epoch),
            RelayEvent::RelayRevoked(_) => lines.fence(&relay, u64::MAX),
            // no key from before counts: whoever is there came with one
            RelayEvent::RelayKeyRotated(rotated) if rotated.previous_until <= recorded.meta.time => {
                let newest = self.desk.relays.get(&relay).map_or(0, |entry| entry.relay.epoch);
                lines.fence(&relay, newest + 1);
            }
            RelayEvent::RelayChanged(_) | RelayEvent::RelayKeyRotated(_) => self.part_at = Instant::now(),
            RelayEvent::RelayAccepted(_) | RelayEvent::RelayDisconnected(_) => {}
        }
    }

    /// Ends the connections of relays that would not be let in any more: their key's overlap is over, or they are
    /// where they may not be. Only time changes the former, so it is looked at again and again.
    fn part(&mut self) {
        let began = Instant::now();
        if began < self.part_at {
            return;
        }
        self.part_at = began + LOOK_EVERY;
        let now = Utc::now();
        for (relay, line) in self.hub.lines.all() {
            if let Err(refusal) = self.desk.may_stay(&relay, line.epoch, &line.knock, now) {
                tracing::warn!(relay.id = %relay, relay.epoch = line.epoch, why = %refusal, "a relay may not stay");
                self.hub.lines.fence(&relay, line.epoch + 1);
            }
        }
    }

    fn command(&self, id: CommandId, recorded: &Recorded, event: &CommandEvent) {
        match event {
            CommandEvent::CommandDispatched(dispatched) => {
                let Some(entry) = self.desk.commands.get(&id) else { return };
                let Some(batch) = self.desk.batches.get(&entry.batch) else { return };
                let job = |ended| Job {
                    tenant: recorded.subject.tenant.clone(),
                    id: id.clone(),
                    server: entry.server.clone(),
                    batch: Arc::clone(&batch.requested),
                    dispatched: dispatched.clone(),
                    origin: Arc::clone(&batch.origin),
                    ended,
                };
                match &dispatched.via {
                    Via::Direct { hub } if *hub == self.hub.id => {
                        let job = job(self.hub.lines.begin(&id, &batch.origin));
                        let hub = Arc::clone(&self.hub);
                        tokio::spawn(async move { crate::direct::run(&hub, &job, &hub.reach).await });
                    }
                    Via::Relay { relay, epoch } if self.is_here(relay, *epoch) => {
                        let job = job(self.hub.lines.begin(&id, &batch.origin));
                        if let Some(line) = self.hub.lines.line_for(relay, *epoch, &job) {
                            tokio::spawn(crate::send::send(Arc::clone(&self.hub), relay.clone(), line, job));
                        }
                    }
                    // another hub's, or a connection that is no more; what was begun here is not this one's
                    Via::Direct { .. } | Via::Relay { .. } => self.hub.lines.ended(&id),
                }
            }
            CommandEvent::CommandCompleted(_)
            | CommandEvent::CommandFailed(_)
            | CommandEvent::CommandTimedOut(_)
            | CommandEvent::CommandLost(_)
            | CommandEvent::CommandCancelled(_) => self.hub.lines.ended(&id),
            CommandEvent::CommandRequested(_) | CommandEvent::CommandAnsweredLate(_) => {}
        }
    }

    /// The relay's connection of this number is one to this hub.
    fn is_here(&self, relay: &RelayId, epoch: u64) -> bool {
        self.desk.relays.get(relay).is_some_and(|entry| {
            entry.relay.is_connected(epoch) && entry.relay.connected.as_ref() == Some(&self.hub.id)
        })
    }

    fn taken(&mut self, key: Key, seq: Option<u64>) {
        self.dirty = true;
        match seq {
            Some(seq) if seq > self.desk.seq => self.settling.push((seq, key)),
            Some(_) | None => drop(self.busy.remove(&key)),
        }
    }

    fn look_again(&self) -> Instant {
        let soon = Instant::now() + LOOK_EVERY;
        let due = self.desk.deadlines.first().map(|(deadline, _)| *deadline - Utc::now());
        let due = due.map(|left| Instant::now() + left.to_std().unwrap_or(Duration::from_millis(5)));
        let due = due.map_or(soon, |due| due.min(soon));
        if self.dirty { self.rest_until } else { due.max(self.rest_until) }
    }

    /// Plans on what is known; one of the hubs does.
    fn plan(&mut self) {
        self.presence.listen();
        self.hub.metrics.waiting.set(i64::try_from(self.desk.waiting()).unwrap_or(i64::MAX));
        self.hub.metrics.in_flight.set(i64::try_from(self.desk.in_flight()).unwrap_or(i64::MAX));
        let began = Instant::now();
        if !self.dirty || began < self.rest_until {
            return;
        }
        let room = STEPS_AT_ONCE_MAX.saturating_sub(self.busy.len());
        if !self.caught_up || room == 0 || !self.presence.is_first() {
            self.rest_until = began + STANDBY;
            return;
        }
        let presence = &self.presence;
        let is_gone = |hub: &HubId| presence.is_settled() && !presence.is_there(hub);
        self.turn = self.turn.wrapping_add(1);
        let view =
            View { own: &self.hub.id, busy: &self.busy, is_gone: &is_gone, now: Utc::now(), turn: self.turn };
        for step in plan::plan(&self.desk, &view, room) {
            self.begin(step);
        }
        self.dirty = false;
        self.rest_until = Instant::now() + began.elapsed() * REST_FACTOR;
    }

    fn begin(&mut self, step: Step) {
        let key = step.key();
        let holder = step.holder();
        let Some(act) = Act::of(step, &self.desk) else { return };
        self.busy.insert(key.clone(), holder);
        let (hub, done) = (Arc::clone(&self.hub), self.done.clone());
        tokio::spawn(async move {
            let seq = hub.take(&act).await;
            if seq.is_none() {
                sleep(AGAIN_AFTER).await;
            }
            done.send((key, seq)).await.ok();
        });
    }

    /// Nothing is given away any more; what runs has a while to end, then the relays' connections do.
    async fn drain(mut self, next_piece: &mut Receiver<Piece>, door: &Door, health: &Health) {
        let until = Instant::now() + DRAIN_MAX;
        while self.hub.lines.under_way() > 0 && Instant::now() < until {
            tokio::select! {
                piece = next_piece.recv() => match piece {
                    Some(piece) => self.fold(&piece, door, health),
                    None => break,
                },
                () = tokio::time::sleep_until(until) => break,
            }
        }
        for (relay, line) in self.hub.lines.all() {
            if let Some(entry) = self.desk.relays.get(&relay) {
                crate::socket::say_left(&self.hub, &entry.tenant, &relay, line.epoch, "hub_ended").await;
            }
        }
    }
}

/// Reads the log from its beginning, for ever, in order.
async fn read(log: Log, pieces: Sender<Piece>) {
    let subjects = || KINDS.iter().map(|kind| format!("ev.*.{}.*", kind.wire_name())).collect();
    let mut next = 1;
    loop {
        let mut tail = log.tail(Start::Sequence(next), subjects());
        let broken = loop {
            match tail.next_chunk(CHUNK_MAX, CHUNK_WAIT).await {
                Ok(events) => {
                    next = tail.position().max(next);
                    let piece = Piece { events, up_to: next - 1, at_head: tail.pending() == 0 };
                    if pieces.send(piece).await.is_err() {
                        return;
                    }
                }
                Err(error) => break error,
            }
        };
        tracing::error!(error = chain(&broken), "the tail of the log broke: beginning it again");
        sleep(BROKEN_PAUSE).await;
    }
}
