//! Which ports may a test use? The next free ones of a counter, so that no two tests of a process meet.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// Ranges are cut from here, below the system's own ephemeral ports and beside the product's default.
const FIRST: u16 = 12_000;
const LAST: u16 = 29_999;

static NEXT: AtomicU16 = AtomicU16::new(FIRST);

/// A port that was free a moment ago, and is given to no other test of this process.
pub fn one() -> anyhow::Result<u16> {
    Ok(*range(1)?.start())
}

/// So many ports in a row, free a moment ago, and given to no other test of this process.
pub fn range(length: u16) -> anyhow::Result<RangeInclusive<u16>> {
    loop {
        let first = NEXT.fetch_add(length, Ordering::SeqCst);
        let Some(last) = first.checked_add(length - 1).filter(|last| *last <= LAST) else {
            bail!("no range of {length} free ports is left between {FIRST} and {LAST}");
        };
        if (first..=last).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first..=last);
        }
    }
}
