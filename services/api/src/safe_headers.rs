//! What may a browser do with our answers? As little as each needs; said in headers on every one.
//!
//! The pages' policy has no `unsafe-inline`: xterm.js writes style elements, which the terminal page
//! turns into adopted style sheets (`services/web/src/terminal/adopted_styles.ts`).

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

/// Pages: our own scripts, styles and connections, and nobody's frame.
const PAGES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The player of recordings has its terminal in WebAssembly, which pages may not run. It runs in a worker,
/// which takes its policy from its own file: it computes, and reaches nothing.
const PLAYER: &str = "default-src 'none'; script-src 'wasm-unsafe-eval'; frame-ancestors 'none'";
/// As the pages' build names that file.
const PLAYER_FILE: &str = "/assets/asciinema-player-worker";
/// Swagger UI draws its signs from `data:` images.
const DOCS: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Everything else is data: opened by itself, it does nothing.
const DATA: &str = "default-src 'none'; frame-ancestors 'none'";

/// Two years, as browsers' lists want it at least one. Only said over TLS.
pub const HSTS: &str = "max-age=63072000; includeSubDomains";

const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A header that the route itself has set stays.
pub async fn add(State(tls): State<bool>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let docs = path == "/docs" || path.starts_with("/docs/");
    let player = path.starts_with(PLAYER_FILE);
    let mut response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let policy = match kind {
        _ if docs => Some(DOCS),
        _ if player => Some(PLAYER),
        Some(kind) if kind.starts_with("text/html") => Some(PAGES),
        // its headers replace those of the copy that the browser has (RFC 9111, 3.2), whatever that is
        None if response.status() == StatusCode::NOT_MODIFIED => None,
        Some(_) | None => Some(DATA),
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    if let Some(policy) = policy {
        set(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in ALWAYS {
        set(name, value);
    }
    if tls {
        set(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}
