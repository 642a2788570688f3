//! How often was a closed address turned away? Counted here, and appended once a minute: a flood cannot
//! grow the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::Cause;
use events::ids::{EnvId, TenantId};
use events::login::lockout::source_of;
use events::login::{Entrance, Login, LoginRefusal, LoginsRefused, record};
use nats::{DecideError, Log};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::trouble::chain;

/// Between two summaries.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);
/// Pairs of environment and address that are counted; more are refused and not counted.
const PAIRS_MAX: usize = 10_000;

struct Count {
    tenant: TenantId,
    count: u64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

pub struct Refusals {
    log: Log,
    counts: Mutex<HashMap<(EnvId, IpAddr), Count>>,
}

impl Refusals {
    pub fn new(log: Log) -> Self {
        Self { log, counts: Mutex::default() }
    }

    pub fn count(&self, tenant: &TenantId, env: &EnvId, ip: IpAddr, now: DateTime<Utc>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (env.clone(), source_of(ip));
        if counts.len() >= PAIRS_MAX && !counts.contains_key(&pair) {
            return;
        }
        let count = counts.entry(pair).or_insert_with(|| Count {
            tenant: tenant.clone(),
            count: 0,
            from: now,
            to: now,
        });
        count.count += 1;
        count.to = now;
    }

    pub async fn keep_recording(self: Arc<Self>, shutdown: CancellationToken) {
        let endless = async {
            loop {
                tokio::time::sleep(SUMMARY_EVERY).await;
                self.record().await;
            }
        };
        shutdown.run_until_cancelled(endless).await;
    }

    /// Appends what was counted. What cannot be appended is said in the log of the process and dropped.
    pub async fn record(&self) {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        for ((env, ip), Count { tenant, count, from, to }) in counts {
            let refused = LoginsRefused { ip, entrance: Entrance::Gateway, count, from, to, reported: None };
            let cause = Cause::new(Uuid::new_v4(), "service:gateway");
            let appended: Result<_, DecideError<LoginRefusal>> = self
                .log
                .decide(&tenant, env.as_str(), &cause, 0, |login: &Login| {
                    record::refused(login, refused.clone())
                })
                .await;
            if let Err(error) = appended {
                tracing::error!(env.id = %env, %ip, count, error = chain(&error), "refusals were not recorded");
            }
        }
    }
}
