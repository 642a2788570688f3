//! Which streams and consumers are there? As data; what differs refuses to start, nothing is recreated.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, Republish, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{Context, ErrorCode};
use events::CATALOGUE;
use serde::Serialize;
use serde_json::Value;

use crate::BoxError;
use crate::wire;

/// A message is delivered again when its worker was silent this long.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages delivered to a worker and not settled.
pub(crate) const ACK_PENDING_MAX: i64 = 512;
/// The server recognises an event id this long.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Bytes of parked messages before parking is refused.
const PARKED_BYTES_MAX: i64 = 1 << 30;
/// Largest value in the vault, in bytes.
const VAULT_VALUE_BYTES_MAX: i32 = 128 << 10;
/// Largest message with a position, in bytes.
const POSITION_BYTES_MAX: i32 = 4 << 10;

/// Bytes of all recordings before further ones are refused: they must not take the log's disk.
const RECORDINGS_BYTES_MAX: i64 = 4 << 30;
/// A recording's chunks are removed by the server after so many days, and by nobody before.
pub const RECORDINGS_KEPT_DAYS: u64 = 90;

/// Bytes of all outputs before further ones are refused.
const OUTPUTS_BYTES_MAX: i64 = 1 << 30;
/// An output's chunks are removed by the server after so many days, and by nobody before.
pub const OUTPUTS_KEPT_DAYS: u64 = 30;

/// What was handed out by a tap comes again when it was not acknowledged in so long.
const TAP_ACK_WAIT: Duration = Duration::from_secs(60);
/// Events handed out by a tap and not acknowledged.
const TAP_ACK_PENDING_MAX: i64 = 1_000;
/// Events of one request, requests that wait at once, and for how long.
const TAP_BATCH_MAX: i64 = 1_000;
const TAP_REQUESTS_MAX: i64 = 64;
const TAP_REQUEST_WAIT_MAX: Duration = Duration::from_secs(60);

/// The durable consumers, named as the service that works.
pub const WORKERS: &[&str] = &["provisioner"];

#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("{what} is absent; run `setup` first")]
    Absent { what: String },
    #[error("{what} has {field} = {found}, and the services rely on {wanted}; it is left as it is")]
    Differs { what: String, field: String, wanted: Value, found: Value },
    #[error("{what} could not be looked at or created")]
    Failed {
        what: String,
        #[source]
        source: BoxError,
    },
}

/// The subjects whose events a service reacts to, as the catalogue says.
pub fn subjects_of(service: &str) -> Vec<String> {
    let kinds: BTreeSet<&str> = CATALOGUE
        .iter()
        .filter(|row| row.reacts.contains(&service))
        .map(|row| row.kind.wire_name())
        .collect();
    kinds.into_iter().map(|kind| format!("ev.*.{kind}.*")).collect()
}

fn streams(replicas: usize) -> [Config; 7] {
    let common = Config {
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        max_age: Duration::ZERO,
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        allow_direct: true,
        ..Config::default()
    };
    [
        Config {
            name: wire::EVENTS.to_owned(),
            description: Some("every fact; the only truth".to_owned()),
            subjects: vec![format!("{}>", wire::EVENT_PREFIX)],
            deny_purge: true,
            compression: Some(Compression::S2),
            republish: Some(Republish {
                source: format!("{}>", wire::EVENT_PREFIX),
                destination: format!("{}>", wire::STORED_PREFIX),
                headers_only: false,
            }),
            ..common.clone()
        },
        Config {
            name: wire::PARKED.to_owned(),
            description: Some("what could not be read or done, with the reason".to_owned()),
            subjects: vec!["parked.>".to_owned()],
            deny_purge: true,
            max_bytes: PARKED_BYTES_MAX,
            compression: Some(Compression::S2),
            ..common.clone()
        },
        // A key-value bucket for readers; without roll-ups, so that no publisher can empty it.
        Config {
            name: wire::VAULT.to_owned(),
            description: Some("sealed secrets".to_owned()),
            subjects: vec!["$KV.VAULT.>".to_owned()],
            max_messages_per_subject: 1,
            max_message_size: VAULT_VALUE_BYTES_MAX,
            // What is sealed does not compress.
            compression: Some(Compression::None),
            ..common.clone()
        },
        // Likewise; each value replaces the one before.
        Config {
            name: wire::POSITIONS.to_owned(),
            description: Some("how far subscriptions have got".to_owned()),
            subjects: vec!["$KV.POSITIONS.>".to_owned()],
            deny_purge: true,
            max_messages_per_subject: 1,
            max_message_size: POSITION_BYTES_MAX,
            compression: Some(Compression::None),
            ..common.clone()
        },
        Config {
            name: wire::RECORDINGS.to_owned(),
            description: Some("sealed chunks of recorded terminals".to_owned()),
            subjects: vec![format!("{}*.*.*", wire::RECORDING_PREFIX)],
            deny_purge: true,
            max_bytes: RECORDINGS_BYTES_MAX,
            max_age: Duration::from_secs(RECORDINGS_KEPT_DAYS * 24 * 3600),
            compression: Some(Compression::None),
            ..common.clone()
        },
        Config {
            name: wire::OUTPUTS.to_owned(),
            description: Some("sealed chunks of long outputs of commands".to_owned()),
            subjects: vec![format!("{}*.*.*", wire::OUTPUT_PREFIX)],
            deny_purge: true,
            max_bytes: OUTPUTS_BYTES_MAX,
            max_age: Duration::from_secs(OUTPUTS_KEPT_DAYS * 24 * 3600),
            compression: Some(Compression::None),
            ..common.clone()
        },
        Config {
            name: wire::ANCHORS.to_owned(),
            description: Some("signed statements about the events; never removed".to_owned()),
            subjects: vec![wire::ANCHOR_SUBJECT.to_owned()],
            deny_purge: true,
            compression: Some(Compression::S2),
            ..common
        },
    ]
}

fn consumer(name: &str, replicas: usize) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        name: Some(name.to_owned()),
        filter_subjects: subjects_of(name),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: ACK_PENDING_MAX,
        num_replicas: replicas,
        ..pull::Config::default()
    }
}

/// The place where one tap is.
pub(crate) fn tap(name: &str, subjects: Vec<String>) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        name: Some(name.to_owned()),
        filter_subjects: subjects,
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: TAP_ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: TAP_ACK_PENDING_MAX,
        max_batch: TAP_BATCH_MAX,
        max_waiting: TAP_REQUESTS_MAX,
        max_expires: TAP_REQUEST_WAIT_MAX,
        ..pull::Config::default()
    }
}

pub(crate) async fn setup(jetstream: &Context, replicas: usize) -> Result<(), TopologyError> {
    for wanted in streams(replicas) {
        match check_stream(jetstream, &wanted, true).await {
            Err(TopologyError::Absent { .. }) => {
                let what = format!("stream {}", wanted.name);
                jetstream.create_stream(wanted.clone()).await.map_err(|error| failed(&what, error))?;
                check_stream(jetstream, &wanted, true).await?;
                tracing::info!(stream = %wanted.name, replicas, "created");
            }
            checked => checked?,
        }
    }
    for name in WORKERS {
        match check_consumer(jetstream, name).await {
            Err(TopologyError::Absent { what }) => {
                jetstream
                    .create_consumer_strict_on_stream(consumer(name, 0), wire::EVENTS)
                    .await
                    .map_err(|error| failed(&what, error))?;
                tracing::info!(consumer = name, "created");
            }
            checked => checked?,
        }
    }
    Ok(())
}

pub(crate) async fn check(jetstream: &Context) -> Result<(), TopologyError> {
    for wanted in streams(0) {
        check_stream(jetstream, &wanted, false).await?;
    }
    Ok(())
}

async fn check_stream(jetstream: &Context, wanted: &Config, replicas: bool) -> Result<(), TopologyError> {
    use async_nats::jetstream::context::GetStreamErrorKind;
    let what = format!("stream {}", wanted.name);
    let found = match jetstream.get_stream(&wanted.name).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(error) => {
            if let GetStreamErrorKind::JetStream(answer) = error.kind()
                && answer.error_code() == ErrorCode::STREAM_NOT_FOUND
            {
                return Err(TopologyError::Absent { what });
            }
            return Err(failed(&what, error));
        }
    };
    compare(&what, wanted, &found, if replicas { &["metadata"] } else { &["metadata", "num_replicas"] })
}

/// Refuses a consumer that is absent or differs.
pub(crate) async fn check_consumer(jetstream: &Context, name: &str) -> Result<(), TopologyError> {
    use async_nats::jetstream::stream::ConsumerErrorKind;
    let what = format!("consumer {name}");
    let found: async_nats::jetstream::consumer::Consumer<pull::Config> =
        match jetstream.get_consumer_from_stream(name, wire::EVENTS).await {
            Ok(consumer) => consumer,
            Err(error) => {
                if let ConsumerErrorKind::JetStream(answer) = error.kind()
                    && answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND
                {
                    return Err(TopologyError::Absent { what });
                }
                return Err(failed(&what, error));
            }
        };
    let found = &found.cached_info().config;
    let wanted = consumer(name, 0);
    let subjects = |one: &str, many: &[String]| -> BTreeSet<String> {
        many.iter().map(String::as_str).chain([one]).filter(|s| !s.is_empty()).map(str::to_owned).collect()
    };
    let differs = |field: &str, wanted: Value, found: Value| {
        if wanted == found {
            return Ok(());
        }
        Err(TopologyError::Differs { what: what.clone(), field: field.to_owned(), wanted, found })
    };
    differs(
        "filter_subjects",
        serde_json::json!(subjects(&wanted.filter_subject, &wanted.filter_subjects)),
        serde_json::json!(subjects(&found.filter_subject, &found.filter_subjects)),
    )?;
    differs("ack_wait_s", wanted.ack_wait.as_secs().into(), found.ack_wait.as_secs().into())?;
    differs("max_deliver", wanted.max_deliver.into(), found.max_deliver.into())?;
    differs("max_ack_pending", wanted.max_ack_pending.into(), found.max_ack_pending.into())?;
    differs("ack_policy", format!("{:?}", wanted.ack_policy).into(), format!("{:?}", found.ack_policy).into())
}

/// Names the first field that differs, as it is called on the wire.
fn compare<T: Serialize>(what: &str, wanted: &T, found: &T, ignored: &[&str]) -> Result<(), TopologyError> {
    let fields = |config: &T| match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (wanted, found) = (fields(wanted), fields(found));
    let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    for name in names {
        if ignored.contains(&name.as_str()) {
            continue;
        }
        let (want, have) = (wanted.get(name), found.get(name));
        if want != have {
            return Err(TopologyError::Differs {
                what: what.to_owned(),
                field: name.clone(),
                wanted: want.cloned().unwrap_or_default(),
                found: have.cloned().unwrap_or_default(),
            });
        }
    }
    Ok(())
}

fn failed(what: &str, error: impl Into<BoxError>) -> TopologyError {
    TopologyError::Failed { what: what.to_owned(), source: error.into() }
}
