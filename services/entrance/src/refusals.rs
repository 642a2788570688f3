//! How often was a closed address turned away? Counted here, and appended once a minute: a flood cannot
//! grow the log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::Cause;
use events::ids::{EnvId, TenantId};
use events::login::lockout::source_of;
use events::login::{Entrance, Login, LoginRefusal, LoginsRefused, record};
use kit::error::chain;
use kit::tally::Tally;
use nats::{DecideError, Log};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between two summaries.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);
/// Of so many environments, addresses and entrances there is one; more are refused and not told.
const SUMMARIES_MAX: usize = 10_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Door {
    tenant: TenantId,
    env: EnvId,
    entrance: Entrance,
    source: IpAddr,
}

pub struct Refusals {
    log: Log,
    /// Who says so.
    actor: &'static str,
    tally: Tally<Door>,
}

impl Refusals {
    pub fn new(log: Log, actor: &'static str) -> Self {
        Self { log, actor, tally: Tally::new(SUMMARIES_MAX, 0) }
    }

    /// Somebody came to this entrance from an address that is closed.
    pub fn count(&self, tenant: &TenantId, env: &EnvId, entrance: Entrance, ip: IpAddr, now: DateTime<Utc>) {
        let door = Door { tenant: tenant.clone(), env: env.clone(), entrance, source: source_of(ip) };
        self.tally.count(door, now);
    }

    /// Each minute until the end, and then once more.
    pub async fn keep_recording(self: Arc<Self>, end: CancellationToken) {
        loop {
            let waited = end.run_until_cancelled(tokio::time::sleep(SUMMARY_EVERY)).await;
            self.record().await;
            if waited.is_none() {
                return;
            }
        }
    }

    /// What cannot be appended is said in the log of the process and dropped.
    async fn record(&self) {
        for (Door { tenant, env, entrance, source: ip }, counted) in self.tally.take() {
            let (count, from, to) = (counted.count, counted.from, counted.to);
            let refused = LoginsRefused { ip, entrance, count, from, to, reported: None };
            let cause = Cause::new(Uuid::new_v4(), self.actor);
            let rule = |login: &Login| record::refused(login, refused.clone());
            let appended: Result<_, DecideError<LoginRefusal>> =
                self.log.decide(&tenant, env.as_str(), &cause, 0, rule).await;
            if let Err(error) = appended {
                tracing::error!(env.id = %env, %ip, count, error = chain(&error), "refusals were not recorded");
            }
        }
    }
}
