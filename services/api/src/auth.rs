//! Who is asking? An API token or a JWT in `Authorization: Bearer`, checked against the log each time.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{TenantId, TokenId, UserName};
use events::token::{Token, validity};
use events::user::{User, UserRegistered};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use nats::MasterKeys;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use crate::access::Caller;
use crate::app::App;
use crate::problem::Problem;

/// How long a login lasts.
pub const LOGIN_VALID_S: i64 = 12 * 60 * 60;
/// Longer credentials are not looked at.
const BEARER_LENGTH_MAX: usize = 4096;
/// `iss` of our JWTs.
const ISSUER: &str = "portreeve";
/// API tokens read `ptr_<12 characters of the id>_<40 characters>`, lower-case base32.
pub const TOKEN_PREFIX: &str = "ptr_";
/// Characters of a token's secret part: 200 bits.
const TOKEN_SECRET_LENGTH: usize = 40;
const TOKEN_SECRET_BYTES: usize = 25;

/// Signs and checks the JWTs of logins.
pub struct LoginKeys {
    signing: EncodingKey,
    checking: DecodingKey,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// Seconds since 1970.
    iat: i64,
    exp: i64,
}

impl LoginKeys {
    pub fn new(keys: &MasterKeys) -> Self {
        let key = keys.derive("jwt");
        Self { signing: EncodingKey::from_secret(&key), checking: DecodingKey::from_secret(&key) }
    }

    /// A JWT (HS256) that says who logged in; tenant and role are looked up when it is used.
    pub fn sign(
        &self,
        user: &UserName,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), jsonwebtoken::errors::Error> {
        let expires_at = now + TimeDelta::seconds(LOGIN_VALID_S);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user.to_string(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        Ok((token, DateTime::from_timestamp(claims.exp, 0).unwrap_or(expires_at)))
    }

    /// The user of a JWT that we signed and that has not ended.
    fn check(&self, token: &str) -> Option<UserName> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        let data = jsonwebtoken::decode::<Claims>(token, &self.checking, &validation).ok()?;
        UserName::parse(data.claims.sub).ok()
    }
}

/// A new token's text for this id.
pub fn new_token(id: &TokenId) -> Result<String, getrandom::Error> {
    let mut secret = [0_u8; TOKEN_SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let secret = data_encoding::BASE32_NOPAD.encode(&secret).to_ascii_lowercase();
    let id = id.as_str().trim_start_matches("tok-");
    Ok(format!("{TOKEN_PREFIX}{id}_{secret}"))
}

/// What the log keeps of a token: SHA-256 of its whole text, lower-case hexadecimal.
pub fn token_digest(token: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(token.as_bytes()))
}

fn token_id(token: &str) -> Option<TokenId> {
    let (id, secret) = token.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
    (secret.len() == TOKEN_SECRET_LENGTH).then_some(())?;
    TokenId::parse(format!("tok-{id}")).ok()
}

fn unauthorized() -> Problem {
    Problem::new("unauthorized", "send a valid API token or login as Authorization: Bearer <token>")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    let fits = (1..=BEARER_LENGTH_MAX).contains(&token.len());
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
}

/// The caller, or `unauthorized` whatever the reason.
pub async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let token = bearer(headers).ok_or_else(unauthorized)?;
    match token_id(token) {
        Some(id) => by_token(app, token, &id).await,
        None => {
            let user = app.login_keys.check(token).ok_or_else(unauthorized)?;
            by_user(app, user).await
        }
    }
}

async fn by_token(app: &App, token: &str, id: &TokenId) -> Result<Caller, Problem> {
    let known = app.log.load::<Token>(&TenantId::system(), id.as_str()).await?.state;
    let digest = token_digest(token);
    let issued = validity::valid(&known, Utc::now()).ok_or_else(unauthorized)?;
    if !bool::from(issued.digest.as_bytes().ct_eq(digest.as_bytes())) {
        return Err(unauthorized());
    }
    // the tokens of a person who was shut out open nothing
    let owner = app.log.load::<User>(&TenantId::system(), issued.owner.as_str()).await?.state;
    if owner.disabled {
        return Err(unauthorized());
    }
    Ok(Caller {
        actor: format!("token:{id}"),
        owner: issued.owner.clone(),
        tenant: issued.tenant.clone(),
        role: issued.role,
    })
}

async fn by_user(app: &App, name: UserName) -> Result<Caller, Problem> {
    let registered = registered(app, &name).await?.ok_or_else(unauthorized)?;
    Ok(Caller {
        actor: format!("user:{name}"),
        owner: name,
        tenant: registered.tenant,
        role: registered.role,
    })
}

/// A user who may log in.
pub async fn registered(app: &App, name: &UserName) -> Result<Option<UserRegistered>, Problem> {
    let user = app.log.load::<User>(&TenantId::system(), name.as_str()).await?.state;
    Ok(user.registered.filter(|_| !user.disabled))
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        authenticate(app, &parts.headers).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_token_names_its_id_and_its_digest_is_of_the_whole() {
        let id = TokenId::from_seed(&uuid::Uuid::nil());
        let token = new_token(&id).unwrap();
        assert_eq!(token_id(&token), Some(id));
        assert_eq!(token.len(), 4 + 12 + 1 + 40);
        assert_eq!(token_digest(&token).len(), 64);
        for wrong in ["ptr_", "ptr_abc_def", "ey.a.b", "ptr_../../x_0123456789012345678901234567890123456789"]
        {
            assert_eq!(token_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_login_ends_and_cannot_be_signed_by_others() {
        let key = |byte: u8| LoginKeys {
            signing: EncodingKey::from_secret(&[byte; 32]),
            checking: DecodingKey::from_secret(&[byte; 32]),
        };
        let (ours, theirs) = (key(1), key(2));
        let user = UserName::parse("alice").unwrap();
        let (token, expires_at) = ours.sign(&user, Utc::now()).unwrap();
        assert_eq!(ours.check(&token), Some(user.clone()));
        assert!((expires_at - Utc::now()).num_seconds() > LOGIN_VALID_S - 5);
        assert_eq!(theirs.check(&token), None);
        let (old, _) = ours.sign(&user, Utc::now() - TimeDelta::seconds(LOGIN_VALID_S + 1)).unwrap();
        assert_eq!(ours.check(&old), None);
        // "alg": "none", the oldest trick
        let none = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
        assert_eq!(ours.check(&none), None);
    }

    #[test]
    fn only_bearer_credentials_are_looked_at() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(of("bearer  abc "), Some("abc".to_owned()));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("Bearer "), None);
        assert_eq!(of(&format!("Bearer {}", "a".repeat(5000))), None);
    }
}
