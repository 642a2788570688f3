//! Which events ring for which work? Each is a doorbell: what is done depends on the log, not on it.

use std::sync::Arc;
use std::time::Duration;

use events::credential::CredentialEvent;
use events::env::EnvEvent;
use events::envelope::Cause;
use events::ids::EnvId;
use events::{Event, Recorded};
use nats::{Outcome, Worker};

use crate::reconcile::{Provisioner, Task};
use crate::step::SERVICE;
use crate::trouble::Trouble;

/// The fold may lag behind the event this long; then the event is looked at again later.
const FOLD_WAIT: Duration = Duration::from_secs(5);
const FOLD_AGAIN: Duration = Duration::from_secs(1);

pub struct Reactions(pub Arc<Provisioner>);

impl Worker for Reactions {
    const NAME: &'static str = SERVICE;

    fn subjects() -> Vec<String> {
        nats::topology::subjects_of(SERVICE)
    }

    async fn react(&self, event: &Recorded) -> Outcome {
        match &event.event {
            Event::Env(
                EnvEvent::EnvRequested(_)
                | EnvEvent::PodLost(_)
                | EnvEvent::EnvFailed(_)
                | EnvEvent::EnvStopRequested(_)
                | EnvEvent::EnvStartRequested(_)
                | EnvEvent::EnvDeleteRequested(_),
            ) => self.reconcile(event).await,
            Event::Env(EnvEvent::EnvDeleted(_)) => {
                if let Ok(env) = EnvId::parse(event.subject.id.as_str()) {
                    self.0.passwords.forget(&env);
                    self.0.troubles.over(&env);
                    self.0.starts.over(&env);
                }
                Outcome::Done
            }
            Event::Credential(CredentialEvent::PasswordApplied(_)) => self.superseded(event).await,
            // the policies these change are announced by the fold (`fleet.rs`), in every provisioner
            Event::Env(EnvEvent::AllowListSet(_) | EnvEvent::EnvEndsSoon(_) | EnvEvent::JobMarked(_))
            | Event::Tenant(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Credential(
                CredentialEvent::PasswordIssued(_)
                | CredentialEvent::PasswordReset(_)
                | CredentialEvent::PasswordRevealed(_)
                | CredentialEvent::KeysAttached(_),
            )
            // consequences of what was done
            | Event::Env(
                EnvEvent::PortBound(_)
                | EnvEvent::PodCreated(_)
                | EnvEvent::PodReady(_)
                | EnvEvent::EnvProgressed(_)
                | EnvEvent::EnvStopped(_),
            )
            | Event::Quota(_)
            | Event::Port(_)
            | Event::Session(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::SignIn(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::NatsTap(_)
            | Event::Request(_) => Outcome::Done,
        }
    }
}

impl Reactions {
    async fn reconcile(&self, event: &Recorded) -> Outcome {
        let id = match EnvId::parse(event.subject.id.as_str()) {
            Ok(id) => id,
            Err(error) => return Outcome::Park { why: error.to_string() },
        };
        if !self.0.fleet.wait_for(event.seq, FOLD_WAIT).await {
            return Outcome::Again { after: FOLD_AGAIN, why: "the fold lags behind the log".to_owned() };
        }
        let cause = Cause::reaction(SERVICE, event, "reconcile");
        let task = Task { tenant: &event.subject.tenant, id: &id, cause: &cause, look: false, ended: None };
        self.0.reconcile(&task).await
    }

    /// The sentry enforces the newest password: those before it need not be kept.
    async fn superseded(&self, event: &Recorded) -> Outcome {
        let Ok(id) = EnvId::parse(event.subject.id.as_str()) else {
            return Outcome::Park { why: format!("{} is no environment id", event.subject.id) };
        };
        let tenant = &event.subject.tenant;
        let state = match self.0.passwords.load(tenant, &id).await {
            Ok(state) => state,
            Err(error) => {
                return Outcome::Again { after: FOLD_AGAIN, why: kit::error::chain(&error) };
            }
        };
        let Some(member) = self.0.fleet.member(&id) else { return Outcome::Done };
        match self.0.passwords.remove_superseded(&state, &member.passwords).await {
            Ok(()) | Err(Trouble::Changed) => Outcome::Done,
            Err(Trouble::Again(why)) => Outcome::Again { after: FOLD_AGAIN, why },
            Err(Trouble::Failed(failed)) => Outcome::Park { why: failed.reason },
        }
    }
}
