//! How many bytes had a session when the sentry was killed? As many as half a minute before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kit::sentry_protocol::Report;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::atomic_file;
use crate::door::Door;
use crate::reporter::Reporter;
use crate::tcp_info;

const SAMPLE_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Sample {
    bytes_in: u64,
    bytes_out: u64,
}

pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("samples.json")
}

/// Closes the sessions that an earlier run left open.
pub async fn close_interrupted(left_open: BTreeSet<String>, file: &Path, reporter: &Reporter) {
    let samples: BTreeMap<String, Sample> =
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    for session_id in left_open {
        let Sample { bytes_in, bytes_out } = samples.get(&session_id).copied().unwrap_or_default();
        let reason = "interrupted".into();
        reporter.report(Report::SessionClosed { session_id, bytes_in, bytes_out, reason }).await;
    }
}

/// Runs until told to stop.
pub async fn run(door: Arc<Door>, file: PathBuf, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    let mut before = None;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let mut samples = BTreeMap::new();
        for (session_id, socket) in door.sessions() {
            if let Ok(traffic) = tcp_info::read(&socket) {
                samples
                    .insert(session_id, Sample { bytes_in: traffic.bytes_in, bytes_out: traffic.bytes_out });
            }
        }
        let Ok(bytes) = serde_json::to_vec(&samples) else { continue };
        if before.as_ref() == Some(&bytes) {
            continue;
        }
        let path = file.clone();
        let written =
            tokio::task::spawn_blocking(move || atomic_file::write(&path, &bytes, 0o600).map(|()| bytes));
        match written.await {
            Ok(Ok(bytes)) => before = Some(bytes),
            Ok(Err(error)) => tracing::warn!(%error, "cannot keep samples of sessions"),
            Err(_) => return,
        }
    }
}
