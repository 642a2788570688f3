//! On what do the tests of taps stand? Two tenants with a tap each, somebody who lets them in, and clients as anybody
//! has them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::{Client, ConnectOptions, Event};
use events::ids::{NatsTapId, TenantId, UserName};
use events::nats_tap::NatsTapIssued;
use futures_util::StreamExt;
use harness::nats::{NatsServer, password_of};
use nats::followers::{FOLLOWED, FOLLOWERS_API};
use nats::{Connection, Issuer, Way, inbox_prefix};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stand::*;

pub const PASSWORD: &str = "ptp_right";
/// What is not heard by then is not heard.
pub const SILENCE: Duration = Duration::from_millis(500);

/// A server where two tenants have a tap each, and somebody answers for them.
pub struct Stage {
    pub server: NatsServer,
    pub taps: Connection,
    pub acme: Tap,
    pub other: Tap,
    /// Who was asked about.
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
pub struct Tap {
    pub id: NatsTapId,
    pub tenant: TenantId,
    pub issued: NatsTapIssued,
}

/// Somebody who follows, and what the server told them.
pub struct Somebody {
    pub client: Client,
    pub told: Arc<Mutex<Vec<String>>>,
}

impl Tap {
    pub fn of(number: u128, tenant: &str) -> Self {
        let kinds = ["env", "quota"].map(str::to_owned).into();
        let by = UserName::parse("alice").unwrap();
        let digest = format!("{number}").repeat(40);
        Self {
            id: NatsTapId::from_seed(&Uuid::from_u128(number)),
            tenant: TenantId::parse(tenant).unwrap(),
            issued: NatsTapIssued { name: tenant.into(), kinds, by, digest },
        }
    }

    pub fn consumer(&self) -> String {
        self.issued.consumer(&self.id)
    }

    pub fn subjects(&self, way: Way) -> Vec<String> {
        way.subjects(&self.tenant, self.issued.kinds.iter().map(String::as_str))
    }

    pub fn options(&self, way: Way, password: &str) -> (ConnectOptions, Arc<Mutex<Vec<String>>>) {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let tells = Arc::clone(&told);
        let options = ConnectOptions::with_user_and_password(way.user(&self.id), password.into())
            .custom_inbox_prefix(inbox_prefix(&self.consumer()))
            .event_callback(move |event| {
                let tells = Arc::clone(&tells);
                async move {
                    if matches!(event, Event::ServerError(_) | Event::Disconnected) {
                        tells.lock().unwrap().push(event.to_string());
                    }
                }
            });
        (options, told)
    }

    pub async fn comes(&self, server: &NatsServer, way: Way) -> Somebody {
        let (options, told) = self.options(way, PASSWORD);
        Somebody { client: options.connect(server.url()).await.unwrap(), told }
    }

    /// Their place on the server, as a client finds it.
    pub async fn place(&self, somebody: &Somebody) -> Consumer<pull::Config> {
        let stream = async_nats::jetstream::with_prefix(somebody.client.clone(), FOLLOWERS_API);
        stream.get_consumer_from_stream(self.consumer(), FOLLOWED).await.unwrap()
    }
}

impl Somebody {
    /// Complaints of the server since the last time.
    pub async fn complaints(&self) -> Vec<String> {
        self.client.flush().await.unwrap();
        tokio::time::sleep(SILENCE).await;
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

impl Stage {
    pub async fn set() -> Self {
        Self::on(NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap()).await
    }

    pub async fn on(server: NatsServer) -> Self {
        user(&server, "setup").await.setup(1).await.unwrap();
        let (acme, other) = (Tap::of(1, "acme"), Tap::of(2, "other"));
        let taps = user(&server, "taps").await;
        for tap in [&acme, &other] {
            let (followers, consumer) = (taps.followers(), tap.consumer());
            followers.ensure_consumer(&consumer, tap.subjects(Way::Resume)).await.unwrap();
        }
        let asked = answer(&taps, vec![acme.clone(), other.clone()]).await;
        Self { server, taps, acme, other, asked }
    }

    /// Appends events of both tenants, one of a kind that stays among them; answers the log's head.
    pub async fn happen(&self, name: &str) -> u64 {
        let api = raw(&self.server, "api").await;
        for subject in ["acme.quota", "acme.credential", "other.quota"] {
            let appended = api.request(format!("ev.{subject}.{name}"), "{}".into()).await.unwrap();
            let appended: Value = serde_json::from_slice(&appended.payload).unwrap();
            assert!(appended["seq"].is_u64(), "{appended}");
        }
        user(&self.server, "api").await.log().head().await.unwrap()
    }

    /// The log's settings, its newest sequence and how many consumers it has.
    pub async fn state(&self) -> Value {
        let raw = raw(&self.server, "taps").await;
        let log = raw.request(format!("{FOLLOWERS_API}.STREAM.INFO.{FOLLOWED}"), "".into()).await.unwrap();
        let log: Value = serde_json::from_slice(&log.payload).unwrap();
        json!([
            log["config"],
            log["state"]["last_seq"],
            log["state"]["messages"],
            log["state"]["consumer_count"]
        ])
    }

    /// Something that rings for the worker of the log.
    pub async fn env_happens(&self) {
        let api = raw(&self.server, "api").await;
        api.request("ev.acme.env.rings", "{}".into()).await.unwrap();
    }

    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Lets those in who show the password, to what their tap says.
async fn answer(taps: &Connection, known: Vec<Tap>) -> Arc<Mutex<Vec<String>>> {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let callout = taps.callout(Issuer::of(&password_of("taps").into()));
    let mut knocks = callout.listen().await.unwrap();
    let asks = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some(knock) = knocks.next().await {
            asks.lock().unwrap().push(knock.user.clone());
            let shown = Way::of(&knock.user).filter(|_| knock.password.expose_secret() == PASSWORD);
            let admission = shown.and_then(|(id, way)| {
                let tap = known.iter().find(|tap| tap.id == id)?;
                way.admission(&tap.id, &tap.tenant, &tap.issued)
            });
            let answered = match admission {
                Some(admission) => callout.admit(&knock, &admission).await,
                None => callout.refuse(&knock).await,
            };
            answered.unwrap();
        }
    });
    assert!(taps.ping().await);
    asked
}

/// Everything that comes until it is silent.
pub async fn heard(subscription: &mut async_nats::Subscriber) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE, subscription.next()).await {
        all.push(message.subject.to_string());
    }
    all
}
