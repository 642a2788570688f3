//! May the batch be begun? Once; a repeated request finds what the first one began.

use super::{Batch, BatchEvent, BatchRefusal, BatchRequested};
use crate::aggregate::Decision;

pub fn request(state: &Batch, asked: BatchRequested) -> Decision<BatchEvent, BatchRefusal> {
    Ok(state.requested.is_none().then(|| asked.into()))
}
