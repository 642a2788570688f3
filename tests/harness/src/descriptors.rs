//! May this process, and those it starts, have so many descriptors? Root may ask for more than it was given.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As many as asked for, or as many as may be had; how many that is.
pub fn raise_to(needed: u64) -> anyhow::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(soft);
    }
    let most = hard.max(needed);
    if setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok() {
        return Ok(most);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
