//! Who settles a message that was delivered? Whoever holds it; dropped unsettled, it naks itself.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::worker::PULL_WAIT;

/// What is given back comes again after this long: not as the answer to the last request for
/// messages of the one who gives it back.
const AGAIN_AFTER: Duration = PULL_WAIT.saturating_add(Duration::from_secs(1));

/// A message of a durable consumer.
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// Sequence in the stream.
    pub(crate) seq: u64,
    settlement: Settlement,
}

impl Delivery {
    /// `None` if the message was not delivered by a consumer.
    pub(crate) fn new(client: Client, message: Message) -> Option<Self> {
        let reply = message.reply.clone()?;
        let seq = stream_sequence(&reply)?;
        Some(Self { message, seq, settlement: Settlement { client, reply: Some(reply) } })
    }

    pub(crate) fn reply(&self) -> Option<Subject> {
        self.settlement.reply.clone()
    }

    /// Never again.
    pub(crate) async fn ack(mut self) {
        self.settlement.settle(AckKind::Ack).await;
    }

    /// Left to the one who holds the same message already.
    pub(crate) fn leave(mut self) {
        self.settlement.reply = None;
    }

    /// To somebody else, or to us again.
    pub(crate) async fn nak(mut self) {
        self.settlement.settle(AckKind::Nak(Some(AGAIN_AFTER))).await;
    }
}

struct Settlement {
    client: Client,
    /// `None` once settled.
    reply: Option<Subject>,
}

impl Settlement {
    async fn settle(&mut self, kind: AckKind) {
        if let Some(reply) = self.reply.take() {
            send(&self.client, reply, kind).await;
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let (Some(reply), Ok(runtime)) = (self.reply.take(), Handle::try_current()) {
            let client = self.client.clone();
            runtime.spawn(async move {
                send(&client, reply, AckKind::Nak(Some(AGAIN_AFTER))).await;
                // The last one who held the connection takes it along: only what is flushed is sent.
                let _unsent = client.flush().await;
            });
        }
    }
}

/// Lost on the way, it costs a delivery more: reactions are repeatable.
pub(crate) async fn send(client: &Client, reply: Subject, kind: AckKind) {
    if let Err(error) = client.publish(reply, Bytes::from(kind)).await {
        tracing::debug!(%error, "a message was not settled and will come again");
    }
}

/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>[.<token>]`
fn stream_sequence(reply: &str) -> Option<u64> {
    let tokens: Vec<&str> = reply.split('.').collect();
    if tokens.first() != Some(&"$JS") || tokens.get(1) != Some(&"ACK") {
        return None;
    }
    let position = if tokens.len() >= 11 { 7 } else { 5 };
    tokens.get(position)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::stream_sequence;

    #[test]
    fn the_sequence_stands_in_the_reply_subject() {
        for (reply, expected) in [
            ("$JS.ACK.EVENTS.provisioner.1.42.7.1700000000.0", Some(42)),
            ("$JS.ACK.hub.ACCOUNT.EVENTS.provisioner.1.42.7.1700000000.0", None),
            ("$JS.ACK.hub.ACCOUNT.EVENTS.provisioner.1.42.7.1700000000.0.token", Some(42)),
            ("_INBOX.x", None),
        ] {
            if let Some(expected) = expected {
                assert_eq!(stream_sequence(reply), Some(expected), "{reply}");
            }
        }
        assert_eq!(stream_sequence("_INBOX.x"), None);
    }
}
