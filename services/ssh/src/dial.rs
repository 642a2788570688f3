//! How is a server reached, up to its identification line? Each step has its own limit and its own errors.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::Target;
use crate::client_events::{Passed, Told};
use crate::connect_error::ConnectError;
use crate::stream::{self, Wire, within};

/// A server may say something before it identifies itself (RFC 4253, 4.2); more than this is not SSH.
const GREETING_BYTES_MAX: usize = 4096;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Of what a server said, so much is repeated in an error.
const SAID_CHARACTERS_MAX: usize = 120;

/// Limits of the steps of one connection.
#[derive(Debug, Clone)]
pub struct Limits {
    pub name: Duration,
    pub connect: Duration,
    pub banner: Duration,
    pub kex: Duration,
    pub auth: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            name: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            banner: Duration::from_secs(10),
            kex: Duration::from_secs(10),
            auth: Duration::from_secs(20),
        }
    }
}

/// A server that said it speaks SSH.
pub(crate) struct Dialled {
    pub(crate) wire: Wire,
    pub(crate) address: SocketAddr,
    /// `SSH-2.0-...`
    pub(crate) identification: String,
}

/// Somebody who makes connections in another network; what is sent over them arrives at the server as it is.
pub trait Dialler: Debug + Send + Sync {
    /// A connection, and where it leads to.
    fn dial<'d>(&'d self, host: &'d str, port: u16, limits: &'d Limits) -> Dialling<'d>;
}

pub type Dialling<'d> =
    Pin<Box<dyn Future<Output = Result<(TcpStream, SocketAddr), ConnectError>> + Send + 'd>>;

/// `told` learns how far it came.
pub(crate) async fn dial(target: &Target, limits: &Limits, told: &Told) -> Result<Dialled, ConnectError> {
    let (mut socket, address) = match &target.through {
        None => {
            let addresses = resolve(&target.host, target.port, limits.name).await?;
            told.resolved(&addresses);
            connect(addresses, limits.connect).await?
        }
        Some(through) => {
            let (socket, address) = through.dial(&target.host, target.port, limits).await?;
            told.resolved(&[address]);
            (socket, address)
        }
    };
    told.passed(Passed::Network);
    if let Err(source) = stream::prepare(&socket) {
        return Err(ConnectError::Unreachable { address, source });
    }
    let mut greeting = Vec::new();
    let identified = within(limits.banner, identification(&mut socket, &mut greeting)).await;
    let identification = identified.unwrap_or_else(|| Err(silent(&greeting, limits.banner)))?;
    Ok(Dialled { wire: Wire::new(socket, greeting), address, identification })
}

/// A connection to whatever listens there, and to which address it is.
pub async fn reach(host: &str, port: u16, limits: &Limits) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let addresses = resolve(host, port, limits.name).await?;
    connect(addresses, limits.connect).await
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::DnsFailed { host: host.to_owned(), source };
    let found = within(limit, tokio::net::lookup_host((host, port))).await.ok_or_else(|| failed(None))?;
    let addresses: Vec<_> = found.map_err(|error| failed(Some(error)))?.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Err(failed(None)) } else { Ok(addresses) }
}

/// The first address that answers; the last error if none does. All within one limit.
async fn connect(
    addresses: Vec<SocketAddr>,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let until = Instant::now() + limit;
    let mut last = None;
    for address in addresses {
        match tokio::time::timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok((socket, address)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = Some(ConnectError::ConnectionRefused { address });
            }
            Ok(Err(source)) => last = Some(ConnectError::Unreachable { address, source }),
            Err(_) => return Err(ConnectError::ConnectTimeout { address, waited: limit }),
        }
    }
    Err(last.unwrap_or(ConnectError::Lost { why: "no address".into() }))
}

/// Reads until the identification line stands in `greeting`, and answers it.
async fn identification(socket: &mut TcpStream, greeting: &mut Vec<u8>) -> Result<String, ConnectError> {
    loop {
        if let Some(line) = complete_lines(greeting).find(|line| is_identification(line)) {
            return Ok(line);
        }
        if greeting.len() > GREETING_BYTES_MAX || greeting.contains(&0) {
            return Err(unusable(greeting));
        }
        let n = match socket.read_buf(greeting).await {
            Ok(n) => n,
            Err(_) if greeting.is_empty() => return Err(ConnectError::ResetInIdentification),
            Err(_) => return Err(unusable(greeting)),
        };
        if n == 0 {
            return Err(unusable(greeting));
        }
    }
}

fn complete_lines(greeting: &[u8]) -> impl Iterator<Item = String> {
    greeting
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
}

fn is_identification(line: &str) -> bool {
    line.starts_with("SSH-2.0-") || line.starts_with("SSH-1.99-")
}

/// The connection ended, or went on, without an identification.
fn unusable(greeting: &[u8]) -> ConnectError {
    let text = String::from_utf8_lossy(greeting);
    let text = text.trim();
    let said: String = text.chars().take(SAID_CHARACTERS_MAX).collect();
    if text.is_empty() {
        ConnectError::ResetInIdentification
    } else if text.starts_with("Exceeded MaxStartups") {
        ConnectError::TooManyConnections { said }
    } else if text.starts_with("Not allowed at this time") {
        ConnectError::ResetInIdentification
    } else if text.starts_with("Portreeve: this address is closed") {
        ConnectError::AddressClosed { said }
    } else {
        ConnectError::NotSsh { said }
    }
}

/// Nothing, or nothing that is SSH, within the limit.
fn silent(greeting: &[u8], waited: Duration) -> ConnectError {
    if greeting.is_empty() { ConnectError::BannerTimeout { waited } } else { unusable(greeting) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_tells_why_it_is_not_ssh() {
        let classes = [
            ("", "reset_in_ident"),
            ("Exceeded MaxStartups\r\n", "too_many_connections"),
            ("Not allowed at this time\r\n", "reset_in_ident"),
            ("HTTP/1.1 400 Bad Request\r\n", "not_ssh"),
            ("Portreeve: this address is closed for another 3 minutes (...)\r\n", "address_closed"),
        ];
        for (said, class) in classes {
            assert_eq!(unusable(said.as_bytes()).class(), class, "{said:?}");
        }
    }

    #[test]
    fn an_identification_may_follow_other_lines_and_must_be_whole() {
        let lines = |text: &str| complete_lines(text.as_bytes()).find(|line| is_identification(line));
        assert_eq!(lines("welcome\r\nSSH-2.0-x\r\nrest"), Some("SSH-2.0-x".into()));
        assert_eq!(lines("SSH-2.0-OpenS"), None);
    }
}
