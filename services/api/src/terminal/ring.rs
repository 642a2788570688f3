//! What did a shell say lately? Its newest bytes, by their offset in all of its output.

use std::collections::VecDeque;

/// What is kept for somebody who comes back, or comes later.
pub const RING_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub struct Ring {
    bytes: VecDeque<u8>,
    /// Offset of the oldest byte that is kept.
    start: u64,
}

impl Ring {
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(RING_BYTES_MAX);
        let bytes = bytes.get(skipped..).unwrap_or_default();
        let surplus = (self.bytes.len() + bytes.len()).saturating_sub(RING_BYTES_MAX);
        self.bytes.drain(..surplus);
        self.bytes.extend(bytes);
        self.start += (surplus + skipped) as u64;
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset of the next byte that will come.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// At most so many bytes from this offset on; `None` when they are not kept any more.
    pub fn piece(&self, from: u64, at_most: usize) -> Option<Vec<u8>> {
        let skip = usize::try_from(from.checked_sub(self.start)?).ok()?;
        let count = self.bytes.len().checked_sub(skip)?.min(at_most);
        Some(self.bytes.range(skip..skip + count).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_newest_bytes_are_kept_under_their_offsets() {
        let mut ring = Ring::default();
        ring.push(b"abc");
        ring.push(b"def");
        assert_eq!((ring.start(), ring.end()), (0, 6));
        assert_eq!(ring.piece(2, 3), Some(b"cde".to_vec()));
        assert_eq!(ring.piece(6, 9), Some(Vec::new()));
        assert_eq!(ring.piece(7, 9), None, "nothing was said there yet");
        ring.push(&vec![b'x'; RING_BYTES_MAX - 1]);
        assert_eq!((ring.start(), ring.end()), (5, 5 + RING_BYTES_MAX as u64));
        assert_eq!(ring.piece(5, 2), Some(b"fx".to_vec()));
        assert_eq!(ring.piece(4, 2), None, "too long ago");
    }

    #[test]
    fn more_than_fits_leaves_its_end() {
        let mut ring = Ring::default();
        ring.push(b"ab");
        ring.push(&[vec![b'x'; 10], vec![b'y'; RING_BYTES_MAX]].concat());
        assert_eq!((ring.start(), ring.end()), (12, 12 + RING_BYTES_MAX as u64));
        assert_eq!(ring.piece(12, 1), Some(b"y".to_vec()));
    }
}
