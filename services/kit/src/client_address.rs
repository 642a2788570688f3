//! From which address does a request come? From the connection's other end, or from whom a trusted
//! proxy names.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// `None` only where a request comes without a connection.
pub fn of(extensions: &Extensions, headers: &HeaderMap, proxies: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(beyond_proxies(peer.ip().to_canonical(), headers, proxies))
}

/// `X-Forwarded-For` is read from its end, as far as trusted proxies wrote it: what stands before was
/// sent by whoever they name, and may be a lie.
fn beyond_proxies(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |ip: &IpAddr| proxies.iter().any(|range| range.contains(ip));
    let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = named.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut address = peer;
    for name in named.iter().rev() {
        if !trusted(&address) {
            break;
        }
        let Ok(before) = name.parse::<IpAddr>() else { break };
        address = before.to_canonical();
    }
    address
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let of = |peer: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            beyond_proxies(peer.parse().unwrap(), &headers, &proxies).to_string()
        };
        assert_eq!(of("192.0.2.1", "198.51.100.7"), "192.0.2.1", "nobody we trust");
        assert_eq!(of("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(
            of("10.0.0.1", "203.0.113.1, 198.51.100.7, 10.0.0.2"),
            "198.51.100.7",
            "its own words are not"
        );
        assert_eq!(of("10.0.0.1", "rubbish"), "10.0.0.1");
    }
}
