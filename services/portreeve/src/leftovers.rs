//! Did a killed `up` leave a process behind? It is ended before the next one takes its place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
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

/// Programs that become the wanted one with the same words behind them.
const WRAPPERS: [&str; 2] = ["setpriv", "unshare"];

/// Ends every `program` whose command line names `mark`, a path of ours. Looked for among all
/// processes, since whoever was killed may not have noted what it had just started; called while the
/// data directory is locked, so nobody who lives needs them.
pub async fn end(program: &str, mark: &Path, signal: Signal) {
    for pid in found(program, mark) {
        tracing::warn!(child = program, pid = pid.as_raw(), "ending what an earlier start left behind");
        let _gone = kill(pid, signal);
        if !gone_within(pid, program, mark, ENDS_WITHIN).await {
            let _gone = kill(pid, Signal::SIGKILL);
            gone_within(pid, program, mark, KILLED_WITHIN).await;
        }
    }
}

fn found(program: &str, mark: &Path) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| runs(*pid, program, mark))
        .collect()
}

/// Whether this process is `program`, or about to become it, and works on `mark`.
fn runs(pid: Pid, program: &str, mark: &Path) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let is = |word: &&[u8], name: &str| {
        Path::new(OsStr::from_bytes(word)).file_name().is_some_and(|base| base == name)
    };
    let first = words.first().is_some_and(|word| {
        is(word, program)
            || WRAPPERS.iter().any(|wrapper| is(word, wrapper)) && words.iter().any(|word| is(word, program))
    });
    let mark = mark.as_os_str().as_bytes();
    first && words.iter().any(|word| word.windows(mark.len().max(1)).any(|part| part == mark))
}

async fn gone_within(pid: Pid, program: &str, mark: &Path, within: Duration) -> bool {
    let began = Instant::now();
    while runs(pid, program, mark) {
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
    async fn ours_is_ended_and_a_stranger_on_the_same_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        std::fs::write(&mark, "").unwrap();
        let mut ours = std::process::Command::new("tail").arg("-f").arg(&mark).spawn().unwrap();
        let mut stranger = std::process::Command::new("sh")
            .args(["-c", "read line"])
            .arg(&mark)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The kernel shows the command line a moment after the program began.
        let began = Instant::now();
        while found("tail", &mark).is_empty() {
            assert!(began.elapsed() < KILLED_WITHIN, "its command line never appeared");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let reaper = std::thread::spawn(move || ours.wait().unwrap());
        end("tail", &mark, Signal::SIGTERM).await;
        assert!(!reaper.join().unwrap().success());
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger lives on");
        drop(stranger.stdin.take());
        stranger.wait().unwrap();
    }
}
