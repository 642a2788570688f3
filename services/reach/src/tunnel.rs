//! How does a connection through a relay come about? Its hub is asked for a tunnel; what the relay met is told as if
//! it had been met from here.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::Utc;
use events::ids::{RelayId, TenantId};
use kit::tunnel::{Answer, Ask, LINE_BYTES_MAX, Refusal, TunnelKey};
use ssh::ConnectError;
use ssh::client::{Dialler, Dialling, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For the way to the relay and back, beside what the relay needs to connect.
const WAY_WAIT: Duration = Duration::from_secs(3);

/// A relay that carries tunnels, and where its hub is asked for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    pub relay: RelayId,
    pub door: SocketAddr,
}

/// Asks for tunnels through one relay.
#[derive(Clone)]
pub(crate) struct Tunnels {
    pub tenant: TenantId,
    pub through: Through,
    pub key: TunnelKey,
}

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnels").field("through", &self.through).finish_non_exhaustive()
    }
}

impl Dialler for Tunnels {
    fn dial<'d>(&'d self, host: &'d str, port: u16, limits: &'d Limits) -> Dialling<'d> {
        Box::pin(async move {
            let limit = limits.name + limits.connect + WAY_WAIT;
            let asking = timeout(limit, self.ask(host, port, limit)).await;
            let silent = || io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time");
            let answered = asking.unwrap_or_else(|_| Err(silent()));
            match answered {
                Ok((socket, Answer::Open(address))) => Ok((socket, address)),
                Ok((_, Answer::Refused(refusal))) => Err(met(refusal, host, limits)),
                Err(error) => Err(ConnectError::RelayUnavailable { why: format!("its hub: {error}") }),
            }
        })
    }
}

impl Tunnels {
    async fn ask(&self, host: &str, port: u16, limit: Duration) -> io::Result<(TcpStream, Answer)> {
        let ask = Ask {
            tenant: self.tenant.to_string(),
            relay: self.through.relay.to_string(),
            host: host.to_owned(),
            port,
            until: Utc::now() + limit,
        };
        let mut socket = TcpStream::connect(self.through.door).await?;
        let mut line = serde_json::to_vec(&self.key.sign(ask))?;
        line.push(b'\n');
        socket.write_all(&line).await?;
        let answer = answer(&mut socket).await?;
        Ok((socket, answer))
    }
}

/// Up to the end of its line and no further: what follows is the server's.
async fn answer(socket: &mut TcpStream) -> io::Result<Answer> {
    let mut line = Vec::new();
    loop {
        match socket.read_u8().await? {
            b'\n' => return Ok(serde_json::from_slice(&line)?),
            _ if line.len() as u64 >= LINE_BYTES_MAX => return Err(io::ErrorKind::InvalidData.into()),
            byte => line.push(byte),
        }
    }
}

/// What the relay met.
fn met(refusal: Refusal, host: &str, limits: &Limits) -> ConnectError {
    let Refusal { class, reason, address } = refusal;
    let source = io::Error::other(reason.clone());
    match (class.as_str(), address) {
        ("dns_failed", _) => ConnectError::DnsFailed { host: host.to_owned(), source: Some(source) },
        ("connection_refused", Some(address)) => ConnectError::ConnectionRefused { address },
        ("unreachable", Some(address)) => ConnectError::Unreachable { address, source },
        ("connect_timeout", Some(address)) => {
            ConnectError::ConnectTimeout { address, waited: limits.connect }
        }
        _ => ConnectError::RelayUnavailable { why: reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_met_has_the_class_that_it_has_from_here() {
        let address = Some(([10, 0, 0, 7], 22).into());
        for class in
            ["dns_failed", "connection_refused", "unreachable", "connect_timeout", "relay_unavailable"]
        {
            let refusal = Refusal { class: class.to_owned(), reason: "why".to_owned(), address };
            assert_eq!(met(refusal, "a", &Limits::default()).class(), class);
        }
        let unknown = Refusal { class: "other".to_owned(), reason: "why".to_owned(), address: None };
        assert_eq!(met(unknown, "a", &Limits::default()).class(), "relay_unavailable");
    }
}
