//! How does a page learn why its WebSocket ends? By a close frame of ours, between two frames of JupyterLab.
//!
//! The bytes pass undecoded; only the heads of the frames that went out are read, to know where one ends. What is
//! cut in the middle of a frame ends without a word: nothing could be put there that would be understood.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The longest that saying good-bye takes.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// A control frame has at most 125 bytes (RFC 6455, 5.5), two of them the code.
const REASON_BYTES_MAX: usize = 123;

/// The longest head of a frame: 2 bytes, 8 of length, 4 of mask.
const HEAD_BYTES_MAX: usize = 14;

/// Where in a stream of frames (RFC 6455, 5.2) something is.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Of the payload that is passing.
    left: u64,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.head_bytes == 0 && self.left == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let payload = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= payload as u64;
                bytes = &bytes[payload..];
                continue;
            }
            self.head[self.head_bytes] = *first;
            self.head_bytes += 1;
            bytes = &bytes[1..];
            if let Some(payload) = self.whole_head() {
                self.left = payload;
                self.head_bytes = 0;
            }
        }
    }

    /// The length of the payload, once the head is whole.
    fn whole_head(&self) -> Option<u64> {
        let [_, second, ..] = self.head;
        let (short, mask) = (second & 0x7f, if second & 0x80 == 0 { 0 } else { 4 });
        let length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.head_bytes < 2 || self.head_bytes < 2 + length_bytes + mask {
            return None;
        }
        let long = self.head[2..2 + length_bytes].iter();
        let long = long.fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        Some(if length_bytes == 0 { u64::from(short) } else { long })
    }
}

/// The side of the page.
pub struct Page<S> {
    stream: S,
    frames: Frames,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Page<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, frames: Frames::default() }
    }

    /// Says why, closes, and waits for the other side to close too, so that nothing said is lost to a reset.
    pub async fn part(mut self, code: u16, reason: &str) {
        if !self.frames.is_between() {
            return;
        }
        let farewell = async {
            self.stream.write_all(&close_frame(code, reason)).await?;
            self.stream.shutdown().await?;
            let mut rest = [0; 1024];
            while self.stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        let _gone_either_way = tokio::time::timeout(FAREWELL_MAX, farewell).await;
    }
}

/// As a server sends it, unmasked.
fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let reason = &reason.as_bytes()[..reason.len().min(REASON_BYTES_MAX)];
    let length = u8::try_from(2 + reason.len()).unwrap_or(2);
    [&[0x88, length], code.to_be_bytes().as_slice(), reason].concat()
}

impl<S: AsyncRead + Unpin> AsyncRead for Page<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Page<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.frames.pass(bytes.get(..count).unwrap_or_default());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn frame(payload: usize) -> Vec<u8> {
        let head = match payload {
            0..126 => vec![0x82, u8::try_from(payload).unwrap()],
            126..65536 => [&[0x82, 126], u16::try_from(payload).unwrap().to_be_bytes().as_slice()].concat(),
            _ => [&[0x82, 127], (payload as u64).to_be_bytes().as_slice()].concat(),
        };
        [head, vec![0x88; payload]].concat()
    }

    #[test]
    fn the_end_of_a_frame_is_found_however_the_bytes_are_cut() {
        let sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 3];
        let stream: Vec<u8> = sizes.iter().flat_map(|size| frame(*size)).collect();
        let ends: Vec<usize> = sizes
            .iter()
            .scan(0, |at, size| {
                *at += frame(*size).len();
                Some(*at)
            })
            .collect();
        for piece in [1, 2, 3, 7, 1000, 70_000] {
            let (mut frames, mut at) = (Frames::default(), 0);
            for bytes in stream.chunks(piece) {
                frames.pass(bytes);
                at += bytes.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "at {at}, in pieces of {piece}");
            }
        }
        let mut masked = Frames::default();
        masked.pass(&[0x81, 0x82, 1, 2, 3, 4, 0]);
        assert!(!masked.is_between());
        masked.pass(&[0]);
        assert!(masked.is_between());
    }

    #[tokio::test]
    async fn the_reason_comes_after_a_whole_frame_and_never_into_one() {
        for (sent, told) in [(frame(5), true), (frame(5)[..4].to_vec(), false)] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 10);
            let mut page = Page::new(ours);
            page.write_all(&sent).await.unwrap();
            let parting = tokio::spawn(page.part(4401, "signed_out"));
            let mut seen = vec![0; sent.len()];
            theirs.read_exact(&mut seen).await.unwrap();
            assert_eq!(seen, sent);
            let mut last = Vec::new();
            theirs.read_to_end(&mut last).await.unwrap();
            let close = [&[0x88, 12, 0x11, 0x31], b"signed_out".as_slice()].concat();
            assert_eq!(last, if told { close } else { Vec::new() });
            drop(theirs);
            parting.await.unwrap();
        }
    }
}
