//! For whom does a proxy connect? It says so before the first byte of SSH: PROXY protocol, version 2
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use std::net::IpAddr;
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, ParseError, Protocol, Version};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A proxy has its header ready when it connects.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// Signature, command, family and length.
const FIXED_BYTES: usize = 16;
/// Addresses are at most 216 bytes; what proxies add to them is passed over, up to here.
const REST_BYTES_MAX: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// As a load balancer does that looks whether somebody listens.
    #[error("it left without a word")]
    Nothing,
    #[error("no whole header came within {} s", HEADER_WITHIN.as_secs())]
    Late,
    #[error("the connection broke within the header")]
    Broken(#[source] std::io::Error),
    #[error("there is no header of version 2")]
    Absent,
    #[error("{0} bytes follow the header's beginning, more than {REST_BYTES_MAX}")]
    TooLong(usize),
    #[error("the header cannot be read")]
    Wrong(#[source] ParseError),
    #[error("the header names no TCP connection")]
    NotTcp,
}

/// Whom it connects for; `None`: for itself. Reads the header and not a byte more.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, HeaderError> {
    let header = tokio::time::timeout(HEADER_WITHIN, bytes(stream)).await;
    source(&header.map_err(|_| HeaderError::Late)??)
}

async fn bytes(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HeaderError> {
    let mut header = vec![0; FIXED_BYTES];
    let (first, others) = header.split_at_mut(1);
    if stream.read(first).await.map_err(HeaderError::Broken)? == 0 {
        return Err(HeaderError::Nothing);
    }
    if !PROTOCOL_PREFIX.starts_with(first) {
        return Err(HeaderError::Absent);
    }
    stream.read_exact(others).await.map_err(HeaderError::Broken)?;
    if !header.starts_with(PROTOCOL_PREFIX) {
        return Err(HeaderError::Absent);
    }
    let length: usize = header.last_chunk().map_or(0, |length| u16::from_be_bytes(*length).into());
    if length > REST_BYTES_MAX {
        return Err(HeaderError::TooLong(length));
    }
    header.resize(FIXED_BYTES + length, 0);
    let rest = header.get_mut(FIXED_BYTES..).unwrap_or_default();
    stream.read_exact(rest).await.map_err(HeaderError::Broken)?;
    Ok(header)
}

fn source(header: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    // whatever addresses such a one may have, they mean nothing (section 2.2)
    if header.get(PROTOCOL_PREFIX.len()) == Some(&(Version::Two | Command::Local)) {
        return Ok(None);
    }
    let header = Header::try_from(header).map_err(HeaderError::Wrong)?;
    let ip = match (header.addresses, header.protocol) {
        (Addresses::Unspecified, _) => return Ok(None),
        (Addresses::IPv4(both), Protocol::Stream) => IpAddr::from(both.source_address),
        (Addresses::IPv6(both), Protocol::Stream) => IpAddr::from(both.source_address),
        (Addresses::IPv4(_) | Addresses::IPv6(_) | Addresses::Unix(_), _) => {
            return Err(HeaderError::NotTcp);
        }
    };
    Ok(Some(ip.to_canonical()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = PROTOCOL_PREFIX.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const TCP4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0xc0, 0, 8, 0xae];

    async fn said(bytes: &[u8]) -> (Result<Option<IpAddr>, HeaderError>, usize) {
        let mut stream = bytes;
        let said = read(&mut stream).await;
        (said, stream.len())
    }

    #[tokio::test]
    async fn the_address_named_is_taken_and_what_follows_is_left() {
        let mut tcp6 = [0; 36];
        tcp6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let mut mapped = [0; 36];
        mapped[..16].copy_from_slice(&"::ffff:203.0.113.7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let more = [&TCP4[..], &[4, 0, 1, 0]].concat();
        for (header, named) in [
            (header(0x21, 0x11, &TCP4), Some("203.0.113.7")),
            (header(0x21, 0x11, &more), Some("203.0.113.7")),
            (header(0x21, 0x21, &tcp6), Some("2001:db8::7")),
            (header(0x21, 0x21, &mapped), Some("203.0.113.7")),
            (header(0x20, 0x00, &[]), None),
            (header(0x20, 0x11, &TCP4), None),
            (header(0x20, 0x11, &[]), None),
            (header(0x21, 0x00, &[]), None),
        ] {
            let (said, left) = said(&[&header[..], b"SSH-"].concat()).await;
            assert_eq!(said.unwrap(), named.map(|ip| ip.parse().unwrap()), "{header:?}");
            assert_eq!(left, 4, "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let good = header(0x21, 0x11, &TCP4);
        let reasons = [
            (Vec::new(), "left without a word"),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian".to_vec(), "no header of version 2"),
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 49152 2222\r\n".to_vec(), "no header of version 2"),
            (b"\r\n\r\n\0\r\nQUITQUITE".to_vec(), "no header of version 2"),
            (good[..20].to_vec(), "broke within"),
            (good[..1].to_vec(), "broke within"),
            (header(0x31, 0x11, &TCP4), "cannot be read"),
            (header(0x22, 0x11, &TCP4), "cannot be read"),
            (header(0x21, 0x41, &TCP4), "cannot be read"),
            (header(0x21, 0x11, &TCP4[..8]), "cannot be read"),
            (header(0x21, 0x12, &TCP4), "names no TCP"),
            (header(0x21, 0x31, &[0; 216]), "names no TCP"),
            (header(0x21, 0x11, &[0; REST_BYTES_MAX + 1]), "more than 4096"),
        ];
        for (bytes, why) in reasons {
            let error = said(&bytes).await.0.unwrap_err().to_string();
            assert!(error.contains(why), "{bytes:?}: {error}");
        }
        let (mut stream, _silent) = tokio::io::duplex(64);
        assert!(matches!(read(&mut stream).await, Err(HeaderError::Late)));
    }
}
