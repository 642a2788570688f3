//! Under which origin do browsers see JupyterLab? Under one that is not the pages'.

use std::fmt;
use std::str::FromStr;

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, Uri, header};
use events::ids::EnvId;
use kit::sentry_protocol::jupyter_base_url;

/// Stands for the environment's id in a host name.
const ENV: &str = "{env}";
/// Stands in its place while such a name is checked.
const ENV_EXAMPLE: &str = "env-aaaaaaaaaaaa";

/// `https://jupyter.example.org`, or with an origin for each environment `https://{env}.example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JupyterUrl(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write it as https://jupyter.example.org or https://{{env}}.jupyter.example.org, without a path")]
pub struct UrlError;

impl FromStr for JupyterUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let uri: Uri = text.replacen(ENV, ENV_EXAMPLE, 1).parse().map_err(|_| UrlError)?;
        let parts = uri.into_parts();
        let web = [Scheme::HTTP, Scheme::HTTPS].map(Some).contains(&parts.scheme);
        let bare = parts.path_and_query.is_none_or(|path| path == "/");
        let host = parts.authority.is_some_and(|authority| {
            let alone = authority.host() == authority.as_str();
            !authority.as_str().contains('@') && (alone || authority.port_u16().is_some())
        });
        if web && bare && host { Ok(Self(text.to_ascii_lowercase())) } else { Err(UrlError) }
    }
}

impl fmt::Display for JupyterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub struct Origin {
    pub url: Option<JupyterUrl>,
    /// Of the second listener.
    pub port: u16,
    pub tls: bool,
}

impl Origin {
    /// For the link of somebody who knows us by the host of this request; `None` when it names none.
    pub fn of(&self, env: &EnvId, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        if let Some(JupyterUrl(url)) = &self.url {
            return Some(url.replacen(ENV, env.as_str(), 1));
        }
        let host = authority(uri, headers)?;
        let (host, scheme) = (host.host(), self.scheme());
        Some(format!("{scheme}://{host}:{}", self.port))
    }

    /// Where its first page is.
    pub fn start(&self, env: &EnvId, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        Some(format!("{}{}lab", self.of(env, uri, headers)?, jupyter_base_url(env.as_str())))
    }

    /// The cookie never leaves TLS.
    pub fn is_secure(&self) -> bool {
        self.scheme() == "https"
    }

    pub fn scheme(&self) -> &'static str {
        match &self.url {
            Some(JupyterUrl(url)) if url.starts_with("https:") => "https",
            Some(_) => "http",
            None if self.tls => "https",
            None => "http",
        }
    }
}

/// Whom a request was sent to: `Host`, or in HTTP/2 its own field.
pub fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_an_origin_is_taken() {
        for good in ["https://jupyter.example.org", "http://{env}.localhost:8083/", "https://[::1]:1"] {
            assert!(good.parse::<JupyterUrl>().is_ok(), "{good}");
        }
        for bad in
            ["jupyter.example.org", "https://a/b", "ftp://a", "https://a:{env}", "https://u@a", "https://a?b"]
        {
            assert!(bad.parse::<JupyterUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_leads_to_the_host_that_the_person_knows() {
        let env = EnvId::parse("env-abcdefghijkl").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "portreeve.lan:8080".parse().unwrap());
        let uri = Uri::from_static("/api/x");
        let origin =
            |url: Option<&str>, tls| Origin { url: url.map(|url| url.parse().unwrap()), port: 8083, tls };
        let start = |origin: Origin| origin.start(&env, &uri, &headers).unwrap();
        assert_eq!(start(origin(None, false)), "http://portreeve.lan:8083/jupyter/env-abcdefghijkl/lab");
        assert!(start(origin(None, true)).starts_with("https://portreeve.lan:8083/"));
        let own = origin(Some("https://{env}.example.org"), false);
        assert!(own.is_secure());
        assert!(start(own).starts_with("https://env-abcdefghijkl.example.org/jupyter/env-abcdefghijkl/lab"));
        assert_eq!(origin(None, false).of(&env, &uri, &HeaderMap::new()), None);
        headers.insert(header::HOST, "[::1]:8080".parse().unwrap());
        assert_eq!(origin(None, false).of(&env, &uri, &headers).unwrap(), "http://[::1]:8083");
    }
}
