//! How is the embedded PostgreSQL made and started? On a port of 127.0.0.1, with a password, and
//! never as root: as another user of a user namespace of its own, which owns the same files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;

use crate::children::{Spec, guarded};
use crate::data_dir::{DataDir, DataDirError};
use crate::kept::Kept;
use crate::{leftovers, tools};

pub const NAME: &str = "postgres";
const USER: &str = "portreeve";
const DATABASE: &str = "portreeve";
const CLUSTER: &str = "postgres";
const CLUSTER_PART: &str = "postgres.part";
const PASSWORD_FILE: &str = "postgres.password.part";

const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// Making a cluster takes about two seconds.
const MADE_WITHIN: Duration = Duration::from_secs(120);
/// So much of a program's output is repeated in an error.
const OUTPUT_CHARS_MAX: usize = 1500;

/// An acknowledged commit is on disk (fsync, full_page_writes and synchronous_commit keep their
/// defaults, written here so that nobody changes them by accident). The rest keeps it small.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("password_encryption", "scram-sha-256"),
    ("max_connections", "50"),
    ("shared_buffers", "64MB"),
    ("work_mem", "8MB"),
    ("maintenance_work_mem", "64MB"),
    ("max_wal_size", "512MB"),
    ("jit", "off"),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(transparent)]
    NotFound(#[from] tools::NotFound),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(
        "PostgreSQL does not run as root, and no user postgres or nobody exists to run it as; \
             name an external server with --database-url"
    )]
    NoOtherUser,
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} failed: {why}")]
    Making { program: &'static str, why: String },
}

/// Makes the cluster at the first start; says what to run so that it listens on this port.
pub async fn prepare(data: &DataDir, kept: &Kept, port: u16) -> Result<Spec, PostgresError> {
    let bin = tools::postgres_bin()?;
    let wrap = other_user()?;
    let cluster = data.join(CLUSTER);
    if !cluster.exists() {
        make_cluster(data, kept, &bin, &wrap).await?;
    }
    let mut command = wrap;
    command.push(bin.join("postgres").into());
    command.extend(["-D".into(), cluster.into(), "-p".into(), port.to_string().into()]);
    for (name, value) in SETTINGS {
        command.extend(["-c".into(), format!("{name}={value}").into()]);
    }
    Ok(Spec {
        name: NAME,
        command,
        env: vec![],
        inherits_env: false,
        log: data.log_of(NAME),
        stale_socket: None,
        // "Fast": sessions are ended, everything is written, the next start needs no recovery.
        stop_signal: Signal::SIGINT,
        stop_within: STOPS_WITHIN,
    })
}

/// `postgres://...` of the embedded server, with its password.
pub fn url(kept: &Kept, port: u16) -> String {
    format!("postgres://{USER}:{}@127.0.0.1:{port}/{DATABASE}", kept.postgres_password())
}

/// Ends a server that a killed `up` left behind, and takes its lock file away: after a reboot the
/// process number in it may be anyone's, and the server would refuse to start.
pub async fn end_leftover(data: &DataDir) {
    let cluster = data.join(CLUSTER);
    leftovers::end("postgres", &cluster, Signal::SIGINT).await;
    let _absent = std::fs::remove_file(cluster.join("postmaster.pid"));
}

/// For root: the words before a command that make it run as somebody else. Empty for others.
fn other_user() -> Result<Vec<OsString>, PostgresError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(vec![]);
    }
    // The number must have a name: initdb looks it up.
    let user = ["postgres", "nobody", "daemon"]
        .iter()
        .find_map(|name| nix::unistd::User::from_name(name).ok().flatten())
        .filter(|user| !user.uid.is_root())
        .ok_or(PostgresError::NoOtherUser)?;
    let words = ["unshare".to_owned(), "--user".to_owned(), format!("--map-user={}", user.uid)];
    let group = format!("--map-group={}", user.gid);
    // A second setpriv: the first one's parent-death signal does not survive becoming another user.
    let again = ["setpriv", "--pdeathsig", "INT", "--"].map(OsString::from);
    Ok(words.into_iter().chain([group]).map(OsString::from).chain(again).collect())
}

/// In a folder beside its place and renamed into it: a first start that was cut short leaves nothing
/// that looks whole.
async fn make_cluster(
    data: &DataDir,
    kept: &Kept,
    bin: &Path,
    wrap: &[OsString],
) -> Result<(), PostgresError> {
    let part = data.join(CLUSTER_PART);
    if part.exists() {
        std::fs::remove_dir_all(&part).map_err(|source| PostgresError::Io {
            what: "remove",
            path: part.clone(),
            source,
        })?;
    }
    data.write(PASSWORD_FILE, kept.postgres_password())?;
    let password_file = data.join(PASSWORD_FILE);
    let mut initdb =
        vec![bin.join("initdb").into(), "-D".into(), part.clone().into(), "-U".into(), USER.into()];
    initdb.extend(["--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--pwfile"].map(OsString::from));
    initdb.push(password_file.clone().into());
    let made = run("initdb", [wrap, &initdb].concat(), "").await;
    let _absent = std::fs::remove_file(password_file);
    made?;
    // The server by itself, without listening anywhere, reading statements from standard input.
    let single = ["--single", "-j", "-D"].map(OsString::from);
    let server =
        [vec![bin.join("postgres").into()], single.into(), vec![part.clone().into(), "postgres".into()]];
    run("postgres --single", [wrap, &server.concat()].concat(), &format!("CREATE DATABASE {DATABASE};\n\n"))
        .await?;
    std::fs::rename(&part, data.join(CLUSTER)).map_err(|source| PostgresError::Io {
        what: "rename",
        path: part,
        source,
    })
}

async fn run(program: &'static str, words: Vec<OsString>, input: &str) -> Result<(), PostgresError> {
    let failed = |why: String| PostgresError::Making { program, why };
    let mut command = tokio::process::Command::from(guarded(Signal::SIGTERM, &words));
    command.env_clear().env("PATH", "/usr/bin:/bin").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended already says why itself.
        let _ended = stdin.write_all(input.as_bytes()).await;
    }
    let output = tokio::time::timeout(MADE_WITHIN, child.wait_with_output())
        .await
        .map_err(|_| failed(format!("not done within {} s", MADE_WITHIN.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(failed(text.chars().take(OUTPUT_CHARS_MAX).collect()))
}
