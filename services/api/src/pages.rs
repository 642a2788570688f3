//! Where does the browser side come from? Files that were built into this binary, compressed already.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// One built file, with its compressed copies where they are smaller.
pub struct File {
    /// Path below the root, for example `assets/index-B4sX.js`.
    name: &'static str,
    /// Other contents, other version.
    version: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// Addresses that are pages: the program in the browser shows which.
const PAGES: [&str; 15] = [
    "/",
    "/sign-in",
    "/environments",
    "/environments/{id}",
    "/servers",
    "/servers/{id}",
    "/relays",
    "/relays/new",
    "/batches",
    "/batches/{id}",
    "/schedules",
    "/terminal/{id}",
    "/shares/{id}",
    "/keys",
    "/events",
];
const INDEX: &str = "index.html";
/// Names below it carry a digest of the contents, so they never change.
const HASHED: &str = "assets/";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// What is shown when the pages were not built in.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Portreeve</title>\
    <h1>The pages are not built in</h1><p>This binary was compiled without them. <code>make build</code> builds \
    both; <code>make web</code> and then <code>cargo build</code> do the same by hand.</p>\
    <p>The API is here all the same: <a href=\"/docs\">/docs</a>.</p></html>";

/// The pages and their files.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new();
    for page in PAGES {
        router = router.route(page, get(index));
    }
    for file in FILES.iter().filter(|file| file.name != INDEX) {
        let address = format!("/{}", file.name);
        router =
            router.route(&address, get(move |request: Request| async move { send(file, request.headers()) }));
    }
    router
}

async fn index(request: Request) -> Response {
    match FILES.iter().find(|file| file.name == INDEX) {
        Some(file) => send(file, request.headers()),
        None => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], NOT_BUILT).into_response(),
    }
}

fn send(file: &File, asked: &HeaderMap) -> Response {
    let (encoding, bytes) = choose(file, asked);
    // another encoding is another representation, with a tag of its own (RFC 9110, 8.8.3)
    let tag = format!("\"{}{}\"", file.version, encoding.map(|name| format!("-{name}")).unwrap_or_default());
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known =
        known.flat_map(|list| list.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Body::from(bytes).into_response();
        if let Some(name) = encoding {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        response
    };
    let caching = if file.name.starts_with(HASHED) { FOR_EVER } else { ASK_AGAIN };
    let headers = response.headers_mut();
    // on a 304 too: which policy holds follows from it, and the copy in the browser takes that over
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(file.name)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The smallest copy that the browser takes.
fn choose(file: &File, asked: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
    let takes = |name: &str| {
        let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|list| list.split(',')).any(|one| {
            let mut parts = one.split(';').map(str::trim);
            let named = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case(name));
            named && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)))
        })
    };
    match (file.brotli, file.gzip) {
        (Some(bytes), _) if takes("br") => (Some("br"), bytes),
        (_, Some(bytes)) if takes("gzip") => (Some("gzip"), bytes),
        (_, _) => (None, file.plain),
    }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const FILE: File = File {
        name: "assets/a-1.js",
        version: "00ff",
        plain: b"whole",
        brotli: Some(b"br"),
        gzip: Some(b"gz"),
    };

    fn asked(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_smallest_copy_that_is_taken_is_sent() {
        let sent = |accepted| choose(&FILE, &asked(&[(header::ACCEPT_ENCODING, accepted)])).1;
        assert_eq!(sent("gzip, deflate, br, zstd"), b"br");
        assert_eq!(sent("gzip;q=1.0, br;q=0"), b"gz");
        assert_eq!(sent("identity"), b"whole");
        assert_eq!(choose(&FILE, &HeaderMap::new()).1, b"whole");
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let first = send(&FILE, &asked(&[(header::ACCEPT_ENCODING, "br")]));
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_ENCODING], "br");
        assert_eq!(first.headers()[header::CACHE_CONTROL], FOR_EVER);
        let tag = first.headers()[header::ETAG].to_str().unwrap();
        let again = send(&FILE, &asked(&[(header::ACCEPT_ENCODING, "br"), (header::IF_NONE_MATCH, tag)]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[header::CONTENT_TYPE], first.headers()[header::CONTENT_TYPE]);
        let other = send(&FILE, &asked(&[(header::ACCEPT_ENCODING, "gzip"), (header::IF_NONE_MATCH, tag)]));
        assert_eq!(other.status(), StatusCode::OK, "the tag of another encoding");
    }
}
