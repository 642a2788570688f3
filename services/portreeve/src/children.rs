//! How are child processes kept running, and ended? One operating-system thread stands by each.
//!
//! The thread starts its child, waits for it and starts it again. It is also the child's parent as
//! the kernel's parent-death signal sees it, so a child never outlives us, however we end.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

/// The first pause before a child that ended is started again; doubled up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE_FIRST: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that ran this long was well; its failures are counted from zero again.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// Failures in a row after which a child is given up.
const FAILURES_MAX: u32 = 8;
/// How long a killed child may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// A log file longer than this is put aside (one old one is kept) when its child starts.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// So much of a log's end is repeated in the message about a child that was given up.
const LOG_TAIL_BYTES: u64 = 1500;

/// What to run. Not printable: the environment holds passwords.
#[derive(Clone)]
pub struct Spec {
    pub name: &'static str,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    pub env: Vec<(String, OsString)>,
    /// Whether the child sees our own environment too.
    pub inherits_env: bool,
    pub log: PathBuf,
    /// A socket that the program does not take over from its predecessor: removed before each start.
    pub stale_socket: Option<PathBuf>,
    /// Ends the child in an orderly way; also sent by the kernel when we are killed.
    pub stop_signal: Signal,
    /// How long an orderly end may take before the child is killed.
    pub stop_within: Duration,
}

/// Where a child stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Kept,
    Stopped,
    GivenUp(String),
}

/// A child that is started again whenever it ends, until it is stopped.
pub struct Child {
    spec: Spec,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stop_asked: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// The child that runs now and has not been reaped, so the id is nobody else's.
    pid: Option<Pid>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.lock().pid {
            let _gone_already = kill(pid, signal);
        }
    }
}

impl Child {
    /// Starts the child and the thread beside it.
    pub fn keep(spec: Spec) -> std::io::Result<Self> {
        let (news, phase) = watch::channel(Phase::Kept);
        let shared = Arc::new(Shared::default());
        let keeper = Keeper { spec: spec.clone(), shared: Arc::clone(&shared) };
        std::thread::Builder::new().name(format!("keep-{}", spec.name)).spawn(move || {
            let last = keeper.run();
            let _nobody_listens = news.send(last);
        })?;
        Ok(Self { spec, shared, phase })
    }

    /// Resolves, with the reason, only when the child cannot be kept running.
    pub fn given_up(&self) -> impl Future<Output = String> + Send + 'static {
        let mut phase = self.phase.clone();
        async move {
            let last =
                phase.wait_for(|phase| matches!(phase, Phase::GivenUp(_))).await.map(|last| last.clone());
            match last {
                Ok(Phase::GivenUp(reason)) => reason,
                Ok(Phase::Kept | Phase::Stopped) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Ends the child: orderly within its time, killed otherwise. False if it had to be killed.
    pub async fn stop(mut self) -> bool {
        self.shared.lock().stopping = true;
        self.shared.stop_asked.notify_all();
        self.shared.signal(self.spec.stop_signal);
        let mut ended = async |within| {
            tokio::time::timeout(within, self.phase.wait_for(|phase| *phase != Phase::Kept)).await.is_ok()
        };
        if ended(self.spec.stop_within).await {
            return true;
        }
        tracing::warn!(child = self.spec.name, "did not end in time; killing it");
        self.shared.signal(Signal::SIGKILL);
        ended(KILLED_WITHIN).await;
        false
    }
}

struct Keeper {
    spec: Spec,
    shared: Arc<Shared>,
}

impl Keeper {
    fn run(&self) -> Phase {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let ended = match self.run_once() {
                None => return Phase::Stopped,
                Some(ended) => ended,
            };
            failures = if began.elapsed() >= STEADY_AFTER { 1 } else { failures + 1 };
            if failures >= FAILURES_MAX {
                return Phase::GivenUp(self.obituary(&ended));
            }
            let pause = RESTART_PAUSE_MAX.min(RESTART_PAUSE_FIRST * (1 << (failures - 1)));
            tracing::warn!(
                child = self.spec.name,
                ended,
                pause_ms = pause.as_millis(),
                "starting a child again"
            );
            if self.stopped_during(pause) {
                return Phase::Stopped;
            }
        }
    }

    /// `None` when the end was asked for, otherwise how it ended.
    fn run_once(&self) -> Option<String> {
        let (mut child, pid) = {
            // Under the lock, so that `stop` either prevents the start or knows the process id.
            let mut state = self.shared.lock();
            if state.stopping {
                return None;
            }
            match spawn(&self.spec) {
                Ok(child) => {
                    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
                    state.pid = Some(pid);
                    (child, pid)
                }
                Err(error) => return Some(error),
            }
        };
        // Noticed without being reaped: until `pid` is cleared, nobody else can get this number.
        while let Err(Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
        let mut state = self.shared.lock();
        state.pid = None;
        let status = child.wait();
        if state.stopping {
            return None;
        }
        Some(match status {
            Ok(status) => describe(status),
            Err(error) => format!("ended, nobody knows how: {error}"),
        })
    }

    fn stopped_during(&self, pause: Duration) -> bool {
        let state = self.shared.lock();
        let (state, _timed_out) = self
            .shared
            .stop_asked
            .wait_timeout_while(state, pause, |state| !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        state.stopping
    }

    fn obituary(&self, ended: &str) -> String {
        let name = self.spec.name;
        let log = self.spec.log.display();
        let tail = log_tail(&self.spec.log);
        format!("{name} {ended}, {FAILURES_MAX} times in a row; the end of {log}:\n{tail}")
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The command below `setpriv --pdeathsig`. In a group of its own: Ctrl-C at the terminal is ours
/// alone, so that children end last and in order.
pub fn guarded(stop_signal: Signal, command: &[OsString]) -> Command {
    let signal = stop_signal.as_str().trim_start_matches("SIG");
    let mut guarded = Command::new("setpriv");
    guarded.arg("--pdeathsig").arg(signal).arg("--").args(command).process_group(0).stdin(Stdio::null());
    guarded
}

fn spawn(spec: &Spec) -> Result<std::process::Child, String> {
    if let Some(socket) = &spec.stale_socket {
        let _absent = std::fs::remove_file(socket);
    }
    let log = open_log(&spec.log).map_err(|error| format!("cannot open {}: {error}", spec.log.display()))?;
    let also = log.try_clone().map_err(|error| format!("cannot open {}: {error}", spec.log.display()))?;
    let mut command = guarded(spec.stop_signal, &spec.command);
    if !spec.inherits_env {
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin")));
    }
    for (name, _) in std::env::vars_os() {
        if OsStr::to_string_lossy(&name).starts_with("PORTREEVE_") {
            command.env_remove(name);
        }
    }
    command.envs(spec.env.iter().map(|(name, value)| (name, value))).stdout(log).stderr(also);
    command
        .spawn()
        .map_err(|error| format!("cannot be started with setpriv (Debian package util-linux): {error}"))
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The last lines of a child's log, for a person.
pub fn log_tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(dir: &Path, script: &str) -> Spec {
        Spec {
            name: "shell",
            command: ["sh", "-c", script, "shell", &dir.join("pid").to_string_lossy()]
                .map(OsString::from)
                .to_vec(),
            env: vec![],
            inherits_env: false,
            log: dir.join("log"),
            stale_socket: None,
            stop_signal: Signal::SIGTERM,
            stop_within: Duration::from_millis(300),
        }
    }

    async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "never saw {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn pid(dir: &Path) -> Option<i32> {
        std::fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()
    }

    #[tokio::test]
    async fn a_killed_child_comes_back_and_a_stopped_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let child = Child::keep(shell(dir.path(), "echo $$ >$1; exec sleep 60")).unwrap();
        let first = until("a first process", || pid(dir.path())).await;
        kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
        let second = until("another process", || pid(dir.path()).filter(|pid| *pid != first)).await;
        assert!(child.stop().await, "sleep ends at SIGTERM");
        assert!(!Path::new(&format!("/proc/{second}")).exists());
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_stop_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo $$ >$1; echo up; while :; do sleep 0.05; done";
        let child = Child::keep(shell(dir.path(), script)).unwrap();
        let process = until("a process", || {
            pid(dir.path()).filter(|_| log_tail(&dir.path().join("log")).contains("up"))
        })
        .await;
        assert!(!child.stop().await);
        assert!(!Path::new(&format!("/proc/{process}")).exists());
    }

    #[tokio::test]
    async fn stopping_during_a_pause_starts_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let child = Child::keep(shell(dir.path(), "echo ran; exit 3")).unwrap();
        until("a first run", || log_tail(&dir.path().join("log")).contains("ran").then_some(())).await;
        assert!(child.stop().await);
        let runs = log_tail(&dir.path().join("log")).lines().count();
        tokio::time::sleep(RESTART_PAUSE_FIRST * 4).await;
        assert_eq!(log_tail(&dir.path().join("log")).lines().count(), runs);
    }

    #[test]
    fn how_a_child_ended_is_said_in_words() {
        let described = describe(Command::new("sh").args(["-c", "exit 3"]).status().unwrap());
        assert_eq!(described, "ended with status 3");
    }
}
