//! Which taps were issued, and which of them revoked? A fold of their own events, in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use events::ids::{NatsTapId, TenantId};
use events::nats_tap::NatsTap;
use events::{Aggregate, Event};
use nats::Tailed;
use tokio::sync::watch;
use tokio::time::timeout;

/// The events that are folded.
pub const SUBJECTS: &str = "ev.*.nats_tap.*";
/// The event of a tap that somebody knocks with may still be on its way here; the server waits for two seconds.
const NEWS_WAIT: Duration = Duration::from_secs(1);

/// A tap, and whose events it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    pub id: NatsTapId,
    pub tenant: TenantId,
    pub state: NatsTap,
}

pub struct Desk {
    taps: Mutex<BTreeMap<NatsTapId, Tap>>,
    /// Sequence of the last event that was folded.
    folded: watch::Sender<u64>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { taps: Mutex::default(), folded: watch::Sender::new(0) }
    }
}

impl Desk {
    pub fn folded(&self) -> u64 {
        *self.folded.borrow()
    }

    /// Rings with each event that is folded.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.folded.subscribe()
    }

    pub fn take(&self, tailed: &Tailed) {
        if let Tailed::Event(recorded) = tailed
            && let Event::NatsTap(event) = &recorded.event
            && let Ok(id) = NatsTapId::parse(recorded.subject.id.as_str())
        {
            let mut taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
            let tap = taps.entry(id.clone()).or_insert_with(|| Tap {
                id,
                tenant: recorded.subject.tenant.clone(),
                state: NatsTap::default(),
            });
            // the id of one tenant's tap is not another's to revoke
            if tap.tenant == recorded.subject.tenant {
                tap.state.evolve(event, recorded.meta.time);
            }
        }
        self.folded.send_replace(tailed.seq());
    }

    pub fn all(&self) -> Vec<Tap> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn get(&self, id: &NatsTapId) -> Option<Tap> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// One that is not known yet is waited for.
    pub async fn find(&self, id: &NatsTapId) -> Option<Tap> {
        let mut bell = self.bell();
        let known = async {
            loop {
                bell.borrow_and_update();
                if let Some(tap) = self.get(id) {
                    return Some(tap);
                }
                bell.changed().await.ok()?;
            }
        };
        timeout(NEWS_WAIT, known).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::DateTime;
    use events::ids::UserName;
    use events::nats_tap::{NatsTapEvent, NatsTapIssued, NatsTapRevoked};
    use events::{Cause, Kind, Recorded, Subject};
    use uuid::Uuid;

    use super::*;

    fn told(seq: u64, tenant: &str, id: &NatsTapId, event: NatsTapEvent) -> Tailed {
        let tenant = TenantId::parse(tenant).unwrap();
        let cause = Cause::new(Uuid::from_u128(seq.into()), "user:alice");
        Tailed::Event(Box::new(Recorded {
            seq,
            subject: Subject::new(tenant, Kind::NatsTap, id.as_str()),
            meta: cause.meta(0, DateTime::UNIX_EPOCH),
            event: event.into(),
        }))
    }

    fn issued() -> NatsTapEvent {
        let kinds = ["env".to_owned()].into();
        let by = UserName::parse("alice").unwrap();
        NatsTapIssued { name: "warehouse".into(), kinds, by, digest: "00".into() }.into()
    }

    #[tokio::test]
    async fn a_tap_is_known_from_its_first_event_to_its_last() {
        let (desk, id) = (Desk::default(), NatsTapId::from_seed(&Uuid::nil()));
        assert_eq!(desk.find(&id).await, None, "nobody issued it");
        let (found, ()) = tokio::join!(desk.find(&id), async {
            tokio::time::sleep(NEWS_WAIT / 2).await;
            desk.take(&told(7, "acme", &id, issued()));
        });
        assert!(found.unwrap().state.valid().is_some(), "its event was on its way");
        desk.take(&told(8, "other", &id, NatsTapRevoked {}.into()));
        assert!(desk.find(&id).await.unwrap().state.valid().is_some(), "it is not theirs");
        desk.take(&told(9, "acme", &id, NatsTapRevoked {}.into()));
        assert!(desk.find(&id).await.unwrap().state.valid().is_none());
        assert_eq!((desk.folded(), desk.all().len()), (9, 1));
    }
}
