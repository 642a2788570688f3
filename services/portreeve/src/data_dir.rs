//! Where does `up` keep things, and who may use them? One process at a time, one person.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// The longest path of a Unix socket, in bytes (sun_path without its closing zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The longest name of a socket below the run directory, with its folder.
const SOCKET_NAME_LONGEST: &str = "sentry/sentry.sock";

/// How long the lock of another process is waited for; nothing else runs yet.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_AGAIN_AFTER: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("another `portreeve up` (process {pid}) uses {path}; end it, or name another --data-dir")]
    InUse { path: PathBuf, pid: String },
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{0} belongs to somebody else or is no directory of ours; remove it or name a shorter --data-dir"
    )]
    RunDirForeign(PathBuf),
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { what, path, source }
}

/// A data directory that this process alone uses until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    run: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes what is absent, and takes the lock.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        make_private(path)?;
        let path = path.canonicalize().map_err(failed("find", path))?;
        let lock = take_lock(&path)?;
        for folder in ["nats", "logs"] {
            make_private(&path.join(folder))?;
        }
        let run = run_dir(&path)?;
        make_private(&run.join("sentry"))?;
        Ok(Self { path, run, _lock: lock })
    }

    /// Absolute.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where sockets and process ids lie: `<data-dir>/run`, or elsewhere when that is too long a
    /// path for a Unix socket.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The folder that environments see as `/run/portreeve`.
    pub fn sentry_socket_dir(&self) -> PathBuf {
        self.run.join("sentry")
    }

    pub fn admin_token(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    pub fn log_of(&self, child: &str) -> PathBuf {
        self.path.join("logs").join(format!("{child}.log"))
    }

    /// The text of a private file, `None` when there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<String>, DataDirError> {
        let path = self.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DataDirError::Io { what: "read", path, source }),
        }
    }

    /// Writes a file that its owner alone may read: whole or not at all, and on disk before this returns.
    pub fn write(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        let path = self.join(name);
        let part = self.join(&format!("{name}.part"));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, &path)?;
            File::open(&self.path)?.sync_all()
        })();
        written.map_err(failed("write", &path))
    }
}

fn make_private(path: &Path) -> Result<(), DataDirError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("close to others", path))
}

fn take_lock(data_dir: &Path) -> Result<File, DataDirError> {
    let path = data_dir.join("lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match lock_soon(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _unknown = lock.read_to_string(&mut pid);
            return Err(DataDirError::InUse { path: data_dir.to_owned(), pid: pid.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(lock)
}

/// A process that was just killed holds its lock until the kernel has taken it apart.
fn lock_soon(lock: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WITHIN => {
                std::thread::sleep(LOCK_AGAIN_AFTER);
            }
            locked => return locked,
        }
    }
}

/// `<data-dir>/run`, or a link there to a short folder below /tmp.
fn run_dir(data_dir: &Path) -> Result<PathBuf, DataDirError> {
    let own = data_dir.join("run");
    if own.join(SOCKET_NAME_LONGEST).as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        make_private(&own)?;
        return Ok(own);
    }
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let name = data_encoding::HEXLOWER.encode(&digest);
    let short = Path::new("/tmp").join(format!("portreeve-{}", name.get(..12).unwrap_or(&name)));
    claim_in_tmp(&short)?;
    let _absent = std::fs::remove_file(&own);
    std::os::unix::fs::symlink(&short, &own).map_err(failed("link", &own))?;
    println!(
        "note: {} is too long a path for a Unix socket; sockets are in {}",
        own.display(),
        short.display()
    );
    Ok(short)
}

/// Everyone may write to /tmp: what is there already must be a directory of ours, closed to others.
fn claim_in_tmp(path: &Path) -> Result<(), DataDirError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(DataDirError::Io { what: "make", path: path.to_owned(), source }),
    }
    let found = std::fs::symlink_metadata(path).map_err(failed("look at", path))?;
    let ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if ours { Ok(()) } else { Err(DataDirError::RunDirForeign(path.to_owned())) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_user_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let refused = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        assert!(DataDir::open(dir.path()).is_ok());
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        data.write("secret", "text").unwrap();
        assert_eq!(data.read("secret").unwrap().as_deref(), Some("text"));
        assert_eq!(data.read("absent").unwrap(), None);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&data.join("secret")), 0o600);
        assert_eq!(mode(dir.path()), 0o700);
    }

    #[test]
    fn sockets_of_a_deep_data_dir_have_short_paths() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(90));
        let data = DataDir::open(&deep).unwrap();
        let socket = data.sentry_socket_dir().join("sentry.sock");
        assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "{}", socket.display());
        std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(deep.join("run/sentry/sentry.sock").exists(), "the link leads there");
        let short = data.run().to_owned();
        drop(data);
        assert_eq!(DataDir::open(&deep).unwrap().run(), short, "and the next start finds it");
        std::fs::remove_dir_all(&short).unwrap();
        std::os::unix::fs::symlink("/", &short).unwrap();
        assert!(matches!(DataDir::open(&deep), Err(DataDirError::RunDirForeign(_))));
        std::fs::remove_file(&short).unwrap();
    }
}
