//! May this connection come in, may it try passwords now, and must it go?
//!
//! The bound on guesses: while an address has k failures that count, at most `5 - k` of its
//! connections are trying (have an sshd and are not logged in); others wait for their turn. A
//! failure ends the connection it came from when `k + trying` would exceed 5, and all of them at the
//! fifth. A connection has one try under way at a time, so an address makes at most five tries,
//! however many connections it opens, as long as a line reaches us sooner than sshd can check a
//! next password (a round trip, a read of /etc/shadow and one crypt(3)).
//!
//! Failures at other entrances come with the policy and count like our own. Until a policy has come
//! (well under a second while the control plane answers) an address that guesses at another entrance has
//! the tries left here that the door knows of: at most five more in all, and none once the log has closed
//! it and the door was told.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::login::come_in::{AddressRefusal, past};
use events::login::lockout::{LOCK_FAILURES_MAX, counts, source_of};
use ipnet::IpNet;
use kit::sentry_protocol::{Lockout, Policy};
use tokio::sync::{Notify, watch};

use crate::failure_memory::FailureMemory;

/// Connections that are not logged in, in total.
pub const UNAUTHENTICATED_MAX: usize = 100;
/// ... and from one address (an IPv6 /64 is one), those waiting for their turn included.
pub const UNAUTHENTICATED_PER_SOURCE_MAX: usize = 10;
/// Connections in all, of both doors: three descriptors each, below the usual limit of 1024.
pub const CONNECTIONS_MAX: usize = 300;
/// The same for the inner door: entrances come from few addresses, and many people come with each.
pub const INNER_UNAUTHENTICATED_MAX: usize = 150;
pub const INNER_UNAUTHENTICATED_PER_SOURCE_MAX: usize = 100;
/// How long a connection waits for its turn.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(60);

/// An environment has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its own port: everything is asked here.
    Outer,
    /// For entrances that have asked already whether this person may come in, and can only prove what
    /// they are: no allow-list, no lockout, no passwords, so nothing to guess.
    Inner,
}

/// Why a connection is closed before anything is started for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotAllowed,
    Locked {
        until: DateTime<Utc>,
    },
    /// A bound on connections is reached, or we are leaving.
    Crowded,
}

impl From<AddressRefusal> for Refusal {
    fn from(refusal: AddressRefusal) -> Self {
        match refusal {
            AddressRefusal::NotAllowed { .. } => Self::NotAllowed,
            AddressRefusal::Locked { until } => Self::Locked { until },
        }
    }
}

/// Why a connection is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Locked,
    /// This connection could make the one try too many.
    GuessesUnderWay,
    NotAllowed,
    Stopping,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Trying,
    LoggedIn,
}

struct Entry {
    ip: IpAddr,
    side: Side,
    stage: Stage,
    end: watch::Sender<Option<End>>,
    session: Option<(String, Arc<OwnedFd>)>,
}

impl Entry {
    fn end(&self, why: End) {
        self.end.send_if_modified(|end| end.is_none() && end.replace(why).is_none());
    }
}

struct Inner {
    allow_list: Vec<IpNet>,
    lockouts: Vec<Lockout>,
    memory: FailureMemory,
    connections: HashMap<u64, Entry>,
    next_id: u64,
    /// Nobody comes in any more.
    closing: bool,
}

pub struct Door {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Door {
    pub fn new(memory: FailureMemory) -> Arc<Self> {
        let inner = Inner {
            allow_list: Vec::new(),
            lockouts: Vec::new(),
            memory,
            connections: HashMap::new(),
            next_id: 0,
            closing: false,
        };
        Arc::new(Self { inner: Mutex::new(inner), changed: Notify::new() })
    }

    /// Takes over who may come in, and ends those who no longer may.
    pub fn apply(&self, policy: &Policy, now: DateTime<Utc>) {
        let mut inner = self.lock();
        inner.allow_list.clone_from(&policy.allow_list);
        inner.lockouts.clone_from(&policy.lockouts);
        inner.memory.hear(&policy.failures, &policy.forgiven);
        for entry in inner.connections.values().filter(|entry| entry.side == Side::Outer) {
            if past(&[&inner.allow_list], None, entry.ip).is_err() {
                entry.end(End::NotAllowed);
            } else if entry.stage != Stage::LoggedIn && inner.closed_until(entry.ip, now).is_some() {
                entry.end(End::Locked);
            }
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// `ip` is canonical: no IPv4 in IPv6 clothes.
    pub fn admit(self: &Arc<Self>, ip: IpAddr, now: DateTime<Utc>) -> Result<Place, Refusal> {
        let mut inner = self.lock();
        past(&[&inner.allow_list], inner.closed_until(ip, now), ip)?;
        self.place(&mut inner, ip, Side::Outer)
    }

    /// The same at the inner door, where only the bounds on connections hold.
    pub fn admit_inner(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Refusal> {
        self.place(&mut self.lock(), ip, Side::Inner)
    }

    fn place(self: &Arc<Self>, inner: &mut Inner, ip: IpAddr, side: Side) -> Result<Place, Refusal> {
        let (all_max, source_max) = match side {
            Side::Outer => (UNAUTHENTICATED_MAX, UNAUTHENTICATED_PER_SOURCE_MAX),
            Side::Inner => (INNER_UNAUTHENTICATED_MAX, INNER_UNAUTHENTICATED_PER_SOURCE_MAX),
        };
        let source = source_of(ip);
        let outside = inner.connections.values();
        let outside = outside.filter(|entry| entry.side == side && entry.stage != Stage::LoggedIn);
        let (mut all, mut of_source) = (0, 0);
        for entry in outside {
            all += 1;
            of_source += usize::from(source_of(entry.ip) == source);
        }
        let full = inner.connections.len() >= CONNECTIONS_MAX;
        if inner.closing || full || all >= all_max || of_source >= source_max {
            return Err(Refusal::Crowded);
        }
        let id = inner.next_id;
        inner.next_id += 1;
        let (end, ended) = watch::channel(None);
        inner.connections.insert(id, Entry { ip, side, stage: Stage::Waiting, end, session: None });
        Ok(Place { door: self.clone(), id, ip, side, ended })
    }

    /// Ends every connection and lets nobody in any more.
    pub fn close(&self, why: End) {
        let mut inner = self.lock();
        inner.closing = true;
        inner.connections.values().for_each(|entry| entry.end(why));
    }

    /// Sessions now, with their sockets.
    pub fn sessions(&self) -> Vec<(String, Arc<OwnedFd>)> {
        self.lock().connections.values().filter_map(|entry| entry.session.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn closed_until(&self, ip: IpAddr, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let source = source_of(ip);
        let told =
            self.lockouts.iter().filter(|l| source_of(l.ip) == source && l.until > now).map(|l| l.until);
        told.max().max(self.memory.closed_until(ip, now))
    }

    fn trying(&self, ip: IpAddr) -> usize {
        let source = source_of(ip);
        self.connections
            .values()
            .filter(|entry| entry.side == Side::Outer && entry.stage == Stage::Trying)
            .filter(|entry| source_of(entry.ip) == source)
            .count()
    }
}

/// A connection's place inside; given back when dropped.
pub struct Place {
    door: Arc<Door>,
    id: u64,
    ip: IpAddr,
    side: Side,
    ended: watch::Receiver<Option<End>>,
}

impl Place {
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    pub fn side(&self) -> Side {
        self.side
    }

    /// Waits until this connection may try, at most [`TURN_WAIT_MAX`].
    pub async fn turn(&mut self) -> Result<(), End> {
        let door = self.door.clone();
        let wait = async {
            loop {
                let changed = door.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.try_turn(Utc::now()) {
                    return Ok(());
                }
                tokio::select! {
                    end = self.ended() => return Err(end),
                    () = changed => {}
                }
            }
        };
        tokio::time::timeout(TURN_WAIT_MAX, wait).await.unwrap_or(Err(End::GuessesUnderWay))
    }

    fn try_turn(&self, now: DateTime<Utc>) -> bool {
        let mut inner = self.door.lock();
        let free = self.side == Side::Inner
            || inner.memory.count(self.ip, now) + inner.trying(self.ip) < LOCK_FAILURES_MAX;
        match inner.connections.get_mut(&self.id) {
            Some(entry) if free && entry.end.borrow().is_none() => {
                entry.stage = Stage::Trying;
                true
            }
            _ => false,
        }
    }

    /// Resolves when the connection must go.
    pub async fn ended(&mut self) -> End {
        match self.ended.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => end,
            // the sender lives as long as this place
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// One failed try; ends connections as the bound demands.
    pub fn failed(&self, class: &str, now: DateTime<Utc>) {
        if !counts(class) {
            return;
        }
        let mut inner = self.door.lock();
        inner.memory.failed(self.ip, now);
        let source = source_of(self.ip);
        if inner.closed_until(self.ip, now).is_some() {
            let outside = inner.connections.values();
            let outside = outside.filter(|entry| entry.side == Side::Outer && entry.stage != Stage::LoggedIn);
            outside.filter(|entry| source_of(entry.ip) == source).for_each(|entry| entry.end(End::Locked));
        } else if inner.memory.count(self.ip, now) + inner.trying(self.ip) > LOCK_FAILURES_MAX
            && let Some(entry) = inner.connections.get(&self.id)
        {
            entry.end(End::GuessesUnderWay);
        }
    }

    /// Logged in: from now on a session. `wish` is its id if no open session has it.
    pub fn logged_in(&self, wish: Option<String>, socket: &Arc<OwnedFd>) -> String {
        let mut inner = self.door.lock();
        let taken =
            |id: &String| inner.connections.values().any(|e| e.session.as_ref().is_some_and(|s| s.0 == *id));
        let id = wish.filter(|id| !taken(id)).unwrap_or_else(crate::session_id::generate);
        if let Some(entry) = inner.connections.get_mut(&self.id) {
            entry.stage = Stage::LoggedIn;
            entry.session = Some((id.clone(), socket.clone()));
        }
        drop(inner);
        self.door.changed.notify_waiters();
        id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.lock().connections.remove(&self.id);
        self.door.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::sentry_protocol::Failure;

    fn door() -> (Arc<Door>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Door::new(FailureMemory::open(&dir.path().join("failures"), Utc::now()).unwrap()), dir)
    }

    fn policy() -> Policy {
        Policy {
            version: "1".into(),
            password_hash: "x".into(),
            authorized_keys: vec![],
            allow_list: vec![],
            lockouts: vec![],
            failures: vec![],
            forgiven: vec![],
            user_ca: None,
            jupyter: None,
            ends_soon: None,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn end_of(place: &Place) -> Option<End> {
        *place.ended.borrow()
    }

    #[test]
    fn failures_and_connections_that_try_are_five_together() {
        let (door, _dir) = door();
        let now = Utc::now();
        let places: Vec<_> = (0..10).map(|_| door.admit(ip("192.0.2.1"), now).unwrap()).collect();
        assert_eq!(door.admit(ip("192.0.2.1"), now).err(), Some(Refusal::Crowded));
        assert_eq!(places.iter().filter(|p| p.try_turn(now)).count(), LOCK_FAILURES_MAX);
        places[0].failed("wrong_password", now);
        assert_eq!(end_of(&places[0]), Some(End::GuessesUnderWay), "1 + 5 > 5");
        assert_eq!(end_of(&places[1]), None);
        for place in &places[1..5] {
            place.failed("wrong_password", now);
        }
        assert!(places[1..].iter().all(|p| end_of(p).is_some()), "all end at the fifth");
        assert!(matches!(door.admit(ip("192.0.2.1"), now), Err(Refusal::Locked { .. })));
        assert!(door.admit(ip("192.0.2.2"), now).is_ok());
    }

    #[test]
    fn failures_at_other_entrances_add_up_with_those_here() {
        let (door, _dir) = door();
        let now = Utc::now();
        let elsewhere = |n: i64| Failure { ip: ip("192.0.2.1"), at: now - chrono::TimeDelta::seconds(n) };
        let places: Vec<_> = (0..2).map(|_| door.admit(ip("192.0.2.1"), now).unwrap()).collect();
        assert!(places.iter().all(|place| place.try_turn(now)));
        door.apply(&Policy { failures: (1..=3).map(elsewhere).collect(), ..policy() }, now);
        places[0].failed("wrong_password", now);
        assert_eq!(end_of(&places[0]), Some(End::GuessesUnderWay), "4 + 2 > 5");
        assert_eq!(end_of(&places[1]), None);
        // the fifth happens elsewhere, and who tries here has to go
        door.apply(&Policy { failures: (0..=3).map(elsewhere).collect(), ..policy() }, now);
        assert_eq!(end_of(&places[1]), Some(End::Locked));
        assert!(matches!(door.admit(ip("192.0.2.1"), now), Err(Refusal::Locked { .. })));
        // heard again, it does not count twice; no longer heard, it does not count
        door.apply(&Policy { failures: (1..=3).map(elsewhere).collect(), ..policy() }, now);
        assert!(door.admit(ip("192.0.2.1"), now).is_ok());
    }

    #[test]
    fn one_person_on_one_connection_has_five_tries() {
        let (door, _dir) = door();
        let now = Utc::now();
        let place = door.admit(ip("192.0.2.1"), now).unwrap();
        assert!(place.try_turn(now));
        for _ in 0..4 {
            place.failed("wrong_password", now);
            assert_eq!(end_of(&place), None);
        }
        place.failed("account_locked", now);
        assert_eq!(end_of(&place), None, "not a guess");
        place.failed("unknown_user", now);
        assert_eq!(end_of(&place), Some(End::Locked));
    }

    #[test]
    fn a_policy_ends_those_it_no_longer_allows() {
        let (door, _dir) = door();
        let now = Utc::now();
        let (inside, outside) =
            (door.admit(ip("192.0.2.1"), now).unwrap(), door.admit(ip("2001:db8::1"), now).unwrap());
        door.apply(&Policy { allow_list: vec!["192.0.2.0/24".parse().unwrap()], ..policy() }, now);
        assert_eq!((end_of(&inside), end_of(&outside)), (None, Some(End::NotAllowed)));
        assert_eq!(door.admit(ip("198.51.100.1"), now).err(), Some(Refusal::NotAllowed));
        let until = now + chrono::TimeDelta::minutes(1);
        door.apply(&Policy { lockouts: vec![Lockout { ip: ip("192.0.2.1"), until }], ..policy() }, now);
        assert_eq!(end_of(&inside), Some(End::Locked));
        assert_eq!(door.admit(ip("192.0.2.1"), now).err(), Some(Refusal::Locked { until }));
        assert!(door.admit(ip("192.0.2.1"), until).is_ok());
    }

    #[test]
    fn the_inner_door_knows_no_closed_address_and_takes_no_place_of_the_outer_one() {
        let (door, _dir) = door();
        let now = Utc::now();
        let address = ip("192.0.2.1");
        let inside: Vec<_> =
            (0..INNER_UNAUTHENTICATED_PER_SOURCE_MAX).map(|_| door.admit_inner(address).unwrap()).collect();
        assert_eq!(door.admit_inner(address).err(), Some(Refusal::Crowded));
        assert!(inside.iter().all(|place| place.try_turn(now)));
        let outside = door.admit(address, now).unwrap();
        assert!(outside.try_turn(now), "those inside are not trying passwords");
        for _ in 0..LOCK_FAILURES_MAX {
            outside.failed("wrong_password", now);
        }
        assert!(matches!(door.admit(address, now), Err(Refusal::Locked { .. })));
        assert!(inside.iter().all(|place| end_of(place).is_none()));
        drop(inside);
        door.apply(&Policy { allow_list: vec!["198.51.100.0/24".parse().unwrap()], ..policy() }, now);
        assert!(door.admit_inner(address).is_ok(), "who came to the entrance is the entrance's to judge");
    }

    #[test]
    fn places_are_given_back_and_bounded_in_total() {
        let (door, _dir) = door();
        let now = Utc::now();
        let address = |n: usize| ip(&format!("192.0.2.{n}"));
        let places: Vec<_> = (0..UNAUTHENTICATED_MAX).map(|n| door.admit(address(n), now).unwrap()).collect();
        assert_eq!(door.admit(ip("192.0.2.200"), now).err(), Some(Refusal::Crowded));
        drop(places);
        assert!(door.admit(ip("192.0.2.200"), now).is_ok());
    }
}
