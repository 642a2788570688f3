//! How does a long log come about in little time? Valid events of ordinary lives, published without
//! asking any rule, to a server that need not write each to disk at once.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use events::credential::{PasswordIssued, SecretRef};
use events::env::{EnvEvent, PodCreated, PodReady, PortBound, PortPurpose};
use events::ids::{EnvId, PoolName, SessionId, TenantId};
use events::login::{Entrance, LoginEvent, LoginSucceeded};
use events::session::{SessionClosed, SessionEvent, SessionOpened};
use events::{Cause, Event, Kind, Subject, envelope};
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::append::asked;
use crate::stand::Stand;

/// Publishes in flight.
const IN_FLIGHT: usize = 512;
/// Logins of one environment: each is three events.
const VISITS: usize = 15;
/// Events of one life: what is appended is a multiple of it.
pub const LIFE: usize = 5 + 3 * VISITS;

/// The product's configuration, writing to disk now and then.
pub fn hasty_conf() -> String {
    nats::SERVER_CONF.replace("sync_interval: always", "sync_interval: \"2m\"")
}

/// Appends at least so many events; says how many.
pub async fn fill(stand: &Stand, count: usize) -> anyhow::Result<usize> {
    fill_from(stand, 0, count).await
}

/// The same for a log that was filled with `there` events before.
pub async fn fill_from(stand: &Stand, there: usize, count: usize) -> anyhow::Result<usize> {
    let lives = count.div_ceil(LIFE);
    let client = stand.raw("provisioner").await?;
    let began = DateTime::from_timestamp(1_700_000_000, 0).context("an instant")?;
    stream::iter(there / LIFE..lives)
        .map(|number| {
            let client = &client;
            async move {
                let at = began + TimeDelta::seconds(i64::try_from(number)?);
                for (index, (subject, event)) in life(number)?.into_iter().enumerate() {
                    publish(client, &subject, &event, at, u32::try_from(index)?).await?;
                }
                anyhow::Ok(())
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    Ok(lives * LIFE)
}

pub async fn publish(
    jetstream: &async_nats::jetstream::Context,
    subject: &Subject,
    event: &Event,
    at: DateTime<Utc>,
    index: u32,
) -> anyhow::Result<()> {
    let seed = Uuid::new_v5(&Uuid::NAMESPACE_OID, subject.to_string().as_bytes());
    let meta = Cause::new(seed, "service:bench").meta(index, at);
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in envelope::headers(subject, &meta, event) {
        headers.insert(name, value.as_str());
    }
    let payload = event.to_json().to_string();
    jetstream.publish_with_headers(subject.to_string(), headers, payload.into()).await?.await?;
    Ok(())
}

/// An environment that is made, and people who visit it.
fn life(number: usize) -> anyhow::Result<Vec<(Subject, Event)>> {
    let tenant = TenantId::parse("bench")?;
    let env = EnvId::from_seed(&Uuid::from_u128(number as u128));
    let of = |kind, id: &str| Subject::new(tenant.clone(), kind, id);
    let on_env = |event: EnvEvent| (of(Kind::Env, env.as_str()), Event::from(event));
    let secret_ref = SecretRef { owner: env.to_string(), name: "password".to_owned(), version: Uuid::nil() };
    let port = u16::try_from(30_000 + number % 2_768)?;
    let mut events = vec![
        on_env(asked()?.into()),
        on_env(PortBound { pool: PoolName::parse("main")?, port, purpose: PortPurpose::Ssh }.into()),
        (of(Kind::Credential, env.as_str()), Event::Credential(PasswordIssued { secret_ref }.into())),
        on_env(PodCreated { engine_ref: format!("{number:064x}") }.into()),
        on_env(PodReady::default().into()),
    ];
    for visit in 0..VISITS {
        let session = SessionId::from_seed(&Uuid::from_u128((number * VISITS + visit) as u128));
        let ip = std::net::IpAddr::from([10, 0, u8::try_from(visit)?, 1]);
        let at = DateTime::from_timestamp(1_700_000_000, 0).context("an instant")?;
        let (user, method, entrance) = ("developer".to_owned(), "publickey".to_owned(), Entrance::DirectPort);
        let login = LoginSucceeded {
            ip,
            user: user.clone(),
            method: method.clone(),
            key_fingerprint: None,
            entrance,
            session: session.clone(),
            at,
            reported: None,
        };
        let opened =
            SessionOpened { place: env.clone().into(), ip, entrance, user, method, client: None, at };
        let closed = SessionClosed {
            place: env.clone().into(),
            bytes_in: 1,
            bytes_out: 2,
            reason: "client_left".into(),
            at,
        };
        let on_session = |event: SessionEvent| (of(Kind::Session, session.as_str()), Event::from(event));
        events.push((of(Kind::Login, env.as_str()), Event::from(LoginEvent::from(login))));
        events.push(on_session(opened.into()));
        events.push(on_session(closed.into()));
    }
    Ok(events)
}
