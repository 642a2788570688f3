//! When was this environment used last? Measured by traffic, not by open connections.
//!
//! Every few seconds the bytes of all sessions, of both doors, are looked at. Clients and sshd keep silent
//! connections alive with a packet now and then: what stays below [`LEAK_BYTES_S`] is not use. Above it
//! adds up, so that somebody who types a line is seen within seconds. JupyterLab says itself when it was
//! used last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::sentry_protocol::Jupyter;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::door::Door;
use crate::tcp_info;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks between two questions to JupyterLab.
const JUPYTER_EVERY: u32 = 6;
const JUPYTER_WAIT: Duration = Duration::from_secs(3);
/// Keeping a connection alive costs about 200 bytes every 15 seconds at most, usually every 30.
const LEAK_BYTES_S: u64 = 40;
/// This much above it is use: a few keystrokes with their echo.
const USE_BYTES: u64 = 300;

/// Runs until told to stop; `active_at` is sent on when it changes.
pub async fn run(
    door: Arc<Door>,
    jupyter: watch::Receiver<Option<Jupyter>>,
    jupyter_port: u16,
    active_at: watch::Sender<DateTime<Utc>>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let (mut levels, mut looks) = (Levels::default(), 0_u32);
    let http = reqwest::Client::builder().no_proxy().timeout(JUPYTER_WAIT).build().ok();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = sessions(&door);
        if levels.is_used(&now, LOOK_EVERY.as_secs()) {
            active_at.send_replace(Utc::now());
        }
        looks = looks.wrapping_add(1);
        let asked = jupyter.borrow().clone();
        if let (true, Some(asked), Some(http)) = (looks % JUPYTER_EVERY == 0, asked, &http)
            && let Some(used) = used_by_jupyter(http, jupyter_port, &asked).await
        {
            active_at.send_if_modified(|at| std::mem::replace(at, used.max(*at)) < used);
        }
    }
}

fn sessions(door: &Door) -> HashMap<String, u64> {
    let sessions = door.sessions().into_iter().filter_map(|(id, socket)| {
        let traffic = tcp_info::read(&socket).ok()?;
        Some((id, traffic.bytes_in + traffic.bytes_out))
    });
    sessions.collect()
}

/// How far each session is above silence.
#[derive(Default)]
struct Levels {
    seen: HashMap<String, (u64, u64)>,
}

impl Levels {
    /// Whether one of the sessions was used; a new one is.
    fn is_used(&mut self, now: &HashMap<String, u64>, passed_s: u64) -> bool {
        let before = std::mem::take(&mut self.seen);
        let mut used = false;
        for (id, bytes) in now {
            let level = match before.get(id) {
                None => USE_BYTES,
                Some((then, level)) => {
                    (level + bytes.saturating_sub(*then)).saturating_sub(LEAK_BYTES_S * passed_s)
                }
            };
            used |= level >= USE_BYTES;
            self.seen.insert(id.clone(), (*bytes, if level >= USE_BYTES { 0 } else { level }));
        }
        used
    }
}

/// When its kernels, terminals or pages did something last.
async fn used_by_jupyter(http: &reqwest::Client, port: u16, jupyter: &Jupyter) -> Option<DateTime<Utc>> {
    #[derive(Deserialize)]
    struct Status {
        last_activity: DateTime<Utc>,
    }
    let asked = http.get(format!("http://127.0.0.1:{port}{}api/status", jupyter.path()));
    let answer = asked.header("Authorization", format!("token {}", jupyter.token)).send().await.ok()?;
    Some(answer.json::<Status>().await.ok()?.last_activity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(levels: &mut Levels, bytes: u64) -> bool {
        levels.is_used(&HashMap::from([("ses-a".to_owned(), bytes)]), 5)
    }

    #[test]
    fn a_connection_that_is_only_kept_alive_is_not_used_and_a_typed_line_is() {
        let (mut levels, mut bytes) = (Levels::default(), 5_000);
        assert!(look(&mut levels, bytes), "somebody came");
        for second in (0..3600).step_by(5) {
            // both sides ask the other every fifteen seconds, and each answers
            bytes += if second % 15 == 0 { 360 } else { 0 };
            assert!(!look(&mut levels, bytes), "after {second} s");
        }
        // ten keys with their echo in ten seconds
        bytes += 5 * 100;
        let first = look(&mut levels, bytes);
        bytes += 5 * 100;
        assert!(look(&mut levels, bytes) || first);
        assert!(!levels.is_used(&HashMap::new(), 5), "who left does not use it");
    }
}
