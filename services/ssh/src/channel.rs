//! How does one work with a shell or a command? Output is taken piece by piece; what is not taken stops
//! the sender, and input goes on beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use russh::client::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};

use crate::client_events::{ClientEvents, Told};
use crate::held_output::HeldOutput;
pub use crate::held_output::{Exit, Lost, Output};
use crate::stream::within;

/// What a server may send before it is taken; also the most that is held for a reader that stopped.
pub const WINDOW_BYTES: u32 = 1 << 20;
/// The window is opened again in steps of this, so that not every piece costs a packet.
const GRANT_BYTES: u32 = WINDOW_BYTES / 4;
/// The longest a server may take to answer one request of a channel.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the server opens no session: {reason}")]
    Refused { reason: String },
    #[error("the server refuses {what}")]
    RequestRefused { what: &'static str },
    #[error("the server did not answer within {} s", ANSWER_WAIT.as_secs())]
    Silent,
    #[error("the channel is closed")]
    Closed,
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl ChannelError {
    /// Stable name of the class, of the same list as [`crate::ConnectError::class`].
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Refused { .. } | Self::RequestRefused { .. } => "channel_refused",
            Self::Silent => "channel_timeout",
            Self::Closed => "channel_closed",
            Self::Lost(_) => "connection_lost",
        }
    }
}

/// A terminal as the other side shall make it.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// For `TERM`: `xterm-256color`.
    pub name: String,
    pub columns: u32,
    pub rows: u32,
}

pub(crate) type Connected = Handle<ClientEvents>;

/// What a shell says of a command that this signal ended: 128 and its number, as Linux counts those that RFC 4254
/// names; 128 alone for any other.
pub fn exit_code_of_signal(name: &str) -> i32 {
    128 + match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => 0,
    }
}

/// An open channel; [`Channel::split`] it to read and write at the same time.
pub struct Channel {
    pub reader: ChannelReader,
    pub writer: ChannelWriter,
}

/// Takes output. Dropping it closes nothing: see [`ChannelWriter::close`].
pub struct ChannelReader {
    core: Arc<Core>,
    /// Taken and not yet granted again.
    taken: AtomicU32,
}

/// Sends input and changes.
#[derive(Clone)]
pub struct ChannelWriter {
    core: Arc<Core>,
}

struct Core {
    connected: Arc<Connected>,
    half: Arc<ChannelWriteHalf<Msg>>,
    held: Arc<HeldOutput>,
    told: Arc<Told>,
}

impl Drop for Core {
    fn drop(&mut self) {
        // nobody can use it any more; best effort, as the connection may be gone
        self.told.forget(self.half.id());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let half = Arc::clone(&self.half);
            runtime.spawn(async move { half.close().await.ok() });
        }
    }
}

impl Channel {
    pub(crate) fn new(connected: Arc<Connected>, half: ChannelWriteHalf<Msg>, told: Arc<Told>) -> Self {
        let held = told.channel(half.id());
        let core = Arc::new(Core { connected, half: Arc::new(half), held, told });
        let reader = ChannelReader { core: Arc::clone(&core), taken: AtomicU32::new(0) };
        Self { reader, writer: ChannelWriter { core } }
    }

    pub fn split(self) -> (ChannelReader, ChannelWriter) {
        (self.reader, self.writer)
    }

    /// The next output; see [`ChannelReader::next`].
    pub async fn next(&self) -> Result<Option<Output>, Lost> {
        self.reader.next().await
    }

    pub(crate) async fn request_terminal(&self, terminal: &Terminal) -> Result<(), ChannelError> {
        let half = &self.writer.core.half;
        let Terminal { name, columns, rows } = terminal;
        let asked = half.request_pty(true, name, *columns, *rows, 0, 0, &[]).await;
        self.answered(asked, "a terminal").await
    }

    pub(crate) async fn request_shell(&self) -> Result<(), ChannelError> {
        let asked = self.writer.core.half.request_shell(true).await;
        self.answered(asked, "a shell").await
    }

    /// Runs a command in a channel in which nothing runs. Unless it is refused, an error leaves open whether it ran.
    pub async fn request_command(&self, command: &[u8]) -> Result<(), ChannelError> {
        let asked = self.writer.core.half.exec(true, command).await;
        self.answered(asked, "the command").await
    }

    pub(crate) async fn request_subsystem(&self, name: &str) -> Result<(), ChannelError> {
        let asked = self.writer.core.half.request_subsystem(true, name).await;
        self.answered(asked, "the subsystem").await
    }

    async fn answered(
        &self,
        asked: Result<(), russh::Error>,
        what: &'static str,
    ) -> Result<(), ChannelError> {
        let core = &self.writer.core;
        asked.map_err(|_| Lost { why: core.told.why() })?;
        match within(ANSWER_WAIT, core.held.next_reply()).await {
            None => Err(ChannelError::Silent),
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(ChannelError::RequestRefused { what }),
            Some(Err(lost)) => Err(lost.into()),
        }
    }
}

impl ChannelReader {
    /// The next output; `None` once the channel is closed. May be dropped and called again: nothing is
    /// lost. Not calling it holds at most [`WINDOW_BYTES`] here and stops the sender.
    pub async fn next(&self) -> Result<Option<Output>, Lost> {
        let next = self.core.held.next().await?;
        if let Some(Output::Data(bytes) | Output::ErrorData(bytes)) = &next {
            self.grant(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Ok(next)
    }

    fn grant(&self, bytes: u32) {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken >= GRANT_BYTES {
            self.taken.fetch_sub(taken, Ordering::Relaxed);
            // an error means that the connection ended, which the next piece says
            self.core.connected.grant_window(self.core.half.id(), taken).ok();
        }
    }
}

impl ChannelWriter {
    /// Sends input; waits while the other side does not take it.
    pub async fn data(&self, bytes: impl Into<Bytes>) -> Result<(), ChannelError> {
        self.unless_ended(self.core.half.data_bytes(bytes)).await
    }

    /// No more input will come.
    pub async fn eof(&self) -> Result<(), ChannelError> {
        self.unless_ended(self.core.half.eof()).await
    }

    pub async fn resize(&self, columns: u32, rows: u32) -> Result<(), ChannelError> {
        self.unless_ended(self.core.half.window_change(columns, rows, 0, 0)).await
    }

    /// `name` without `SIG`.
    pub async fn signal(&self, name: &str) -> Result<(), ChannelError> {
        self.unless_ended(self.core.half.signal(Sig::Custom(name.to_owned()))).await
    }

    /// Ends the channel; the shell behind a terminal gets a hang-up.
    pub async fn close(&self) -> Result<(), ChannelError> {
        self.unless_ended(self.core.half.close()).await?;
        // russh forgets a channel that it closed, and what the server answers
        self.core.held.close();
        Ok(())
    }

    /// A window that never opens again would hold a writer for ever.
    async fn unless_ended(
        &self,
        work: impl Future<Output = Result<(), russh::Error>>,
    ) -> Result<(), ChannelError> {
        tokio::select! {
            biased;
            () = self.core.held.until_ended() => Err(ChannelError::Closed),
            done = work => done.map_err(|_| Lost { why: self.core.told.why() }.into()),
        }
    }
}
