//! Did a killed `up` leave a process behind? It is ended before the next one takes its place.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often to look whether a process is gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a leftover may take to end before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How long a killed leftover may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// Ends the process that `pid_file` names, if its command line contains `mark` (a path of ours):
/// process ids are used again, and another program is left alone.
pub async fn end(name: &str, pid_file: &Path, mark: &str, signal: Signal) {
    let Some(pid) = read_pid(pid_file) else { return };
    if runs(pid, mark) {
        tracing::warn!(child = name, pid = pid.as_raw(), "ending what an earlier start left behind");
        let _gone = kill(pid, signal);
        if !gone_within(pid, mark, ENDS_WITHIN).await {
            let _gone = kill(pid, Signal::SIGKILL);
            gone_within(pid, mark, KILLED_WITHIN).await;
        }
    }
    let _absent = std::fs::remove_file(pid_file);
}

/// The first line of a file, if it is a process id.
pub fn read_pid(path: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(path).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    (pid > 1).then(|| Pid::from_raw(pid))
}

/// Whether this process exists and its command line contains `mark`.
pub fn runs(pid: Pid, mark: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.windows(mark.len().max(1)).any(|part| part == mark.as_bytes()))
}

async fn gone_within(pid: Pid, mark: &str, within: Duration) -> bool {
    let began = Instant::now();
    while runs(pid, mark) {
        if began.elapsed() > within {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn ours_is_ended_and_a_stranger_with_the_same_number_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let mut child = std::process::Command::new("sleep").arg("61.25").spawn().unwrap();
        // The kernel shows the command line a moment after the program began.
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let began = Instant::now();
        while !runs(pid, "61.25") {
            assert!(began.elapsed() < KILLED_WITHIN, "its command line never appeared");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        std::fs::write(&pid_file, child.id().to_string()).unwrap();
        end("sleep", &pid_file, "/some/other/program", Signal::SIGTERM).await;
        assert!(child.try_wait().unwrap().is_none(), "a stranger lives on");
        assert!(!pid_file.exists());
        std::fs::write(&pid_file, child.id().to_string()).unwrap();
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        end("sleep", &pid_file, "61.25", Signal::SIGTERM).await;
        assert!(!reaper.join().unwrap().success());
    }
}
