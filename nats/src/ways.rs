//! By which ways is a tap followed: as whom, into which account, and what may be said and heard there?

use events::ids::{NatsTapId, TenantId};
use events::nats_tap::NatsTapIssued;
use events::nats_tap::leave::leaving;

use crate::callout::Admission;
use crate::followers::{FOLLOWED, FOLLOWERS, FOLLOWERS_API, LISTENERS};
use crate::wire::{EVENT_PREFIX, STORED_PREFIX};

/// How somebody follows. Each way has an account of its own: who may ask for messages has them sent to any subject of
/// their account, so nobody listens where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What is stored from now on, as it is stored. Nothing can be published.
    Live,
    /// Everything there was and comes, on from where one was: the server keeps the place.
    Resume,
}

impl Way {
    pub const ALL: [Self; 2] = [Self::Live, Self::Resume];

    const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Resume => "resume",
        }
    }

    /// As whom one connects: `tap-abcdefghijkl.live`.
    pub fn user(self, tap: &NatsTapId) -> String {
        format!("{tap}.{}", self.word())
    }

    /// The same, read.
    pub fn of(user: &str) -> Option<(NatsTapId, Self)> {
        let (tap, word) = user.split_once('.')?;
        let way = Self::ALL.into_iter().find(|way| way.word() == word)?;
        let tap = NatsTapId::parse(tap).ok().filter(|tap| tap.as_str().starts_with("tap-"))?;
        Some((tap, way))
    }

    /// Where events of these kinds are heard, one subject a kind. None for kinds that do not leave (any more): a consumer
    /// without subjects would get all.
    pub fn subjects<'k>(self, tenant: &TenantId, kinds: impl IntoIterator<Item = &'k str>) -> Vec<String> {
        let prefix = match self {
            Self::Live => STORED_PREFIX,
            Self::Resume => EVENT_PREFIX,
        };
        let kinds = kinds.into_iter().filter_map(leaving);
        kinds.map(|kind| format!("{prefix}{tenant}.{}.*", kind.wire_name())).collect()
    }

    /// `None` where there is nothing to be heard.
    pub fn admission(self, id: &NatsTapId, tenant: &TenantId, tap: &NatsTapIssued) -> Option<Admission> {
        let subjects = self.subjects(tenant, tap.kinds.iter().map(String::as_str));
        if subjects.is_empty() {
            return None;
        }
        let consumer = tap.consumer(id);
        let (account, publish, subscribe) = match self {
            Self::Live => (LISTENERS, Vec::new(), subjects),
            Self::Resume => (
                FOLLOWERS,
                vec![
                    format!("{FOLLOWERS_API}.CONSUMER.MSG.NEXT.{FOLLOWED}.{consumer}"),
                    format!("{FOLLOWERS_API}.CONSUMER.INFO.{FOLLOWED}.{consumer}"),
                    format!("$JS.ACK.{FOLLOWED}.{consumer}.>"),
                ],
                vec![format!("{}.>", inbox_prefix(&consumer))],
            ),
        };
        Some(Admission { account, name: self.user(id), publish, subscribe })
    }
}

/// How the inboxes of a client must begin; nobody else can name them.
pub fn inbox_prefix(consumer: &str) -> String {
    format!("_INBOX_{consumer}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::ids::UserName;
    use uuid::Uuid;

    use super::*;

    fn issued(kinds: &[&str]) -> NatsTapIssued {
        NatsTapIssued {
            name: "warehouse".into(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            by: UserName::parse("alice").unwrap(),
            digest: "0123456789abcdef0123456789abcdef".into(),
        }
    }

    #[test]
    fn a_user_names_tap_and_way() {
        let id = NatsTapId::from_seed(&Uuid::nil());
        for way in Way::ALL {
            assert_eq!(Way::of(&way.user(&id)), Some((id.clone(), way)));
        }
        let others = ["", "api", "tap-a", "tap-a.", "tap-a.admin", "tok-a.live", ".live", "tap-a.live.x"];
        for other in others.into_iter().chain(["tap-*.live", "tap->.resume"]) {
            assert_eq!(Way::of(other), None, "{other}");
        }
    }

    #[test]
    fn who_listens_says_nothing_and_who_asks_hears_by_their_own_inbox_alone() {
        let (id, acme) = (NatsTapId::from_seed(&Uuid::nil()), TenantId::parse("acme").unwrap());
        let tap = issued(&["env", "session"]);
        let live = Way::Live.admission(&id, &acme, &tap).unwrap();
        assert_eq!((live.account, live.publish), (LISTENERS, Vec::new()));
        assert_eq!(live.subscribe, ["stored.acme.env.*", "stored.acme.session.*"]);
        let resume = Way::Resume.admission(&id, &acme, &tap).unwrap();
        let consumer = format!("{id}-0123456789abcdef0123");
        assert_eq!(resume.account, FOLLOWERS);
        assert_eq!(resume.subscribe, [format!("_INBOX_{consumer}.>")]);
        assert!(resume.publish.iter().all(|subject| subject.contains(&consumer)), "{:?}", resume.publish);
        assert_eq!(
            Way::Resume.subjects(&acme, ["env", "user", "session"]),
            ["ev.acme.env.*", "ev.acme.session.*"]
        );
    }

    /// No subject at all would be every subject.
    #[test]
    fn a_tap_of_kinds_that_stay_lets_nobody_in() {
        let (id, acme) = (NatsTapId::from_seed(&Uuid::nil()), TenantId::parse("acme").unwrap());
        for kinds in [&[][..], &["credential", "*", ">", "nothing"][..]] {
            for way in Way::ALL {
                assert_eq!(way.admission(&id, &acme, &issued(kinds)), None, "{kinds:?}");
            }
        }
    }
}
