//! How does a test get a real PostgreSQL? A server of its own on a free port, from a template that is
//! initialised once; it can be killed and started again on the same port and data.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a server may take to answer.
const START_WAIT: Duration = Duration::from_secs(30);
/// How long a server may take to end before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// A port found free may be taken by the time the server asks for it.
const START_TRIES_MAX: usize = 5;
/// The longest answer to a statement that is read, in bytes.
const ANSWER_LENGTH_MAX: usize = 1 << 20;
/// The one role; it may do everything and needs no password.
const USER: &str = "portreeve";

const INSTALL: &str = "PostgreSQL is needed: apt-get install postgresql (or set PORTREEVE_POSTGRES_BIN to the \
    directory of initdb and postgres)";

/// A running server. Ends with this value, or with the thread that started it.
pub struct Postgres {
    dir: TempDir,
    bin: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// A server with the empty database `portreeve`.
    pub async fn start() -> anyhow::Result<Self> {
        let bin = bin()?;
        let dir = tempfile::Builder::new().prefix("portreeve-postgres-").tempdir()?;
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(template(&bin)?)
            .arg(dir.path().join("data"))
            .status()?;
        ensure!(copied.success(), "the template of the data directory cannot be copied");
        let mut postgres = Self { dir, bin, port: 0, server: None };
        let mut last = anyhow::anyhow!("never tried");
        for _ in 0..START_TRIES_MAX {
            postgres.port = crate::free_ports::one()?;
            match postgres.run().await {
                Ok(()) => {
                    postgres.sql("postgres", "CREATE DATABASE portreeve").await?;
                    return Ok(postgres);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of the database `portreeve`.
    pub fn url(&self) -> String {
        self.url_of("portreeve")
    }

    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Another empty database; its URL.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(self.url_of(name))
    }

    /// Ends the server as a power cut would: no process of it gets a chance to finish anything.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let pid = server.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in std::iter::once(pid.to_string().as_str()).chain(children.split_whitespace()) {
            // A child that ended by itself in the meantime is as good.
            let _gone = kill(Pid::from_raw(child.parse()?), Signal::SIGKILL);
        }
        server.wait()?;
        Ok(())
    }

    /// Starts the killed server again: same port, same data.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "the server runs");
        let deadline = Instant::now() + START_WAIT;
        loop {
            // The children of a killed server may hold its memory for a moment.
            match self.run().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Runs one statement and drops its rows.
    pub async fn sql(&self, database: &str, statement: &str) -> anyhow::Result<()> {
        let mut connection = Wire::open(self.port, database).await?;
        connection.run(statement).await.with_context(|| format!("statement {statement:?}"))
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let log = self.dir.path().join("postgres.log");
        let mut command = unprivileged(&self.bin.join("postgres"))?;
        command
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .process_group(0);
        self.server = Some(command.spawn().context(INSTALL)?);
        let deadline = Instant::now() + START_WAIT;
        loop {
            let seen = match Wire::open(self.port, "postgres").await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let ended = match &mut self.server {
                Some(server) => server.try_wait()?,
                None => None,
            };
            if ended.is_some() || Instant::now() > deadline {
                self.stop();
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("PostgreSQL did not start on port {}; last seen: {seen}; its log:\n{log}", self.port);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends the server at once, without recovery work left to others (its shared memory is freed).
    fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let pid = i32::try_from(server.id()).unwrap_or_default();
        let _ended_before = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        let deadline = Instant::now() + STOP_WAIT;
        while matches!(server.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ended_before = server.kill();
                let _status = server.wait();
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The newest installed version.
fn bin() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("PORTREEVE_POSTGRES_BIN") {
        return Ok(PathBuf::from(given));
    }
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .context(INSTALL)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    Ok(versions.pop().context(INSTALL)?.1)
}

/// A data directory as initdb makes it, kept with the build's other products.
fn template(bin: &Path) -> anyhow::Result<PathBuf> {
    let name = bin.to_string_lossy().replace('/', "-");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/harness");
    let template = kept.join(format!("postgres{name}-{}", Uid::effective()));
    if template.exists() {
        return Ok(template);
    }
    std::fs::create_dir_all(&kept)?;
    let made = tempfile::Builder::new().prefix("initdb-").tempdir_in(&kept)?;
    let output = unprivileged(&bin.join("initdb"))?
        .arg("-D")
        .arg(made.path().join("data"))
        .args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .args(["--wal-segsize=1"])
        .output()
        .context(INSTALL)?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    // Another process may have been faster; then its template is used.
    if let Err(error) = std::fs::rename(made.path().join("data"), &template) {
        ensure!(template.exists(), "the template cannot be kept: {error}");
    }
    Ok(template)
}

/// PostgreSQL refuses to run as root: then it gets a user namespace in which it is somebody else,
/// while its files stay root's. It ends with the thread that starts it.
fn unprivileged(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(if Uid::effective().is_root() { "unshare" } else { "setpriv" });
    if Uid::effective().is_root() {
        let id = unprivileged_id()?;
        command.args(["--user", &format!("--map-user={id}"), &format!("--map-group={id}"), "setpriv"]);
    }
    command.args(["--pdeathsig", "INT"]).arg(program);
    Ok(command)
}

/// A user that the system knows by name; initdb asks for it.
fn unprivileged_id() -> anyhow::Result<u32> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let ids = users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        (id != 0).then_some((name != "postgres", id))
    });
    Ok(ids.min().context("/etc/passwd knows no user besides root")?.1)
}

/// As much of PostgreSQL's protocol as one statement needs.
struct Wire(TcpStream);

impl Wire {
    /// Until the server is ready for a statement.
    async fn open(port: u16, database: &str) -> anyhow::Result<Self> {
        let mut wire = Self(TcpStream::connect(("127.0.0.1", port)).await?);
        let mut body = 196_608_u32.to_be_bytes().to_vec(); // protocol 3.0
        for text in ["user", USER, "database", database, ""] {
            body.extend(text.as_bytes());
            body.push(0);
        }
        let length = u32::try_from(body.len() + 4)?;
        wire.0.write_all(&length.to_be_bytes()).await?;
        wire.0.write_all(&body).await?;
        wire.until_ready().await?;
        Ok(wire)
    }

    async fn run(&mut self, statement: &str) -> anyhow::Result<()> {
        self.0.write_all(b"Q").await?;
        self.0.write_all(&u32::try_from(statement.len() + 5)?.to_be_bytes()).await?;
        self.0.write_all(statement.as_bytes()).await?;
        self.0.write_all(&[0]).await?;
        self.until_ready().await
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let mut refused = None;
        loop {
            let kind = self.0.read_u8().await?;
            let length = (self.0.read_u32().await? as usize).saturating_sub(4);
            ensure!(length <= ANSWER_LENGTH_MAX, "an answer of {length} bytes");
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await?;
            match kind {
                b'E' => {
                    let text = String::from_utf8_lossy(&body).replace('\0', " ");
                    if text.contains(" FATAL ") || text.contains("VFATAL") {
                        bail!("refused: {text}");
                    }
                    refused = Some(text);
                }
                b'Z' => return refused.map_or(Ok(()), |text| Err(anyhow::anyhow!("refused: {text}"))),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn a_server_survives_being_killed() {
        let mut postgres = Postgres::start().await.unwrap();
        postgres.sql("portreeve", "CREATE TABLE kept (n int)").await.unwrap();
        postgres.kill().unwrap();
        assert!(postgres.sql("portreeve", "SELECT * FROM kept").await.is_err(), "it is dead");
        postgres.start_again().await.unwrap();
        postgres.sql("portreeve", "SELECT * FROM kept").await.unwrap();
        assert!(postgres.sql("portreeve", "SELECT * FROM absent").await.is_err());
        let dir = postgres.dir.path().to_owned();
        drop(postgres);
        assert!(!dir.exists(), "nothing is left");
    }
}
