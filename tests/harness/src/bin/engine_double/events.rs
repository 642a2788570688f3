//! What does somebody hear who listens to the engine? One JSON object a line, newest only.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::engine::{Container, Engine};
use crate::routes::Filters;

/// A listener further behind than this misses events.
pub const EVENTS_BEHIND_MAX: usize = 8192;

impl Engine {
    /// Tells listeners what happened to a container.
    pub fn happened(&self, action: &str, container: &Container) {
        let mut attributes = container.asked["Labels"].as_object().cloned().unwrap_or_default();
        attributes.insert("name".to_owned(), json!(container.name));
        attributes.insert("image".to_owned(), json!(container.image()));
        if action == "die" {
            attributes.insert("exitCode".to_owned(), json!(container.exit_code.to_string()));
        }
        let now = chrono::Utc::now();
        let event = json!({
            "Type": "container", "Action": action, "status": action, "id": container.id, "from": container.image(),
            "Actor": {"ID": container.id, "Attributes": attributes},
            "scope": "local", "time": now.timestamp(), "timeNano": now.timestamp_nanos_opt(),
        });
        // Nobody listening is fine.
        drop(self.events.send(event));
    }
}

pub fn listen(engine: &Arc<Engine>, filters: Filters) -> Response {
    let heard = stream::unfold((engine.events.subscribe(), filters), |(mut events, filters)| async move {
        loop {
            match events.recv().await {
                Ok(event) if matches(&event, &filters) => {
                    let line = Bytes::from(format!("{event}\n"));
                    return Some((Ok::<_, Infallible>(line), (events, filters)));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let mut response = Response::new(Body::from_stream(heard));
    response.headers_mut().insert("content-type", axum::http::HeaderValue::from_static("application/json"));
    response
}

fn matches(event: &Value, filters: &Filters) -> bool {
    let attributes = &event["Actor"]["Attributes"];
    filters.allow("type", event["Type"].as_str())
        && filters.allow("event", event["Action"].as_str())
        && filters.allow("container", attributes["name"].as_str())
        && filters.labels_match(|label| attributes.get(label).and_then(Value::as_str))
}
