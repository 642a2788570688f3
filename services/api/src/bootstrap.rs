//! Who is the first to get in? The administrator, with a token made at the first start.

use events::Cause;
use events::ids::{NAMESPACE, TenantId, TokenId, UserName};
use events::tenant::{Tenant, TenantEvent, TenantRefusal, register::register};
use events::token::{Token, TokenIssued, TokenRefusal, issue::issue};
use events::user::Role;
use nats::{Connection, DecideError, MasterKeys};
use secrecy::SecretString;
use uuid::Uuid;

use crate::auth::{TOKEN_PREFIX, token_digest};

/// The tenant that is always there.
pub const DEFAULT_TENANT: &str = "default";
/// In whose name the first token acts.
const ADMINISTRATOR: &str = "admin";
/// Bytes of the token's secret part.
const SECRET_BYTES: usize = 25;

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("a name that stands in the code is not valid")]
    Name(#[from] events::ids::InvalidId),
    #[error("the tenant {DEFAULT_TENANT} could not be registered")]
    Tenant(#[source] DecideError<TenantRefusal>),
    #[error("the administrator's token could not be issued")]
    Token(#[source] DecideError<TokenRefusal>),
}

/// Makes the tenant `default` and the administrator's token, if they are absent.
///
/// Answers the token's text while it is the one of these master keys and not revoked: it derives
/// from them, so a caller that died before it wrote the text down gets it at the next start.
pub async fn bootstrap(
    connection: &Connection,
    keys: &MasterKeys,
) -> Result<Option<SecretString>, BootstrapError> {
    let log = connection.log();
    let tenant = TenantId::parse(DEFAULT_TENANT)?;
    let cause = Cause::new(command("tenant"), "service:api");
    let rule = |state: &Tenant| match state.name {
        Some(_) => Ok(None::<TenantEvent>),
        None => register(state, DEFAULT_TENANT),
    };
    log.decide::<Tenant, _>(&tenant, tenant.as_str(), &cause, 0, rule)
        .await
        .map_err(BootstrapError::Tenant)?;

    let cause = Cause::new(command("token"), "service:api");
    let id = administrator_token_id();
    let text = token_text(keys, &id);
    let issued = TokenIssued {
        tenant,
        name: "administrator, made at the first start".to_owned(),
        role: Role::Admin,
        owner: UserName::parse(ADMINISTRATOR)?,
        digest: token_digest(&text),
        expires_at: None,
    };
    let rule = |state: &Token| if state.issued.is_some() { Ok(None) } else { issue(state, issued.clone()) };
    let decided = log
        .decide::<Token, _>(&TenantId::system(), id.as_str(), &cause, 0, rule)
        .await
        .map_err(BootstrapError::Token)?;
    let ours = decided.state.issued.is_some_and(|there| there.digest == issued.digest);
    Ok((ours && !decided.state.revoked).then(|| SecretString::from(text)))
}

/// The text of the token that [`bootstrap`] makes under these keys, whether or not it did so yet.
pub fn administrator_token(keys: &MasterKeys) -> SecretString {
    SecretString::from(token_text(keys, &administrator_token_id()))
}

fn administrator_token_id() -> TokenId {
    TokenId::from_seed(&command("token"))
}

fn command(what: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("bootstrap\n{what}").as_bytes())
}

/// Derived, not drawn: the same keys give the same text.
fn token_text(keys: &MasterKeys, id: &TokenId) -> String {
    let secret = keys.derive("admin token");
    let secret = data_encoding::BASE32_NOPAD.encode(&secret[..SECRET_BYTES]).to_ascii_lowercase();
    format!("{TOKEN_PREFIX}{}_{secret}", id.as_str().trim_start_matches("tok-"))
}
