//! What is one shell, whoever looks at it? Its output by offset, the seats around it, and when it is read on.
//!
//! The owner's connection sets the pace: output that it has not acknowledged is bounded, and beyond the
//! bound the shell's own channel is not read, so that the program waits. Guests read along from the ring;
//! who cannot keep up is dismissed. So nothing here grows with what a program says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrance::visit::Visit;
use events::ids::{ShareId, UserName};
use recorder::Recorder;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::terminal::failure::Failure;
use crate::terminal::input::{Given, Giving};
use crate::terminal::people::{Person, Seat};
use crate::terminal::ring::Ring;
use crate::terminal::shared_shell::Share;
use crate::terminal::wire::{Protocol, Size};

/// Reading of the shell stops when its owner's client has not acknowledged so many bytes,
const UNACKNOWLEDGED_BYTES_STOP: u64 = 512 << 10;
/// and goes on when it has acknowledged all but so many.
const UNACKNOWLEDGED_BYTES_RESUME: u64 = 128 << 10;
/// A shell lives so long without its owner's connection.
pub const GRACE: Duration = Duration::from_secs(60);
/// Reasons of an end that was made because the owner did not come back.
pub const GIVEN_UP: [&str; 2] = ["client_left", "connection_lost"];
/// A shell without a byte either way for so long is ended.
pub const IDLE_MAX: Duration = Duration::from_secs(8 * 60 * 60);

pub struct Shell {
    pub visit: Visit,
    pub owner: UserName,
    pub giving: Giving,
    /// When its tenant asks for it.
    recorder: Option<Recorder>,
    state: Mutex<State>,
    /// Rings for clients: there is output, or something else changed.
    news: watch::Sender<u64>,
    /// Rings for the shell's own task: reading may go on, or somebody came or went.
    errands: watch::Sender<u64>,
}

pub(super) struct State {
    pub(super) ring: Ring,
    /// Offset up to which the owner's client has taken the output.
    pub(super) acknowledged: u64,
    /// The bound of what is unacknowledged was reached.
    pub(super) paused: bool,
    pub(super) size: Size,
    pub(super) seats: BTreeMap<u64, Seat>,
    pub(super) seats_so_far: u64,
    /// Which of the seats is the owner's.
    pub(super) owner: Option<u64>,
    pub(super) away: Option<Away>,
    pub(super) shares: BTreeMap<ShareId, Share>,
    /// Counts the changes of who is there.
    pub(super) people: u64,
    pub(super) holder: Person,
    pub(super) last_traffic: Instant,
    pub(super) end: Option<Ended>,
    /// The owner was shown the end.
    pub(super) end_told: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Away {
    pub(super) since: Instant,
    /// Said good-bye, as a page does that is closed.
    pub(super) clean: bool,
}

/// How a shell ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub how: How,
    /// For the record of the session.
    pub reason: &'static str,
}

#[derive(Debug, Clone)]
pub enum How {
    /// By itself; `None` when a signal ended it.
    Exited(Option<u32>),
    Failed(Failure),
}

impl Shell {
    pub fn new(
        visit: Visit,
        owner: Person,
        size: Size,
        giving: Giving,
        recorder: Option<Recorder>,
    ) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            visit,
            owner: owner.user.clone(),
            giving,
            recorder,
            state: Mutex::new(State {
                ring: Ring::default(),
                acknowledged: 0,
                paused: false,
                size,
                seats: BTreeMap::new(),
                seats_so_far: 0,
                owner: None,
                away: Some(Away { since: now, clean: true }),
                shares: BTreeMap::new(),
                people: 0,
                holder: owner,
                last_traffic: now,
                end: None,
                end_told: false,
            }),
            news: watch::Sender::new(0),
            errands: watch::Sender::new(0),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub fn errands(&self) -> watch::Receiver<u64> {
        self.errands.subscribe()
    }

    pub(super) fn tell(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn run_errands(&self) {
        self.errands.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// All output of the shell passes here, once and in order, whoever looks on; so it is recorded here.
    pub fn output(&self, bytes: &[u8]) {
        if let Some(recorder) = &self.recorder {
            recorder.output(bytes);
        }
        {
            let mut state = self.state();
            state.ring.push(bytes);
            state.last_traffic = Instant::now();
        }
        self.tell();
    }

    /// Offset after the newest output.
    pub fn output_end(&self) -> u64 {
        self.state().ring.end()
    }

    /// Whether the shell is read on now.
    pub fn may_read(&self) -> bool {
        let held_up = self.giving.is_held_up();
        let mut state = self.state();
        let mut taken = state.acknowledged;
        // who cannot get rid of input does not get to say that output was drawn: what the socket took counts
        if held_up && let Some(seat) = state.owner.and_then(|owner| state.seats.get(&owner)) {
            taken = taken.max(seat.sent);
        }
        let open = state.ring.end().saturating_sub(taken);
        let bound = if state.paused { UNACKNOWLEDGED_BYTES_RESUME } else { UNACKNOWLEDGED_BYTES_STOP - 1 };
        state.paused = open > bound;
        !state.paused
    }

    /// The socket of this seat took the output up to this offset.
    pub fn sent(&self, seat: u64, offset: u64) {
        let waited_for = {
            let mut state = self.state();
            let Some(known) = state.seats.get_mut(&seat) else { return };
            known.sent = offset;
            let acknowledges = known.protocol == Protocol::Binary;
            let is_owner = state.owner == Some(seat);
            if is_owner && !acknowledges {
                state.acknowledged = state.acknowledged.max(offset);
            }
            state.paused && is_owner
        };
        if waited_for {
            self.run_errands();
        }
    }

    /// The client of this seat has drawn the output up to this offset.
    pub fn acknowledge(&self, seat: u64, offset: u64) {
        let paused = {
            let mut state = self.state();
            if state.owner != Some(seat) {
                return;
            }
            let Some(sent) = state.seats.get(&seat).map(|known| known.sent) else { return };
            state.acknowledged = state.acknowledged.max(offset.min(sent));
            state.paused
        };
        if paused {
            self.run_errands();
        }
    }

    /// At most so much output from `from` on.
    pub fn piece(&self, from: u64, at_most: usize) -> Result<Vec<u8>, Failure> {
        self.state().ring.piece(from, at_most).ok_or_else(|| {
            Failure::new(
                "too_slow",
                "more was shown than this connection could take, and it is not kept longer",
            )
        })
    }

    /// Only the owner's terminal has a say in how large it is.
    pub async fn resize(&self, seat: u64, size: Size) {
        {
            let mut state = self.state();
            if state.owner != Some(seat) || state.size == size {
                return;
            }
            state.size = size;
        }
        if let Some(recorder) = &self.recorder {
            recorder.resized(size.cols, size.rows);
        }
        self.tell();
        self.give(Given::Size(size)).await;
    }

    pub async fn give(&self, given: Given) {
        self.state().last_traffic = Instant::now();
        if self.giving.at_once(&given) {
            return self.giving.give(given).await;
        }
        // output must flow while somebody waits here: see `may_read`
        let _held_up = self.giving.hold_up(|| self.run_errands());
        self.giving.give(given).await;
    }

    /// The first end counts.
    pub fn end(&self, how: How, reason: &'static str) {
        self.state().end.get_or_insert(Ended { how, reason });
        self.tell();
        self.run_errands();
    }

    /// Nothing more is shown. Resolves when what was recorded is stored, or given up; may be asked again.
    pub fn stored(&self) -> impl Future<Output = ()> + Send + use<> {
        let stored = self.recorder.as_ref().map(Recorder::finish);
        async move {
            if let Some(stored) = stored {
                stored.await;
            }
        }
    }

    pub fn ended(&self) -> Option<Ended> {
        self.state().end.clone()
    }

    /// Ends it when nobody came back in time, or nothing happened for too long.
    pub fn look_at_the_clock(&self, now: Instant) {
        let (away, last_traffic) = {
            let state = self.state();
            (state.away, state.last_traffic)
        };
        if let Some(away) = away.filter(|away| now.duration_since(away.since) >= GRACE) {
            let why = format!("its owner did not come back within {} seconds", GRACE.as_secs());
            let [left, lost] = GIVEN_UP;
            let reason = if away.clean { left } else { lost };
            self.end(How::Failed(Failure::new("session_ended", why)), reason);
        } else if now.duration_since(last_traffic) >= IDLE_MAX {
            let why = format!("nothing was typed or shown for {} hours", IDLE_MAX.as_secs() / 3600);
            self.end(How::Failed(Failure::new("idle_timeout", why)), "idle_timeout");
        }
    }

    /// This seat was shown the end.
    pub fn end_was_told(&self, seat: u64) {
        {
            let mut state = self.state();
            state.end_told |= state.owner == Some(seat);
        }
        self.run_errands();
    }

    pub fn is_end_told(&self) -> bool {
        self.state().end_told
    }
}

#[cfg(test)]
pub(super) mod testing {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::Cause;
    use events::ids::{EnvId, SessionId, TenantId};
    use events::login::Entrance;
    use uuid::Uuid;

    use super::*;
    use crate::terminal::input::{Taking, input};

    pub fn person(name: &str) -> Person {
        let user = UserName::parse(name).unwrap();
        let actor = format!("user:{user}");
        Person { actor, user, sign_in: None, ip: "203.0.113.9".parse().unwrap() }
    }

    pub fn shell() -> (Arc<Shell>, Taking) {
        let visit = Visit {
            tenant: TenantId::parse("acme").unwrap(),
            place: EnvId::from_seed(&Uuid::nil()).into(),
            session: SessionId::from_seed(&Uuid::nil()),
            ip: person("alice").ip,
            entrance: Entrance::WebTerminal,
            user: "alice".to_owned(),
            method: "session".to_owned(),
            key_fingerprint: None,
            client: None,
            cause: Cause::new(Uuid::nil(), "user:alice"),
        };
        let (giving, taking) = input();
        (Shell::new(visit, person("alice"), Size { cols: 80, rows: 24 }, giving, None), taking)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::testing::{person, shell};
    use super::*;

    const KIB: u64 = 1 << 10;

    fn says(shell: &Shell, kib: u64) {
        (0..kib).for_each(|_| shell.output(&[b'x'; 1 << 10]));
    }

    #[test]
    fn reading_stops_ahead_of_who_acknowledges_and_goes_on_when_they_are_near() {
        let (shell, _taking) = shell();
        let owner = shell.seat_owner(person("alice"), Protocol::Binary, None, true).unwrap();
        says(&shell, 511);
        assert!(shell.may_read());
        says(&shell, 1);
        assert!(!shell.may_read(), "512 KiB ahead");
        shell.sent(owner.seat, 512 * KIB);
        assert!(!shell.may_read(), "sent is not drawn");
        shell.acknowledge(owner.seat, 383 * KIB);
        assert!(!shell.may_read(), "129 KiB are open");
        shell.acknowledge(owner.seat, 384 * KIB);
        assert!(shell.may_read());
        says(&shell, 300);
        shell.acknowledge(owner.seat, u64::MAX);
        says(&shell, 212);
        assert!(!shell.may_read(), "what was not sent cannot have been drawn");
        // nobody is there, and nothing is lost
        shell.stand_up(owner.seat, false);
        assert!(!shell.may_read());
        let back = shell.seat_owner(person("alice"), Protocol::Binary, Some(400 * KIB), false).unwrap();
        assert_eq!((back.from, back.replay_until), (400 * KIB, Some(1024 * KIB)));
    }

    #[test]
    fn without_acknowledgements_what_the_socket_took_counts() {
        let (shell, _taking) = shell();
        let owner = shell.seat_owner(person("alice"), Protocol::Json, None, true).unwrap();
        says(&shell, 512);
        assert!(!shell.may_read());
        shell.sent(owner.seat, 400 * KIB);
        assert!(shell.may_read());
    }

    #[test]
    fn while_input_has_no_room_what_the_socket_took_counts() {
        let (shell, _taking) = shell();
        let owner = shell.seat_owner(person("alice"), Protocol::Binary, None, true).unwrap();
        says(&shell, 512);
        shell.sent(owner.seat, 512 * KIB);
        assert!(!shell.may_read());
        let held_up = shell.giving.hold_up(|| {});
        assert!(shell.may_read());
        drop(held_up);
        says(&shell, 512);
        assert!(!shell.may_read());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shell_ends_when_nobody_comes_back_or_nothing_happens() {
        let (left, _taking) = shell();
        let owner = left.seat_owner(person("alice"), Protocol::Json, None, true).unwrap();
        tokio::time::advance(2 * GRACE).await;
        left.look_at_the_clock(Instant::now());
        assert!(left.ended().is_none(), "somebody is there");
        left.stand_up(owner.seat, true);
        tokio::time::advance(GRACE - Duration::from_millis(1)).await;
        left.look_at_the_clock(Instant::now());
        assert!(left.ended().is_none());
        tokio::time::advance(Duration::from_millis(1)).await;
        left.look_at_the_clock(Instant::now());
        assert_eq!(left.ended().unwrap().reason, "client_left");

        let (idle, _taking) = shell();
        let _owner = idle.seat_owner(person("alice"), Protocol::Json, None, true).unwrap();
        tokio::time::advance(IDLE_MAX - Duration::from_secs(1)).await;
        idle.output(b"x");
        tokio::time::advance(IDLE_MAX - Duration::from_secs(1)).await;
        idle.look_at_the_clock(Instant::now());
        assert!(idle.ended().is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        idle.look_at_the_clock(Instant::now());
        assert_eq!(idle.ended().unwrap().reason, "idle_timeout");
    }
}
