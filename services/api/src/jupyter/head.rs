//! Which headers pass between a browser and an environment's JupyterLab, and which say something else on
//! the other side?

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use events::ids::EnvId;
use kit::sentry_protocol::JUPYTER_PORT;
use secrecy::{ExposeSecret, SecretString};

use super::cookie;
use crate::problem::Problem;
use crate::safe_headers::HSTS;

/// All names and values of a request.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Of one connection, not of the request (RFC 9110, 7.6.1; the others are from before).
const OF_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What we say ourselves to JupyterLab, or what is between the browser and us.
const NOT_FOR_ENVIRONMENTS: [&str; 10] = [
    "host",
    "authorization",
    "cookie",
    "expect",
    // a page has to be read, see `hide_token`
    "accept-encoding",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-portreeve-csrf",
];
/// What an environment may not say about the origin that it shares, or what we say ourselves.
const NOT_FOR_BROWSERS: [&str; 20] = [
    "set-cookie",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "access-control-max-age",
    "alt-svc",
    "clear-site-data",
    "content-security-policy-report-only",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "nel",
    "origin-agent-cluster",
    "referrer-policy",
    "report-to",
    "reporting-endpoints",
    // a worker would stand before other environments' paths
    "service-worker-allowed",
    "strict-transport-security",
    "www-authenticate",
];

/// JupyterLab's pages need inline scripts, `eval` and workers of their own making, and notebooks load what
/// they like; so this says only who may frame it and where its forms and relative addresses lead. It stands
/// beside what JupyterLab says itself, and a browser keeps to both.
const OWN_ORIGIN: &str = "frame-ancestors 'self'; base-uri 'self'; form-action 'self'";
const OWN_ORIGIN_ALWAYS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// On the origin of our pages nothing of an environment may run.
const HARMLESS: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// Who asks, as JupyterLab may know it.
pub struct Asking<'a> {
    pub ip: IpAddr,
    pub scheme: &'static str,
    pub host: Option<&'a str>,
    pub upgrade: bool,
}

/// The headers of a request on its way in.
pub fn for_jupyter(
    came: &HeaderMap,
    asking: &Asking<'_>,
    token: &SecretString,
) -> Result<HeaderMap, Problem> {
    let bytes: usize = came.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEAD_BYTES_MAX {
        let why = format!("the headers may have at most {HEAD_BYTES_MAX} bytes");
        return Err(Problem::new("headers_too_large", why));
    }
    let mut headers = passing(came, &NOT_FOR_ENVIRONMENTS);
    let inside = format!("127.0.0.1:{JUPYTER_PORT}");
    // its own checks compare these two
    if headers.contains_key(header::ORIGIN) {
        insert(&mut headers, header::ORIGIN, &format!("http://{inside}"));
    }
    if headers.remove(header::REFERER).is_some() {
        insert(&mut headers, header::REFERER, &format!("http://{inside}/"));
    }
    insert(&mut headers, header::HOST, &inside);
    insert(&mut headers, header::AUTHORIZATION, &format!("token {}", token.expose_secret()));
    if let Some(token) = headers.get_mut(header::AUTHORIZATION) {
        token.set_sensitive(true);
    }
    if let Some(cookies) = cookie::for_environment(came) {
        headers.insert(header::COOKIE, cookies);
    }
    insert(&mut headers, HeaderName::from_static("x-forwarded-for"), &asking.ip.to_string());
    insert(&mut headers, HeaderName::from_static("x-forwarded-proto"), asking.scheme);
    if let Some(host) = asking.host {
        insert(&mut headers, HeaderName::from_static("x-forwarded-host"), host);
    }
    if asking.upgrade {
        insert(&mut headers, header::CONNECTION, "Upgrade");
        insert(&mut headers, header::UPGRADE, "websocket");
    }
    Ok(headers)
}

/// The headers of an answer on its way out.
pub fn from_jupyter(came: &HeaderMap, env: &EnvId) -> HeaderMap {
    let mut headers = passing(came, &NOT_FOR_BROWSERS);
    for line in came.get_all(header::SET_COOKIE) {
        if let Some(line) = cookie::from_environment(line, env) {
            headers.append(header::SET_COOKIE, line);
        }
    }
    // where it names itself, it means the way that led there
    let inside = format!("http://127.0.0.1:{JUPYTER_PORT}");
    if let Some(path) = came
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| location.strip_prefix(&inside))
    {
        insert(&mut headers, header::LOCATION, if path.is_empty() { "/" } else { path });
    }
    headers
}

fn passing(came: &HeaderMap, kept_back: &[&str]) -> HeaderMap {
    let named = came.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> =
        named.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let passes = |name: &HeaderName| {
        let name = name.as_str();
        !OF_CONNECTION.contains(&name)
            && !kept_back.contains(&name)
            && !named.iter().any(|named| named == name)
    };
    came.iter().filter(|(name, _)| passes(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a browser opens a page with it: what it shows is nobody's to read but the person's.
pub fn is_page_opened(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let page = match headers.get("sec-fetch-mode") {
        Some(_) => is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document"),
        None => accepts.starts_with("text/html"),
    };
    *method == Method::GET && page
}

/// The outermost layer of the origin of its own.
pub async fn guard_own_origin(State(tls): State<bool>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(OWN_ORIGIN));
    for (name, value) in OWN_ORIGIN_ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    response
}

/// An answer that does nothing on the origin of our pages, should a browser get it all the same.
pub fn made_harmless(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.remove(header::SET_COOKIE);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(HARMLESS));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    fn asking() -> Asking<'static> {
        let ip = "192.0.2.1".parse().unwrap();
        Asking { ip, scheme: "https", host: Some("jupyter.example.org"), upgrade: false }
    }

    fn inward(pairs: &[(&str, &str)]) -> HeaderMap {
        for_jupyter(&map(pairs), &asking(), &SecretString::from("tok")).unwrap()
    }

    #[test]
    fn jupyter_gets_its_token_and_nothing_of_ours() {
        let sent = inward(&[
            ("host", "jupyter.example.org"),
            ("authorization", "Bearer ours"),
            ("cookie", "portreeve_session=secret; _xsrf=1"),
            ("x-portreeve-csrf", "word"),
            ("x-forwarded-for", "10.9.9.9"),
            ("connection", "keep-alive, x-secret-hop"),
            ("x-secret-hop", "1"),
            ("origin", "https://jupyter.example.org"),
            ("referer", "https://jupyter.example.org/jupyter/env-a/lab?x=1"),
            ("accept", "text/html"),
        ]);
        let expected = map(&[
            ("origin", "http://127.0.0.1:8888"),
            ("referer", "http://127.0.0.1:8888/"),
            ("accept", "text/html"),
            ("host", "127.0.0.1:8888"),
            ("authorization", "token tok"),
            ("cookie", "_xsrf=1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "jupyter.example.org"),
        ]);
        assert_eq!(sent, expected);
        assert!(format!("{sent:?}").contains("Sensitive") && !format!("{sent:?}").contains("tok\""));
    }

    #[test]
    fn headers_have_a_bound() {
        let long = "x".repeat(HEAD_BYTES_MAX);
        let refused = for_jupyter(&map(&[("x-long", &long)]), &asking(), &SecretString::from("t"));
        assert_eq!(refused.unwrap_err().code(), "headers_too_large");
    }

    #[test]
    fn an_environment_says_nothing_about_the_origin() {
        let env = EnvId::parse("env-abcdefghijkl").unwrap();
        let came = map(&[
            ("content-type", "text/html"),
            ("service-worker-allowed", "/"),
            ("access-control-allow-origin", "*"),
            ("clear-site-data", "\"*\""),
            ("set-cookie", "portreeve_jupyter=x; Path=/"),
            ("set-cookie", "_xsrf=1; Path=/"),
            ("location", "http://127.0.0.1:8888/jupyter/env-abcdefghijkl/lab"),
            ("content-security-policy", "sandbox allow-scripts"),
            ("transfer-encoding", "chunked"),
        ]);
        let expected = map(&[
            ("content-type", "text/html"),
            ("content-security-policy", "sandbox allow-scripts"),
            ("set-cookie", "_xsrf=1; Path=/jupyter/env-abcdefghijkl/"),
            ("location", "/jupyter/env-abcdefghijkl/lab"),
        ]);
        assert_eq!(from_jupyter(&came, &env), expected);
    }
}
