//! Which keys prove to clients that this is the same host as last time? Made once, kept on the volume.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs;
use tokio::process::Command;

use crate::reap::Children;

/// Made before anything is accepted, in milliseconds. No RSA: making such a key costs the machine more than
/// all the rest of a start, and a client that knows neither of these is older than 2011.
const KINDS: [&str; 2] = ["ed25519", "ecdsa"];

/// The kind that entrances pin.
pub const PINNED: &str = "ed25519";

/// Where the public half of a key is.
pub fn public_file(dir: &Path, kind: &str) -> PathBuf {
    dir.join(format!("ssh_host_{kind}_key.pub"))
}

/// Makes those keys that are missing, at once.
pub async fn ensure(dir: &Path, ssh_keygen: &Path, children: &Arc<Children>) -> io::Result<()> {
    let mut making = tokio::task::JoinSet::new();
    for kind in KINDS {
        let (dir, ssh_keygen, children) = (dir.to_owned(), ssh_keygen.to_owned(), children.clone());
        making.spawn(async move { ensure_one(kind, &dir, &ssh_keygen, &children).await });
    }
    while let Some(made) = making.join_next().await {
        made.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn ensure_one(kind: &str, dir: &Path, ssh_keygen: &Path, children: &Arc<Children>) -> io::Result<()> {
    let key = dir.join(format!("ssh_host_{kind}_key"));
    if fs::try_exists(&key).await? {
        return Ok(());
    }
    // made under another name: a key is there whole or not at all
    let new = dir.join(format!(".new_{kind}"));
    let new_public = dir.join(format!(".new_{kind}.pub"));
    for leftover in [&new, &new_public] {
        if fs::try_exists(leftover).await? {
            fs::remove_file(leftover).await?;
        }
    }
    let mut command = Command::new(ssh_keygen);
    command.args(["-q", "-t", kind, "-N", "", "-C", "environment", "-f"]).arg(&new);
    let status = children.run(&mut command).await?;
    if !status.success() {
        return Err(io::Error::other(format!("ssh-keygen for {kind} ended with {status}")));
    }
    fs::rename(&new_public, public_file(dir, kind)).await?;
    fs::rename(&new, &key).await
}
