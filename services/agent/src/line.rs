//! How is Socket.IO spoken? Engine.IO 4 over a WebSocket, and of Socket.IO what a relay needs.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::enroll::Identity;
use crate::tunnels::TUNNELS_MAX;
use crate::{Config, tls};

/// From the first packet to being let in.
const OPEN_WAIT: Duration = Duration::from_secs(20);
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// What is not sent by then is not read at the other end.
const SEND_WAIT: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "/proxy";
/// The largest message: a command of 64 KiB, six bytes for one.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("the address must begin with http:// or https://, not {0:?}")]
    Address(String),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("cannot connect to {url}")]
    Connect {
        url: String,
        #[source]
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    #[error("{0} did not let us in within {OPEN_WAIT:?}")]
    Silent(String),
    /// Its own words.
    #[error("refused: {0}")]
    Refused(String),
    #[error("the other end speaks no Socket.IO: {0:?}")]
    Unreadable(String),
    #[error("the connection broke")]
    Broken(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    #[error("{0}")]
    Ended(String),
}

/// An event of the namespace.
#[derive(Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

pub struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Silence that ends the connection.
    silence_max: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    ping_interval: u64,
    ping_timeout: u64,
}

pub fn connector(config: &Config) -> Result<Connector, LineError> {
    tls::config(config.pin).map(Connector::Rustls).map_err(LineError::Tls)
}

fn address(url: &str) -> Result<String, LineError> {
    let rest = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => format!("ws://{rest}"),
        (None, Some(rest)) => format!("wss://{rest}"),
        (None, None) => return Err(LineError::Address(url.to_owned())),
    };
    Ok(format!("{}/socket.io/?EIO=4&transport=websocket", rest.trim_end_matches('/')))
}

impl Line {
    /// Connected, and let in.
    pub async fn open(config: &Config, who: &Identity, connector: &Connector) -> Result<Self, LineError> {
        let url = address(&config.url)?;
        let opening = Self::open_at(&url, config, who, connector.clone());
        timeout(OPEN_WAIT, opening).await.map_err(|_| LineError::Silent(config.url.clone()))?
    }

    async fn open_at(
        url: &str,
        config: &Config,
        who: &Identity,
        connector: Connector,
    ) -> Result<Self, LineError> {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connecting = connect_async_tls_with_config(url, Some(limits), true, Some(connector));
        let (socket, _) = connecting
            .await
            .map_err(|source| LineError::Connect { url: config.url.clone(), source: Box::new(source) })?;
        let mut line = Self { socket, silence_max: OPEN_WAIT };
        let packet = line.packet().await?;
        let open = packet.strip_prefix('0').and_then(|open| serde_json::from_str::<Open>(open).ok());
        let open = open.ok_or_else(|| LineError::Unreadable(shortened(&packet)))?;
        line.silence_max = Duration::from_millis(open.ping_interval.saturating_add(open.ping_timeout));
        let who = json!({
            "proxyId": who.proxy_id, "apiKey": who.api_key.expose_secret(), "tunnels": TUNNELS_MAX,
        });
        line.send(format!("40{NAMESPACE},{who}")).await?;
        loop {
            let packet = line.packet().await?;
            if packet.starts_with(&format!("40{NAMESPACE},")) {
                return Ok(line);
            }
            if let Some(why) = packet.strip_prefix(&format!("44{NAMESPACE},")) {
                let why: Value = serde_json::from_str(why).unwrap_or_default();
                let why = why.get("message").and_then(Value::as_str).unwrap_or("without a reason");
                return Err(LineError::Refused(why.to_owned()));
            }
        }
    }

    /// The next event. May be dropped and called again: nothing is lost.
    pub async fn next(&mut self) -> Result<Event, LineError> {
        loop {
            let packet = self.packet().await?;
            if packet == "1" || packet.starts_with(&format!("41{NAMESPACE}")) {
                return Err(LineError::Ended("the hub hung up".to_owned()));
            }
            if let Some(event) = event_of(&packet) {
                return Ok(event);
            }
        }
    }

    pub async fn emit(&mut self, name: &str, data: &Value) -> Result<(), LineError> {
        self.send(format!("42{NAMESPACE},{}", json!([name, data]))).await
    }

    pub async fn close(mut self) {
        // it may be gone already
        timeout(CLOSE_WAIT, self.socket.close(None)).await.ok();
    }

    /// The next packet that is not about keeping the connection.
    async fn packet(&mut self) -> Result<String, LineError> {
        loop {
            let message = timeout(self.silence_max, self.socket.next()).await;
            let message = message.map_err(|_| LineError::Ended("the hub fell silent".to_owned()))?;
            let message = message.ok_or_else(|| LineError::Ended("the connection ended".to_owned()))?;
            match message.map_err(|error| LineError::Broken(Box::new(error)))? {
                Message::Text(text) if text.as_str() == "2" => self.send("3".to_owned()).await?,
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(_) => {
                    return Err(LineError::Ended("the hub closed the connection".to_owned()));
                }
                // attachments belong to events that are not ours
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn send(&mut self, packet: String) -> Result<(), LineError> {
        let sending = self.socket.send(Message::Text(packet.into()));
        let sent = timeout(SEND_WAIT, sending).await;
        let sent = sent.map_err(|_| LineError::Ended("the hub takes nothing".to_owned()))?;
        sent.map_err(|error| LineError::Broken(Box::new(error)))
    }
}

/// `42/proxy,["name",data]`, with an id of an acknowledgement before the bracket, which nobody here asks for.
fn event_of(packet: &str) -> Option<Event> {
    let rest = packet.strip_prefix("42")?.strip_prefix(NAMESPACE)?.strip_prefix(',')?;
    let mut parts: Vec<Value> =
        serde_json::from_str(rest.trim_start_matches(|c: char| c.is_ascii_digit())).ok()?;
    let data = if parts.len() > 1 { parts.swap_remove(1) } else { Value::Null };
    Some(Event { name: parts.first()?.as_str()?.to_owned(), data })
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_that_of_http() {
        let of = |url: &str| address(url).ok();
        let expected = "ws://a:1/socket.io/?EIO=4&transport=websocket";
        assert_eq!(of("http://a:1/").as_deref(), Some(expected));
        assert_eq!(of("https://a").as_deref(), Some("wss://a/socket.io/?EIO=4&transport=websocket"));
        assert_eq!(of("a:1"), None);
    }

    #[test]
    fn events_of_the_namespace_are_read_and_nothing_else() {
        let event = |name: &str, data| Some(Event { name: name.to_owned(), data });
        assert_eq!(event_of(r#"42/proxy,["a",{"b":1}]"#), event("a", json!({"b": 1})));
        assert_eq!(event_of(r#"42/proxy,7["a"]"#), event("a", Value::Null));
        for other in ["42[\"a\",1]", "43/proxy,1[]", "40/proxy,{}", "42/proxy,[1]", "42/proxy,{", "6"] {
            assert_eq!(event_of(other), None, "{other}");
        }
    }
}
