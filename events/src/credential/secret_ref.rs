//! Where do secrets lie in the vault? Names only: a reference may stand in an event, a secret never.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{EnvId, ServerId, SubscriptionId, TenantId};

/// Where a secret lies in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// The id of what it belongs to; purged with it.
    pub owner: String,
    /// `password`, `jupyter`, ...
    pub name: String,
    /// One per issue or reset.
    pub version: Uuid,
}

/// The names stand in `nats/server.conf` too, which says who may read what.
impl SecretRef {
    /// The password of an environment.
    pub fn password(env: &EnvId, version: Uuid) -> Self {
        Self { owner: env.to_string(), name: "password".to_owned(), version }
    }

    /// Beside a password: its Argon2id PHC string, for those who check it and need not know it.
    #[must_use]
    pub fn argon2id(&self) -> Self {
        Self { name: "password-argon2id".to_owned(), ..self.clone() }
    }

    /// The token of an environment's JupyterLab: one for its whole life.
    pub fn jupyter(env: &EnvId) -> Self {
        Self { owner: env.to_string(), name: "jupyter".to_owned(), version: Uuid::nil() }
    }

    /// With what one logs in to a server: a password, or a private key as OpenSSH PEM without a passphrase.
    pub fn server_login(server: &ServerId, version: Uuid) -> Self {
        Self { owner: server.to_string(), name: "server-login".to_owned(), version }
    }

    /// With what the deliveries of a webhook are signed: `whsec_` and base64.
    pub fn webhook(subscription: &SubscriptionId, version: Uuid) -> Self {
        Self { owner: subscription.to_string(), name: "webhook".to_owned(), version }
    }

    /// The key whose certificates open servers that trust it, as OpenSSH PEM. Not that of environments: what
    /// opens one kind opens nothing of the other.
    pub fn server_ca() -> Self {
        Self::of_installation("server-ca")
    }

    /// The key whose certificates open the inner door of every environment, as OpenSSH PEM.
    pub fn user_ca() -> Self {
        Self::of_installation("user-ca")
    }

    /// The host key of the SSH gateways, as OpenSSH PEM: one for all of them.
    pub fn gateway_host_key() -> Self {
        Self::of_installation("gateway-host-key")
    }

    /// The seed of the Ed25519 key that signs anchors, base64; keys are counted from 1.
    pub fn audit_key(number: u32) -> Self {
        Self { version: Uuid::from_u128(number.into()), ..Self::of_installation("audit-key") }
    }

    fn of_installation(name: &str) -> Self {
        Self { owner: TenantId::system().to_string(), name: name.to_owned(), version: Uuid::nil() }
    }
}
