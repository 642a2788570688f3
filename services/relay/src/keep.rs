//! How much of an output is kept, and where? The beginning in the event; all of it, up to a limit, in chunks beside,
//! which are stored while it comes.

use events::command::Output;
use events::command::output::{OUTPUT_BYTES_MAX, Stored};
use events::ids::{CommandId, TenantId};
use kit::error::chain;
use nats::outputs::CHUNK_BYTES_MAX;
use nats::{OutputId, Outputs};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Stored of one output; what comes after is cut, and said to be.
pub const STORED_BYTES_MAX: u64 = 16 << 20;

/// An output as it comes. Holds its beginning and one chunk.
pub struct Keeper<'k> {
    outputs: &'k Outputs,
    id: OutputId,
    /// What the event holds.
    head: Vec<u8>,
    /// Not stored yet.
    chunk: Vec<u8>,
    chunks: u32,
    stored: u64,
    digest: Sha256,
    total: u64,
    /// The store takes no more.
    refused: bool,
}

impl<'k> Keeper<'k> {
    pub fn new(outputs: &'k Outputs, tenant: &TenantId, command: &CommandId) -> Self {
        Self {
            outputs,
            id: OutputId { tenant: tenant.clone(), command: command.clone(), version: Uuid::now_v7() },
            head: Vec::new(),
            chunk: Vec::new(),
            chunks: 0,
            stored: 0,
            digest: Sha256::new(),
            total: 0,
            refused: false,
        }
    }

    pub async fn take(&mut self, mut bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let room = OUTPUT_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        while !bytes.is_empty() && !self.refused {
            let left = STORED_BYTES_MAX.saturating_sub(self.stored + self.chunk.len() as u64);
            let room =
                CHUNK_BYTES_MAX.saturating_sub(self.chunk.len()).min(usize::try_from(left).unwrap_or(0));
            let (now, later) = bytes.split_at(bytes.len().min(room));
            if now.is_empty() {
                return;
            }
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES_MAX {
                self.store().await;
            }
        }
    }

    async fn store(&mut self) {
        self.chunks += 1;
        match self.outputs.keep(&self.id, self.chunks, &self.chunk).await {
            Ok(()) => {
                self.digest.update(&self.chunk);
                self.stored += self.chunk.len() as u64;
            }
            Err(error) => {
                let command = &self.id.command;
                tracing::warn!(command.id = %command, error = chain(&error), "an output is cut: it was not stored");
                self.refused = true;
            }
        }
        self.chunk.clear();
    }

    /// What the event says of it.
    pub async fn end(mut self) -> Output {
        let mut output = Output::of(&self.head, self.total);
        if output.bytes_total.is_none() {
            return output;
        }
        if !self.chunk.is_empty() && !self.refused {
            self.store().await;
        }
        let sha256 = self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let (version, bytes) = (self.id.version, self.stored);
        output.stored = (bytes > output.bytes().len() as u64).then_some(Stored { version, bytes, sha256 });
        output
    }
}
