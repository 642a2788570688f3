//! As whom does one log in to a server, and with what?

use std::time::SystemTime;

use events::credential::SecretRef;
use events::server::{Method, Settings};
use secrecy::SecretString;
use ssh::ca::{Holder, UserCa};
use ssh::client::Login;
use ssh::keys::KeyPair;

use crate::connect::Who;
use crate::trouble::Trouble;
use crate::{Reach, ReachError};

impl Reach {
    pub(crate) async fn login(&self, settings: &Settings, who: Who<'_>) -> Result<Login, ReachError> {
        match settings.credential.method {
            Method::Password => Ok(Login::Password(self.secret(settings).await?)),
            Method::PrivateKey => {
                let text = self.secret(settings).await?;
                KeyPair::read(&text, None).map(Login::Key).map_err(ReachError::Stored)
            }
            Method::Certificate => {
                let holder = Holder { principal: &settings.username, session: who.session, user: who.user };
                let key = self.authority().await?.certify(&holder, SystemTime::now());
                key.map(Login::Certificate).map_err(ReachError::Certify)
            }
        }
    }

    async fn secret(&self, settings: &Settings) -> Result<SecretString, ReachError> {
        self.stored(settings).await?.ok_or_else(|| ReachError::Trouble(Trouble::credential_missing()))
    }

    pub(crate) async fn stored(&self, settings: &Settings) -> Result<Option<SecretString>, ReachError> {
        match &settings.credential.secret {
            Some(secret) => self.vault.get(secret).await.map_err(ReachError::Vault),
            None => Ok(None),
        }
    }

    /// Whose certificates servers trust; made when it is needed first.
    pub async fn authority(&self) -> Result<UserCa, ReachError> {
        let name = SecretRef::server_ca();
        if let Some(text) = self.vault.get(&name).await.map_err(ReachError::Vault)? {
            return UserCa::read(&text).map_err(ReachError::Authority);
        }
        let made = UserCa::generate().map_err(ReachError::Authority)?;
        let text = made.to_text().map_err(ReachError::Authority)?;
        if self.vault.put_if_absent(&name, &text).await.map_err(ReachError::Vault)? {
            return Ok(made);
        }
        // somebody was faster
        let text = self.vault.get(&name).await.map_err(ReachError::Vault)?.unwrap_or(text);
        UserCa::read(&text).map_err(ReachError::Authority)
    }
}
