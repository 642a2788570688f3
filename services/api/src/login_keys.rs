//! What proves a login? A JWT that we signed: for programs as a bearer token, for a browser bound to
//! the word of its session.

use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{SignInId, TokenId, UserName};
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

/// What a JWT of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub who: SignedIn,
    /// The fact that it stands for; whether that is over, the log knows.
    pub sign_in: SignInId,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    sid: SignInId,
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
    pub fn sign(&self, login: &Login, now: DateTime<Utc>) -> Result<(String, DateTime<Utc>), SignError> {
        self.sign_claims(login, None, now)
    }

    /// The cookie of a browser's session with this word.
    pub fn sign_session(
        &self,
        login: &Login,
        word: &str,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), SignError> {
        self.sign_claims(login, Some(browser_session::digest(word)), now)
    }

    fn sign_claims(
        &self,
        login: &Login,
        csrf: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), SignError> {
        let sub = match &login.who {
            SignedIn::User(name) => name.to_string(),
            SignedIn::Token(id) => format!("{TOKEN_SUBJECT}{id}"),
        };
        let expires_at = now + TimeDelta::seconds(LOGIN_VALID_S);
        let (iat, exp) = (now.timestamp(), expires_at.timestamp());
        let claims = Claims { iss: ISSUER.to_owned(), sub, sid: login.sign_in.clone(), iat, exp, csrf };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        Ok((token, DateTime::from_timestamp(exp, 0).unwrap_or(expires_at)))
    }

    /// The login of a bearer token that we signed and that is not past its time.
    pub fn check(&self, token: &str) -> Option<Login> {
        let claims = self.claims(token)?;
        if claims.csrf.is_some() {
            return None;
        }
        claims.login()
    }

    /// Of a cookie that we signed, that is not past its time, and whose word this is.
    pub fn check_session(&self, cookie: &str, word: &str) -> Option<Login> {
        let claims = self.claims(cookie)?;
        if !browser_session::is_word_of(claims.csrf.as_deref()?, word) {
            return None;
        }
        claims.login()
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        Some(jsonwebtoken::decode::<Claims>(token, &self.checking, &validation).ok()?.claims)
    }
}

impl Claims {
    fn login(self) -> Option<Login> {
        let who = match self.sub.strip_prefix(TOKEN_SUBJECT) {
            Some(id) => TokenId::parse(id).ok().map(SignedIn::Token),
            None => UserName::parse(self.sub).ok().map(SignedIn::User),
        };
        Some(Login { who: who?, sign_in: self.sid })
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

    fn login(who: SignedIn) -> Login {
        Login { who, sign_in: SignInId::from_seed(&uuid::Uuid::nil()) }
    }

    fn alice() -> Login {
        login(SignedIn::User(UserName::parse("alice").unwrap()))
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
        let token = login(SignedIn::Token(TokenId::from_seed(&uuid::Uuid::nil())));
        for who in [alice(), token] {
            let (cookie, _) = ours.sign_session(&who, "word", Utc::now()).unwrap();
            assert_eq!(ours.check_session(&cookie, "word"), Some(who));
            assert_eq!(ours.check_session(&cookie, "other"), None);
            assert_eq!(ours.check(&cookie), None);
        }
        let (bearer, _) = ours.sign(&alice(), Utc::now()).unwrap();
        assert_eq!(ours.check_session(&bearer, "word"), None);
    }
}
