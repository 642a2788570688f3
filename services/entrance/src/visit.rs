//! What is recorded of somebody who got in? `LoginSucceeded` and `SessionOpened`, and `SessionClosed` at the
//! end.
//!
//! State the beginning after the inner door has opened, not before: from then on the environment's sentry
//! sees the connection and closes the session if its entrance is killed.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::aggregate::Refusal;
use events::ids::{SessionId, TenantId};
use events::login::{Entrance, Login, LoginRefusal, LoginSucceeded, record};
use events::session::{
    Place, Session, SessionClosed, SessionOpened, SessionRefusal, close::close, open::open,
};
use events::{Aggregate, Cause, Decision};
use kit::error::chain;
use nats::{DecideError, Log};

/// The longest that the end of a session waits for the log to be back.
const CLOSE_RETRY_FOR: Duration = Duration::from_secs(600);
const CLOSE_RETRY_AFTER: Duration = Duration::from_secs(2);
/// An end is recorded within this time when the log answers: what a process that ends gives it.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Somebody in an environment, or on a server.
#[derive(Debug, Clone)]
pub struct Visit {
    pub tenant: TenantId,
    pub place: Place,
    pub session: SessionId,
    pub ip: IpAddr,
    pub entrance: Entrance,
    /// As the records name them.
    pub user: String,
    /// How they proved who they are.
    pub method: String,
    pub key_fingerprint: Option<String>,
    /// What connected: the identification of an SSH client, or a browser's user agent.
    pub client: Option<String>,
    /// Whom the log names as the one who recorded it; its command is this visit's.
    pub cause: Cause,
}

/// How a visit ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Bytes from the person.
    pub bytes_in: u64,
    /// Bytes to the person.
    pub bytes_out: u64,
    /// `client_left`, `environment_ended`, ...
    pub reason: String,
}

/// Which of the events of a visit's command.
mod index {
    pub const SUCCEEDED: u32 = 0;
    pub const OPENED: u32 = 1;
    pub const CLOSED: u32 = 2;
}

/// Records visits; cheap to clone.
#[derive(Clone)]
pub struct Visits {
    log: Log,
}

impl Visits {
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Nobody may stay of whom this could not be said.
    pub async fn opened(&self, visit: &Visit) -> Result<(), String> {
        let at = Utc::now();
        let opened = SessionOpened {
            place: visit.place.clone(),
            ip: visit.ip,
            entrance: visit.entrance,
            user: visit.user.clone(),
            method: visit.method.clone(),
            client: visit.client.clone(),
            at,
        };
        let login = self.succeeded(visit, at);
        let session = self.append(
            visit,
            visit.session.as_str(),
            index::OPENED,
            |session: &Session| -> Decision<_, SessionRefusal> { open(session, opened.clone()) },
        );
        let (login, session) = tokio::join!(login, session);
        login.and(session)
    }

    /// Among an environment's logins; a server's are in its own log, and who came there is its session.
    async fn succeeded(&self, visit: &Visit, at: DateTime<Utc>) -> Result<(), String> {
        let Some(env) = visit.place.env() else { return Ok(()) };
        let succeeded = LoginSucceeded {
            ip: visit.ip,
            user: visit.user.clone(),
            method: visit.method.clone(),
            key_fingerprint: visit.key_fingerprint.clone(),
            entrance: visit.entrance,
            session: visit.session.clone(),
            at,
            reported: None,
        };
        let rule =
            |login: &Login| -> Decision<_, LoginRefusal> { record::succeeded(login, succeeded.clone()) };
        self.append(visit, env.as_str(), index::SUCCEEDED, rule).await
    }

    /// Tried until the log takes it, for ten minutes; whoever closed it first has the last word.
    pub async fn closed(&self, visit: &Visit, ended: Ended) {
        let Ended { bytes_in, bytes_out, reason } = ended;
        let closed =
            SessionClosed { place: visit.place.clone(), bytes_in, bytes_out, reason, at: Utc::now() };
        let id = visit.session.as_str();
        let until = tokio::time::Instant::now() + CLOSE_RETRY_FOR;
        loop {
            let rule = |state: &Session| -> Decision<_, SessionRefusal> { close(state, closed.clone()) };
            match self.append(visit, id, index::CLOSED, rule).await {
                Ok(()) => return,
                Err(error) if tokio::time::Instant::now() >= until => {
                    tracing::error!(session.id = id, error, "the end of a session was not recorded");
                    return;
                }
                Err(error) => {
                    tracing::warn!(session.id = id, error, "the end of a session is not recorded yet");
                    tokio::time::sleep(CLOSE_RETRY_AFTER).await;
                }
            }
        }
    }

    async fn append<A: Aggregate, R: Refusal>(
        &self,
        visit: &Visit,
        id: &str,
        index: u32,
        rule: impl FnMut(&A) -> Decision<A::Event, R>,
    ) -> Result<(), String> {
        let decided = self.log.decide(&visit.tenant, id, &visit.cause, index, rule).await;
        decided.map(drop).map_err(|error: DecideError<R>| chain(&error))
    }
}
