//! Which other processes of a kind are there now? Each says so twice a second, in words that nobody stores.
//!
//! No decision rests on it: it says who tries first, and whom to look after when somebody falls silent. What is
//! true is decided by the log.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use events::ids::{ApiId, HubId};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::BoxError;

/// How often a process says that it is there.
const SAID_EVERY: Duration = Duration::from_millis(500);
/// Whoever says nothing for so long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(4);
/// Processes remembered.
const OTHERS_MAX: usize = 1_000;
/// Words heard at once.
const HEARD_MAX: usize = 10_000;

/// What a process says when it ends.
const GOODBYE: &[u8] = b"goodbye";

/// What names one life of one process of a kind.
pub trait Present: Ord + Clone + Display + FromStr + Send + Sync + 'static {
    /// Of the subjects on which they speak.
    const PREFIX: &'static str;
}

impl Present for HubId {
    const PREFIX: &'static str = "hub.";
}

impl Present for ApiId {
    const PREFIX: &'static str = "api.";
}

#[derive(Debug, thiserror::Error)]
#[error("the other processes cannot be heard")]
pub struct PresenceError(#[source] BoxError);

/// What is heard of the others. Look at it often: what is heard waits in the subscription.
pub struct Presence<Id = HubId> {
    client: Client,
    own: Id,
    words: Subscriber,
    heard: BTreeMap<Id, Instant>,
    /// Since when we listen.
    since: Instant,
}

impl<Id: Present> Presence<Id> {
    pub(crate) async fn begin(client: Client, own: &Id) -> Result<Self, PresenceError> {
        let words = client
            .subscribe(format!("{}*", Id::PREFIX))
            .await
            .map_err(|error| PresenceError(error.into()))?;
        Ok(Self { client, own: own.clone(), words, heard: BTreeMap::new(), since: Instant::now() })
    }

    /// Says that the process is there until `shutdown`, then that it ends.
    pub fn keep_saying(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let (client, subject) = (self.client.clone(), format!("{}{}", Id::PREFIX, self.own));
        async move {
            let say = |word: &'static [u8]| {
                let (client, subject) = (client.clone(), subject.clone());
                async move {
                    if let Err(error) = client.publish(subject, word.into()).await {
                        tracing::debug!(%error, "nobody hears that this process is there");
                    }
                }
            };
            let endless = async {
                let mut ticks = interval(SAID_EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    say(b"").await;
                }
            };
            shutdown.run_until_cancelled(endless).await;
            say(GOODBYE).await;
            client.flush().await.ok();
        }
    }

    /// Takes what was said since.
    pub fn listen(&mut self) {
        let now = Instant::now();
        for _ in 0..HEARD_MAX {
            let Some(Some(message)) = self.words.next().now_or_never() else { break };
            let id = message.subject.strip_prefix(Id::PREFIX).and_then(|id| id.parse::<Id>().ok());
            let Some(other) = id.filter(|id| *id != self.own) else { continue };
            if *message.payload == *GOODBYE {
                self.heard.remove(&other);
            } else if self.heard.len() < OTHERS_MAX || self.heard.contains_key(&other) {
                self.heard.insert(other, now);
            }
        }
        self.heard.retain(|_, heard| heard.elapsed() < GONE_AFTER);
    }

    /// Nobody who is there can have been missed by now.
    pub fn is_settled(&self) -> bool {
        self.since.elapsed() >= GONE_AFTER
    }

    pub fn is_there(&self, id: &Id) -> bool {
        *id == self.own || self.heard.contains_key(id)
    }

    /// Of those who are there one tries first. Two may believe so for a while, which costs a lost race.
    pub fn is_first(&self) -> bool {
        let listened = self.since.elapsed() >= SAID_EVERY * 2;
        listened && self.heard.keys().all(|other| self.own < *other)
    }
}
