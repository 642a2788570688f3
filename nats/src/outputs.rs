//! Where do outputs of commands lie that are too long for an event? As chunks in the stream `OUTPUTS`, one subject an
//! output. The event names it and says its digest.

use events::command::output::Stored;
use events::ids::{CommandId, TenantId};
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

use crate::chunks::Chunks;
pub use crate::chunks::{CHUNK_BYTES_MAX, ChunkError as OutputError, Reading};
use crate::wire;

/// One output; another one each time that it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputId {
    pub tenant: TenantId,
    pub command: CommandId,
    pub version: Uuid,
}

impl OutputId {
    fn subject(&self) -> String {
        format!("{}{}.{}.{}", wire::OUTPUT_PREFIX, self.tenant, self.command, self.version)
    }

    /// What the event names.
    pub fn of(tenant: &TenantId, command: &CommandId, stored: &Stored) -> Self {
        Self { tenant: tenant.clone(), command: command.clone(), version: stored.version }
    }
}

/// The stored outputs. Whose they are is visible to the server, what is in them is not.
#[derive(Clone)]
pub struct Outputs(pub(crate) Chunks);

impl Outputs {
    /// Chunks are numbered from 1. On disk when this returns.
    pub async fn keep(&self, id: &OutputId, number: u32, chunk: &[u8]) -> Result<(), OutputError> {
        self.0.keep(&self.0.seal(&id.subject(), number, chunk)?).await
    }

    /// All of it, of which there are so many bytes at most.
    pub async fn read(&self, id: &OutputId) -> Result<Zeroizing<Vec<u8>>, OutputError> {
        let (mut reading, mut bytes) = (self.0.read(id.subject()), Zeroizing::new(Vec::new()));
        while let Some(chunk) = reading.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
