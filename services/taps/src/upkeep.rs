//! What is left of taps that were revoked? Their consumers are removed and who is connected by them is sent out, when the
//! event rings and again on a timer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use events::ids::NatsTapId;
use kit::error::chain;
use nats::followers::{FOLLOWERS, LISTENERS};
use nats::{Followers, FollowersError, Way};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, Tap};

/// What the bell missed is found within.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

pub struct Upkeep {
    desk: Arc<Desk>,
    followers: Followers,
}

impl Upkeep {
    pub fn new(desk: Arc<Desk>, followers: Followers) -> Self {
        Self { desk, followers }
    }

    pub async fn keep(&self, shutdown: CancellationToken) {
        let endless = async {
            let (mut bell, mut sweeps) = (self.desk.bell(), interval(SWEEP_EVERY));
            sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // those whose consumer is removed: nothing makes it again
            let mut removed = BTreeSet::new();
            loop {
                tokio::select! {
                    _ = sweeps.tick() => {}
                    Ok(()) = bell.changed() => {}
                }
                if let Err(error) = self.sweep(&mut removed).await {
                    tracing::warn!(error = chain(&error), "what is left of revoked taps stays for now");
                }
            }
        };
        shutdown.run_until_cancelled(endless).await;
    }

    /// Only what is known to be revoked ends: who is not known yet may have been issued a moment ago.
    async fn sweep(&self, removed: &mut BTreeSet<NatsTapId>) -> Result<(), FollowersError> {
        let revoked: Vec<Tap> = self.desk.all().into_iter().filter(|tap| tap.state.revoked).collect();
        if revoked.is_empty() {
            return Ok(());
        }
        for tap in revoked.iter().filter(|tap| !removed.contains(&tap.id)).collect::<Vec<_>>() {
            if let Some(issued) = &tap.state.issued {
                self.followers.remove_consumer(&issued.consumer(&tap.id)).await?;
            }
            removed.insert(tap.id.clone());
        }
        let gone = |user: &str| Way::of(user).is_some_and(|(id, _)| revoked.iter().any(|tap| tap.id == id));
        for account in [LISTENERS, FOLLOWERS] {
            for who in self.followers.connected(account).await?.iter().filter(|who| gone(&who.user)) {
                self.followers.disconnect(who).await?;
                tracing::info!(tap = %who.user, "sent out: the tap was revoked");
            }
        }
        Ok(())
    }
}
