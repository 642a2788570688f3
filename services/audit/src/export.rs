//! How does the log leave the house with what vouches for it? As lines of one file that needs no server to be checked:
//! what it is, every record, the events as they are stored. The last record binds the first line.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use nats::{Anchors, AnchorsError, Log, LogError, StoredRecord};
use projections::Projections;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::chain::sha256;
use crate::evidence::{Anchored, Evidence};
use crate::fidelity;
use crate::line::{self, End, EventLine, FORMAT, Line, Manifest, RecordLine, VERSION};
use crate::live::gather;
use crate::reading::{LOOK_EVERY, VISIBLE_WITHIN, read_on};
use crate::record::now;
use crate::wishes::{self, WishError};

/// Bytes gathered before they are handed on.
const PIECE_BYTES: usize = 64 << 10;

/// Which events; a bundle may begin earlier and end later, where anchors stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the anchors do not answer")]
    Anchors(#[from] AnchorsError),
    #[error("the log does not answer")]
    Log(#[from] LogError),
    #[error("no anchor could be had for the bundle")]
    Wish(#[from] WishError),
    #[error("nobody takes the bundle any more")]
    Gone,
}

/// Writes the bundle. What breaks it off is its last line.
pub async fn export(
    log: &Log,
    anchors: &Anchors,
    projections: &Projections,
    range: Range,
    out: mpsc::Sender<Bytes>,
) {
    let mut out = Out { out, piece: Vec::new(), hash: Sha256::new() };
    let Err(trouble) = write(log, anchors, projections, range, &mut out).await else { return };
    let why = kit::error::chain(&trouble);
    tracing::warn!(error = &trouble as &dyn std::error::Error, "an export broke off");
    let _gone = out.line(&Line::Broken { why }).await;
    let _gone = out.flush().await;
}

async fn write(
    log: &Log,
    anchors: &Anchors,
    projections: &Projections,
    range: Range,
    out: &mut Out,
) -> Result<(), Trouble> {
    let (evidence, said) = gather(anchors).await?;
    let head = log.head().await?;
    let before = range.from.unwrap_or(1).saturating_sub(1);
    let first = said.iter().map(|one| one.anchor.upto).filter(|upto| *upto <= before).max().unwrap_or(0) + 1;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        exported_at: now(),
        head,
        first,
        to: range.to.filter(|to| *to < head),
        keys: evidence.keys(),
        fidelity: fidelity::compare(log, projections).await,
    };
    let line = Line::Manifest(manifest.clone()).to_bytes();
    let digest = HEXLOWER.encode(&sha256(line.strip_suffix(b"\n").unwrap_or(&line)));
    let binding = wishes::anchor(anchors, head, Some(&digest)).await?;
    out.bytes(&line).await?;
    let (records, said) = records_upto(anchors, binding.number).await?;
    for record in &records {
        out.line(&Line::Record(RecordLine::of(record.number, &record.bytes))).await?;
    }
    let last = last_event(manifest.to, &said, &binding);
    let events = write_events(log, first, last, out).await?;
    out.end(events, records.len() as u64).await
}

/// The event with which a bundle ends.
pub fn last_event(to: Option<u64>, said: &[Anchored], binding: &Anchored) -> u64 {
    let has = |to: u64| said.iter().map(|one| one.anchor.upto).find(|upto| *upto >= to);
    to.and_then(has).unwrap_or(binding.anchor.upto)
}

async fn records_upto(
    anchors: &Anchors,
    number: u64,
) -> Result<(Vec<StoredRecord>, Vec<Anchored>), AnchorsError> {
    let (mut evidence, mut records, mut said) = (Evidence::default(), Vec::new(), Vec::new());
    read_on(anchors, &mut evidence, |record, statement| {
        if record.number <= number {
            records.push(record.clone());
            said.extend(statement.and_then(Anchored::of));
        }
    })
    .await?;
    Ok((records, said))
}

async fn write_events(log: &Log, first: u64, last: u64, out: &mut Out) -> Result<u64, Trouble> {
    let (mut reader, mut events) = (log.stored(first), 0);
    let mut waiting: Option<Instant> = None;
    while reader.position() <= last {
        let batch = reader.next().await?;
        if batch.is_empty() {
            if waiting.get_or_insert_with(Instant::now).elapsed() > VISIBLE_WITHIN {
                // they are missing: whoever checks the bundle is told which
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        waiting = None;
        for event in batch.iter().take_while(|event| event.seq <= last) {
            let headers = event.headers();
            let headers =
                headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let payload = line::Bytes::of(&event.payload);
            let subject = event.subject.clone();
            out.line(&Line::Event(EventLine { sequence: event.seq, subject, headers, payload })).await?;
            events += 1;
        }
    }
    Ok(events)
}

/// The bytes on their way out, and their hash.
struct Out {
    out: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
    hash: Sha256,
}

impl Out {
    async fn line(&mut self, line: &Line) -> Result<(), Trouble> {
        self.bytes(&line.to_bytes()).await
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.hash.update(bytes);
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Trouble> {
        let piece = std::mem::take(&mut self.piece);
        self.out.send(piece.into()).await.map_err(|_| Trouble::Gone)
    }

    async fn end(&mut self, events: u64, records: u64) -> Result<(), Trouble> {
        let sha256 = HEXLOWER.encode(&self.hash.clone().finalize());
        self.line(&Line::End(End { events, records, sha256 })).await?;
        self.flush().await
    }
}
