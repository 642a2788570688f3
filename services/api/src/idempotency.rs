//! Is this the same request again? Its key says so; everything it makes derives from the key.

use axum::http::{HeaderMap, Method};
use events::Cause;
use events::ids::{NAMESPACE, RequestId};
use events::request::{Request, RequestAccepted, accept::accept};
use hmac::{Hmac, KeyInit, Mac};
use nats::MasterKeys;
use sha2::Sha256;
use uuid::Uuid;

use crate::access::Caller;
use crate::app::App;
use crate::correlation::Correlation;
use crate::incoming::Incoming;
use crate::problem::Problem;

/// The longest key.
const KEY_LENGTH_MAX: usize = 255;

/// The events of one command are told apart by their index, over all the subjects it touches.
pub mod index {
    pub const REQUEST: u32 = 0;
    /// The first fact of the use case; further ones count on from here.
    pub const FIRST: u32 = 1;
}

/// The header `Idempotency-Key`: 1 to 255 visible ASCII characters, the caller's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let text = value.to_str().unwrap_or_default();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=KEY_LENGTH_MAX).contains(&text.len()) {
            return Ok(Some(Self(text.to_owned())));
        }
        let wanted = format!("Idempotency-Key must be 1 to {KEY_LENGTH_MAX} visible ASCII characters");
        Err(Problem::new("parameter_invalid", wanted))
    }

    /// The command that this key stands for.
    fn command(&self, caller: &Caller) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("command\n{}\n{}", caller.actor, self.0).as_bytes())
    }
}

/// Fingerprints requests. Keyed, because a body may hold a password and a fingerprint is in the log.
pub struct Fingerprints([u8; 32]);

impl Fingerprints {
    pub fn new(keys: &MasterKeys) -> Self {
        Self(keys.derive("fingerprint"))
    }

    /// HMAC-SHA256 of method, target and body, hexadecimal.
    fn of(&self, method: &Method, target: &str, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| Hmac::new(&Default::default()));
        for part in [method.as_str().as_bytes(), target.as_bytes(), body] {
            mac.update(&part.len().to_be_bytes());
            mac.update(part);
        }
        data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
    }
}

/// The cause of everything that a request without a key makes.
pub fn fresh_cause(caller: &Caller, correlation: &Correlation) -> Cause {
    Cause {
        correlation: correlation.id,
        traceparent: correlation.traceparent.clone(),
        ..Cause::new(Uuid::now_v7(), caller.actor.clone())
    }
}

impl Incoming {
    /// What the request's events are caused by; nothing is written yet.
    pub fn cause(&self) -> Cause {
        let mut cause = fresh_cause(&self.caller, &self.correlation);
        if let Some(key) = &self.key {
            cause.command = key.command(&self.caller);
        }
        cause
    }

    /// Binds the key, if there is one, to this request, for ever. Call it when the request is known
    /// to be valid and before the first effect.
    pub async fn accept(&self, app: &App) -> Result<Cause, Problem> {
        let cause = self.cause();
        let Some(key) = &self.key else { return Ok(cause) };
        let id = RequestId::of(&self.caller.actor, &key.0);
        let fingerprint = app.fingerprints.of(&self.method, &self.target, &self.body.bytes);
        let rule = |state: &Request| accept(state, RequestAccepted { fingerprint: fingerprint.clone() });
        let tenant = &self.caller.tenant;
        let decided = app.log.decide::<Request, _>(tenant, id.as_str(), &cause, index::REQUEST, rule).await?;
        // a repeat finds its own event there, so the rule was not asked: ask it
        match decided.state.accepted {
            Some(accepted) if accepted.fingerprint != fingerprint => {
                Err(Problem::refused(&events::request::RequestRefusal::KeyReused))
            }
            Some(_) | None => Ok(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_key_is_visible_ascii() {
        let of = |bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", axum::http::HeaderValue::from_bytes(bytes).unwrap());
            Key::of(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(of(b"a-1"), Ok(Some(Key("a-1".to_owned()))));
        for wrong in [&b""[..], b"a b", "ü".as_bytes(), &[b'a'; 256]] {
            assert_eq!(of(wrong), Err("parameter_invalid"), "{wrong:?}");
        }
        assert_eq!(Key::of(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn a_fingerprint_tells_every_part_apart() {
        let prints = Fingerprints([1; 32]);
        let all = [
            prints.of(&Method::POST, "/a", b"b"),
            prints.of(&Method::PUT, "/a", b"b"),
            prints.of(&Method::POST, "/ab", b""),
            prints.of(&Method::POST, "/a", b"c"),
            Fingerprints([2; 32]).of(&Method::POST, "/a", b"b"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!all[index + 1..].contains(one));
        }
        assert_eq!(all[0], prints.of(&Method::POST, "/a", b"b"));
    }
}
