//! Who comes in to the server beside the services? The server asks here (its auth callout) and is told, in signed words,
//! into which account and to which subjects; see adr/0007.

use async_nats::{Client, Message, Subject, Subscriber};
use chrono::Utc;
use futures_util::StreamExt;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::issuer::{Issuer, claims_of};
use crate::{BoxError, wire};

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: i64 = 100;
/// Bytes of what is published: requests for messages, and acknowledgements.
const PUBLISHED_BYTES_MAX: i64 = 4_096;

#[derive(Debug, thiserror::Error)]
pub enum CalloutError {
    #[error("the server's questions cannot be listened to")]
    Listen(#[source] BoxError),
    #[error("the server cannot be answered")]
    Answer(#[source] BoxError),
}

/// The server's questions. Of several processes one is asked each.
pub struct Callout {
    client: Client,
    issuer: Issuer,
}

/// Somebody who is none of the services.
#[derive(Debug)]
pub struct Knock {
    pub user: String,
    pub password: SecretString,
    /// Where the answer goes, to which server, and for which connection.
    reply: Subject,
    server: String,
    key: String,
}

/// Where somebody is let in, and what they may say and hear there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub account: &'static str,
    /// As whom the server knows them.
    pub name: String,
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

/// What is looked at of the server's claims.
#[derive(Deserialize)]
struct Asked {
    nats: Request,
}

#[derive(Deserialize)]
struct Request {
    server_id: Server,
    user_nkey: String,
    #[serde(default)]
    connect_opts: Shown,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

#[derive(Default, Deserialize)]
struct Shown {
    #[serde(default)]
    user: String,
    #[serde(default)]
    pass: SecretString,
}

impl Callout {
    pub(crate) fn new(client: Client, issuer: Issuer) -> Self {
        Self { client, issuer }
    }

    pub async fn listen(&self) -> Result<Knocks, CalloutError> {
        let questions = self.client.queue_subscribe(wire::CALLOUT, wire::CALLOUT_QUEUE.to_owned()).await;
        Ok(Knocks(questions.map_err(|error| CalloutError::Listen(error.into()))?))
    }

    pub async fn admit(&self, knock: &Knock, admission: &Admission) -> Result<(), CalloutError> {
        let user = self.issuer.sign(&self.claims(
            knock,
            admission.account,
            json!({
                "type": "user", "version": 2,
                "pub": allowed(&admission.publish), "sub": allowed(&admission.subscribe),
                "subs": SUBSCRIPTIONS_MAX, "data": -1, "payload": PUBLISHED_BYTES_MAX,
                "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
            }),
            Some(&admission.name),
        ));
        self.answer(knock, json!({"jwt": user})).await
    }

    /// Whatever the reason: the server does not tell it to who knocked.
    pub async fn refuse(&self, knock: &Knock) -> Result<(), CalloutError> {
        self.answer(knock, json!({"error": "refused"})).await
    }

    async fn answer(&self, knock: &Knock, mut said: Value) -> Result<(), CalloutError> {
        said["type"] = "authorization_response".into();
        said["version"] = 2.into();
        let answer = self.issuer.sign(&self.claims(knock, &knock.server, said, None));
        let sent = self.client.publish(knock.reply.clone(), answer.into()).await;
        sent.map_err(|error| CalloutError::Answer(error.into()))
    }

    fn claims(&self, knock: &Knock, audience: &str, said: Value, name: Option<&str>) -> Value {
        let mut claims = json!({
            "jti": Uuid::now_v7(), "iat": Utc::now().timestamp(), "iss": self.issuer.public(),
            "sub": knock.key, "aud": audience, "nats": said,
        });
        if let Some(name) = name {
            claims["name"] = name.into();
        }
        claims
    }
}

/// Nothing, where nothing is allowed: an empty list would allow everything.
fn allowed(subjects: &[String]) -> Value {
    if subjects.is_empty() { json!({"deny": [">"]}) } else { json!({"allow": subjects}) }
}

/// Those who knock, one after the other.
pub struct Knocks(Subscriber);

impl Knocks {
    /// `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<Knock> {
        loop {
            let message = self.0.next().await?;
            match read(&message) {
                Some(knock) => return Some(knock),
                None => tracing::warn!("the server asked who somebody is in words that are not known here"),
            }
        }
    }
}

fn read(message: &Message) -> Option<Knock> {
    let asked: Asked = serde_json::from_value(claims_of(&message.payload)?).ok()?;
    let Request { server_id, user_nkey, connect_opts } = asked.nats;
    Some(Knock {
        user: connect_opts.user,
        password: connect_opts.pass,
        reply: message.reply.clone()?,
        server: server_id.id,
        key: user_nkey,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_allows_nothing() {
        assert_eq!(allowed(&[]), json!({"deny": [">"]}));
        assert_eq!(allowed(&["a".to_owned()]), json!({"allow": ["a"]}));
    }
}
