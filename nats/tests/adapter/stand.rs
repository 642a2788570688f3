//! What does every test here stand on? A server with the product's configuration and its users.

use std::time::Duration;

use events::ids::{EnvId, TenantId};
use events::quota::claim::claim;
use events::quota::{Quota, QuotaClaimed, QuotaRefusal};
use events::{Cause, Milli, Recorded, Resources};
use harness::nats::{NatsServer, password_of};
use nats::{Config, Connection, DecideError, Decided, Log, Start, Tailed};
use uuid::Uuid;

/// The longest any test waits for what should happen soon.
pub const SOON: Duration = Duration::from_secs(20);

pub async fn server() -> NatsServer {
    let server = NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap();
    user(&server, "setup").await.setup(1).await.unwrap();
    server
}

pub async fn user(server: &NatsServer, name: &str) -> Connection {
    user_at(&server.url(), name).await
}

pub async fn user_at(url: &str, name: &str) -> Connection {
    let config =
        Config { url: url.into(), user: name.into(), password: password_of(name).into(), name: name.into() };
    nats::connect(&config).await.unwrap()
}

/// A connection of the user without the adapter: what an intruder has.
pub async fn raw(server: &NatsServer, name: &str) -> async_nats::Client {
    async_nats::ConnectOptions::with_user_and_password(name.into(), password_of(name))
        .connect(server.url())
        .await
        .unwrap()
}

pub fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn env(number: u32) -> EnvId {
    EnvId::from_seed(&Uuid::from_u128(number.into()))
}

pub fn cause(number: u32) -> Cause {
    Cause::new(Uuid::from_u128(number.into()), "service:test")
}

pub fn small() -> Resources {
    Resources { cpu: Milli::from_thousandths(1), ..Resources::default() }
}

/// A decision of the kind the api makes: a share of the tenant's quota for environment `number`.
pub async fn claim_for(
    log: &Log,
    aggregate: &str,
    number: u32,
) -> Result<Decided<Quota>, DecideError<QuotaRefusal>> {
    log.decide(&tenant(), aggregate, &cause(number), 0, |state| claim(state, &env(number), small())).await
}

/// The same without looking at the state: only the adapter keeps it from happening twice.
pub async fn blind_claim_for(
    log: &Log,
    aggregate: &str,
    number: u32,
) -> Result<Decided<Quota>, DecideError<QuotaRefusal>> {
    let claimed = QuotaClaimed { env: env(number), resources: small() };
    log.decide(&tenant(), aggregate, &cause(number), 0, |_| Ok(Some(claimed.clone().into()))).await
}

/// The whole log.
pub async fn everything(log: &Log) -> Vec<Recorded> {
    let head = log.head().await.unwrap();
    let mut tail = log.tail(Start::Sequence(1), Vec::new());
    let mut all = Vec::new();
    while tail.position() <= head {
        for tailed in tail.next_chunk(10_000, SOON).await.unwrap() {
            match tailed {
                Tailed::Event(recorded) => all.push(*recorded),
                Tailed::Unreadable { seq, why, .. } => panic!("{seq}: {why}"),
            }
        }
    }
    all
}
