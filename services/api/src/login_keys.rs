//! What proves a login? A JWT that we signed: for programs as a bearer token, for a browser bound to
//! the word of its session.

use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{TokenId, UserName};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use nats::MasterKeys;
use serde::{Deserialize, Serialize};

use crate::browser_session;

/// How long a login lasts.
pub const LOGIN_VALID_S: i64 = 12 * 60 * 60;
/// `iss` of our JWTs.
const ISSUER: &str = "portreeve";
/// `sub` of a browser that brought an API token; a user name has no colon.
const TOKEN_SUBJECT: &str = "token:";

/// Signs and checks the JWTs of logins.
pub struct LoginKeys {
    signing: EncodingKey,
    checking: DecodingKey,
}

/// As whom somebody signed in; tenant and role are looked up when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIn {
    User(UserName),
    /// With an API token, while that may be used.
    Token(TokenId),
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// Seconds since 1970.
    iat: i64,
    exp: i64,
    /// Digest of the word of a browser's session; such a JWT is no bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    csrf: Option<String>,
}

type SignError = jsonwebtoken::errors::Error;

impl LoginKeys {
    pub fn new(keys: &MasterKeys) -> Self {
        let key = keys.derive("jwt");
        Self { signing: EncodingKey::from_secret(&key), checking: DecodingKey::from_secret(&key) }
    }

    /// A bearer token (HS256) that says who logged in.
    pub fn sign(&self, user: &UserName, now: DateTime<Utc>) -> Result<(String, DateTime<Utc>), SignError> {
        self.sign_claims(user.to_string(), None, now)
    }

    /// The cookie of a browser's session with this word.
    pub fn sign_session(
        &self,
        who: &SignedIn,
        word: &str,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), SignError> {
        let sub = match who {
            SignedIn::User(name) => name.to_string(),
            SignedIn::Token(id) => format!("{TOKEN_SUBJECT}{id}"),
        };
        self.sign_claims(sub, Some(browser_session::digest(word)), now)
    }

    fn sign_claims(
        &self,
        sub: String,
        csrf: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), SignError> {
        let expires_at = now + TimeDelta::seconds(LOGIN_VALID_S);
        let (iat, exp) = (now.timestamp(), expires_at.timestamp());
        let claims = Claims { iss: ISSUER.to_owned(), sub, iat, exp, csrf };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        Ok((token, DateTime::from_timestamp(exp, 0).unwrap_or(expires_at)))
    }

    /// The user of a bearer token that we signed and that has not ended.
    pub fn check(&self, token: &str) -> Option<UserName> {
        let claims = self.claims(token)?;
        if claims.csrf.is_some() {
            return None;
        }
        UserName::parse(claims.sub).ok()
    }

    /// Who signed in, by a cookie that we signed, that has not ended, and whose word this is.
    pub fn check_session(&self, cookie: &str, word: &str) -> Option<SignedIn> {
        let claims = self.claims(cookie)?;
        if !browser_session::is_word_of(&claims.csrf?, word) {
            return None;
        }
        match claims.sub.strip_prefix(TOKEN_SUBJECT) {
            Some(id) => TokenId::parse(id).ok().map(SignedIn::Token),
            None => UserName::parse(claims.sub).ok().map(SignedIn::User),
        }
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        Some(jsonwebtoken::decode::<Claims>(token, &self.checking, &validation).ok()?.claims)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn keys(byte: u8) -> LoginKeys {
        LoginKeys {
            signing: EncodingKey::from_secret(&[byte; 32]),
            checking: DecodingKey::from_secret(&[byte; 32]),
        }
    }

    fn alice() -> UserName {
        UserName::parse("alice").unwrap()
    }

    #[test]
    fn a_login_ends_and_cannot_be_signed_by_others() {
        let (ours, theirs) = (keys(1), keys(2));
        let (token, expires_at) = ours.sign(&alice(), Utc::now()).unwrap();
        assert_eq!(ours.check(&token), Some(alice()));
        assert!((expires_at - Utc::now()).num_seconds() > LOGIN_VALID_S - 5);
        assert_eq!(theirs.check(&token), None);
        let (old, _) = ours.sign(&alice(), Utc::now() - TimeDelta::seconds(LOGIN_VALID_S + 1)).unwrap();
        assert_eq!(ours.check(&old), None);
        // "alg": "none", the oldest trick
        let none = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
        assert_eq!(ours.check(&none), None);
    }

    #[test]
    fn a_cookie_is_no_bearer_token_and_a_bearer_token_no_cookie() {
        let ours = keys(1);
        let token = SignedIn::Token(TokenId::from_seed(&uuid::Uuid::nil()));
        for who in [SignedIn::User(alice()), token] {
            let (cookie, _) = ours.sign_session(&who, "word", Utc::now()).unwrap();
            assert_eq!(ours.check_session(&cookie, "word"), Some(who));
            assert_eq!(ours.check_session(&cookie, "other"), None);
            assert_eq!(ours.check(&cookie), None);
        }
        let (bearer, _) = ours.sign(&alice(), Utc::now()).unwrap();
        assert_eq!(ours.check_session(&bearer, "word"), None);
    }
}
