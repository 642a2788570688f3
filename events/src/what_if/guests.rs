//! Which guests of shared terminals would another allow-list have kept out? What a lockout would have said of them is
//! not asked.

use super::{Found, OtherList, Outcome, Part, all_of};
use crate::catalogue::{Event, Kind, SessionEvent};
use crate::envelope::Recorded;
use crate::login::come_in::past;

pub struct Guests {
    list: OtherList,
}

impl Guests {
    pub fn new(list: OtherList) -> Self {
        Self { list }
    }
}

impl Part for Guests {
    fn subject(&self) -> String {
        all_of(Kind::Session, Some(self.list.tenant()))
    }

    /// Nothing of it counts later.
    fn before(&mut self, _: &Recorded) {}

    fn within(&mut self, recorded: &Recorded, found: &mut Found) {
        let Event::Session(SessionEvent::SessionJoined(joined)) = &recorded.event else { return };
        // servers have no allow-list
        let Some(env) = joined.place.env() else { return };
        let ranges = self.list.ranges_at(&recorded.subject.tenant, env.as_str());
        if ranges.is_empty() {
            return;
        }
        found.decided += 1;
        if let Err(refusal) = past(&[ranges], None, joined.ip) {
            let (was, would_be) = (Outcome::LetIn, Outcome::refused(&refusal));
            found.differs(recorded, Some(joined.ip), was, would_be, refusal.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Cause;
    use crate::ids::{EnvId, ServerId, TenantId};
    use crate::session::testing::joined;
    use crate::session::{Place, SessionJoined};
    use crate::subject::Subject;
    use crate::testing::t;
    use crate::what_if::ListOf;
    use uuid::Uuid;

    fn found(of: ListOf, range: &str, place: Place) -> Found {
        let mut guests = Guests::new(OtherList { of, ranges: vec![range.parse().unwrap()] });
        assert_eq!(guests.subject(), "ev.acme.session.*");
        let subject = Subject::new(TenantId::parse("acme").unwrap(), Kind::Session, "ses-abcdefghijkl");
        let meta = Cause::new(Uuid::nil(), "user:bob").meta(0, t(0));
        let event = SessionEvent::from(SessionJoined { place, ..joined(1, 1) }).into();
        let mut found = Found::default();
        guests.within(&Recorded { seq: 7, subject, meta, event }, &mut found);
        found
    }

    #[test]
    fn a_guest_comes_from_where_the_list_says_or_not_at_all() {
        let acme = TenantId::parse("acme").unwrap();
        let env = |number: u128| EnvId::from_seed(&Uuid::from_u128(number));
        let (all, here) = (ListOf::Tenant(acme.clone()), ListOf::Env(acme.clone(), env(1)));
        let place = || Place::Env(env(1));
        let counts = |found: &Found| (found.decided, found.differing);
        assert_eq!(counts(&found(all.clone(), "203.0.113.0/24", place())), (1, 0));
        let outside = found(here, "10.0.0.0/8", place());
        assert_eq!(counts(&outside), (1, 1));
        assert_eq!(outside.items[0].would_be, Outcome::Refused { code: "address_not_allowed" });
        let of_another = ListOf::Env(acme, env(2));
        assert_eq!(counts(&found(of_another, "10.0.0.0/8", place())), (0, 0));
        let server = Place::Server(ServerId::from_seed(&Uuid::nil()));
        assert_eq!(counts(&found(all, "10.0.0.0/8", server)), (0, 0));
    }
}
