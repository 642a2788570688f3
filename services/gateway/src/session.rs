//! How does somebody who was let in reach the environment, and what is recorded of it?
//!
//! The environment's inner door is opened first, then the facts are appended, then packets flow. A gateway
//! that is killed leaves sessions open in the log: the environment's sentry, which sees the connection of
//! each, closes them. NATS away: sessions go on, and their ends are recorded when it is back; nobody new
//! comes in, because nobody can be checked.

use std::time::{Duration, SystemTime};

use chrono::Utc;
use events::aggregate::Refusal;
use events::credential::SecretRef;
use events::env::{Env, InnerDoor, Status};
use events::ids::SessionId;
use events::login::{Entrance, Login, LoginRefusal, LoginSucceeded, record};
use events::session::{Session, SessionClosed, SessionOpened, SessionRefusal, close::close, open::open};
use events::{Aggregate, Cause, Decision};
use nats::{DecideError, LogError, VaultError};
use ssh::ConnectError;
use ssh::ca::{CertifyError, Holder, UserCa};
use ssh::client::{Connection, Limits, Login as Proof, Target};
use ssh::keys::{KeyError, PublicLine};
use ssh::server::{Incoming, RelayEnd};
use uuid::Uuid;

use crate::connection::{Admitted, Counted, Gateway};
use crate::trouble::chain;
use crate::who::ACCOUNT;

/// The end of a session is recorded within this time when the gateway itself ends.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The longest that the end of a session waits for the log to be back.
const CLOSE_RETRY_FOR: Duration = Duration::from_secs(600);
const CLOSE_RETRY_AFTER: Duration = Duration::from_secs(2);
/// A person reads why there is nothing behind the gateway; then the connection ends.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(10);
/// An environment is near.
const LIMITS: Limits = Limits {
    name: Duration::from_secs(1),
    connect: Duration::from_secs(5),
    banner: Duration::from_secs(5),
    kex: Duration::from_secs(10),
    auth: Duration::from_secs(10),
};

/// Why the environment cannot be reached. The person is told the text.
#[derive(Debug, thiserror::Error)]
enum ReachError {
    #[error("the environment is {0}; start it first")]
    NotRunning(&'static str),
    #[error("the environment has no inner door yet; stop and start it once, or use its own port")]
    NoInnerDoor,
    #[error("the log does not answer")]
    Log(#[source] LogError),
    #[error("the vault does not answer")]
    Vault(#[source] VaultError),
    #[error("the installation has no SSH authority yet")]
    NoAuthority,
    #[error("the installation's SSH authority is unusable")]
    Authority(#[source] KeyError),
    #[error("no certificate could be made")]
    Certify(#[source] CertifyError),
    #[error("the environment's host key is unusable")]
    HostKey(#[source] KeyError),
    #[error("the environment does not let the gateway in")]
    Connect(#[source] ConnectError),
}

impl Gateway {
    /// The rest of the connection's life.
    pub async fn lead_on(&self, mut incoming: Incoming, admitted: Admitted, client: String) {
        let session = SessionId::from_seed(&Uuid::new_v4());
        let upstream = match self.reach(&incoming, &admitted, &session, &client).await {
            Ok(upstream) => upstream,
            Err(error) => {
                let env = &admitted.who.env;
                tracing::warn!(env.id = %env, session.id = %session, error = chain(&error), "no way in");
                incoming.explain(&error.to_string(), EXPLAIN_WITHIN).await;
                return;
            }
        };
        let cause = Cause::new(Uuid::new_v4(), "service:gateway");
        if let Err(error) = self.opened(&admitted, &session, &client, &cause).await {
            tracing::error!(env.id = %admitted.who.env, session.id = %session, error, "a session cannot be recorded");
            incoming
                .explain("sessions cannot be recorded at the moment; try again in a minute", EXPLAIN_WITHIN)
                .await;
            return;
        }
        let counted = Counted::new(&self.metrics.sessions);
        let traffic = incoming.traffic();
        let reason = tokio::select! {
            end = incoming.relay(&upstream) => match end {
                RelayEnd::ClientLeft => "client_left",
                RelayEnd::ClientLost => "connection_lost",
                RelayEnd::UpstreamEnded => "environment_ended",
            },
            () = self.cut.cancelled() => {
                incoming.say_and_go("the gateway is being restarted; connect again").await;
                upstream.disconnect().await;
                "gateway_stopped"
            }
        };
        drop(counted);
        let closed = SessionClosed {
            env: admitted.who.env.clone(),
            bytes_in: traffic.received(),
            bytes_out: traffic.sent(),
            reason: reason.to_owned(),
            at: Utc::now(),
        };
        self.closed(&admitted, &session, closed, &cause).await;
    }

    async fn reach(
        &self,
        incoming: &Incoming,
        admitted: &Admitted,
        session: &SessionId,
        client: &str,
    ) -> Result<Connection, ReachError> {
        let id = admitted.who.env.as_str();
        let env = self.log.load::<Env>(&admitted.tenant, id).await.map_err(ReachError::Log)?.state;
        if env.status != Status::Running {
            return Err(ReachError::NotRunning(env.status.name()));
        }
        let InnerDoor { addr, host_key } = env.inner.ok_or(ReachError::NoInnerDoor)?;
        let authority = self.vault.get(&SecretRef::user_ca()).await.map_err(ReachError::Vault)?;
        let authority =
            UserCa::read(&authority.ok_or(ReachError::NoAuthority)?).map_err(ReachError::Authority)?;
        let holder = Holder { principal: id, session: session.as_str(), user: &admitted.who.name };
        let key = authority.certify(&holder, SystemTime::now()).map_err(ReachError::Certify)?;
        let target = Target {
            host: addr.ip().to_string(),
            port: addr.port(),
            user: ACCOUNT.to_owned(),
            host_key: Some(PublicLine::read(&host_key).map_err(ReachError::HostKey)?),
        };
        incoming
            .connect(&target, &Proof::Certificate(key), &LIMITS, client)
            .await
            .map_err(ReachError::Connect)
    }

    async fn opened(
        &self,
        admitted: &Admitted,
        session: &SessionId,
        client: &str,
        cause: &Cause,
    ) -> Result<(), String> {
        let at = Utc::now();
        let opened = SessionOpened {
            env: admitted.who.env.clone(),
            ip: admitted.ip,
            entrance: Entrance::Gateway,
            user: admitted.who.name.clone(),
            method: admitted.method.to_owned(),
            at,
            client: Some(client.to_owned()),
        };
        let succeeded = LoginSucceeded {
            ip: admitted.ip,
            user: admitted.who.name.clone(),
            method: admitted.method.to_owned(),
            key_fingerprint: admitted.key_fingerprint.clone(),
            entrance: Entrance::Gateway,
            session: session.clone(),
            at,
            reported: None,
        };
        let id = admitted.who.env.as_str();
        let login = self.append(admitted, id, cause, 0, |login: &Login| -> Decision<_, LoginRefusal> {
            record::succeeded(login, succeeded.clone())
        });
        let session = self.append(
            admitted,
            session.as_str(),
            cause,
            1,
            |session: &Session| -> Decision<_, SessionRefusal> { open(session, opened.clone()) },
        );
        let (login, session) = tokio::join!(login, session);
        login.and(session)
    }

    async fn append<A: Aggregate, R: Refusal>(
        &self,
        admitted: &Admitted,
        id: &str,
        cause: &Cause,
        index: u32,
        rule: impl FnMut(&A) -> Decision<A::Event, R>,
    ) -> Result<(), String> {
        let decided = self.log.decide(&admitted.tenant, id, cause, index, rule).await;
        decided.map(drop).map_err(|error: DecideError<R>| chain(&error))
    }

    /// Tried until the log takes it; whoever closed it first has the last word.
    async fn closed(&self, admitted: &Admitted, session: &SessionId, closed: SessionClosed, cause: &Cause) {
        let until = tokio::time::Instant::now() + CLOSE_RETRY_FOR;
        loop {
            let rule = |state: &Session| -> Decision<_, SessionRefusal> { close(state, closed.clone()) };
            match self.append(admitted, session.as_str(), cause, 2, rule).await {
                Ok(()) => return,
                Err(error) if tokio::time::Instant::now() >= until => {
                    tracing::error!(session.id = %session, error, "the end of a session was not recorded");
                    return;
                }
                Err(error) => {
                    tracing::warn!(session.id = %session, error, "the end of a session is not recorded yet");
                    tokio::time::sleep(CLOSE_RETRY_AFTER).await;
                }
            }
        }
    }
}
