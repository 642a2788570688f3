//! Which of several provisioners works on this machine's engine? The one that holds the lock; the
//! others stand by, up to date, and the kernel hands the lock on when its holder ends, however it ends.
//!
//! An engine on one machine does not keep two clients apart: what one removes, the other finds half
//! gone, in words that differ from engine to engine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a provisioner that stands by asks for the lock.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Held as long as it lives.
pub struct Lead {
    _lock: File,
}

/// Beside the folder that environments see, so that none of them can hold it.
fn lock_path(sentry_socket_dir: &Path) -> PathBuf {
    let mut path = sentry_socket_dir.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Waits until nobody else leads; `waits` is called once when somebody does.
pub async fn lead(sentry_socket_dir: &Path, waits: impl FnOnce()) -> io::Result<Lead> {
    let path = lock_path(sentry_socket_dir);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut waits = Some(waits);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Lead { _lock: lock }),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn one_leads_and_the_next_follows_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = folder.path().join("sentry");
        let first = lead(&sockets, || panic!("nobody leads")).await.unwrap();
        let (said, waits) = tokio::sync::oneshot::channel();
        let other = sockets.clone();
        let second = tokio::spawn(async move { lead(&other, || said.send(()).unwrap()).await });
        waits.await.unwrap();
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
    }
}
