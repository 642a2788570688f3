//! How does a password hash get into /etc/shadow? Never through a command line, never half.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// How long `passwd` and others may hold the lock of lckpwdf(3).
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
const LOCK_TRY_WAIT: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    #[error("the account {account} has no line in the password file")]
    NoAccount { account: String },
    #[error("the policy's password hash cannot stand in a password file")]
    BadHash,
    #[error("cannot {what} the password file")]
    File { what: &'static str, source: io::Error },
}

/// The account's hash is `hash` afterwards. `days`: days since 1970 of this change.
pub fn ensure_hash(shadow: &Path, account: &str, hash: &str, days: i64) -> Result<(), ShadowError> {
    let failed = |what| move |source| ShadowError::File { what, source };
    let lock_file = shadow.with_file_name(".pwd.lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(lock_file)
        .map_err(failed("lock"))?;
    take_lock(&lock).map_err(failed("lock"))?;
    let text = fs::read_to_string(shadow).map_err(failed("read"))?;
    let Some(new) = with_hash(&text, account, hash, days)? else { return Ok(()) };
    let meta = fs::metadata(shadow).map_err(failed("read"))?;
    let beside = crate::atomic_file::beside(shadow);
    let mode = meta.permissions().mode() & 0o7777;
    crate::atomic_file::write_beside(&beside, new.as_bytes(), mode).map_err(failed("write"))?;
    std::os::unix::fs::chown(&beside, Some(meta.uid()), Some(meta.gid())).map_err(failed("own"))?;
    fs::rename(&beside, shadow).map_err(failed("replace"))
}

/// The lock of lckpwdf(3): given back when the file is closed.
fn take_lock(file: &impl AsFd) -> io::Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let begun = Instant::now();
    loop {
        match fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole)) {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > LOCK_WAIT_MAX => return Err(error.into()),
            Err(_) => std::thread::sleep(LOCK_TRY_WAIT),
        }
    }
}

/// The file's new text, or `None` when it says so already.
fn with_hash(text: &str, account: &str, hash: &str, days: i64) -> Result<Option<String>, ShadowError> {
    if hash.is_empty() || !hash.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(ShadowError::BadHash);
    }
    let mut lines: Vec<String> = text.lines().map(Into::into).collect();
    let is_account = |line: &&mut String| line.split(':').next() == Some(account);
    let Some(line) = lines.iter_mut().find(is_account) else {
        return Err(ShadowError::NoAccount { account: account.into() });
    };
    let mut fields: Vec<String> = line.split(':').map(Into::into).collect();
    fields.resize(9, String::new());
    if fields[1] == hash {
        return Ok(None);
    }
    fields[1] = hash.into();
    fields[2] = days.to_string();
    *line = fields.join(":");
    Ok(Some(lines.join("\n") + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "root:*:19000:0:99999:7:::\ndeveloper:!:19000:0:99999:7:::\ndev:x:1::::::\n";

    #[test]
    fn one_field_of_one_line_changes() {
        let new = with_hash(FILE, "developer", "$6$salt$hash", 20000).unwrap().unwrap();
        assert_eq!(
            new,
            "root:*:19000:0:99999:7:::\ndeveloper:$6$salt$hash:20000:0:99999:7:::\ndev:x:1::::::\n"
        );
        assert_eq!(with_hash(&new, "developer", "$6$salt$hash", 20001).unwrap(), None, "twice is once");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for hash in ["", "a:b", "a\nb", "a b"] {
            assert!(matches!(with_hash(FILE, "developer", hash, 1), Err(ShadowError::BadHash)), "{hash:?}");
        }
        assert!(matches!(with_hash(FILE, "nobody", "x", 1), Err(ShadowError::NoAccount { .. })));
    }

    #[test]
    fn the_file_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shadow");
        fs::write(&path, FILE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        ensure_hash(&path, "developer", "$6$a$b", 1).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("developer:$6$a$b:1:"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
