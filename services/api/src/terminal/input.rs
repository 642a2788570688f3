//! What was typed and is not with the shell yet? At most so many bytes; then whoever types waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use ssh::channel::ChannelWriter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::terminal::wire::Size;

/// Input that waits for a shell, and the largest message of a client.
pub const INPUT_BYTES_MAX: usize = 1 << 20;
/// Messages that wait, however small.
const INPUT_MESSAGES_MAX: usize = 4_096;

/// What people give to a shell.
#[derive(Debug)]
pub enum Given {
    Bytes(Bytes),
    Size(Size),
}

struct Waiting {
    given: Given,
    _room: OwnedSemaphorePermit,
}

/// Where people give; its other end is [`Taking`].
pub struct Giving {
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    held_up: AtomicUsize,
    /// Bytes that the shell's channel took.
    taken: Arc<AtomicU64>,
}

pub struct Taking {
    receiver: mpsc::Receiver<Waiting>,
    taken: Arc<AtomicU64>,
}

pub fn input() -> (Giving, Taking) {
    let (sender, receiver) = mpsc::channel(INPUT_MESSAGES_MAX);
    let taken = Arc::new(AtomicU64::new(0));
    let room = Arc::new(Semaphore::new(INPUT_BYTES_MAX));
    let giving = Giving { sender, room, held_up: AtomicUsize::new(0), taken: Arc::clone(&taken) };
    (giving, Taking { receiver, taken })
}

fn bytes_of(given: &Given) -> u32 {
    let bytes = match given {
        Given::Bytes(bytes) => bytes.len().min(INPUT_BYTES_MAX),
        Given::Size(_) => 0,
    };
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Giving {
    /// Whether there is room for it now.
    pub fn at_once(&self, given: &Given) -> bool {
        self.sender.capacity() > 0 && self.room.available_permits() >= bytes_of(given) as usize
    }

    /// Waits while there is no room. Nothing happens once the shell has ended.
    pub async fn give(&self, given: Given) {
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes_of(&given)).await else { return };
        let _ended = self.sender.send(Waiting { given, _room: room }).await;
    }

    /// Somebody waits for room until this is dropped; `changed` is called then and now.
    pub fn hold_up<F: Fn()>(&self, changed: F) -> HeldUp<'_, F> {
        self.held_up.fetch_add(1, Ordering::SeqCst);
        changed();
        HeldUp { giving: self, changed }
    }

    pub fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::SeqCst) > 0
    }

    /// Bytes that reached the shell.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

pub struct HeldUp<'g, F: Fn()> {
    giving: &'g Giving,
    changed: F,
}

impl<F: Fn()> Drop for HeldUp<'_, F> {
    fn drop(&mut self) {
        self.giving.held_up.fetch_sub(1, Ordering::SeqCst);
        (self.changed)();
    }
}

impl Taking {
    /// Hands on what was given, in order, until the channel ends.
    pub async fn hand_on(mut self, writer: ChannelWriter) {
        while let Some(Waiting { given, _room: room }) = self.receiver.recv().await {
            let handed = match given {
                Given::Bytes(bytes) => {
                    let count = bytes.len() as u64;
                    let handed = writer.data(bytes).await;
                    if handed.is_ok() {
                        self.taken.fetch_add(count, Ordering::Relaxed);
                    }
                    handed
                }
                Given::Size(size) => writer.resize(size.cols, size.rows).await,
            };
            drop(room);
            if handed.is_err() {
                // the reading side says why
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn who_types_more_than_fits_waits() {
        let (giving, mut taking) = input();
        let some = |count: usize| Given::Bytes(Bytes::from(vec![b'x'; count]));
        giving.give(some(INPUT_BYTES_MAX)).await;
        assert!(!giving.at_once(&some(1)) && giving.at_once(&Given::Size(Size { cols: 1, rows: 1 })));
        let rung = AtomicUsize::new(0);
        let held_up = giving.hold_up(|| _ = rung.fetch_add(1, Ordering::SeqCst));
        assert!(giving.is_held_up());
        let mut waits = Box::pin(giving.give(some(1)));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(taking.receiver.recv().await);
        waits.await;
        drop(held_up);
        assert!(!giving.is_held_up() && rung.load(Ordering::SeqCst) == 2);
    }

    #[tokio::test]
    async fn an_ended_shell_takes_nothing_and_holds_nobody_up() {
        let (giving, taking) = input();
        drop(taking);
        giving.give(Given::Bytes(Bytes::from_static(b"x"))).await;
        assert_eq!(giving.taken(), 0);
    }
}
