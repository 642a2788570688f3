//! Where do secrets lie? Sealed in the key-value bucket `VAULT`, one key a secret: `owner.name.version`.

use std::collections::BTreeSet;

use async_nats::{Client, Request};
use events::credential::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::BoxError;
use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::master_keys::MasterKeys;
use crate::sealing::{self, OpenError};
use crate::wire::{self, ApiError, PublishAnswer, STATUS_NOT_FOUND, server_header};

/// Longest secret, in bytes.
pub const SECRET_LENGTH_MAX: usize = 64 << 10;
/// Marks a key as removed, as every client of the bucket understands it.
const OPERATION: &str = "KV-Operation";

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{0} is not a name a secret can have: letters, digits, '-' and '_'")]
    Name(String),
    #[error("a secret has at most {SECRET_LENGTH_MAX} bytes")]
    TooLong,
    #[error("the vault does not answer")]
    Unavailable(#[source] BoxError),
    #[error("the vault refuses")]
    Refused(#[source] ApiError),
    #[error("{name} was sealed with key {key}, which is not among the master keys")]
    KeyUnknown { name: String, key: String },
    #[error("{0} does not open: it is damaged, or was sealed under another name")]
    Damaged(String),
    #[error("the operating system gave no randomness")]
    Randomness,
}

/// The sealed secrets. Names are visible to the server, values are not.
#[derive(Clone)]
pub struct Vault {
    client: Client,
    api: Api,
    keys: MasterKeys,
}

impl Vault {
    pub(crate) fn new(client: Client, api: Api, keys: MasterKeys) -> Self {
        Self { client, api, keys }
    }

    /// Seals with the first master key and stores. On disk when this returns.
    pub async fn put(&self, r: &SecretRef, secret: &SecretString) -> Result<(), VaultError> {
        let key = key_of(r)?;
        self.publish(&key, self.sealed(&key, secret)?).await
    }

    /// Of several that store it at once, one does: `false` when the name was used before. Then
    /// [`Vault::get`] tells what with.
    pub async fn put_if_absent(&self, r: &SecretRef, secret: &SecretString) -> Result<bool, VaultError> {
        let key = key_of(r)?;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        match self.publish(&key, self.sealed(&key, secret)?.headers(headers)).await {
            Ok(()) => Ok(true),
            Err(VaultError::Refused(error)) if error.err_code == wire::WRONG_LAST_SEQUENCE => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sealed(&self, key: &str, secret: &SecretString) -> Result<Request, VaultError> {
        if secret.expose_secret().len() > SECRET_LENGTH_MAX {
            return Err(VaultError::TooLong);
        }
        let sealed = sealing::seal(&self.keys, key, secret.expose_secret().as_bytes())
            .map_err(|_| VaultError::Randomness)?;
        Ok(Request::new().payload(sealed.into()))
    }

    /// `None` if there is no such secret (any more).
    pub async fn get(&self, r: &SecretRef) -> Result<Option<SecretString>, VaultError> {
        let key = key_of(r)?;
        let subject = format!("{}.$KV.VAULT.{key}", self.api.direct_get(wire::VAULT));
        let answer = self.ask(subject, Request::new()).await?;
        if answer.status.is_some_and(|status| status.as_u16() == STATUS_NOT_FOUND) {
            return Ok(None);
        }
        if let Some(status) = answer.status {
            return Err(VaultError::Unavailable(format!("status {status}").into()));
        }
        if server_header(answer.headers.as_ref(), OPERATION).is_some() {
            return Ok(None);
        }
        open(&self.keys, &key, &answer.payload).map(Some)
    }

    /// Removes one secret; a mark without a value stays until the owner is purged.
    pub async fn remove(&self, r: &SecretRef) -> Result<(), VaultError> {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        self.publish(&key_of(r)?, Request::new().headers(headers)).await
    }

    /// Removes every secret of an owner with all that reminds of it; answers how many keys those
    /// were. Only the provisioner may.
    pub async fn purge_owner(&self, owner: &str) -> Result<usize, VaultError> {
        #[derive(Deserialize)]
        struct Purged {
            error: Option<ApiError>,
            #[serde(default)]
            purged: usize,
        }
        let filter = format!("$KV.VAULT.{}.>", token(owner)?);
        let subject = format!("{}.STREAM.PURGE.{}", self.api.prefix(), wire::VAULT);
        let request = Request::new().payload(json!({ "filter": filter }).to_string().into());
        let answer: Purged = read(&self.ask(subject, request).await?.payload)?;
        match answer.error {
            Some(error) => Err(VaultError::Refused(error)),
            None => Ok(answer.purged),
        }
    }

    /// Everyone who has a key in the vault, for the sweep. At most 100,000 keys are looked at.
    pub async fn owners(&self) -> Result<BTreeSet<String>, VaultError> {
        let keys = self.keys_below("$KV.VAULT.>").await?;
        Ok(keys.iter().filter_map(|key| Some(key.split('.').next()?.to_owned())).collect())
    }

    async fn keys_below(&self, filter: &str) -> Result<Vec<String>, VaultError> {
        #[derive(Deserialize)]
        struct Info {
            error: Option<ApiError>,
            state: Option<State>,
        }
        #[derive(Deserialize)]
        struct State {
            #[serde(default)]
            subjects: std::collections::HashMap<String, u64>,
        }
        let subject = format!("{}.STREAM.INFO.{}", self.api.prefix(), wire::VAULT);
        let request = Request::new().payload(json!({ "subjects_filter": filter }).to_string().into());
        let info: Info = read(&self.ask(subject, request).await?.payload)?;
        if let Some(error) = info.error {
            return Err(VaultError::Refused(error));
        }
        let subjects = info.state.map(|state| state.subjects).unwrap_or_default();
        Ok(subjects.into_keys().filter_map(|key| Some(key.strip_prefix("$KV.VAULT.")?.to_owned())).collect())
    }

    async fn publish(&self, key: &str, request: Request) -> Result<(), VaultError> {
        let answer: PublishAnswer = read(&self.ask(format!("$KV.VAULT.{key}"), request).await?.payload)?;
        answer.error.map_or(Ok(()), |error| Err(VaultError::Refused(error)))
    }

    async fn ask(&self, subject: String, request: Request) -> Result<async_nats::Message, VaultError> {
        self.client
            .send_request(subject, request.timeout(Some(REQUEST_TIMEOUT)))
            .await
            .map_err(|error| VaultError::Unavailable(error.into()))
    }
}

fn read<T: for<'d> Deserialize<'d>>(payload: &[u8]) -> Result<T, VaultError> {
    serde_json::from_slice(payload).map_err(|error| VaultError::Unavailable(error.into()))
}

fn token(text: &str) -> Result<&str, VaultError> {
    let valid = !text.is_empty()
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if valid { Ok(text) } else { Err(VaultError::Name(format!("{text:?}"))) }
}

fn key_of(r: &SecretRef) -> Result<String, VaultError> {
    Ok(format!("{}.{}.{}", token(&r.owner)?, token(&r.name)?, r.version))
}

fn open(keys: &MasterKeys, name: &str, sealed: &[u8]) -> Result<SecretString, VaultError> {
    let secret = sealing::open(keys, name, sealed).map_err(|error| match error {
        OpenError::KeyUnknown { key } => VaultError::KeyUnknown { name: name.to_owned(), key },
        OpenError::Damaged => VaultError::Damaged(name.to_owned()),
    })?;
    let text = std::str::from_utf8(&secret).map_err(|_| VaultError::Damaged(name.to_owned()))?;
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sealed_value_opens_under_its_own_name_only() {
        let (keys, _) = MasterKeys::generate().unwrap();
        let sealed = sealing::seal(&keys, "env-a.password.1", b"correct horse").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"correct"));
        assert_eq!(open(&keys, "env-a.password.1", &sealed).unwrap().expose_secret(), "correct horse");
        assert!(matches!(open(&keys, "env-b.password.1", &sealed), Err(VaultError::Damaged(_))));
        for cut in 0..sealed.len() {
            assert!(open(&keys, "env-a.password.1", &sealed[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_name_is_one_key() {
        for wrong in ["", "a.b", "a>", "*", "a b", "$KV"] {
            assert!(token(wrong).is_err(), "{wrong}");
        }
    }
}
