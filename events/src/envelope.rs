//! What surrounds an event? CloudEvents 1.0 attributes, carried as message headers and shown as JSON.

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::catalogue::{Event, ReadError};
use crate::ids::{EventId, TenantId};
use crate::subject::Subject;

/// CloudEvents version of every envelope.
pub const SPEC_VERSION: &str = "1.0";
/// Attribute `source` of every envelope.
pub const SOURCE: &str = "/portreeve";
/// Attribute `datacontenttype` of every envelope.
const DATA_CONTENT_TYPE: &str = "application/json";

/// Who and what made a decision happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Identity of the command; event ids are derived from it.
    pub command: Uuid,
    /// `user:<name>`, `token:<id>`, `service:<name>` or `sentry:<env id>`.
    pub actor: String,
    /// The same through everything that one outside request sets in motion.
    pub correlation: Uuid,
    /// The event that was reacted to.
    pub causation: Option<EventId>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Cause {
    /// A command from outside, or from a timer.
    pub fn new(command: Uuid, actor: impl Into<String>) -> Self {
        Self { command, actor: actor.into(), correlation: command, causation: None, traceparent: None }
    }

    /// The reaction of `service` to `event`. Two deliveries of the event make the same command;
    /// `step` tells apart the commands of one reaction.
    pub fn reaction(service: &str, event: &Recorded, step: &str) -> Self {
        Self {
            command: Uuid::new_v5(&event.meta.id.0, format!("{service}\n{step}").as_bytes()),
            actor: format!("service:{service}"),
            correlation: event.meta.correlation,
            causation: Some(event.meta.id),
            traceparent: event.meta.traceparent.clone(),
        }
    }

    /// The attributes of the `index`-th event of this command.
    pub fn meta(&self, index: u32, time: DateTime<Utc>) -> Meta {
        Meta {
            id: EventId::derive(&self.command, index),
            time,
            actor: self.actor.clone(),
            correlation: self.correlation,
            causation: self.causation,
            traceparent: self.traceparent.clone(),
        }
    }
}

/// Attributes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub id: EventId,
    pub time: DateTime<Utc>,
    pub actor: String,
    pub correlation: Uuid,
    pub causation: Option<EventId>,
    pub traceparent: Option<String>,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Position in the log, from 1.
    pub seq: u64,
    pub subject: Subject,
    pub meta: Meta,
    pub event: Event,
}

impl Recorded {
    /// Reads a message. `header` looks a header up by its name.
    pub fn read<'h>(
        seq: u64,
        subject: &str,
        header: impl Fn(&str) -> Option<&'h str>,
        payload: &[u8],
    ) -> Result<Self, ReadError> {
        let subject = Subject::parse(subject)?;
        let required = |name: &'static str| header(name).ok_or(ReadError::HeaderMissing(name));
        let uuid = |name: &'static str, text: &str| {
            Uuid::parse_str(text).map_err(|_| ReadError::HeaderInvalid(name, text.to_owned()))
        };
        let time = required("ce-time")?;
        let version = required("ev-version")?;
        let causation = match header("causation-id") {
            Some(text) => Some(EventId(uuid("causation-id", text)?)),
            None => None,
        };
        Ok(Self {
            seq,
            meta: Meta {
                id: EventId(uuid("ce-id", required("ce-id")?)?),
                time: DateTime::parse_from_rfc3339(time)
                    .map_err(|_| ReadError::HeaderInvalid("ce-time", time.to_owned()))?
                    .to_utc(),
                actor: required("actor")?.to_owned(),
                correlation: uuid("correlation-id", required("correlation-id")?)?,
                causation,
                traceparent: header("traceparent").map(str::to_owned),
            },
            event: Event::from_wire(
                subject.kind,
                required("ce-type")?,
                version.parse().map_err(|_| ReadError::HeaderInvalid("ev-version", version.to_owned()))?,
                payload,
            )?,
            subject,
        })
    }

    /// CloudEvents 1.0 JSON, as every tap shows it.
    pub fn to_cloudevent(&self) -> Value {
        let shown = CloudEvent {
            specversion: SPEC_VERSION,
            id: self.meta.id,
            event_type: self.event.event_type(),
            source: SOURCE,
            subject: self.subject.to_string(),
            time: show_time(self.meta.time),
            datacontenttype: DATA_CONTENT_TYPE,
            sequence: format!("{:020}", self.seq),
            tenant: self.subject.tenant.clone(),
            kind: self.subject.kind.wire_name(),
            aggregateid: self.subject.id.clone(),
            eventversion: self.event.version().to_string(),
            actor: self.meta.actor.clone(),
            correlationid: self.meta.correlation,
            causationid: self.meta.causation,
            traceparent: self.meta.traceparent.clone(),
            data: self.event.to_json(),
        };
        serde_json::to_value(shown).unwrap_or(Value::Null)
    }
}

/// One event as every tap shows it: CloudEvents 1.0 as JSON, with attributes of ours beside the standard's.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CloudEvent {
    /// Version of CloudEvents.
    #[schemars(extend("const" = SPEC_VERSION))]
    specversion: &'static str,
    /// Identity of the event: what comes again with the same id is the same event.
    id: EventId,
    /// What happened: `EnvRequested`. A later release may have types that a reader does not know.
    #[serde(rename = "type")]
    event_type: &'static str,
    #[schemars(extend("const" = SOURCE))]
    source: &'static str,
    /// Where the event stands in the log: `ev.<tenant>.<kind>.<id>`.
    subject: String,
    /// When it was decided, in UTC with microseconds.
    #[schemars(with = "DateTime<Utc>")]
    time: String,
    #[schemars(extend("const" = DATA_CONTENT_TYPE))]
    datacontenttype: &'static str,
    /// Position in the log as 20 digits, so that the order of texts is that of the log.
    #[schemars(extend("pattern" = "^[0-9]{20}$"))]
    sequence: String,
    /// Whose it is; `_sys` for what belongs to no tenant.
    tenant: TenantId,
    /// The kind of thing it happened to: `env`.
    kind: &'static str,
    /// The id of that thing.
    aggregateid: String,
    /// Version of the schema of `data`; an event that was written in an older one is shown in today's.
    #[schemars(extend("pattern" = "^[1-9][0-9]*$"))]
    eventversion: String,
    /// Who made it happen: `user:<name>`, `token:<id>`, `service:<name>` or `sentry:<env id>`.
    actor: String,
    /// The same through everything that one outside request sets in motion.
    correlationid: Uuid,
    /// The event that this one is a reaction to.
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<EventId>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// The event itself; its type says by which schema.
    data: Value,
}

/// Message headers of an event.
pub fn headers(subject: &Subject, meta: &Meta, event: &Event) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("ce-specversion", SPEC_VERSION.to_owned()),
        ("ce-id", meta.id.to_string()),
        ("ce-type", event.event_type().to_owned()),
        ("ce-source", SOURCE.to_owned()),
        ("ce-subject", subject.to_string()),
        ("ce-time", show_time(meta.time)),
        ("ev-version", event.version().to_string()),
        ("actor", meta.actor.clone()),
        ("correlation-id", meta.correlation.to_string()),
    ];
    if let Some(causation) = meta.causation {
        headers.push(("causation-id", causation.to_string()));
    }
    if let Some(traceparent) = &meta.traceparent {
        headers.push(("traceparent", traceparent.clone()));
    }
    headers
}

fn show_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
