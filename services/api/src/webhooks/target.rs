//! Where does a webhook lead, and may it lead there? To addresses of the public network, unless an operator of the
//! installation allows more: what asks for a URL must not become a way into the network that we stand in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;
use axum::http::uri::Scheme;

use super::WebhookSettings;

const URL_LENGTH_MAX: usize = 2_048;

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// As the header `Host` has it.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape = || "must be a URL like https://hooks.example.org/portreeve".to_owned();
        if text.len() > URL_LENGTH_MAX {
            return Err(format!("must have at most {URL_LENGTH_MAX} characters"));
        }
        if text.contains('#') {
            return Err("must have no fragment: nobody is sent it".to_owned());
        }
        let uri: Uri = text.parse().map_err(|_| shape())?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(_) | None => return Err(shape()),
        };
        let authority = uri.authority().ok_or_else(shape)?;
        if authority.as_str().contains('@') {
            return Err("must have no user name or password: they would stand in the log".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(shape());
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str().ends_with(authority.host()) => {
                if tls {
                    443
                } else {
                    80
                }
            }
            None => return Err("must have a port between 1 and 65535".to_owned()),
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

impl WebhookSettings {
    /// What can be said of it before its name is looked up.
    pub fn admits(&self, target: &Target) -> Result<(), String> {
        if !target.tls && !self.http {
            return Err(
                "must be https://; this installation does not allow http:// (--webhook-http)".to_owned()
            );
        }
        match target.host.parse::<IpAddr>() {
            Ok(address) if !self.may_reach(address) => Err(format!(
                "leads to {address}, which webhooks may not reach here; an operator of the installation allows \
                 ranges with --webhook-ranges"
            )),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Asked of the very address that is connected to.
    pub fn may_reach(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.ranges.iter().any(|range| range.contains(&address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// IANA's special-purpose registry: what is not globally reachable. Metadata services are link-local.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !special
}

/// Global unicast is 2000::/3; in it lie documentation, protocol assignments and ways to carry IPv4.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    if (a, b) == (0x64, 0xff9b) && address.segments().get(2..6) == Some(&[0_u16; 4][..]) {
        // NAT64: the IPv4 address at its end is meant
        let [.., w, x, y, z] = address.octets();
        return is_public_v4(Ipv4Addr::new(w, x, y, z));
    }
    if a == 0x2002 {
        // 6to4: the IPv4 address behind the prefix is meant
        let ([w, x], [y, z]) = (b.to_be_bytes(), c.to_be_bytes());
        return is_public_v4(Ipv4Addr::new(w, x, y, z));
    }
    let special = (a == 0x2001 && b < 0x200) || (a, b) == (0x2001, 0xdb8) || (a == 0x3fff && b < 0x1000);
    a & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_url_is_read_whole_or_refused() {
        let target = Target::parse("https://hooks.example.org/a/b?c=d").unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port), (true, "hooks.example.org", 443));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("hooks.example.org", "/a/b?c=d"));
        let target = Target::parse("http://[2001:db8::1]:8080").unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port), (false, "2001:db8::1", 8080));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("[2001:db8::1]:8080", "/"));
        for wrong in [
            "",
            "/hook",
            "hooks.example.org",
            "ftp://example.org/",
            "https://",
            "https://me@example.org/",
            "https://me:secret@example.org/",
            "https://example.org/#part",
            "https://example.org:99999/",
            "https://example.org/a b",
            &format!("https://example.org/{}", "a".repeat(3_000)),
        ] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_public_addresses_are_reached_unless_a_range_is_allowed() {
        let strict = WebhookSettings::default();
        for inside in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "fec0::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!strict.may_reach(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "192.1.1.1",
            "223.255.255.1",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(strict.may_reach(outside.parse().unwrap()), "{outside}");
        }
        let ranges = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let wide = WebhookSettings { ranges, ..WebhookSettings::default() };
        for (address, may) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("::1", true), ("127.0.0.1", false)]
        {
            assert_eq!(wide.may_reach(address.parse().unwrap()), may, "{address}");
        }
    }

    #[test]
    fn what_can_be_told_from_the_url_is_told_at_once() {
        let strict = WebhookSettings::default();
        let admits = |settings: &WebhookSettings, url| settings.admits(&Target::parse(url).unwrap()).is_ok();
        assert!(admits(&strict, "https://example.org/"));
        assert!(!admits(&strict, "http://example.org/") && !admits(&strict, "https://169.254.169.254/"));
        assert!(admits(&strict, "https://localhost/"), "a name is looked up when it is connected to");
        let wide = WebhookSettings {
            http: true,
            ranges: vec!["127.0.0.0/8".parse().unwrap()],
            ..WebhookSettings::default()
        };
        assert!(admits(&wide, "http://127.0.0.1:1/"));
    }
}
