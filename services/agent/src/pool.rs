//! Which logins are open already? One a server and credential, used by several commands at once, ended when idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use ssh::ConnectError;
use ssh::client::{Attempt, Connection, Limits, Login, Target, attempt};
use ssh::keys::{KeyError, KeyPair, PublicLine};
use tokio::time::{Instant, interval, timeout};

/// Logins open at once; beyond, a command gets one of its own that ends with it.
const LOGINS_MAX: usize = 256;
/// A login that nobody uses ends after so long.
const IDLE_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Channels of one login at once: below OpenSSH's MaxSessions of 10.
pub const CHANNELS_MAX: usize = 8;
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// Of every way to a server, also of those that others take through us.
pub const LIMITS: Limits = Limits {
    name: Duration::from_secs(3),
    connect: Duration::from_secs(5),
    // as on the direct way: libwrap closes after five seconds
    banner: Duration::from_secs(7),
    kex: Duration::from_secs(5),
    auth: Duration::from_secs(10),
};

/// With what to log in where.
pub struct Place {
    pub host: String,
    pub port: u16,
    pub username: String,
    pub credential: Credential,
    /// The only key that is believed.
    pub host_key: Option<String>,
}

pub enum Credential {
    Password(SecretString),
    PrivateKey(SecretString),
}

#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the key cannot be read")]
    Key(#[source] KeyError),
}

/// A digest of everything that makes a login another one; of secrets nothing else is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key([u8; 32]);

impl Key {
    fn of(place: &Place) -> Self {
        let (kind, secret) = match &place.credential {
            Credential::Password(secret) => ("password", secret),
            Credential::PrivateKey(secret) => ("key", secret),
        };
        let port = place.port.to_string();
        let host_key = place.host_key.as_deref().unwrap_or_default();
        let parts = [&place.host, &port, &place.username, kind, secret.expose_secret(), host_key];
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part.len().to_be_bytes());
            digest.update(part.as_bytes());
        }
        Self(digest.finalize().into())
    }
}

struct Entry {
    connection: Arc<Connection>,
    channels: usize,
    used: Instant,
}

#[derive(Default)]
pub struct Pool {
    entries: Mutex<HashMap<Key, Entry>>,
    /// One at a time logs in to a place; the others use what it opened.
    turns: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

/// A login that is being used.
pub struct Lease {
    pub connection: Arc<Connection>,
    /// `None` for one of its own.
    back: Option<(Arc<Pool>, Key)>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((pool, key)) = self.back.take() {
            let mut entries = pool.entries();
            if let Some(entry) = entries.get_mut(&key)
                && Arc::ptr_eq(&entry.connection, &self.connection)
            {
                entry.channels = entry.channels.saturating_sub(1);
                entry.used = Instant::now();
            }
        }
    }
}

impl Lease {
    /// It turned out to be unusable: nobody gets it any more.
    pub fn spoil(&self) {
        if let Some((pool, key)) = &self.back {
            let mut entries = pool.entries();
            if entries.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.connection, &self.connection)) {
                entries.remove(key);
            }
        }
    }
}

impl Pool {
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A login with room for one more channel.
    pub async fn lease(self: &Arc<Self>, place: &Place) -> Result<Lease, ReachError> {
        let key = Key::of(place);
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(key.clone()).or_default())
        };
        let held = turn.lock().await;
        if let Some(lease) = self.open_one(&key) {
            return Ok(lease);
        }
        let connection = Arc::new(log_in(place).await?);
        let mut entries = self.entries();
        let lease = if entries.len() < LOGINS_MAX && !entries.contains_key(&key) {
            let entry = Entry { connection: Arc::clone(&connection), channels: 1, used: Instant::now() };
            entries.insert(key.clone(), entry);
            Lease { connection, back: Some((Arc::clone(self), key)) }
        } else {
            Lease { connection, back: None }
        };
        drop(held);
        Ok(lease)
    }

    fn open_one(self: &Arc<Self>, key: &Key) -> Option<Lease> {
        let mut entries = self.entries();
        let entry = entries.get_mut(key).filter(|entry| entry.channels < CHANNELS_MAX)?;
        entry.channels += 1;
        entry.used = Instant::now();
        let connection = Arc::clone(&entry.connection);
        Some(Lease { connection, back: Some((Arc::clone(self), key.clone())) })
    }

    /// Ends what is idle, and forgets what has ended.
    pub async fn keep_tidy(self: Arc<Self>) {
        let mut ticks = interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let mut idle = Vec::new();
            self.entries().retain(|_, entry| {
                let over = entry.channels == 0 && entry.used.elapsed() >= IDLE_MAX;
                if over {
                    idle.push(Arc::clone(&entry.connection));
                }
                !over
            });
            for connection in idle {
                timeout(GOODBYE_WAIT, connection.disconnect()).await.ok();
            }
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
    }
}

async fn log_in(place: &Place) -> Result<Connection, ReachError> {
    let login = match &place.credential {
        Credential::Password(password) => Login::Password(password.clone()),
        Credential::PrivateKey(key) => Login::Key(KeyPair::read(key, None).map_err(ReachError::Key)?),
    };
    let host_key = place.host_key.as_deref().map(PublicLine::read).transpose().map_err(ReachError::Key)?;
    let target = Target {
        host: place.host.clone(),
        port: place.port,
        user: place.username.clone(),
        host_key,
        through: None,
    };
    let Attempt { outcome, .. } = attempt(&target, &login, &LIMITS).await;
    Ok(outcome?)
}
