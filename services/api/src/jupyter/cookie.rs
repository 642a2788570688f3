//! Which cookies are ours, and what becomes of the environment's own?
//!
//! Ours is for one environment's path. Cookies of our names never reach an environment, and what an
//! environment sets stays below its own path, so that none of them can speak for another.

use axum::http::{HeaderMap, HeaderValue, header};
use events::ids::EnvId;
use kit::sentry_protocol::jupyter_base_url;

use super::pass::COOKIE_VALID_S;

const COOKIE: &str = "portreeve_jupyter";
/// Whatever we set anywhere begins so.
const OURS: &str = "portreeve_";
/// JupyterLab's own sign-in: it would open the environment's own port.
const SIGN_IN_OF_JUPYTER: &str = "username-";
/// Cookies of our name that are looked at: another port of the host may have set some too.
const COOKIES_MAX: usize = 4;

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).map(str::trim).filter(|pair| !pair.is_empty())
}

/// Passes that came along, perhaps of others.
pub fn shown(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    pairs(headers).filter_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('=')).take(COOKIES_MAX)
}

/// `Set-Cookie`. `Lax`, because a link may come from another site, where a proxy gives us two names; what
/// a request must show besides is told in `arrival`.
pub fn set(env: &EnvId, pass: &str, secure: bool) -> Option<HeaderValue> {
    let (path, secure) = (jupyter_base_url(env.as_str()), if secure { "; Secure" } else { "" });
    let line =
        format!("{COOKIE}={pass}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={COOKIE_VALID_S}{secure}");
    HeaderValue::from_str(&line).ok()
}

/// `Cookie` as the environment may see it.
pub fn for_environment(headers: &HeaderMap) -> Option<HeaderValue> {
    let kept: Vec<_> = pairs(headers)
        .filter(|pair| !pair.starts_with(OURS) && !pair.starts_with(SIGN_IN_OF_JUPYTER))
        .collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join("; ")).ok() }
}

/// `Set-Cookie` of an environment as a browser may get it; `None` drops it.
pub fn from_environment(line: &HeaderValue, env: &EnvId) -> Option<HeaderValue> {
    let mut parts = line.to_str().ok()?.split(';').map(str::trim);
    let pair = parts.next()?;
    if pair.starts_with(OURS) || pair.starts_with(SIGN_IN_OF_JUPYTER) {
        return None;
    }
    let base = jupyter_base_url(env.as_str());
    let (mut kept, mut path) = (vec![pair], base.as_str());
    for attribute in parts {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        if name.eq_ignore_ascii_case("path") {
            // below its own, or its own
            if value.starts_with(&base) && !value.contains("..") {
                path = value;
            }
        } else if !name.eq_ignore_ascii_case("domain") {
            kept.push(attribute);
        }
    }
    HeaderValue::from_str(&format!("{}; Path={path}", kept.join("; "))).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn env() -> EnvId {
        EnvId::parse("env-abcdefghijkl").unwrap()
    }

    fn cookies(line: &str) -> HeaderMap {
        [(header::COOKIE, line.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn an_environment_sees_none_of_ours() {
        let sent = cookies("portreeve_session=a; _xsrf=b; portreeve_jupyter=c; username-127=d; x=e");
        assert_eq!(shown(&sent).collect::<Vec<_>>(), ["c"]);
        assert_eq!(for_environment(&sent).unwrap(), "_xsrf=b; x=e");
        assert_eq!(for_environment(&cookies("portreeve_session=a")), None);
    }

    #[test]
    fn an_environment_sets_none_beyond_its_path() {
        let of = |line: &str| {
            let line = from_environment(&line.parse().unwrap(), &env())?;
            Some(line.to_str().unwrap().to_owned())
        };
        let own = "/jupyter/env-abcdefghijkl/";
        assert_eq!(of("_xsrf=1; Path=/jupyter/env-abcdefghijkl/"), Some(format!("_xsrf=1; Path={own}")));
        assert_eq!(
            of("a=1; Path=/; Domain=example.org; HttpOnly"),
            Some(format!("a=1; HttpOnly; Path={own}"))
        );
        assert_eq!(of("a=1; path=/jupyter/env-abcdefghijkl/../x"), Some(format!("a=1; Path={own}")));
        assert_eq!(of("a=1; Path=/jupyter/env-abcdefghijkl/app"), Some(format!("a=1; Path={own}app")));
        assert_eq!(of("portreeve_jupyter=x; Path=/"), None);
        assert_eq!(of("username-127-0-0-1=x"), None);
    }

    #[test]
    fn ours_is_for_one_path() {
        let line = set(&env(), "p", true).unwrap();
        let line = line.to_str().unwrap();
        assert!(line.starts_with("portreeve_jupyter=p; Path=/jupyter/env-abcdefghijkl/; HttpOnly"), "{line}");
        assert!(line.ends_with("; Secure"));
    }
}
