//! By which shares may others come into a shell? While it is there, until they are revoked or over.

use chrono::{DateTime, Utc};
use events::ids::ShareId;
use events::session::ShareMode;

use crate::terminal::failure::Failure;
use crate::terminal::people::{Part, Seat};
use crate::terminal::shell::Shell;

#[derive(Debug, Clone)]
pub struct Share {
    pub mode: ShareMode,
    pub expires_at: DateTime<Utc>,
    /// Why nobody comes in by it any more, until that is on record.
    closed: Option<&'static str>,
    /// Its end is being recorded.
    recording: bool,
}

impl Share {
    pub fn new(mode: ShareMode, expires_at: DateTime<Utc>) -> Self {
        Self { mode, expires_at, closed: None, recording: false }
    }

    pub fn is_good(&self, now: DateTime<Utc>) -> bool {
        self.closed.is_none() && self.expires_at > now
    }
}

impl Shell {
    pub fn share(&self, id: ShareId, share: Share) {
        self.state().shares.insert(id, share);
    }

    /// Whether this shell was shared so, also if that is over.
    pub fn knows_share(&self, id: &ShareId) -> bool {
        self.state().shares.contains_key(id)
    }

    /// Each share that is good with the people who came by it.
    pub fn shares(&self, now: DateTime<Utc>) -> Vec<(ShareId, Share, Vec<String>)> {
        let state = self.state();
        let guests = |id: &ShareId| {
            let of = |seat: &&Seat| matches!(&seat.part, Part::Guest { share, .. } if share == id);
            let there = state.seats.values().filter(|seat| seat.dismissed.is_none());
            there.filter(of).map(|seat| seat.person.user.to_string()).collect()
        };
        let good = state.shares.iter().filter(|(_, share)| share.is_good(now));
        good.map(|(id, share)| (id.clone(), share.clone(), guests(id))).collect()
    }

    /// Whoever came by it is out, and nobody comes in any more. Repeating it is harmless.
    pub fn close_share(&self, id: &ShareId, reason: &'static str) {
        if let Some(share) = self.state().shares.get_mut(id) {
            share.closed.get_or_insert(reason);
        }
        self.dismiss(|_, part| match part {
            Part::Guest { share, .. } if share == id => Some(share_ended()),
            Part::Guest { .. } | Part::Owner => None,
        });
    }

    /// Shares whose end is to be recorded, each with the reason; the caller says how that went.
    pub fn shares_to_end(&self, now: DateTime<Utc>) -> Vec<(ShareId, &'static str)> {
        let mut state = self.state();
        let over = state.shares.iter_mut().filter(|(_, share)| !share.is_good(now) && !share.recording);
        over.map(|(id, share)| {
            share.recording = true;
            (id.clone(), share.closed.unwrap_or("expired"))
        })
        .collect()
    }

    pub fn share_end_recorded(&self, id: &ShareId, recorded: bool) {
        let mut state = self.state();
        if recorded {
            state.shares.remove(id);
        } else if let Some(share) = state.shares.get_mut(id) {
            share.recording = false;
        }
    }
}

pub fn share_ended() -> Failure {
    Failure::new("share_ended", "this terminal is not shared any more")
}
