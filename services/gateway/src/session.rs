//! How does somebody who was let in reach the environment, and what is recorded of it?
//!
//! The environment's inner door is opened first, then the facts are appended, then packets flow. A gateway
//! that is killed leaves sessions open in the log: the environment's sentry, which sees the connection of
//! each, closes them. NATS away: sessions go on, and their ends are recorded when it is back; nobody new
//! comes in, because nobody can be checked.

use std::sync::Arc;
use std::time::Duration;

use entrance::visit::{Ended, Visit};
use entrance::way_in::WayInError;
use events::Cause;
use events::ids::{EnvId, SessionId};
use events::login::Entrance;
use kit::error::chain;
use nats::LogError;
use ssh::ConnectError;
use ssh::client::{Connection, Limits};
use ssh::server::{Incoming, RelayEnd};
use uuid::Uuid;

use crate::connection::{Admitted, Counted, Gateway};
use crate::recording::Recording;

/// A person reads why there is nothing behind the gateway; then the connection ends.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(10);
/// Recordings are told before the session's end when they are stored by then; else they follow.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);
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
    #[error(transparent)]
    WayIn(#[from] WayInError),
    #[error("the environment does not let the gateway in")]
    Connect(#[from] ConnectError),
    #[error("it is not known whether terminals are to be recorded")]
    Recording(#[from] LogError),
}

impl Gateway {
    /// The rest of the connection's life.
    pub async fn lead_on(&self, mut incoming: Incoming, admitted: Admitted, client: String) {
        let env = admitted.who.env.clone();
        let visit = admitted.visit(client);
        let (upstream, recording) = match self.reach(&incoming, &visit, &env).await {
            Ok(reached) => reached,
            Err(error) => {
                tracing::warn!(env.id = %env, session.id = %visit.session, error = chain(&error), "no way in");
                incoming.explain(&error.to_string(), EXPLAIN_WITHIN).await;
                return;
            }
        };
        if let Err(error) = self.visits.opened(&visit).await {
            tracing::error!(env.id = %env, session.id = %visit.session, error, "a session cannot be recorded");
            incoming
                .explain("sessions cannot be recorded at the moment; try again in a minute", EXPLAIN_WITHIN)
                .await;
            return;
        }
        if let Some(recording) = &recording {
            incoming.watch_terminals(recording.watcher());
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
        let (bytes_in, bytes_out) = (traffic.received(), traffic.sent());
        if let Some(recording) = &recording {
            tokio::time::timeout(RECORDED_WITHIN, recording.finish()).await.ok();
        }
        self.visits.closed(&visit, Ended { bytes_in, bytes_out, reason: reason.to_owned() }).await;
        if let Some(recording) = recording {
            recording.finish().await;
        }
    }

    /// Also what records its terminals, if the tenant asks for that.
    async fn reach(
        &self,
        incoming: &Incoming,
        visit: &Visit,
        env: &EnvId,
    ) -> Result<(Connection, Option<Arc<Recording>>), ReachError> {
        let asked = async { Ok::<_, ReachError>(self.recorders.are_asked_for(&visit.tenant).await?) };
        let (upstream, asked) = tokio::try_join!(self.connect(incoming, visit, env), asked)?;
        Ok((upstream, asked.then(|| Recording::new(self.recorders.clone(), visit.clone()))))
    }

    async fn connect(
        &self,
        incoming: &Incoming,
        visit: &Visit,
        env: &EnvId,
    ) -> Result<Connection, ReachError> {
        let (target, proof) = self.way_in.find(&visit.tenant, env, &visit.session, &visit.user).await?;
        let client = visit.client.as_deref().unwrap_or_default();
        Ok(incoming.connect(&target, &proof, &LIMITS, client).await?)
    }
}

impl Admitted {
    fn visit(self, client: String) -> Visit {
        Visit {
            tenant: self.tenant,
            place: self.who.env.into(),
            session: SessionId::from_seed(&Uuid::new_v4()),
            ip: self.ip,
            entrance: Entrance::Gateway,
            user: self.who.name,
            method: self.method.to_owned(),
            key_fingerprint: self.key_fingerprint,
            client: Some(client),
            cause: Cause::new(Uuid::new_v4(), "service:gateway"),
        }
    }
}
