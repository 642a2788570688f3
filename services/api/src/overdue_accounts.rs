//! What ends a change of an account whose process is gone? A sweep that looks which deadlines are over.

use std::time::Duration;

use chrono::Utc;
use events::Cause;
use projections::servers;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;

const INTERVAL: Duration = Duration::from_secs(5);
/// Servers that one sweep looks at; the next one goes on.
const SERVERS_MAX: u32 = 500;

/// The read model says where to look, the log what is true there.
pub async fn keep_ending(app: App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
        let due = match servers::account_due(&app.projections, Utc::now(), SERVERS_MAX).await {
            Ok(due) => due,
            // it says itself that it is away, to whoever asks
            Err(_) => continue,
        };
        for (tenant, id) in due {
            let cause = Cause::new(Uuid::now_v7(), "service:api");
            if let Err(error) = app.reach.expire_accounts(&tenant, &id, &cause).await {
                let error = kit::error::chain(&error);
                tracing::warn!(server.id = %id, error, "overdue changes of accounts were not ended; tried again");
            }
        }
    }
}
