//! What waits between a terminal and its recording? A bounded number of bytes; what finds no place is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Bytes that wait for one recording.
pub const QUEUED_BYTES_MAX: usize = 8 << 20;
/// The same for all recordings of a process.
const QUEUED_BYTES_MAX_ALL: usize = 256 << 20;
/// What a moment costs besides its bytes.
const MOMENT_BYTES: usize = 64;
/// Output that comes within this time is one moment.
const MERGE_WITHIN: Duration = Duration::from_millis(10);
/// Longest output of one moment: escaped as JSON at most six times as long.
pub const MOMENT_OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Output of one terminal may come in bursts of so many bytes; above that at a rate that a person could read.
/// A flood loses itself, not what comes after it.
const BURST_BYTES: u64 = 16 << 20;
const RATE_BYTES_PER_S: u64 = 64 << 10;
/// All output of one recording.
const OUTPUT_BYTES_MAX: u64 = 256 << 20;

/// What happened at a terminal.
#[derive(Debug, PartialEq)]
pub enum Moment {
    Output(Vec<u8>),
    Resized {
        cols: u32,
        rows: u32,
    },
    /// So many bytes of output are missing here.
    Lost(u64),
}

/// Bytes that wait in a process.
#[derive(Default)]
pub struct Share(AtomicUsize);

pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
    share: Arc<Share>,
}

struct State {
    moments: VecDeque<(Duration, Moment)>,
    bytes: usize,
    allowance: u64,
    allowed_at: Duration,
    taken_in: u64,
    ended: Option<Duration>,
    /// Nobody takes anything out any more.
    closed: bool,
}

impl Queue {
    pub fn new(share: Arc<Share>) -> Self {
        let state = State {
            moments: VecDeque::new(),
            bytes: 0,
            allowance: BURST_BYTES,
            allowed_at: Duration::ZERO,
            taken_in: 0,
            ended: None,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), share }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn output(&self, at: Duration, bytes: &[u8]) {
        let mut state = self.state();
        if state.ended.is_some() || state.closed {
            return;
        }
        for piece in bytes.chunks(MOMENT_OUTPUT_BYTES_MAX) {
            self.piece(&mut state, at, piece);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn piece(&self, state: &mut State, at: Duration, piece: &[u8]) {
        let length = piece.len() as u64;
        if !state.allows(at, length) || !self.reserve(state, piece.len() + MOMENT_BYTES) {
            return state.lose(at, length);
        }
        state.taken_in += length;
        if let Some((since, Moment::Output(last))) = state.moments.back_mut()
            && at.saturating_sub(*since) < MERGE_WITHIN
            && last.len() + piece.len() <= MOMENT_OUTPUT_BYTES_MAX
        {
            last.extend_from_slice(piece);
            self.release(state, MOMENT_BYTES);
        } else {
            state.moments.push_back((at, Moment::Output(piece.to_vec())));
        }
    }

    pub fn resized(&self, at: Duration, cols: u32, rows: u32) {
        let mut state = self.state();
        if state.ended.is_some() || state.closed {
            return;
        }
        if let Some((since, Moment::Resized { cols: last_cols, rows: last_rows })) = state.moments.back_mut()
        {
            (*since, *last_cols, *last_rows) = (at, cols, rows);
        } else if self.reserve(&mut state, MOMENT_BYTES) {
            state.moments.push_back((at, Moment::Resized { cols, rows }));
        } else {
            state.lose(at, 0);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Nothing is taken in any more.
    pub fn end(&self, at: Duration) {
        self.state().ended.get_or_insert(at);
        self.changed.notify_one();
    }

    /// When the terminal ended.
    pub fn ended(&self) -> Option<Duration> {
        self.state().ended
    }

    pub fn is_empty(&self) -> bool {
        self.state().moments.is_empty()
    }

    /// What waited longest.
    pub fn take(&self) -> Option<(Duration, Moment)> {
        let mut state = self.state();
        let (at, moment) = state.moments.pop_front()?;
        let cost = match &moment {
            Moment::Output(bytes) => bytes.len() + MOMENT_BYTES,
            Moment::Resized { .. } => MOMENT_BYTES,
            Moment::Lost(_) => 0,
        };
        self.release(&mut state, cost);
        Some((at, moment))
    }

    /// Resolves when something waits, or the terminal ended.
    pub async fn ready(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.state();
                if !state.moments.is_empty() || state.ended.is_some() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// There is no recording (any more): what waits is forgotten, and nothing is taken in.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let bytes = state.bytes;
        state.moments.clear();
        self.release(&mut state, bytes);
    }

    fn reserve(&self, state: &mut State, bytes: usize) -> bool {
        let fits = state.bytes + bytes <= QUEUED_BYTES_MAX
            && self.share.0.load(Ordering::Relaxed) + bytes <= QUEUED_BYTES_MAX_ALL;
        if fits {
            state.bytes += bytes;
            self.share.0.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn release(&self, state: &mut State, bytes: usize) {
        state.bytes -= bytes;
        self.share.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.share.0.fetch_sub(self.state().bytes, Ordering::Relaxed);
    }
}

impl State {
    fn allows(&mut self, at: Duration, bytes: u64) -> bool {
        let passed = at.saturating_sub(self.allowed_at);
        let more =
            u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(RATE_BYTES_PER_S) / 1_000;
        if more > 0 {
            self.allowance = self.allowance.saturating_add(more).min(BURST_BYTES);
            self.allowed_at = at;
        }
        let allowed = bytes <= self.allowance && self.taken_in + bytes <= OUTPUT_BYTES_MAX;
        if allowed {
            self.allowance -= bytes;
        }
        allowed
    }

    /// A gap costs nothing: gaps that follow each other are one.
    fn lose(&mut self, at: Duration, bytes: u64) {
        if let Some((_, Moment::Lost(lost))) = self.moments.back_mut() {
            *lost += bytes;
        } else {
            self.moments.push_back((at, Moment::Lost(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn drained(queue: &Queue) -> Vec<(Duration, Moment)> {
        std::iter::from_fn(|| queue.take()).collect()
    }

    #[test]
    fn output_that_comes_together_is_one_moment() {
        let queue = Queue::new(Arc::default());
        queue.output(at(0), b"a");
        queue.output(at(5), b"b");
        queue.output(at(20), b"c");
        queue.resized(at(21), 1, 1);
        queue.resized(at(22), 100, 50);
        let expected = [
            (at(0), Moment::Output(b"ab".to_vec())),
            (at(20), Moment::Output(b"c".to_vec())),
            (at(22), Moment::Resized { cols: 100, rows: 50 }),
        ];
        assert_eq!(drained(&queue), expected);
        assert_eq!(queue.state().bytes, 0);
    }

    #[test]
    fn what_finds_no_place_is_one_gap_in_its_place() {
        let share = Arc::<Share>::default();
        let queue = Queue::new(Arc::clone(&share));
        for _ in 0..20 {
            queue.output(at(0), &vec![b'x'; 1 << 20]);
        }
        let moments = drained(&queue);
        let kept: usize = moments
            .iter()
            .map(|(_, moment)| if let Moment::Output(bytes) = moment { bytes.len() } else { 0 })
            .sum();
        assert!(kept < QUEUED_BYTES_MAX && kept > QUEUED_BYTES_MAX / 2, "{kept}");
        assert_eq!(moments.last(), Some(&(at(0), Moment::Lost((20 << 20) - kept as u64))));
        queue.output(at(30), b"afterwards");
        assert_eq!(drained(&queue), [(at(30), Moment::Output(b"afterwards".to_vec()))]);
        queue.output(at(40), b"waits");
        drop(queue);
        assert_eq!(share.0.load(Ordering::Relaxed), 0, "what waited is no longer counted");
    }

    #[test]
    fn a_flood_is_cut_and_what_comes_after_it_is_not() {
        let queue = Queue::new(Arc::default());
        let mut kept = 0;
        let mut lost = 0;
        // 60 s at 10 MiB a second, taken out at once
        for second in 0..60 {
            queue.output(at(second * 1_000), &vec![b'x'; 5 << 20]);
            for (_, moment) in drained(&queue) {
                match moment {
                    Moment::Output(bytes) => kept += bytes.len() as u64,
                    Moment::Lost(bytes) => lost += bytes,
                    Moment::Resized { .. } => unreachable!(),
                }
            }
        }
        assert_eq!(kept + lost, 300 << 20);
        assert!((BURST_BYTES..=BURST_BYTES + 61 * RATE_BYTES_PER_S).contains(&kept), "{kept}");
        queue.output(at(61_000), b"a prompt");
        assert_eq!(drained(&queue), [(at(61_000), Moment::Output(b"a prompt".to_vec()))]);
    }

    #[tokio::test]
    async fn the_end_wakes_whoever_waits() {
        let queue = Arc::new(Queue::new(Arc::default()));
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.ready().await }
        });
        queue.end(at(1));
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        queue.output(at(2), b"too late");
        assert_eq!(queue.take(), None);
    }
}
