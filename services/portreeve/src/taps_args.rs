//! How do those who follow by NATS reach the server? What they are told, and the listener of the embedded one.

use std::net::SocketAddr;
use std::path::Path;

use api::{NatsTapsAt, TlsFiles};

use crate::settings;

#[derive(Debug, Clone, clap::Args)]
pub struct TapsArgs {
    /// How those who follow the events by NATS reach the server [default: as this service does]
    #[arg(long, env = "PORTREEVE_NATS_TAPS_URL", value_name = "URL", value_parser = settings::nats_url)]
    nats_taps_url: Option<String>,
    /// The same for WebSockets: wss://host:port
    #[arg(long, env = "PORTREEVE_NATS_TAPS_WEBSOCKET_URL", value_name = "URL", value_parser = websocket_url)]
    nats_taps_websocket_url: Option<String>,
}

impl TapsArgs {
    /// `nats` is where this service finds the server.
    pub fn at(&self, nats: &str) -> NatsTapsAt {
        NatsTapsAt {
            url: self.nats_taps_url.clone().unwrap_or_else(|| nats.to_owned()),
            websocket_url: self.nats_taps_websocket_url.clone(),
        }
    }
}

/// The WebSockets of the embedded server; with TLS where HTTP has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebsocketListener {
    pub address: SocketAddr,
    pub tls: Option<TlsFiles>,
}

impl WebsocketListener {
    /// A part of the server's configuration.
    pub fn configuration(&self) -> String {
        let (host, port) = (nats::quoted(&self.address.ip().to_string()), self.address.port());
        // its folder is not ours
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path = |path: &Path| nats::quoted(&absolute(path).to_string_lossy());
        let tls = match &self.tls {
            None => "no_tls: true".to_owned(),
            Some(files) => {
                format!("tls {{ cert_file: {}, key_file: {} }}", path(&files.cert), path(&files.key))
            }
        };
        format!(
            "\n# For those who follow the events.\nwebsocket {{\n  host: {host}\n  port: {port}\n  {tls}\n}}\n"
        )
    }

    /// As those are told who are told nothing else.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "wss" } else { "ws" }, self.address)
    }
}

fn websocket_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
    if rest.is_some_and(|rest| !rest.is_empty()) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("write it as wss://host:port, or ws://host:port".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_listener_is_with_tls_where_http_is() {
        let address = "127.0.0.1:8090".parse().unwrap();
        let plain = WebsocketListener { address, tls: None };
        assert!(plain.configuration().contains("no_tls: true"));
        assert_eq!(plain.url(), "ws://127.0.0.1:8090");
        let tls = TlsFiles { cert: "/a \"b\".pem".into(), key: "/k.pem".into() };
        let secure = WebsocketListener { address, tls: Some(tls) };
        assert!(secure.configuration().contains(r#"cert_file: "/a \"b\".pem", key_file: "/k.pem""#));
        assert_eq!(secure.url(), "wss://127.0.0.1:8090");
    }

    #[test]
    fn an_address_is_written_as_clients_write_it() {
        assert!(websocket_url("wss://a:1").is_ok());
        assert!(websocket_url("https://a").is_err() && websocket_url("ws://").is_err());
    }
}
