//! What does an installation keep from its first start on? Passwords, the master key, its name, ports.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::TcpListener;

use nats::MasterKeys;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::data_dir::{DataDir, DataDirError};

const SECRETS: &str = "secrets.json";
const PORTS: &str = "ports.json";
const INSTANCE: &str = "instance";
const MASTER_KEY: &str = "master.key";

/// Random bytes in a generated password.
const PASSWORD_BYTES: usize = 25;
/// Random bytes in the name of an installation.
const INSTANCE_BYTES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{file} is not readable; restore it from a backup")]
    Unreadable {
        file: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{file} is missing but {kept} is there: {advice}")]
    Missing { file: String, kept: String, advice: &'static str },
    #[error("{file} holds no usable key")]
    MasterKey {
        file: String,
        #[source]
        source: nats::MasterKeysError,
    },
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("no port is free on 127.0.0.1")]
    NoPort(#[source] std::io::Error),
}

/// Passwords of the embedded servers.
#[derive(Default, Serialize, Deserialize)]
struct Passwords {
    /// By NATS user.
    nats: BTreeMap<String, String>,
    postgres: String,
}

/// What the first start made and every later start finds.
pub struct Kept {
    passwords: Passwords,
    pub master_keys: MasterKeys,
    /// Tells this installation's containers from those of others on the same engine.
    pub instance: String,
}

impl Kept {
    /// Reads what is there and makes what is absent. Refuses to make a key anew that would leave
    /// existing data unreadable.
    pub fn load(data: &DataDir) -> Result<Self, KeptError> {
        Ok(Self {
            passwords: passwords(data)?,
            master_keys: master_keys(data)?,
            instance: match data.read(INSTANCE)? {
                Some(name) => name.trim().to_owned(),
                None => {
                    let name = random_text(INSTANCE_BYTES)?;
                    data.write(INSTANCE, &name)?;
                    name
                }
            },
        })
    }

    /// `None` for a user that the embedded server does not know.
    pub fn nats_password(&self, user: &str) -> Option<SecretString> {
        self.passwords.nats.get(user).map(|text| SecretString::from(text.as_str()))
    }

    /// All NATS users with their passwords.
    pub fn nats_users(&self) -> impl Iterator<Item = (&str, &str)> {
        self.passwords.nats.iter().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    pub fn postgres_password(&self) -> &str {
        &self.passwords.postgres
    }
}

fn passwords(data: &DataDir) -> Result<Passwords, KeptError> {
    let file = || data.join(SECRETS).display().to_string();
    let mut passwords: Passwords = match data.read(SECRETS)? {
        Some(text) => {
            serde_json::from_str(&text).map_err(|source| KeptError::Unreadable { file: file(), source })?
        }
        None if data.join("postgres").exists() => {
            return Err(KeptError::Missing {
                file: file(),
                kept: data.join("postgres").display().to_string(),
                advice: "restore the file, or remove the folder (its tables are filled again from the log)",
            });
        }
        None => Passwords::default(),
    };
    let mut made = false;
    for user in crate::nats_server::users() {
        if let Entry::Vacant(absent) = passwords.nats.entry(user) {
            absent.insert(random_text(PASSWORD_BYTES)?);
            made = true;
        }
    }
    if passwords.postgres.is_empty() {
        passwords.postgres = random_text(PASSWORD_BYTES)?;
        made = true;
    }
    if made {
        let text = serde_json::to_string_pretty(&passwords)
            .map_err(|source| KeptError::Unreadable { file: file(), source })?;
        data.write(SECRETS, &text)?;
    }
    Ok(passwords)
}

fn master_keys(data: &DataDir) -> Result<MasterKeys, KeptError> {
    let file = || data.join(MASTER_KEY).display().to_string();
    if let Some(text) = data.read(MASTER_KEY)? {
        return MasterKeys::parse(text.trim())
            .map_err(|source| KeptError::MasterKey { file: file(), source });
    }
    let store = data.join("nats/store");
    if store.exists() {
        return Err(KeptError::Missing {
            file: file(),
            kept: store.display().to_string(),
            advice: "without that key no password in the vault can be opened; restore the file",
        });
    }
    let (keys, text) =
        MasterKeys::generate().map_err(|source| KeptError::MasterKey { file: file(), source })?;
    data.write(MASTER_KEY, text.expose_secret())?;
    Ok(keys)
}

/// Starts with a letter, then lower-case base32: no file format takes it for a number.
fn random_text(bytes: usize) -> Result<String, KeptError> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(KeptError::Random)?;
    Ok(format!("p{}", data_encoding::BASE32_NOPAD.encode(&random).to_ascii_lowercase()))
}

/// Where the embedded servers listen on 127.0.0.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub nats: u16,
    pub postgres: u16,
}

impl Ports {
    /// The ports of the last start as far as they are still free, others otherwise.
    pub fn choose(data: &DataDir) -> Result<Self, KeptError> {
        let last: Self = match data.read(PORTS)? {
            Some(text) => serde_json::from_str(&text).unwrap_or_default(),
            None => Self::default(),
        };
        // Both are held until both are chosen, so that they differ.
        let (nats, _held_nats) = free_port(last.nats)?;
        let (postgres, _held_postgres) = free_port(last.postgres)?;
        let ports = Self { nats, postgres };
        if ports != last {
            let text = serde_json::to_string(&ports)
                .map_err(|source| KeptError::Unreadable { file: PORTS.to_owned(), source })?;
            data.write(PORTS, &text)?;
        }
        Ok(ports)
    }
}

fn free_port(wanted: u16) -> Result<(u16, TcpListener), KeptError> {
    let held = TcpListener::bind(("127.0.0.1", wanted))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .map_err(KeptError::NoPort)?;
    let port = held.local_addr().map_err(KeptError::NoPort)?.port();
    Ok((port, held))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_start_finds_what_the_first_made() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let first = Kept::load(&data).unwrap();
        let second = Kept::load(&data).unwrap();
        assert_eq!(first.instance, second.instance);
        assert_eq!(first.postgres_password(), second.postgres_password());
        assert_eq!(first.nats_users().collect::<Vec<_>>(), second.nats_users().collect::<Vec<_>>());
        assert_eq!(first.master_keys.derive("x"), second.master_keys.derive("x"));
        assert!(first.nats_password("api").is_some());
    }

    #[test]
    fn a_lost_key_is_not_made_anew_over_sealed_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        Kept::load(&data).unwrap();
        std::fs::create_dir(data.join("nats/store")).unwrap();
        std::fs::remove_file(data.join(MASTER_KEY)).unwrap();
        assert!(matches!(Kept::load(&data), Err(KeptError::Missing { .. })));
    }

    #[test]
    fn a_port_is_kept_until_somebody_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let first = Ports::choose(&data).unwrap();
        assert_ne!(first.nats, first.postgres);
        assert_eq!(Ports::choose(&data).unwrap(), first);
        let _taken = TcpListener::bind(("127.0.0.1", first.nats)).unwrap();
        let second = Ports::choose(&data).unwrap();
        assert_ne!(second.nats, first.nats);
        assert_eq!(second.postgres, first.postgres);
    }
}
