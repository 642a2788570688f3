//! What is on record of signing in? Who signed in and out, from where; and who was turned away, in summaries.
//!
//! A flood of wrong passwords cannot grow the log: of each user, address and class the first refusal of a minute
//! is an event, the others together are one more, and that holds for so many of them as [`SUMMARIES_MAX`] says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::Cause;
use events::ids::{SignInId, TenantId, UserName};
use events::login::lockout::source_of;
use events::sign_in::{
    Proof, RefusalClass, Side, SignIn, SignInsRefused, SignedIn, SignedOut, begin::begin, end::end,
    refuse::refuse, validity::is_open,
};
use kit::error::chain;
use kit::tally::{Count, Tally};
use nats::Log;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::access::Caller;
use crate::idempotency::index;
use crate::problem::Problem;

/// Between two summaries.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);
/// Users, addresses and classes that are told of between two; more are refused and not told.
const SUMMARIES_MAX: usize = 1_000;
/// Refusals of each that are told by themselves.
const TOLD_AT_ONCE_MAX: u64 = 1;

/// Who comes to sign in, as far as a connection says it.
#[derive(Debug, Clone)]
pub struct Coming {
    pub side: Side,
    pub ip: IpAddr,
    pub client: Option<String>,
}

/// Whose name it was that opened nothing.
pub type Whose = Option<(TenantId, UserName)>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Refused {
    whose: Whose,
    source: IpAddr,
    class: RefusalClass,
}

pub struct SignIns {
    log: Log,
    tally: Tally<Refused>,
}

impl SignIns {
    pub fn new(log: Log) -> Self {
        Self { log, tally: Tally::new(SUMMARIES_MAX, TOLD_AT_ONCE_MAX) }
    }

    /// Nobody is signed in of whom this could not be said. Answers the position in the log.
    pub async fn begin(
        &self,
        caller: &Caller,
        id: &SignInId,
        coming: &Coming,
        expires_at: DateTime<Utc>,
        cause: &Cause,
    ) -> Result<u64, Problem> {
        let proof = if caller.actor.starts_with("token:") { Proof::Token } else { Proof::Password };
        let Coming { side, ip, client } = coming.clone();
        let fact = SignedIn { user: caller.owner.clone(), side, proof, ip, client, expires_at };
        let rule = |state: &SignIn| begin(state, fact.clone());
        let decided =
            self.log.decide::<SignIn, _>(&caller.tenant, id.as_str(), cause, index::FIRST, rule).await?;
        Ok(decided.seq)
    }

    /// Every process that holds something open by this sign-in hears of it. Answers the position.
    pub async fn end(
        &self,
        caller: &Caller,
        id: &SignInId,
        ip: IpAddr,
        cause: &Cause,
    ) -> Result<u64, Problem> {
        let fact = SignedOut { user: caller.owner.clone(), ip };
        let rule = |state: &SignIn| end(state, fact.clone());
        let decided =
            self.log.decide::<SignIn, _>(&caller.tenant, id.as_str(), cause, index::FIRST, rule).await?;
        Ok(decided.seq)
    }

    /// Whether somebody is signed in by it, by what the log says now.
    pub async fn is_open(&self, tenant: &TenantId, id: &SignInId) -> Result<bool, Problem> {
        Ok(is_open(&self.log.load::<SignIn>(tenant, id.as_str()).await?.state))
    }

    /// Somebody was turned away; on record before they hear of it, or in the next summary.
    pub async fn refused(&self, whose: Whose, ip: IpAddr, class: RefusalClass) {
        let (refused, now) = (Refused { whose, source: source_of(ip), class }, Utc::now());
        if self.tally.is_told(refused.clone(), now)
            && self.record(&refused, Count { count: 1, from: now, to: now }).await.is_err()
        {
            self.tally.count(refused, now);
        }
    }

    async fn record(&self, refused: &Refused, counted: Count) -> Result<(), Problem> {
        let Refused { whose, source: ip, class } = refused.clone();
        let Count { count, from, to } = counted;
        let (tenant, user) = whose.map_or((TenantId::system(), None), |(tenant, user)| (tenant, Some(user)));
        let fact = SignInsRefused { user, ip, class, count, from, to };
        let command = Uuid::new_v4();
        let (id, cause) = (SignInId::from_seed(&command), Cause::new(command, "service:api"));
        let rule = |state: &SignIn| refuse(state, fact.clone());
        let decided = self.log.decide::<SignIn, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await;
        decided.map(drop).map_err(|error| {
            tracing::error!(%ip, count, error = chain(&error), "refused sign-ins were not recorded");
            error.into()
        })
    }

    /// Each minute until the end, and then once more.
    pub async fn keep_recording(self: Arc<Self>, end: CancellationToken) {
        loop {
            let waited = end.run_until_cancelled(tokio::time::sleep(SUMMARY_EVERY)).await;
            for (refused, counted) in self.tally.take() {
                // said where it failed; the next minute has its own
                let _said = self.record(&refused, counted).await;
            }
            if waited.is_none() {
                return;
            }
        }
    }
}
