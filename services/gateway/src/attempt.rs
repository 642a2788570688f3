//! Is this the password? Checked one at a time for an environment and an address, and a wrong one is in the
//! log before the person hears of it, so that no number of connections gets more than five.
//!
//! With n gateways each may be checking one when the fourth failure is recorded: at most 5 + (n - 1).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use entrance::refusals::Refusals;
use events::Cause;
use events::credential::Credential;
use events::ids::{EnvId, TenantId};
use events::login::lockout::{lock, locked_until, source_of};
use events::login::{Entrance, Login, LoginFailed, LoginRefusal, record};
use kit::password;
use nats::{DecideError, Log, LogError, Vault, VaultError};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::who::Who;

/// Hashes computed at once: each takes milliseconds of a core and 4 MiB.
const HASHES_AT_ONCE_MAX: usize = 2;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
    /// The address is closed until then.
    Closed(DateTime<Utc>),
}

/// Nobody is let in while it cannot be told who may.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    #[error("the failure cannot be recorded")]
    Record(#[source] Box<DecideError<LoginRefusal>>),
    #[error("the vault cannot be read")]
    Vault(#[from] VaultError),
    #[error("the hash could not be computed")]
    Hash,
}

/// An attempt's place and person.
#[derive(Clone, Copy)]
pub struct From<'a> {
    pub tenant: &'a TenantId,
    pub who: &'a Who,
    pub ip: IpAddr,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

pub struct Attempts {
    log: Log,
    vault: Vault,
    refusals: Arc<Refusals>,
    turns: Mutex<HashMap<(EnvId, IpAddr), Turn>>,
    hashing: Semaphore,
    /// Compared with when there is no such environment: the answer takes as long.
    nobody: SecretString,
}

impl Attempts {
    pub fn new(log: Log, vault: Vault, refusals: Arc<Refusals>) -> Self {
        let nobody = password::argon2id(&SecretString::from("nobody has this password")).unwrap_or_default();
        let hashing = Semaphore::new(HASHES_AT_ONCE_MAX);
        Self { log, vault, refusals, turns: Mutex::default(), hashing, nobody }
    }

    /// The work of a wrong password, for nobody.
    pub async fn nobody(&self, password: SecretString) -> Result<(), AttemptError> {
        self.is_of_hash(password, self.nobody.clone()).await.map(drop)
    }

    pub async fn password(&self, from: From<'_>, password: SecretString) -> Result<Verdict, AttemptError> {
        let pair = (from.who.env.clone(), source_of(from.ip));
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(pair.clone()).or_default())
        };
        let verdict = {
            let _turn = turn.lock().await;
            self.checked(from, password).await
        };
        drop(turn);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&pair).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&pair);
        }
        verdict
    }

    /// The address is closed, and came all the same.
    pub fn turned_away(&self, from: From<'_>, now: DateTime<Utc>) {
        self.refusals.count(from.tenant, &from.who.env, Entrance::Gateway, from.ip, now);
    }

    async fn checked(&self, from: From<'_>, password: SecretString) -> Result<Verdict, AttemptError> {
        // others may have closed it while this one waited for its turn
        let login = self.log.load::<Login>(from.tenant, from.who.env.as_str()).await?.state;
        let now = Utc::now();
        if let Some(until) = locked_until(&login, from.ip, now) {
            self.turned_away(from, now);
            return Ok(Verdict::Closed(until));
        }
        let credential = self.log.load::<Credential>(from.tenant, from.who.env.as_str()).await?.state;
        let hash = match &credential.password {
            None => None,
            Some(place) => self.vault.get(&place.argon2id()).await?,
        };
        if hash.is_none() {
            tracing::warn!(env.id = %from.who.env, "the vault has no hash of its password: nobody gets in with it");
        }
        let right = self.is_of_hash(password, hash.unwrap_or_else(|| self.nobody.clone())).await?;
        if right { Ok(Verdict::Right) } else { self.failed(from).await }
    }

    /// In the log when this returns.
    async fn failed(&self, from: From<'_>) -> Result<Verdict, AttemptError> {
        let (now, id) = (Utc::now(), from.who.env.as_str());
        let cause = Cause::new(Uuid::new_v4(), "service:gateway");
        let failed = LoginFailed {
            ip: from.ip,
            user: from.who.name.clone(),
            method: "password".to_owned(),
            class: "wrong_password".to_owned(),
            entrance: Entrance::Gateway,
            at: now,
            reported: None,
        };
        let unrecorded = |error: DecideError<LoginRefusal>| AttemptError::Record(Box::new(error));
        let rule = |login: &Login| record::failed(login, failed.clone());
        self.log.decide(from.tenant, id, &cause, 0, rule).await.map_err(unrecorded)?;
        let rule = |login: &Login| lock(login, from.ip, now);
        let decided = self.log.decide(from.tenant, id, &cause, 1, rule).await.map_err(unrecorded)?;
        Ok(locked_until(&decided.state, from.ip, now).map_or(Verdict::Wrong, Verdict::Closed))
    }

    async fn is_of_hash(&self, password: SecretString, hash: SecretString) -> Result<bool, AttemptError> {
        let _turn = self.hashing.acquire().await.map_err(|_| AttemptError::Hash)?;
        tokio::task::spawn_blocking(move || password::is_of_hash(&password, &hash))
            .await
            .map_err(|_| AttemptError::Hash)
    }
}
