//! How does what a sentry saw become facts? One report after the other, each recorded once.
//!
//! The command of a report derives from its spool and number, and the `login` aggregate remembers the
//! newest number of a spool: a report that comes again, tomorrow or to another provisioner, is known.

use chrono::{DateTime, Utc};
use events::envelope::Cause;
use events::ids::{EnvId, NAMESPACE, SessionId, TenantId};
use events::login::lockout::{lock, source_of};
use events::login::{
    Entrance, Login, LoginFailed, LoginRefusal, LoginSucceeded, LoginsRefused, SpoolPosition, record,
};
use events::session::{Session, SessionClosed, SessionOpened, SessionRefusal, close::close, open::open};
use kit::sentry_protocol::{Numbered, Report, Reports};
use nats::{DecideError, Log, LogError};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::fleet::Fleet;
use crate::metrics::Metrics;

/// Longest name of a spool, in bytes.
const SPOOL_ID_LENGTH_MAX: usize = 64;
/// Longest text of a report (user, method, class, reason), in bytes; the rest is cut off.
const TEXT_LENGTH_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the name of a spool is 1 to {SPOOL_ID_LENGTH_MAX} bytes long")]
    SpoolName,
    #[error("others kept appending first")]
    Contended,
    #[error("cannot append to the log")]
    Log(#[source] LogError),
}

pub struct Recorder {
    log: Log,
    fleet: Arc<Fleet>,
    metrics: Metrics,
}

/// Where the report comes from, for every event that it makes.
struct Source<'r> {
    tenant: &'r TenantId,
    env: &'r EnvId,
    cause: Cause,
    position: SpoolPosition,
    at: DateTime<Utc>,
}

impl Recorder {
    pub fn new(log: Log, fleet: Arc<Fleet>, metrics: Metrics) -> Self {
        Self { log, fleet, metrics }
    }

    /// Records until `until`; answers the number through which everything is in the log. An error only
    /// when nothing at all could be recorded.
    pub async fn record_until(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        batch: &Reports,
        cause: &Cause,
        until: Instant,
    ) -> Result<u64, RecordError> {
        let mut accepted = None;
        for report in &batch.reports {
            if accepted.is_some() && Instant::now() >= until {
                break;
            }
            match (self.record(tenant, env, &batch.spool_id, report, cause).await, accepted) {
                (Ok(()), _) => accepted = Some(report.number),
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => {
                    tracing::warn!(env.id = %env, error = kit::error::chain(&error),
                        "reports were recorded in part; the sentry sends the rest again");
                    break;
                }
            }
        }
        Ok(accepted.unwrap_or(0))
    }

    /// Records every report, or fails.
    pub async fn record_all(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        batch: &Reports,
        cause: &Cause,
    ) -> Result<(), RecordError> {
        for report in &batch.reports {
            self.record(tenant, env, &batch.spool_id, report, cause).await?;
        }
        Ok(())
    }

    async fn record(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        spool: &str,
        report: &Numbered,
        cause: &Cause,
    ) -> Result<(), RecordError> {
        if spool.is_empty() || spool.len() > SPOOL_ID_LENGTH_MAX {
            return Err(RecordError::SpoolName);
        }
        let number = report.number;
        let command = Uuid::new_v5(&NAMESPACE, format!("report\n{env}\n{spool}\n{number}").as_bytes());
        let source = Source {
            tenant,
            env,
            cause: Cause { command, ..cause.clone() },
            position: SpoolPosition { spool: spool.to_owned(), number },
            at: report.at,
        };
        match &report.report {
            Report::LoginSucceeded { ip, user, method, key_fingerprint, session_id } => {
                let Some(session) = self.session(env, session_id) else { return Ok(()) };
                let login = LoginSucceeded {
                    ip: ip.to_canonical(),
                    user: cut(user),
                    method: cut(method),
                    key_fingerprint: key_fingerprint.as_deref().map(cut),
                    entrance: Entrance::DirectPort,
                    session,
                    at: source.at,
                    reported: Some(source.position.clone()),
                };
                self.login(&source, 0, |state| record::succeeded(state, login.clone())).await
            }
            Report::LoginFailed { ip, user, method, class } => {
                let login = LoginFailed {
                    ip: ip.to_canonical(),
                    user: cut(user),
                    method: cut(method),
                    class: cut(class),
                    entrance: Entrance::DirectPort,
                    at: source.at,
                    reported: Some(source.position.clone()),
                };
                self.failed(&source, login).await
            }
            Report::LoginsRefused { ip, count, from, to } => {
                let refused = LoginsRefused {
                    ip: source_of(*ip),
                    entrance: Entrance::DirectPort,
                    count: *count,
                    from: *from,
                    to: *to,
                    reported: Some(source.position.clone()),
                };
                self.login(&source, 0, |state| record::refused(state, refused.clone())).await
            }
            // the entrance records it; the sentry remembers that somebody must close it
            Report::InnerOpened { .. } => Ok(()),
            Report::SessionOpened { session_id, ip, user, method } => {
                let Some(session) = self.session(env, session_id) else { return Ok(()) };
                let opened = SessionOpened {
                    place: env.clone().into(),
                    ip: ip.to_canonical(),
                    entrance: Entrance::DirectPort,
                    user: cut(user),
                    method: cut(method),
                    client: None,
                    at: source.at,
                };
                self.decide_session(&source, &session, |state| open(state, opened.clone())).await
            }
            Report::SessionClosed { session_id, bytes_in, bytes_out, reason } => {
                let Some(session) = self.session(env, session_id) else { return Ok(()) };
                let closed = SessionClosed {
                    place: env.clone().into(),
                    bytes_in: *bytes_in,
                    bytes_out: *bytes_out,
                    reason: cut(reason),
                    at: source.at,
                };
                self.decide_session(&source, &session, |state| close(state, closed.clone())).await
            }
        }?;
        self.metrics.reported(&report.report);
        Ok(())
    }

    /// Closes a session that its sentry cannot close any more.
    pub async fn close(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        session: &SessionId,
        reason: &str,
        at: DateTime<Utc>,
        cause: &Cause,
    ) -> Result<(), RecordError> {
        let closed = SessionClosed {
            place: env.clone().into(),
            bytes_in: 0,
            bytes_out: 0,
            reason: reason.to_owned(),
            at,
        };
        let position = SpoolPosition { spool: String::new(), number: 0 };
        let source = Source { tenant, env, cause: cause.clone(), position, at };
        self.decide_session(&source, session, |state| close(state, closed.clone())).await
    }

    async fn failed(&self, source: &Source<'_>, login: LoginFailed) -> Result<(), RecordError> {
        let ip: IpAddr = login.ip;
        self.login(source, 0, |state| record::failed(state, login.clone())).await?;
        self.login(source, 1, |state| lock(state, ip, Utc::now())).await
    }

    async fn login(
        &self,
        source: &Source<'_>,
        index: u32,
        rule: impl FnMut(&Login) -> events::Decision<events::login::LoginEvent, LoginRefusal>,
    ) -> Result<(), RecordError> {
        let decided = self
            .log
            .decide::<Login, LoginRefusal>(source.tenant, source.env.as_str(), &source.cause, index, rule)
            .await;
        match decided {
            // a rule of recording refuses nothing
            Ok(_) | Err(DecideError::Refused(_)) => Ok(()),
            Err(DecideError::Contended { .. }) => Err(RecordError::Contended),
            Err(DecideError::Log(error)) => Err(RecordError::Log(error)),
        }
    }

    async fn decide_session(
        &self,
        source: &Source<'_>,
        session: &SessionId,
        rule: impl FnMut(&Session) -> events::Decision<events::session::SessionEvent, SessionRefusal>,
    ) -> Result<(), RecordError> {
        let decided = self
            .log
            .decide::<Session, SessionRefusal>(source.tenant, session.as_str(), &source.cause, 0, rule)
            .await;
        match decided {
            Ok(_) => Ok(()),
            // its opening stands before it in the same spool, unless the spool was damaged: nothing
            // can be said about such a session, and the reports after it must not wait for it (of recordings
            // and shares a sentry tells nothing)
            Err(DecideError::Refused(
                SessionRefusal::NotFound
                | SessionRefusal::NoRecording
                | SessionRefusal::Ended
                | SessionRefusal::TooManyRecordings
                | SessionRefusal::ShareEnded
                | SessionRefusal::TooManyShares,
            )) => {
                tracing::warn!(env.id = %source.env, session.id = %session,
                    "a session was closed that never opened; the report is left out");
                Ok(())
            }
            Err(DecideError::Contended { .. }) => Err(RecordError::Contended),
            Err(DecideError::Log(error)) => Err(RecordError::Log(error)),
        }
    }

    /// The id, unless it is none or another environment's: a sentry speaks for its own sessions only.
    fn session(&self, env: &EnvId, text: &str) -> Option<SessionId> {
        let session = SessionId::parse(text).ok();
        let foreign = session.as_ref().and_then(|session| self.fleet.session_holder(session));
        if session.is_none() || foreign.is_some_and(|holder| holder != *env) {
            tracing::warn!(env.id = %env, "a report names a session that is not this environment's; it is left out");
            return None;
        }
        session
    }
}

/// At most [`TEXT_LENGTH_MAX`] bytes, whole characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_LENGTH_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"ä".repeat(200)).len(), TEXT_LENGTH_MAX);
        assert_eq!(cut(&format!("x{}", "ä".repeat(200))).len(), TEXT_LENGTH_MAX - 1);
    }
}
