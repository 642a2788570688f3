//! How much memory did a process take at most since a moment? By the kernel's own high-water mark.

use anyhow::Context;

/// To `/proc/<pid>/clear_refs`: the mark is what is resident now.
const RESET_MARK: &str = "5";

pub struct Peak {
    pid: u32,
    resident_kib: u64,
}

impl Peak {
    pub fn from_now(pid: u32) -> anyhow::Result<Self> {
        std::fs::write(format!("/proc/{pid}/clear_refs"), RESET_MARK)?;
        Ok(Self { pid, resident_kib: field_kib(pid, "VmRSS:")? })
    }

    /// What it had at most above what it had then.
    pub fn grown_mib(&self) -> anyhow::Result<u64> {
        Ok(field_kib(self.pid, "VmHWM:")?.saturating_sub(self.resident_kib) / 1024)
    }
}

fn field_kib(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
