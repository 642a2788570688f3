//! How does one talk to a port that a server reaches? As with a socket: `AsyncRead` and `AsyncWrite` over a
//! channel of its connection.
//!
//! What is not read stops the sender at the channel's window; what the other side does not take stops the
//! writer, who is at most one piece ahead.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::{Channel, ChannelError, ChannelReader, ChannelWriter, Lost, Output};

/// Written at once.
const PIECE_BYTES_MAX: usize = 32 << 10;

type Reading = Pin<Box<dyn Future<Output = Result<Option<Output>, Lost>> + Send>>;
type Writing = Pin<Box<dyn Future<Output = Result<(), ChannelError>> + Send>>;

/// A connection to a port behind a server. Dropping it closes it.
pub struct Forward {
    reader: Arc<ChannelReader>,
    writer: ChannelWriter,
    /// Came and was not read yet.
    piece: Bytes,
    reading: Option<Reading>,
    writing: Option<Writing>,
    read_all: bool,
    said_eof: bool,
}

impl Forward {
    pub(crate) fn of(channel: Channel) -> Self {
        let (reader, writer) = channel.split();
        Self {
            reader: Arc::new(reader),
            writer,
            piece: Bytes::new(),
            reading: None,
            writing: None,
            read_all: false,
            said_eof: false,
        }
    }

    /// Resolves when nothing is being written any more.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.writing else { return Poll::Ready(Ok(())) };
        let written = ready!(writing.as_mut().poll(cx));
        self.writing = None;
        Poll::Ready(written.map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error)))
    }
}

impl AsyncRead for Forward {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.piece.is_empty() && !self.read_all {
            let reader = Arc::clone(&self.reader);
            let reading = self.reading.get_or_insert_with(|| Box::pin(async move { reader.next().await }));
            let next = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match next {
                Ok(Some(Output::Data(bytes))) => self.piece = bytes,
                Ok(Some(Output::Eof) | None) => self.read_all = true,
                // a forward has neither
                Ok(Some(Output::ErrorData(_) | Output::Exit(_))) => {}
                Err(lost) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, lost))),
            }
        }
        let n = self.piece.len().min(buf.remaining());
        buf.put_slice(self.piece.get(..n).unwrap_or_default());
        self.piece.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Forward {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(cx))?;
        let n = bytes.len().min(PIECE_BYTES_MAX);
        let piece = Bytes::copy_from_slice(bytes.get(..n).unwrap_or_default());
        let writer = self.writer.clone();
        self.writing = Some(Box::pin(async move { writer.data(piece).await }));
        // begins it; whether it succeeds, the next call says
        match self.poll_written(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(n)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_written(cx))?;
            if self.said_eof {
                return Poll::Ready(Ok(()));
            }
            self.said_eof = true;
            let writer = self.writer.clone();
            self.writing = Some(Box::pin(async move { writer.eof().await }));
        }
    }
}
