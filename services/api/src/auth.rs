//! Who is asking? An API token or a JWT in `Authorization: Bearer`, or the cookie of a browser's
//! session with its word; checked against the log each time.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::Utc;
use events::ids::{SignInId, TenantId, TokenId, UserName};
use events::token::{Token, validity};
use events::user::{Role, User, UserRegistered};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use crate::access::Caller;
use crate::app::App;
use crate::browser_session;
use crate::login_keys::{Login, SignedIn};
use crate::problem::Problem;

/// Of a refusal because the sign-in is over.
pub const SIGNED_OUT: &str = "signed_out";
/// Longer credentials are not looked at.
const BEARER_LENGTH_MAX: usize = 4096;
/// API tokens read `ptr_<12 characters of the id>_<40 characters>`, lower-case base32.
pub const TOKEN_PREFIX: &str = "ptr_";
/// Characters of a token's secret part: 200 bits.
const TOKEN_SECRET_LENGTH: usize = 40;
const TOKEN_SECRET_BYTES: usize = 25;

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

/// The caller, or `unauthorized` whatever the reason. One whose requests are too many is told so, and so is who may
/// register relays only.
pub async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let caller = authenticate_any(app, headers).await?;
    if caller.role == Role::Enroller {
        return Err(Problem::new(
            "forbidden",
            "this token registers relays (POST /api/relays) and nothing else",
        ));
    }
    Ok(caller)
}

/// Likewise, and whoever may register relays only.
pub async fn authenticate_any(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let caller = identify(app, headers).await?;
    app.rate_limits.request(&caller.actor)?;
    Ok(caller)
}

async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    if !headers.contains_key(header::AUTHORIZATION) {
        return by_session(app, headers).await;
    }
    let token = bearer(headers).ok_or_else(unauthorized)?;
    match token_id(token) {
        Some(_) => by_token(app, &issued(app, token).await?.ok_or_else(unauthorized)?).await,
        None => by_login(app, app.login_keys.check(token).ok_or_else(unauthorized)?).await,
    }
}

async fn by_session(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let shown = browser_session::shown(headers).ok_or_else(unauthorized)?;
    let fits = |token: &&str| token.len() <= BEARER_LENGTH_MAX;
    let mut known = shown.tokens.into_iter().filter(fits);
    let login = known.find_map(|token| app.login_keys.check_session(token, shown.word));
    by_login(app, login.ok_or_else(unauthorized)?).await
}

async fn by_login(app: &App, login: Login) -> Result<Caller, Problem> {
    let caller = match login.who {
        SignedIn::User(name) => by_user(app, name).await?,
        SignedIn::Token(id) => by_token(app, &id).await?,
    };
    let signed_in = of_sign_in(app, caller, Some(&login.sign_in)).await;
    signed_in.map_err(|problem| if problem.code() == SIGNED_OUT { unauthorized() } else { problem })
}

/// The caller by this sign-in, if that is not over.
async fn of_sign_in(app: &App, caller: Caller, sign_in: Option<&SignInId>) -> Result<Caller, Problem> {
    let Some(id) = sign_in else { return Ok(caller) };
    if !app.sign_ins.is_open(&caller.tenant, id).await? {
        return Err(Problem::new(SIGNED_OUT, "the sign-in that opened this has ended; sign in again"));
    }
    Ok(Caller { sign_in: Some(id.clone()), ..caller })
}

/// The id of an API token whose text this is.
pub async fn issued(app: &App, text: &str) -> Result<Option<TokenId>, Problem> {
    let Some(id) = token_id(text) else { return Ok(None) };
    let known = app.log.load::<Token>(&TenantId::system(), id.as_str()).await?.state;
    let digest = token_digest(text);
    let ours =
        known.issued.is_some_and(|issued| bool::from(issued.digest.as_bytes().ct_eq(digest.as_bytes())));
    Ok(ours.then_some(id))
}

/// Who acted under this name (`user:<name>`, `token:<id>`) by this sign-in, if they may still act:
/// otherwise `unauthorized`, or `signed_out`.
pub async fn by_actor(app: &App, actor: &str, sign_in: Option<&SignInId>) -> Result<Caller, Problem> {
    let caller = match actor.strip_prefix("user:").and_then(|name| UserName::parse(name).ok()) {
        Some(name) => by_user(app, name).await?,
        None => {
            let id = actor.strip_prefix("token:").and_then(|id| TokenId::parse(id).ok());
            by_token(app, &id.ok_or_else(unauthorized)?).await?
        }
    };
    of_sign_in(app, caller, sign_in).await
}

/// A token that may be used now.
pub async fn by_token(app: &App, id: &TokenId) -> Result<Caller, Problem> {
    let known = app.log.load::<Token>(&TenantId::system(), id.as_str()).await?.state;
    let issued = validity::valid(&known, Utc::now()).ok_or_else(unauthorized)?;
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
        sign_in: None,
    })
}

async fn by_user(app: &App, name: UserName) -> Result<Caller, Problem> {
    let registered = registered(app, &name).await?.ok_or_else(unauthorized)?;
    Ok(of_user(name, registered))
}

/// A user who may log in.
pub async fn registered(app: &App, name: &UserName) -> Result<Option<UserRegistered>, Problem> {
    let user = app.log.load::<User>(&TenantId::system(), name.as_str()).await?.state;
    Ok(user.registered.filter(|_| !user.disabled))
}

/// As whom a user acts.
pub fn of_user(name: UserName, registered: UserRegistered) -> Caller {
    let UserRegistered { tenant, role, .. } = registered;
    Caller { actor: format!("user:{name}"), owner: name, tenant, role, sign_in: None }
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
