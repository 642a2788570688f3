//! What has a channel brought that nobody has taken yet? At most its window, however small the packets.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Status(u32),
    /// Killed by a signal, named without `SIG`.
    Signal {
        name: String,
        core_dumped: bool,
        message: String,
    },
}

/// What a channel brings, in the order in which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output, or what comes through a forward.
    Data(Bytes),
    /// Standard error.
    ErrorData(Bytes),
    /// No more data will come; a status may.
    Eof,
    Exit(Exit),
}

/// Pieces are joined up to this size, so that a flood of small packets costs no more than its bytes.
const PIECE_BYTES_MAX: usize = 32 << 10;

enum Piece {
    Data { error: bool, bytes: BytesMut },
    Eof,
    Exit(Exit),
}

#[derive(Default)]
struct Held {
    pieces: VecDeque<Piece>,
    /// Answers to our requests, in their order.
    replies: VecDeque<bool>,
    closed: bool,
    lost: Option<String>,
}

/// Filled by the connection, emptied by the channel's reader.
#[derive(Default)]
pub(crate) struct HeldOutput {
    held: Mutex<Held>,
    changed: Notify,
}

/// The connection ended under a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection was lost: {why}")]
pub struct Lost {
    pub why: String,
}

impl HeldOutput {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held());
        self.changed.notify_waiters();
    }

    pub(crate) fn data(&self, error: bool, bytes: &[u8]) {
        self.change(|held| match held.pieces.back_mut() {
            Some(Piece::Data { error: same, bytes: last })
                if *same == error && last.len() + bytes.len() <= PIECE_BYTES_MAX =>
            {
                last.extend_from_slice(bytes);
            }
            _ => held.pieces.push_back(Piece::Data { error, bytes: BytesMut::from(bytes) }),
        });
    }

    pub(crate) fn eof(&self) {
        self.change(|held| held.pieces.push_back(Piece::Eof));
    }

    pub(crate) fn exit(&self, exit: Exit) {
        self.change(|held| held.pieces.push_back(Piece::Exit(exit)));
    }

    pub(crate) fn reply(&self, granted: bool) {
        self.change(|held| held.replies.push_back(granted));
    }

    pub(crate) fn close(&self) {
        self.change(|held| held.closed = true);
    }

    pub(crate) fn lose(&self, why: &str) {
        self.change(|held| {
            if !held.closed {
                held.lost = Some(why.to_owned());
            }
        });
    }

    /// The next output; `None` when the channel was closed.
    pub(crate) async fn next(&self) -> Result<Option<Output>, Lost> {
        self.until(|held| {
            if let Some(piece) = held.pieces.pop_front() {
                return Some(Ok(Some(match piece {
                    Piece::Data { error: false, bytes } => Output::Data(bytes.freeze()),
                    Piece::Data { error: true, bytes } => Output::ErrorData(bytes.freeze()),
                    Piece::Eof => Output::Eof,
                    Piece::Exit(exit) => Output::Exit(exit),
                })));
            }
            ended(held).map(|ended| ended.map(|()| None))
        })
        .await
    }

    /// The answer to the oldest request that has none yet; a closed channel grants nothing.
    pub(crate) async fn next_reply(&self) -> Result<bool, Lost> {
        self.until(|held| match held.replies.pop_front() {
            Some(granted) => Some(Ok(granted)),
            None => ended(held).map(|ended| ended.map(|()| false)),
        })
        .await
    }

    pub(crate) async fn until_ended(&self) {
        self.until(|held| ended(held).map(drop)).await;
    }

    async fn until<T>(&self, mut look: impl FnMut(&mut Held) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.held()) {
                return found;
            }
            changed.await;
        }
    }
}

fn ended(held: &Held) -> Option<Result<(), Lost>> {
    match &held.lost {
        _ if held.closed => Some(Ok(())),
        Some(why) => Some(Err(Lost { why: why.clone() })),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn small_pieces_are_joined_and_streams_keep_their_order() {
        let held = HeldOutput::default();
        for _ in 0..3 {
            held.data(false, b"a");
        }
        held.data(true, b"e");
        held.eof();
        held.exit(Exit::Status(3));
        held.close();
        held.lose("too late to matter");
        assert_eq!(held.next().await.unwrap(), Some(Output::Data("aaa".into())));
        assert_eq!(held.next().await.unwrap(), Some(Output::ErrorData("e".into())));
        assert_eq!(held.next().await.unwrap(), Some(Output::Eof));
        assert_eq!(held.next().await.unwrap(), Some(Output::Exit(Exit::Status(3))));
        assert_eq!(held.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_came_before_a_loss_is_still_read() {
        let held = HeldOutput::default();
        held.data(false, b"a");
        held.lose("reset");
        assert_eq!(held.next().await.unwrap(), Some(Output::Data("a".into())));
        assert_eq!(held.next().await, Err(Lost { why: "reset".into() }));
        assert!(held.next_reply().await.is_err());
    }
}
