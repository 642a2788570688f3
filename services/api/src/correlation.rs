//! Which request is this, through everything that it sets in motion? `X-Request-Id` or `traceparent`.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use events::ids::NAMESPACE;
use uuid::Uuid;

/// A caller's own request id is kept up to this many characters.
const REQUEST_ID_LENGTH_MAX: usize = 128;

#[derive(Debug, Clone)]
pub struct Correlation {
    pub id: Uuid,
    /// The caller's `X-Request-Id`, if it sent a readable one.
    given: Option<String>,
    /// W3C trace context, if it is well formed.
    pub traceparent: Option<String>,
}

impl Correlation {
    /// What the request was given when it came in.
    pub fn of_parts(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self::of(&parts.headers))
    }

    /// A UUID in `X-Request-Id` is taken as it is, other texts by their digest, then the trace id;
    /// a request that brings nothing gets a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let given = text("x-request-id")
            .filter(|id| (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len()))
            .map(str::to_owned);
        let traceparent = text("traceparent").filter(|text| trace_id(text).is_some()).map(str::to_owned);
        let id = match (&given, &traceparent) {
            (Some(given), _) => Uuid::parse_str(given)
                .unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, format!("correlation\n{given}").as_bytes())),
            (None, Some(trace)) => trace_id(trace).unwrap_or_else(Uuid::now_v7),
            (None, None) => Uuid::now_v7(),
        };
        Self { id, given, traceparent }
    }

    /// What the answer's `X-Request-Id` says: the caller's own, or ours.
    pub fn shown(&self) -> String {
        self.given.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// The trace id of `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context, 3.2).
fn trace_id(traceparent: &str) -> Option<Uuid> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let whole = parts.next().is_none() && hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    whole.then(|| Uuid::parse_str(trace).ok()).flatten().filter(|id| !id.is_nil())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> Correlation {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        Correlation::of(&headers)
    }

    #[test]
    fn the_callers_ids_are_taken_when_they_are_readable() {
        let uuid = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        assert_eq!(of(&[("x-request-id", uuid)]).id.to_string(), uuid);
        assert_eq!(of(&[("x-request-id", "abc")]).id, of(&[("x-request-id", "abc")]).id);
        assert_eq!(of(&[("x-request-id", "abc")]).shown(), "abc");
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(&[("traceparent", trace)]).id.simple().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(of(&[("traceparent", "00-zz-00-01")]).traceparent, None);
        assert_ne!(of(&[]).id, of(&[]).id);
    }
}
