//! How many files and processes may an environment have? As many as this machine lets us give.
//!
//! Processes are counted per user on the whole machine, not per container: every environment's
//! account has the same number, so a small limit would be shared by all of them. What bounds one
//! environment is its container's limit of processes.

use std::fs;

/// Given when the machine does not say; every engine may lower limits to these.
const FILES_FALLBACK: i64 = 4096;
const PROCESSES_FALLBACK: i64 = 4096;
/// More is of no use to one environment.
const FILES_MAX: i64 = 1 << 20;
const PROCESSES_MAX: i64 = 1 << 22;

/// Hard limits that can be handed on; raising a hard limit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineLimits {
    pub files: i64,
    pub processes: i64,
}

impl MachineLimits {
    /// Those of this process: an engine on the same machine has the same or higher ones, except
    /// that Podman lowers its processes to the kernel's highest process id.
    pub fn of_this_process() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        Self::parse(&limits, &pid_max)
    }

    fn parse(limits: &str, pid_max: &str) -> Self {
        let hard = |name: &str, fallback: i64, most: i64| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            match line.and_then(|line| line.split_whitespace().nth(1)) {
                Some("unlimited") => most,
                Some(number) => number.parse().map_or(fallback, |number: i64| number.min(most)),
                None => fallback,
            }
        };
        let pid_max = pid_max.trim().parse().unwrap_or(PROCESSES_FALLBACK);
        Self {
            files: hard("Max open files", FILES_FALLBACK, FILES_MAX),
            processes: hard("Max processes", PROCESSES_FALLBACK, PROCESSES_MAX).min(pid_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_limits_are_read_and_bounded() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max processes             96365                96365                processes\n\
            Max open files            1024                 unlimited            files\n";
        let read = MachineLimits::parse(limits, "32768\n");
        assert_eq!(read, MachineLimits { files: FILES_MAX, processes: 32768 });
        let unknown = MachineLimits::parse("", "");
        assert_eq!(unknown, MachineLimits { files: FILES_FALLBACK, processes: PROCESSES_FALLBACK });
    }
}
