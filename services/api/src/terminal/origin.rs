//! Does this WebSocket come from our own pages? Browsers say where from; others need not.

use axum::http::{HeaderMap, header};

/// Whether `Origin` is absent, or names the host that was asked. Behind a proxy that ends TLS the scheme
/// may differ from ours; over our own TLS it may not.
pub fn is_ours(headers: &HeaderMap, tls: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let (Ok(origin), Some(host)) = (origin.to_str(), host) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "https" => "443",
        "http" if !tls => "80",
        _ => return false,
    };
    with_port(authority, port) == with_port(host, port)
}

/// Host and port in one form: a browser leaves the usual port away.
fn with_port(authority: &str, usual: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    let after_brackets = authority.rsplit(']').next().unwrap_or_default();
    if after_brackets.contains(':') { authority } else { format!("{authority}:{usual}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ours(origin: Option<&str>, host: &str, tls: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_ours(&headers, tls)
    }

    #[test]
    fn only_our_own_pages_and_programs_without_an_origin_pass() {
        assert!(ours(None, "a.example", false), "no browser");
        assert!(ours(Some("http://a.example:8080"), "a.example:8080", false));
        assert!(ours(Some("https://A.example"), "a.example:443", true));
        assert!(ours(Some("https://a.example"), "a.example", false), "a proxy ends TLS");
        assert!(ours(Some("http://[::1]:8080"), "[::1]:8080", false));
        assert!(ours(Some("http://[::1]"), "[::1]:80", false));
        for foreign in ["http://b.example:8080", "http://a.example", "http://a.example:8081", "null", ""] {
            assert!(!ours(Some(foreign), "a.example:8080", false), "{foreign}");
        }
        assert!(!ours(Some("http://a.example"), "a.example", true), "not over our TLS");
    }
}
