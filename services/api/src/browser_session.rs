//! How is a browser known? By a cookie that scripts cannot read and a word that only they can.
//!
//! A cookie goes to every port of its host, also to the ports of environments, whoever runs them. So
//! it opens nothing by itself, reads included: each request also brings, in `X-Portreeve-CSRF`, the
//! word that came with the sign-in and that the page keeps for its own origin. The cookie's JWT holds
//! the word's digest (a double submit, bound to the session), and is no bearer token.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const CSRF: HeaderName = HeaderName::from_static("x-portreeve-csrf");
const COOKIE: &str = "portreeve_session";
/// Cookies of our name that are looked at: another port of the host may have set some too.
const COOKIES_MAX: usize = 4;
/// 160 bits.
const WORD_BYTES: usize = 20;

/// The word of a new session.
pub fn new_word() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; WORD_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

/// What the JWT keeps of the word.
pub fn digest(word: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(word.as_bytes()))
}

pub fn is_word_of(digest_there: &str, word: &str) -> bool {
    bool::from(digest_there.as_bytes().ct_eq(digest(word).as_bytes()))
}

/// What a browser sent of its session.
pub struct Shown<'h> {
    pub word: &'h str,
    /// JWTs, perhaps of others.
    pub tokens: Vec<&'h str>,
}

/// `None` when there is no cookie, or no word beside it.
pub fn shown(headers: &HeaderMap) -> Option<Shown<'_>> {
    let word = headers.get(CSRF)?.to_str().ok()?;
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let tokens: Vec<_> = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .take(COOKIES_MAX)
        .collect();
    (!tokens.is_empty()).then_some(Shown { word, tokens })
}

/// `Set-Cookie` of a session; over TLS it never leaves it.
pub fn set(token: &str, valid_s: i64, tls: bool) -> Option<HeaderValue> {
    let secure = if tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={valid_s}{secure}");
    HeaderValue::from_str(&cookie).ok()
}

/// `Set-Cookie` that ends it.
pub fn clear(tls: bool) -> Option<HeaderValue> {
    set("", 0, tls)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_without_its_word_is_nothing() {
        let cookie = (header::COOKIE, "a=1; portreeve_session=x.y.z; portreeve_session_=q");
        assert!(shown(&headers(std::slice::from_ref(&cookie))).is_none());
        assert!(shown(&headers(&[(CSRF, "word")])).is_none());
        let both = headers(&[cookie, (CSRF, "word"), (header::COOKIE, "portreeve_session=second")]);
        let shown = shown(&both).unwrap();
        assert_eq!((shown.word, shown.tokens), ("word", vec!["x.y.z", "second"]));
    }

    #[test]
    fn a_word_is_known_by_its_digest_alone() {
        let word = new_word().unwrap();
        assert_eq!(word.len(), 32);
        assert!(is_word_of(&digest(&word), &word));
        assert!(!is_word_of(&digest(&word), &new_word().unwrap()));
    }

    #[test]
    fn a_cookie_is_strict_and_over_tls_secure() {
        let text = |tls| set("t", 60, tls).unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(false), "portreeve_session=t; Path=/; HttpOnly; SameSite=Strict; Max-Age=60");
        assert!(text(true).ends_with("; Secure"));
        assert!(clear(false).unwrap().to_str().unwrap().contains("Max-Age=0"));
    }
}
