//! How does a program learn what the event streams carry? The AsyncAPI 3.0 document, from the table.
//!
//! Its schemas keep to what JSON Schema 2020-12 and draft 7, which AsyncAPI stands on, read alike.

use serde_json::{Map, Value, json};

use crate::catalogue::{CATALOGUE, EventType, Kind};
use crate::docs;
use crate::schema;

const VERSION: &str = "3.0.0";
/// Structured mode of CloudEvents' JSON format.
const CONTENT_TYPE: &str = "application/cloudevents+json";
/// The last message of a stream of server-sent events that ends for a reason.
const END: &str = "StreamEnded";

const DESCRIPTION: &str = "What happens, as it happens, and what happened before: CloudEvents 1.0 as JSON. \
    A caller sees what it may see. A reader passes over types and fields that it does not know; what a \
    version of an event says does not change, and what changes gets a new version. /docs/events is the same \
    for people, /openapi.json describes the rest of the API.";
const STREAM: &str = "Each has as `id` the sequence in the log and as `data` one CloudEvent. `Last-Event-ID` \
    goes on after a sequence. A stream that ends for a reason ends with `event: end`.";
const SOCKET: &str = "Each text message is one CloudEvent. The reason of the close frame says why a stream \
    ended; `from` goes on at a sequence. What the reader says is not listened to.";

/// The whole document.
pub fn document() -> Value {
    json!({
        "asyncapi": VERSION,
        "info": {
            "title": "Portreeve: the event streams",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels(),
        "operations": operations(),
        "components": components(),
    })
}

fn channels() -> Value {
    json!({
        "eventStream": {
            "address": "/api/events",
            "title": "Server-sent events",
            "description": STREAM,
            "messages": references(true),
        },
        "eventSocket": {
            "address": "/ws/events",
            "title": "WebSocket",
            "description": SOCKET,
            "messages": references(false),
            "bindings": {"ws": {"method": "GET", "query": query(), "bindingVersion": "0.1.0"}},
        },
    })
}

fn operations() -> Value {
    let security = json!([{"$ref": "#/components/securitySchemes/bearer"}]);
    json!({
        "streamEvents": {
            "action": "send",
            "channel": {"$ref": "#/channels/eventStream"},
            "summary": "Follow the events as server-sent events.",
            "security": security,
            "bindings": {"http": {"method": "GET", "query": query(), "bindingVersion": "0.3.0"}},
        },
        "sendEvents": {
            "action": "send",
            "channel": {"$ref": "#/channels/eventSocket"},
            "summary": "Follow the events over a WebSocket.",
            "security": security,
        },
    })
}

fn components() -> Value {
    let mut messages: Map<String, Value> =
        CATALOGUE.iter().map(|event| (event.name.to_owned(), message(event))).collect();
    messages.insert(END.to_owned(), end());
    let bearer = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "An API token (`ptr_...`) or the token of a login",
    });
    json!({
        "messages": messages,
        "schemas": schema::components(),
        "securitySchemes": {"bearer": bearer},
    })
}

fn references(with_end: bool) -> Map<String, Value> {
    let events = CATALOGUE.iter().map(|event| event.name);
    let names = events.chain(with_end.then_some(END));
    names.map(|name| (name.to_owned(), json!({"$ref": format!("#/components/messages/{name}")}))).collect()
}

/// An event in its envelope.
fn message(event: &EventType) -> Value {
    let versions: Vec<String> = event.written.iter().map(u32::to_string).collect();
    let of_type = json!({
        "type": "object",
        "properties": {
            "type": {"const": event.name},
            "kind": {"const": event.kind.wire_name()},
            "eventversion": {"enum": versions},
            "data": {"$ref": format!("#/components/schemas/Event.{}", event.name)},
        },
    });
    json!({
        "name": event.name,
        "title": format!("{} v{}", event.name, event.version),
        "summary": docs::summary(event),
        "tags": [{"name": event.kind.wire_name()}],
        "payload": {"allOf": [{"$ref": format!("#/components/schemas/{}", schema::ENVELOPE)}, of_type]},
    })
}

fn end() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "name": "end",
        "title": "The stream ended",
        "summary": "Why the stream ended, as its last event.",
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "properties": {
                "code": text("For programs: `too_slow`, `closing`, `unauthorized`, ..."),
                "detail": text("For people: what happened and what to do."),
            },
            "required": ["code", "detail"],
        },
    })
}

fn query() -> Value {
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.wire_name()).collect();
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "properties": {
            "type": text("Only these event types, separated by commas"),
            "kind": text(&format!("Only these kinds, separated by commas; of {}", kinds.join(", "))),
            "id": text("Only those of the aggregate with this id"),
            "from": text("Sequence or RFC 3339 time to begin with, inclusive; otherwise it begins now"),
        },
        "additionalProperties": false,
    })
}
