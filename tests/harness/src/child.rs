//! How is a program started so that nothing of it is left behind? In its own process group, killed
//! when its parent dies, its output in a file.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How much of a log is shown when something went wrong, in bytes.
const LOG_SHOWN: usize = 4_000;

/// A program that runs; killed with its whole group when dropped.
pub struct Child {
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// `prepare` adds arguments and environment. Standard output and error are appended to `log`.
    pub fn start(
        program: impl AsRef<OsStr>,
        log: &Path,
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        // setpriv becomes the program, so the process id is the program's.
        let mut command = std::process::Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
        prepare(&mut command);
        command.process_group(0).stdin(std::process::Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let process = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.as_ref().to_string_lossy()))?;
        Ok(Self { process, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(pid(self.pid()), signal)?)
    }

    /// `kill -9` of the group and of every descendant, whatever group that is in.
    pub fn kill_everything(&mut self) {
        let mut victims = descendants(self.pid());
        // Its own children first see nothing of it: the group goes at one blow.
        let _gone = killpg(pid(self.pid()), Signal::SIGKILL);
        victims.push(self.pid());
        for victim in victims {
            let _gone = kill(pid(victim), Signal::SIGKILL);
        }
        let _reaped = self.process.wait();
    }

    /// The end of what it wrote.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_everything();
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap_or(i32::MAX))
}

pub fn log_tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = bytes.len().saturating_sub(LOG_SHOWN);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// A process as `/proc` shows it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// Program and arguments.
    pub command: String,
}

impl Process {
    /// Whether it runs the program of this name.
    pub fn is(&self, program: &str) -> bool {
        let first = self.command.split(' ').next().unwrap_or_default();
        Path::new(first).file_name().is_some_and(|name| name == program)
    }
}

/// Every process of the machine.
pub fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let parent = after_name.split_whitespace().nth(1)?.parse().ok()?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
    Some(Process { pid, parent, command })
}

/// Children, their children, and so on.
pub fn descendants(of: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![of];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        at += 1;
    }
    found.remove(0);
    found
}
