//! Where do recorded terminals lie? As chunks in the stream `RECORDINGS`, one subject a recording.

use events::ids::{SessionId, TenantId};

use crate::chunks::Chunks;
pub use crate::chunks::{CHUNK_BYTES_MAX, ChunkError as RecordingError, Reading, SealedChunk};
use crate::wire;

/// One recorded terminal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordingId {
    pub tenant: TenantId,
    pub session: SessionId,
    /// Terminals of a session are counted from 1.
    pub number: u32,
}

impl RecordingId {
    fn subject(&self) -> String {
        format!("{}{}.{}.{}", wire::RECORDING_PREFIX, self.tenant, self.session, self.number)
    }
}

/// The stored recordings. Who recorded what is visible to the server, what was shown is not.
#[derive(Clone)]
pub struct Recordings(pub(crate) Chunks);

impl Recordings {
    /// Chunks are numbered from 1.
    pub fn seal(&self, id: &RecordingId, chunk: u32, text: &[u8]) -> Result<SealedChunk, RecordingError> {
        self.0.seal(&id.subject(), chunk, text)
    }

    /// On disk when this returns. May be repeated until it does; chunks are stored in their order.
    pub async fn keep(&self, chunk: &SealedChunk) -> Result<(), RecordingError> {
        self.0.keep(chunk).await
    }

    /// From its first chunk.
    pub fn read(&self, id: &RecordingId) -> Reading {
        self.0.read(id.subject())
    }
}
