//! Which other hubs are there now? Each says so twice a second, in words that nobody stores.
//!
//! No decision rests on it: it says who tries first, and whom to look after when somebody falls silent. What is
//! true is decided by the log.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use events::ids::HubId;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::BoxError;

/// How often a hub says that it is there.
const SAID_EVERY: Duration = Duration::from_millis(500);
/// Whoever says nothing for so long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(4);
/// Hubs remembered.
const HUBS_MAX: usize = 1_000;
/// Words heard at once.
const HEARD_MAX: usize = 10_000;

const PREFIX: &str = "hub.";
/// What a hub says when it ends.
const GOODBYE: &[u8] = b"goodbye";

#[derive(Debug, thiserror::Error)]
#[error("the other hubs cannot be heard")]
pub struct PresenceError(#[source] BoxError);

/// What is heard of the hubs. Look at it often: what is heard waits in the subscription.
pub struct Presence {
    client: Client,
    own: HubId,
    words: Subscriber,
    heard: BTreeMap<HubId, Instant>,
    /// Since when we listen.
    since: Instant,
}

impl Presence {
    pub(crate) async fn begin(client: Client, own: &HubId) -> Result<Self, PresenceError> {
        let words =
            client.subscribe(format!("{PREFIX}*")).await.map_err(|error| PresenceError(error.into()))?;
        Ok(Self { client, own: own.clone(), words, heard: BTreeMap::new(), since: Instant::now() })
    }

    /// Says that the hub is there until `shutdown`, then that it ends.
    pub fn keep_saying(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let (client, subject) = (self.client.clone(), format!("{PREFIX}{}", self.own));
        async move {
            let say = |word: &'static [u8]| {
                let (client, subject) = (client.clone(), subject.clone());
                async move {
                    if let Err(error) = client.publish(subject, word.into()).await {
                        tracing::debug!(%error, "nobody hears that this hub is there");
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
            let hub = message.subject.strip_prefix(PREFIX).and_then(|id| HubId::parse(id).ok());
            let Some(hub) = hub.filter(|hub| *hub != self.own) else { continue };
            if *message.payload == *GOODBYE {
                self.heard.remove(&hub);
            } else if self.heard.len() < HUBS_MAX || self.heard.contains_key(&hub) {
                self.heard.insert(hub, now);
            }
        }
        self.heard.retain(|_, heard| heard.elapsed() < GONE_AFTER);
    }

    /// Nobody who is there can have been missed by now.
    pub fn is_settled(&self) -> bool {
        self.since.elapsed() >= GONE_AFTER
    }

    pub fn is_there(&self, hub: &HubId) -> bool {
        *hub == self.own || self.heard.contains_key(hub)
    }

    /// Of those who are there one tries first. Two may believe so for a while, which costs a lost race.
    pub fn is_first(&self) -> bool {
        let listened = self.since.elapsed() >= SAID_EVERY * 2;
        listened && self.heard.keys().all(|other| self.own < *other)
    }
}
