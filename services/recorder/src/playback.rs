//! Is what is stored what was recorded? The chunks are held against the log before anybody is shown them.

use chrono::{DateTime, TimeDelta, Utc};
use events::session::Recording;
use nats::topology::RECORDINGS_KEPT_DAYS;
use nats::{RecordingError, RecordingId, Recordings};
use sha2::{Digest, Sha256};

#[derive(Debug, thiserror::Error)]
pub enum PlaybackError {
    /// Its recorder has stored nothing yet, or was killed before it did.
    #[error("nothing of the recording is stored yet; try again in a few seconds")]
    NothingYet,
    /// Nothing is stored (any more).
    #[error("the recording was removed: recordings are kept for {RECORDINGS_KEPT_DAYS} days")]
    Gone,
    /// Something is stored, and it is not what the log vouches for.
    #[error("the recording is damaged: {0}")]
    Damaged(String),
    #[error("the recording cannot be read")]
    Store(#[source] RecordingError),
}

/// What may be shown of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    pub chunks: u32,
    pub bytes: u64,
}

/// Reads all that is stored, one batch in memory at a time. Of a recording that has no end yet, or whose
/// recorder was killed, the chunks that came after the log was last told count too: they open under their own
/// place only.
pub async fn check(
    store: &Recordings,
    id: &RecordingId,
    recording: &Recording,
    now: DateTime<Utc>,
) -> Result<Checked, PlaybackError> {
    let kept_for = TimeDelta::days(i64::try_from(RECORDINGS_KEPT_DAYS).unwrap_or(i64::MAX / 2));
    // the first chunks go first: from then on it is no longer whole
    if now - recording.started_at > kept_for {
        return Err(PlaybackError::Gone);
    }
    let mut reading = store.read(id);
    let mut digest = Sha256::new();
    let mut checked = Checked { chunks: 0, bytes: 0 };
    while let Some(chunk) = reading.next().await.map_err(unreadable)? {
        checked.chunks += 1;
        checked.bytes += chunk.len() as u64;
        digest.update(&chunk);
        if checked.chunks == recording.chunks {
            let sha256 = data_encoding::HEXLOWER.encode(&digest.clone().finalize());
            if sha256 != recording.sha256 || checked.bytes != recording.bytes {
                let why = format!("its first {} chunks are not those that were recorded", recording.chunks);
                return Err(PlaybackError::Damaged(why));
            }
        }
    }
    let (stored, told) = (checked.chunks, recording.chunks);
    if stored == 0 && told == 0 && recording.end.is_none() {
        return Err(PlaybackError::NothingYet);
    }
    if stored == 0 {
        return Err(PlaybackError::Gone);
    }
    if stored < told || (recording.end.is_some() && stored > told) {
        return Err(PlaybackError::Damaged(format!("{stored} chunks are stored of {told}")));
    }
    Ok(checked)
}

fn unreadable(error: RecordingError) -> PlaybackError {
    match error {
        RecordingError::Damaged { chunk } => {
            PlaybackError::Damaged(format!("chunk {chunk} is not what was stored"))
        }
        error @ (RecordingError::TooLong
        | RecordingError::Randomness
        | RecordingError::Unavailable(_)
        | RecordingError::Refused(_)
        | RecordingError::KeyUnknown { .. }) => PlaybackError::Store(error),
    }
}
