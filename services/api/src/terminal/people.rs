//! Who is at a shell? Its owner, one connection at a time, and guests; each with a seat.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::ids::{ShareId, SignInId, UserName};
use events::session::ShareMode;
use tokio::time::Instant;

use crate::terminal::failure::Failure;
use crate::terminal::shared_shell::share_ended;
use crate::terminal::shell::{Away, Ended, How, Shell, State};
use crate::terminal::wire::{Protocol, Size};

/// Guests of one shell.
const GUESTS_MAX: usize = 20;

/// As what somebody sits there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Owner,
    Guest { share: ShareId, mode: ShareMode },
}

impl Part {
    pub const fn may_type(&self) -> bool {
        matches!(self, Self::Owner | Self::Guest { mode: ShareMode::Write, .. })
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Guest { mode, .. } => mode.name(),
        }
    }
}

/// Who sits down.
#[derive(Debug, Clone)]
pub struct Person {
    pub user: UserName,
    pub actor: String,
    /// By which they came, if by one.
    pub sign_in: Option<SignInId>,
    pub ip: IpAddr,
}

impl Person {
    /// Whether it is by the same right that both are there.
    pub fn comes_as(&self, other: &Self) -> bool {
        (&self.actor, &self.sign_in) == (&other.actor, &other.sign_in)
    }
}

pub(super) struct Seat {
    pub(super) person: Person,
    pub(super) part: Part,
    pub(super) protocol: Protocol,
    /// Offset up to which the socket took the output.
    pub(super) sent: u64,
    pub(super) dismissed: Option<Failure>,
}

/// A place at a shell, until [`Shell::stand_up`].
pub struct Seated {
    pub shell: Arc<Shell>,
    pub seat: u64,
    pub part: Part,
    pub protocol: Protocol,
    /// Where its output begins.
    pub from: u64,
    /// What is before this offset is repeated; `None` for a new shell.
    pub replay_until: Option<u64>,
    /// The change of people that it knows already.
    pub people_known: u64,
}

/// What one client has to know now.
pub struct News {
    pub dismissed: Option<Failure>,
    /// Output that it was not sent yet, in bytes.
    pub pending: u64,
    pub people: u64,
    pub size: Size,
    pub end: Option<How>,
}

impl Shell {
    /// The owner sits down, also in place of a connection of their own. `offset`: what they have seen of it.
    pub fn seat_owner(
        self: &Arc<Self>,
        person: Person,
        protocol: Protocol,
        back_at: Option<u64>,
        is_new: bool,
    ) -> Result<Seated, Failure> {
        let seated = {
            let mut state = self.state();
            if let Some(Ended { how: How::Failed(failure), .. }) = state.end.clone() {
                state.end_told = true;
                return Err(failure);
            }
            let from = state.offset(back_at);
            let before = state.owner.and_then(|owner| state.seats.get_mut(&owner));
            if let Some(before) = before {
                let why = "this terminal was opened again, by you, somewhere else";
                before.dismissed = Some(Failure::new("taken_over", why));
            }
            state.acknowledged = from;
            state.away = None;
            let known = state.people;
            if state.seats.values().any(|seat| seat.dismissed.is_none()) {
                state.people += 1;
            }
            state.holder = person.clone();
            let seat = state.seat(person, Part::Owner, protocol, from);
            state.owner = Some(seat);
            let replay_until = (!is_new).then(|| state.ring.end());
            Seated {
                shell: Arc::clone(self),
                seat,
                part: Part::Owner,
                protocol,
                from,
                replay_until,
                people_known: known,
            }
        };
        self.tell();
        self.run_errands();
        Ok(seated)
    }

    pub fn seat_guest(
        self: &Arc<Self>,
        person: Person,
        share: &ShareId,
        protocol: Protocol,
        back_at: Option<u64>,
        now: DateTime<Utc>,
    ) -> Result<(Seated, ShareMode), Failure> {
        let seated = {
            let mut state = self.state();
            if state.end.is_some() {
                return Err(Failure::new("session_ended", "this terminal has ended"));
            }
            let known = state.shares.get(share).filter(|known| known.is_good(now));
            let Some(mode) = known.map(|known| known.mode) else { return Err(share_ended()) };
            if state.seats.len() - usize::from(state.owner.is_some()) >= GUESTS_MAX {
                let why = format!("{GUESTS_MAX} guests are there already");
                return Err(Failure::new("too_many_guests", why));
            }
            let from = state.offset(back_at);
            let part = Part::Guest { share: share.clone(), mode };
            let people_known = state.people;
            let seat = state.seat(person, part.clone(), protocol, from);
            state.people += 1;
            let replay_until = Some(state.ring.end());
            (Seated { shell: Arc::clone(self), seat, part, protocol, from, replay_until, people_known }, mode)
        };
        self.tell();
        Ok(seated)
    }

    /// The connection of this seat is over. `clean`: it said good-bye.
    pub fn stand_up(&self, seat: u64, clean: bool) {
        {
            let mut state = self.state();
            if state.seats.remove(&seat).is_some_and(|left| left.dismissed.is_none()) {
                state.people += 1;
            }
            if state.owner == Some(seat) {
                state.owner = None;
                state.away = Some(Away { since: Instant::now(), clean });
            }
        }
        self.tell();
        self.run_errands();
    }

    /// What a client that was sent output up to `sent` does not know yet.
    pub fn look(&self, seat: u64, sent: u64) -> News {
        let state = self.state();
        let gone = || Some(Failure::new("session_ended", "this terminal has ended"));
        News {
            dismissed: state.seats.get(&seat).map_or_else(gone, |known| known.dismissed.clone()),
            pending: state.ring.end().saturating_sub(sent),
            people: state.people,
            size: state.size,
            end: state.end.as_ref().map(|ended| ended.how.clone()),
        }
    }

    /// Who is there, the owner first.
    pub fn people(&self) -> Vec<(String, &'static str)> {
        let state = self.state();
        let there = state.seats.values().filter(|seat| seat.dismissed.is_none());
        let mut people: Vec<_> = there
            .map(|seat| (seat.part != Part::Owner, seat.person.user.to_string(), seat.part.name()))
            .collect();
        people.sort_by_key(|(guest, ..)| *guest);
        people.into_iter().map(|(_, user, mode)| (user, mode)).collect()
    }

    /// Dismisses everybody whom `why` names a reason for.
    pub fn dismiss(&self, why: impl Fn(&Person, &Part) -> Option<Failure>) {
        {
            let mut state = self.state();
            let mut some = false;
            for seat in state.seats.values_mut().filter(|seat| seat.dismissed.is_none()) {
                seat.dismissed = why(&seat.person, &seat.part);
                some |= seat.dismissed.is_some();
            }
            state.people += u64::from(some);
        }
        self.tell();
    }

    /// As whom its owner was there last: the shell is theirs by that right.
    pub fn holder(&self) -> Person {
        self.state().holder.clone()
    }

    /// Everybody who is there.
    pub fn persons(&self) -> Vec<Person> {
        self.state().seats.values().map(|seat| seat.person.clone()).collect()
    }
}

impl State {
    /// Where output begins for somebody who has seen it up to `seen`: there, or as far back as it is kept.
    fn offset(&self, seen: Option<u64>) -> u64 {
        seen.unwrap_or(0).clamp(self.ring.start(), self.ring.end())
    }

    fn seat(&mut self, person: Person, part: Part, protocol: Protocol, from: u64) -> u64 {
        self.seats_so_far += 1;
        let seat = Seat { person, part, protocol, sent: from, dismissed: None };
        self.seats.insert(self.seats_so_far, seat);
        self.seats_so_far
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use uuid::Uuid;

    use super::*;
    use crate::terminal::ring::RING_BYTES_MAX;
    use crate::terminal::shared_shell::Share;
    use crate::terminal::shell::testing::{person, shell};

    fn t(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn id() -> ShareId {
        ShareId::from_seed(&Uuid::nil())
    }

    #[test]
    fn a_shell_is_held_by_the_right_that_its_owner_came_by_last() {
        let (shell, _taking) = shell();
        let signed_in =
            |n| Person { sign_in: Some(SignInId::from_seed(&Uuid::from_u128(n))), ..person("alice") };
        let first = shell.seat_owner(signed_in(1), Protocol::Json, None, true).unwrap();
        assert!(shell.holder().comes_as(&signed_in(1)));
        let _second = shell.seat_owner(signed_in(2), Protocol::Json, None, false).unwrap();
        shell.stand_up(first.seat, true);
        assert!(shell.holder().comes_as(&signed_in(2)) && !shell.holder().comes_as(&signed_in(1)));
    }

    #[test]
    fn guests_come_by_a_good_share_and_are_named() {
        let (shell, _taking) = shell();
        let owner = shell.seat_owner(person("alice"), Protocol::Json, None, true).unwrap();
        let join = |now| shell.seat_guest(person("bob"), &id(), Protocol::Json, None, now);
        let refused = |now| join(now).err().unwrap().code;
        assert_eq!(refused(t(0)), "share_ended", "none was made");
        shell.share(id(), Share::new(ShareMode::View, t(10)));
        assert_eq!(refused(t(10)), "share_ended", "its time is over");
        let (bob, mode) = join(t(1)).unwrap();
        assert_eq!((mode, bob.part.may_type()), (ShareMode::View, false));
        let people = [("alice".to_owned(), "owner"), ("bob".to_owned(), "view")];
        assert_eq!(shell.people(), people);
        let knows = shell.look(owner.seat, 0);
        assert_ne!(knows.people, owner.people_known, "the owner hears of it");
        shell.close_share(&id(), "revoked");
        assert_eq!(shell.look(bob.seat, 0).dismissed.unwrap().code, "share_ended");
        assert_eq!((shell.people(), refused(t(1))), (vec![("alice".to_owned(), "owner")], "share_ended"));
    }

    #[test]
    fn guests_have_a_bound_and_who_falls_behind_is_told() {
        let (shell, _taking) = shell();
        shell.share(id(), Share::new(ShareMode::View, t(10)));
        let join = || shell.seat_guest(person("bob"), &id(), Protocol::Json, None, t(0));
        let (slow, _) = join().unwrap();
        (1..GUESTS_MAX).for_each(|_| drop(join().unwrap()));
        assert_eq!(join().err().unwrap().code, "too_many_guests");
        shell.output(&vec![b'x'; RING_BYTES_MAX + 1]);
        assert_eq!(shell.piece(slow.from, 10).unwrap_err().code, "too_slow");
    }

    #[test]
    fn the_owner_has_one_seat_and_the_newest_connection_gets_it() {
        let (shell, _taking) = shell();
        let first = shell.seat_owner(person("alice"), Protocol::Json, None, true).unwrap();
        shell.output(b"abc");
        let second = shell.seat_owner(person("alice"), Protocol::Binary, Some(2), false).unwrap();
        assert_eq!((second.from, second.replay_until), (2, Some(3)));
        assert_eq!(shell.look(first.seat, 0).dismissed.unwrap().code, "taken_over");
        shell.stand_up(first.seat, true);
        assert!(shell.look(second.seat, 2).dismissed.is_none());
        assert_eq!(shell.look(second.seat, 2).people, second.people_known, "nobody else came or went");
        // whoever was not dismissed and sits nowhere has been forgotten
        assert_eq!(shell.look(99, 0).dismissed.unwrap().code, "session_ended");
    }
}
