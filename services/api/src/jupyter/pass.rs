//! What lets a browser in to one environment's JupyterLab? First a ticket in a link, then a cookie.
//!
//! Both are JWTs under a key of their own, so that neither is ever a login, nor a login one of them. Each
//! names one environment and one person; what that person may do is looked up when it is used.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{EnvId, RequestId, SignInId, TenantId};
use events::request::{Request, RequestAccepted, accept::accept};
use events::{Cause, ids};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use nats::MasterKeys;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::idempotency::index;
use crate::problem::Problem;

/// From the making of a link to its use.
pub const TICKET_VALID_S: i64 = 30;
/// How long a page may stay open without a new link.
pub const COOKIE_VALID_S: i64 = 12 * 60 * 60;
/// `iss` of both.
const ISSUER: &str = "portreeve/jupyter";
const TICKET: &str = "ticket";
const COOKIE: &str = "cookie";
/// Under which the use of a ticket is bound in the log.
const USES: &str = "jupyter-ticket";

/// Who may go where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// `user:<name>` or `token:<id>`.
    #[serde(rename = "sub")]
    pub actor: String,
    /// The sign-in that the link was made by: it opens nothing once that is over.
    #[serde(rename = "sid", default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInId>,
    pub tenant: TenantId,
    pub env: EnvId,
    /// A cookie that may travel without TLS goes to every port of its host, also to those where other
    /// people run what they like: it counts from the address that it was given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    #[serde(flatten)]
    pass: Pass,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

/// Signs and checks both.
pub struct Passes {
    signing: EncodingKey,
    checking: DecodingKey,
}

impl Passes {
    pub fn new(keys: &MasterKeys) -> Self {
        Self::of(&keys.derive("jupyter-pass"))
    }

    fn of(key: &[u8]) -> Self {
        Self { signing: EncodingKey::from_secret(key), checking: DecodingKey::from_secret(key) }
    }

    pub fn ticket(&self, pass: Pass, now: DateTime<Utc>) -> Result<(String, DateTime<Utc>), Problem> {
        self.sign(TICKET, pass, TICKET_VALID_S, now)
    }

    pub fn cookie(&self, pass: Pass, now: DateTime<Utc>) -> Result<String, Problem> {
        self.sign(COOKIE, pass, COOKIE_VALID_S, now).map(|(text, _)| text)
    }

    fn sign(
        &self,
        kind: &str,
        pass: Pass,
        valid_s: i64,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), Problem> {
        let (iss, aud, jti) = (ISSUER.to_owned(), kind.to_owned(), Uuid::now_v7());
        let (iat, exp) = (now.timestamp(), (now + TimeDelta::seconds(valid_s)).timestamp());
        let claims = Claims { iss, aud, pass, jti, iat, exp };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing);
        let text = text.map_err(|error| Problem::internal(&error))?;
        Ok((text, DateTime::from_timestamp(exp, 0).unwrap_or(now)))
    }

    /// Whom a cookie of this environment names.
    pub fn of_cookie(&self, text: &str, env: &EnvId) -> Option<Pass> {
        self.check(COOKIE, text, env).map(|claims| claims.pass)
    }

    fn check(&self, kind: &str, text: &str, env: &EnvId) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[kind]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(text, &self.checking, &validation).ok()?.claims;
        (claims.pass.env == *env).then_some(claims)
    }
}

/// Uses a ticket up. The log knows which were used, so it counts for all API processes together.
pub async fn redeem(app: &App, text: &str, env: &EnvId) -> Result<Pass, Problem> {
    let refused = || {
        let why = "this link was used before or is older than half a minute; open it again from the page";
        Problem::new("ticket_refused", why)
    };
    let Claims { pass, jti, .. } = app.jupyter.passes.check(TICKET, text, env).ok_or_else(refused)?;
    let id = RequestId::of(USES, &jti.to_string());
    // another command each time: the second one finds that the first was accepted, and appends nothing
    let cause = Cause::new(Uuid::now_v7(), pass.actor.clone());
    let fingerprint = ids_of_ticket(&jti);
    let rule = |state: &Request| accept(state, RequestAccepted { fingerprint: fingerprint.clone() });
    let decided =
        app.log.decide::<Request, _>(&pass.tenant, id.as_str(), &cause, index::REQUEST, rule).await?;
    decided.appended.map(|_| pass).ok_or_else(refused)
}

/// What binds in the log; the id says nothing that a reader could use.
fn ids_of_ticket(jti: &Uuid) -> String {
    Uuid::new_v5(&ids::NAMESPACE, jti.as_bytes()).simple().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn env(last: char) -> EnvId {
        EnvId::parse(format!("env-abcdefghijk{last}")).unwrap()
    }

    fn pass() -> Pass {
        let tenant = TenantId::parse("default").unwrap();
        let (actor, ip) = ("user:alice".to_owned(), "192.0.2.1".parse().ok());
        Pass { actor, sign_in: Some(SignInId::from_seed(&Uuid::nil())), tenant, env: env('a'), ip }
    }

    #[test]
    fn a_pass_is_for_one_environment_and_one_purpose_and_ends() {
        let (ours, theirs, now) = (Passes::of(&[1; 32]), Passes::of(&[2; 32]), Utc::now());
        let cookie = ours.cookie(pass(), now).unwrap();
        assert_eq!(ours.of_cookie(&cookie, &env('a')), Some(pass()));
        assert_eq!(ours.of_cookie(&cookie, &env('b')), None);
        assert_eq!(theirs.of_cookie(&cookie, &env('a')), None);
        let (ticket, expires_at) = ours.ticket(pass(), now).unwrap();
        assert!((expires_at - now).num_seconds() <= TICKET_VALID_S);
        assert_eq!(ours.of_cookie(&ticket, &env('a')), None, "a ticket is no cookie");
        assert!(ours.check(TICKET, &cookie, &env('a')).is_none(), "a cookie is no ticket");
        assert!(ours.check(TICKET, &ticket, &env('a')).is_some());
        let (old, _) = ours.ticket(pass(), now - TimeDelta::seconds(TICKET_VALID_S + 1)).unwrap();
        assert!(ours.check(TICKET, &old, &env('a')).is_none());
    }
}
