//! What must be in place before the first connection?

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::User;

use crate::config::Config;

#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("cannot prepare {path}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("the account {account} does not exist")]
    NoAccount { account: String },
}

/// Directories exist and belong to whom they should. Contents are left alone.
pub fn prepare(config: &Config) -> Result<(), BootError> {
    ensure_dir(&config.state_dir, 0o700)?;
    ensure_dir(&host_keys_dir(config), 0o700)?;
    ensure_dir(&config.run_dir, 0o755)?;
    let found = User::from_name(&config.account).ok().flatten();
    let user = found.ok_or_else(|| BootError::NoAccount { account: config.account.clone() })?;
    for path in &config.owned_dirs {
        let failed = |source| BootError::Dir { path: path.clone(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let meta = fs::metadata(path).map_err(failed)?;
        if (meta.uid(), meta.gid()) != (user.uid.as_raw(), user.gid.as_raw()) {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed)?;
        }
    }
    Ok(())
}

pub fn host_keys_dir(config: &Config) -> PathBuf {
    config.state_dir.join("ssh")
}

fn ensure_dir(path: &Path, mode: u32) -> Result<(), BootError> {
    let failed = |source| BootError::Dir { path: path.into(), source };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}
