//! What would a support engineer find? The way of the test, step by step, then a look around with the machine's own
//! shell: each finding with what to do about it.

mod account;
mod inside;
mod way;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use events::Cause;
use events::ids::{ServerId, TenantId};
use events::server::{ConnectionTested, Method};
use tokio::time::timeout;

use crate::connect::{Who, own};
use crate::script::{Answers, Given, run};
use crate::test::{Tried, WHOLE_MAX};
use crate::trouble::Trouble;
use crate::{Reach, ReachError};

pub(crate) use account::State;

/// The longest that looking around may take.
const LOOK_WAIT: Duration = Duration::from_secs(20);
const SCRIPT: &str = include_str!("../shell/doctor.sh");
pub(crate) const ACCOUNT_STATE: &str = include_str!("../shell/account_state.sh");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    /// Works, and will not for long, or not for everything.
    Warning,
    Failed,
    /// Not reached, or not to be seen from here.
    Skipped,
}

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What was seen at one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `name`, `route`, `port`, ..., `sudo`.
    pub step: &'static str,
    pub status: Status,
    /// Stable, for programs; none when all is well.
    pub class: Option<&'static str>,
    /// In a sentence.
    pub said: String,
    /// What a person can do; always there when something failed.
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(step: &'static str, said: impl Into<String>) -> Self {
        Self { step, status: Status::Ok, class: None, said: said.into(), remedy: None }
    }

    pub(crate) fn skipped(step: &'static str, said: impl Into<String>) -> Self {
        Self { status: Status::Skipped, ..Self::ok(step, said) }
    }

    pub(crate) fn warning(
        step: &'static str,
        class: &'static str,
        said: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (class, remedy) = (Some(class), Some(remedy.into()));
        Self { step, status: Status::Warning, class, said: said.into(), remedy }
    }

    pub(crate) fn failed(
        step: &'static str,
        class: &'static str,
        said: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status: Status::Failed, ..Self::warning(step, class, said, remedy) }
    }
}

/// All findings, in the order of the way.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    pub findings: Vec<Finding>,
    /// The test that is part of it.
    pub outcome: ConnectionTested,
    /// Last sequence of the server.
    pub seq: u64,
}

impl Diagnosis {
    /// Nothing failed.
    pub fn ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.status != Status::Failed)
    }
}

impl Reach {
    /// `account`: another account there that is to be looked at; the one of the settings when absent.
    pub async fn diagnose(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        account: Option<&str>,
        who: Who<'_>,
        cause: &Cause,
    ) -> Result<Diagnosis, ReachError> {
        let own = own(cause);
        let began = Instant::now();
        let trying = Box::pin(self.go_and_try(tenant, id, who, &own));
        let tried = match timeout(WHOLE_MAX, trying).await {
            Ok(tried) => tried?,
            Err(_) => self.too_slow(tenant, id).await?,
        };
        let outcome = tried.outcome(began);
        let mut findings = way::findings(&tried);
        if tried.trouble.is_none() {
            match self.look(&tried, account).await? {
                Ok(answers) => findings.extend(inside::findings(&answers, &tried.settings, account, now())),
                Err(trouble) => {
                    findings.push(Finding::failed(
                        "shell",
                        trouble.class,
                        trouble.reason,
                        trouble.suggestion,
                    ));
                }
            }
        }
        findings.extend(inside::not_reached(&findings));
        tried.leave().await;
        let seq = self.record(tenant, id, &own, &tried, &outcome).await?;
        Ok(Diagnosis { findings, outcome, seq })
    }

    async fn look(
        &self,
        tried: &Tried,
        account: Option<&str>,
    ) -> Result<Result<Answers, Trouble>, ReachError> {
        let Some(inside) = &tried.inside else { return Ok(Ok(Answers::default())) };
        let password = match tried.settings.credential.method {
            Method::Password => self.stored(&tried.settings).await?,
            Method::PrivateKey | Method::Certificate => None,
        };
        let given = Given { password, root: true, variables: vec![("account", account.unwrap_or_default())] };
        Ok(run(inside, &[ACCOUNT_STATE, SCRIPT], given, LOOK_WAIT).await)
    }
}

/// Seconds since 1970, as the machine is asked for them too.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
