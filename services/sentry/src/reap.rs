//! Who buries the dead? As process 1 the sentry inherits every orphan of the container.
//!
//! Children that the sentry itself started are waited for by tokio, so their exit status must not be
//! taken from it: they are in a register, and starting one and registering it happen under the lock
//! that the reaper holds while it looks. `waitid(WNOWAIT)` shows one dead child without burying it;
//! if it is not registered, it is an orphan and is buried.

use std::collections::HashSet;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Between two looks, however many signals arrive.
const LOOK_WAIT_MIN: Duration = Duration::from_millis(20);
/// A look without a signal: signals are merged and may be lost.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(5);
/// Orphans buried in one look.
const BURIED_MAX: usize = 256;

#[derive(Default)]
pub struct Children {
    ours: Mutex<HashSet<Pid>>,
}

impl Children {
    /// Starts a child in a process group of its own.
    pub fn spawn(self: &Arc<Self>, command: &mut Command) -> io::Result<OwnChild> {
        let mut ours = self.lock();
        let child = command.process_group(0).spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the child has no process id"))?;
        ours.insert(pid);
        Ok(OwnChild { child, pid, ended: false, children: self.clone() })
    }

    /// Runs a short program to its end, without input or output.
    pub async fn run(self: &Arc<Self>, command: &mut Command) -> io::Result<ExitStatus> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.spawn(command)?.wait().await
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buries dead orphans; `false`: one of ours is dead and in front of others.
    fn bury_orphans(&self) -> bool {
        for _ in 0..BURIED_MAX {
            let ours = self.lock();
            let looked = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT);
            let pid = match looked {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
                Ok(_) | Err(Errno::ECHILD) => return true,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for dead processes");
                    return true;
                }
            };
            if ours.contains(&pid) {
                return false;
            }
            if let Err(error) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                tracing::warn!(%error, pid = pid.as_raw(), "cannot bury a dead process");
                return true;
            }
        }
        true
    }
}

/// A child that tokio waits for.
pub struct OwnChild {
    child: Child,
    pid: Pid,
    ended: bool,
    children: Arc<Children>,
}

impl OwnChild {
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// May be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.ended = true;
        self.children.lock().remove(&self.pid);
        status
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// To the child and what it started, unless it has ended.
    pub fn signal_group(&self, signal: Signal) {
        if !self.ended
            && let Err(error) = killpg(self.pid, signal)
            && error != Errno::ESRCH
        {
            tracing::warn!(%error, pid = self.pid.as_raw(), %signal, "cannot signal a process group");
        }
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        self.signal_group(Signal::SIGKILL);
        self.children.lock().remove(&self.pid);
    }
}

/// Runs until told to stop, as process 1. Others have no orphans, only children that are not ours.
pub fn start(children: Arc<Children>, stop: CancellationToken) -> io::Result<()> {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut died = signal(SignalKind::child())?;
    tokio::spawn(async move {
        let look = async {
            loop {
                let wait = if children.bury_orphans() { LOOK_WAIT_MAX } else { LOOK_WAIT_MIN };
                tokio::time::sleep(LOOK_WAIT_MIN).await;
                tokio::time::timeout(wait, died.recv()).await.ok();
            }
        };
        stop.run_until_cancelled(look).await;
    });
    Ok(())
}
