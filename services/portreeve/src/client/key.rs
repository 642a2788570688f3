//! `portreeve key`: which SSH keys open your environments?

use std::io::Read;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::json;

use super::env::{done, show_all, show_as};
use super::table::Column;
use super::{ClientError, Target};

/// The longest public key file that is read, in bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;

const COLUMNS: &[Column] = &[
    ("KEY", "key_id"),
    ("NAME", "name"),
    ("OWNER", "owner"),
    ("FINGERPRINT", "fingerprint"),
    ("ADDED", "created_at"),
];

/// Your SSH keys, attached to all your environments
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Key,
}

#[derive(Debug, clap::Subcommand)]
enum Key {
    /// Add a public key
    Add {
        name: String,
        /// The file; your own ~/.ssh/id_*.pub if not given
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// All your keys
    List,
    /// Remove a key; it stops working everywhere
    Remove { key_id: String },
}

impl KeyArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        match self.what {
            Key::Add { name, file } => {
                let public_key = read_public(&file.map_or_else(own_key, Ok)?)?;
                let body = json!({ "name": name, "public_key": public_key });
                let added = http.write(Method::POST, "/api/ssh-keys", Some(&body)).await?;
                let columns = &[("key", "key_id"), ("name", "name"), ("fingerprint", "fingerprint")];
                show_as(&added, columns, json);
            }
            Key::List => show_all(http.all("/api/ssh-keys", &[]).await?, COLUMNS, json),
            Key::Remove { key_id } => {
                let path = format!("/api/ssh-keys/{key_id}");
                done(&http.write(Method::DELETE, &path, None).await?, "removed", json);
            }
        }
        Ok(())
    }
}

/// One OpenSSH public key line. A private key is refused before it leaves this machine.
pub fn read_public(path: &Path) -> Result<String, ClientError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| ClientError::Io { what: format!("read {}", path.display()), source })?;
    if text.contains("PRIVATE KEY") {
        let why = format!("{} is a private key; the public one ends in .pub", path.display());
        return Err(ClientError::Usage(why));
    }
    Ok(text.trim().to_owned())
}

fn own_key() -> Result<PathBuf, ClientError> {
    let home = std::env::home_dir().unwrap_or_default();
    let names = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];
    names.iter().map(|name| home.join(".ssh").join(name)).find(|path| path.is_file()).ok_or_else(|| {
        ClientError::Usage(
            "there is no ~/.ssh/id_*.pub; name a file with --file, or run ssh-keygen".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_private_key_never_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        assert!(matches!(read_public(&file), Err(ClientError::Usage(_))));
        std::fs::write(&file, "ssh-ed25519 AAAA me\n").unwrap();
        assert_eq!(read_public(&file).unwrap(), "ssh-ed25519 AAAA me");
    }
}
