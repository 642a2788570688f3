//! How do reports get from the spool to the control plane? In order, repeated until acknowledged.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use kit::sentry_protocol::{REPORTS_MAX, Reports};
use tokio_util::sync::CancellationToken;

use crate::control::{Control, ControlError};
use crate::reporter::Reporter;

const RETRY_WAIT_MIN: Duration = Duration::from_millis(100);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// After "gone" or "not your token".
const REFUSED_WAIT: Duration = Duration::from_secs(30);

/// Delays 100 ms, 200 ms, ... 5 s, each with jitter, without end.
pub fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(RETRY_WAIT_MIN)
        .with_max_delay(RETRY_WAIT_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Runs until told to stop.
pub async fn run(reporter: Reporter, control: Control, stop: CancellationToken) {
    stop.run_until_cancelled(send_for_ever(&reporter, &control)).await;
}

/// Sends until nothing is pending; the caller bounds the time.
pub async fn drain(reporter: &Reporter, control: &Control) {
    reporter.flush().await;
    let mut delays = backoff();
    while reporter.pending() > 0 {
        match send_batch(reporter, control).await {
            Ok(Sent::Some) => {}
            Ok(Sent::Nothing) | Err(_) => tokio::time::sleep(delays.next().unwrap_or(RETRY_WAIT_MAX)).await,
        }
    }
}

async fn send_for_ever(reporter: &Reporter, control: &Control) {
    let mut written = reporter.written();
    let mut delays = backoff();
    let mut failing = false;
    loop {
        written.borrow_and_update();
        match send_batch(reporter, control).await {
            Ok(Sent::Some) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("reports reach the control plane again");
                }
                delays = backoff();
            }
            Ok(Sent::Nothing) if reporter.pending() == 0 => {
                if written.changed().await.is_err() {
                    return;
                }
            }
            // taken, but not acknowledged: the same again, later
            Ok(Sent::Nothing) => tokio::time::sleep(delays.next().unwrap_or(RETRY_WAIT_MAX)).await,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = %kit::error::chain(&error), pending = reporter.pending(), "reports wait in the spool");
                }
                let wait = delays.next().unwrap_or(RETRY_WAIT_MAX);
                tokio::time::sleep(if error.is_final() { REFUSED_WAIT } else { wait }).await;
            }
        }
    }
}

enum Sent {
    Some,
    Nothing,
}

async fn send_batch(reporter: &Reporter, control: &Control) -> Result<Sent, ControlError> {
    let reports = match reporter.unacknowledged(REPORTS_MAX).await {
        Some(Ok(reports)) => reports,
        Some(Err(error)) => {
            tracing::error!(%error, "the spool cannot be read");
            return Ok(Sent::Nothing);
        }
        None => return Ok(Sent::Nothing),
    };
    let (Some(first), Some(last)) = (reports.first(), reports.last()) else { return Ok(Sent::Nothing) };
    let (first, last) = (first.number, last.number);
    let batch = Reports { spool_id: reporter.spool_id().into(), reports };
    let through = control.reports(&batch).await?.accepted_through.min(last);
    if through < first {
        return Ok(Sent::Nothing);
    }
    match reporter.acknowledge(through).await {
        Some(Ok(())) => Ok(Sent::Some),
        Some(Err(error)) => {
            tracing::error!(%error, "the acknowledged number cannot be kept");
            Ok(Sent::Nothing)
        }
        None => Ok(Sent::Nothing),
    }
}
