//! What does a policy change on this machine? The password, the keys, the certificate authority.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kit::sentry_protocol::Policy;

use crate::atomic_file;
use crate::config::Config;
use crate::shadow::{self, ShadowError};

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Shadow(#[from] ShadowError),
    #[error("cannot write {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("a line of the policy's keys holds a line break")]
    BadKey,
    #[error("the work was broken off")]
    Broken,
}

/// Repeatable; when it returns, sshd's next question is answered by this policy.
pub fn apply(policy: &Policy, config: &Config, days: i64) -> Result<(), ApplyError> {
    shadow::ensure_hash(&config.shadow_file, &config.account, &policy.password_hash, days)?;
    ensure_lines(
        &config.settings_dir.join("authorized_keys").join(&config.account),
        &policy.authorized_keys,
    )?;
    let user_ca: Vec<String> = policy.user_ca.iter().cloned().collect();
    ensure_lines(&user_ca_file(config), &user_ca)?;
    // a certificate made for another environment opens nothing here
    ensure_lines(&principals_file(config), std::slice::from_ref(&config.env_id))
}

/// The CA whose certificates open the inner door.
pub fn user_ca_file(config: &Config) -> PathBuf {
    config.settings_dir.join("user_ca.pub")
}

/// Whom such a certificate must name.
pub fn principals_file(config: &Config) -> PathBuf {
    config.settings_dir.join("principals")
}

/// Readable by all and root's: sshd refuses keys in files that others can write.
fn ensure_lines(path: &Path, lines: &[String]) -> Result<(), ApplyError> {
    if lines.iter().any(|line| line.contains(['\n', '\r'])) {
        return Err(ApplyError::BadKey);
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let failed = |source| ApplyError::File { path: path.into(), source };
    if fs::read(path).is_ok_and(|now| now == text.as_bytes()) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    atomic_file::write(path, text.as_bytes(), 0o644).map_err(failed)
}
