//! What may be asked of who writes anchors? An anchor now, another key. The bell is rung, and what comes of it is
//! read from the records.

use std::time::Duration;

use nats::{Anchors, AnchorsError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::evidence::{Anchored, Evidence};
use crate::reading::read_on;

/// An answer comes within, or nobody writes anchors.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// A bell that nobody heard is rung again.
const RING_EVERY: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(30);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum Wish {
    /// An anchor that has the event, after this record.
    Anchor { upto: u64, after_record: u64, binds: Option<String> },
    /// Another key in the place of this one.
    Rotate { from: u32 },
}

#[derive(Debug, thiserror::Error)]
pub enum WishError {
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    #[error("nobody wrote it within {} s: is the service `audit` running?", ANSWER_WAIT.as_secs())]
    Unheard,
}

/// An anchor of everything up to this event, which binds this digest.
pub async fn anchor(anchors: &Anchors, upto: u64, binds: Option<&str>) -> Result<Anchored, WishError> {
    let mut evidence = Evidence::default();
    read_on(anchors, &mut evidence, |_, _| {}).await?;
    let after_record = evidence.number();
    let wish = Wish::Anchor { upto, after_record, binds: binds.map(str::to_owned) };
    let is_it = |evidence: &Evidence| {
        evidence.last().is_some_and(|last| {
            last.number > after_record
                && last.anchor.upto >= upto
                && (binds.is_none() || last.anchor.binds.as_deref() == binds)
        })
    };
    wait(anchors, &mut evidence, &wish, is_it).await?;
    evidence.last().cloned().ok_or(WishError::Unheard)
}

/// Another key in the place of this one, or of the one that signs now. That is done once: a key that was replaced
/// before stays so.
pub async fn rotate(anchors: &Anchors, replaces: Option<u32>) -> Result<Evidence, WishError> {
    let mut evidence = Evidence::default();
    read_on(anchors, &mut evidence, |_, _| {}).await?;
    let from = replaces.unwrap_or(evidence.current_key());
    if evidence.current_key() > from {
        return Ok(evidence);
    }
    wait(anchors, &mut evidence, &Wish::Rotate { from }, |evidence| evidence.current_key() > from).await?;
    Ok(evidence)
}

async fn wait(
    anchors: &Anchors,
    evidence: &mut Evidence,
    wish: &Wish,
    is_it: impl Fn(&Evidence) -> bool,
) -> Result<(), WishError> {
    let began = Instant::now();
    let mut rung: Option<Instant> = None;
    // record by record: what was asked for may be followed by others
    while began.elapsed() < ANSWER_WAIT {
        if rung.is_none_or(|at| at.elapsed() >= RING_EVERY) {
            anchors.ring(serde_json::to_vec(wish).unwrap_or_default().into()).await?;
            rung = Some(Instant::now());
        }
        for record in anchors.read(evidence.number() + 1).await? {
            evidence.take(record.number, &record.bytes);
            if is_it(evidence) {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(WishError::Unheard)
}

/// The digest that an anchor may bind.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
