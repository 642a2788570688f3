//! How does an environment come up? Port, password and storage at once; then the container; then its
//! sentry says that it is ready (`sentry_server.rs`).

use std::time::Instant;

use events::env::observe::created;
use events::env::{Env, EnvRefusal, Phase, PodCreated, PortPurpose};
use events::ids::EnvId;

use crate::compute::{ComputeError, Progress, Published, Seen, Spec, Weight};
use crate::passwords::sentry_token;
use crate::reconcile::{Provisioner, Step, Task};
use crate::step::fresh;
use crate::trouble::{Trouble, decided, failed};

/// Starts toward one deadline before a container that ends by itself is given up.
const STARTS_MAX: u32 = 3;
/// Ports found taken by other programs before the environment is failed.
const REPLACEMENTS_MAX: usize = 8;

impl Provisioner {
    pub(crate) async fn bring_up(&self, task: &Task<'_>, env: &Env) -> Result<Step, Trouble> {
        let jupyter = env.requested.as_ref().is_some_and(|requested| requested.jupyter);
        let (cause, resources) = (fresh(task.cause), env.resources());
        let (with_ports, password, storage) = tokio::join!(
            self.ports.ensure(task.tenant, task.id, env, task.cause),
            self.passwords.ensure(task.tenant, task.id, jupyter, &cause),
            self.engine.ensure_storage(task.tenant, task.id, &resources),
        );
        let mut env = with_ports?;
        password?;
        storage?;
        self.not_ending_by_itself(task, &env).await?;
        let mut last = String::new();
        for _ in 0..REPLACEMENTS_MAX {
            match self.make(task, &self.spec(task, &env)).await {
                Ok(()) => return Ok(Step::Settled),
                Err(Making::PortsTaken { ports, reason }) => {
                    env = self.ports.replace(task.tenant, task.id, &env, &ports, &reason, task.cause).await?;
                    last = reason;
                }
                Err(Making::Trouble(trouble)) => return Err(trouble),
            }
        }
        Err(failed(Phase::Port, "ports_taken", last))
    }

    /// A container that ends again and again before it is ready will not get ready.
    async fn not_ending_by_itself(&self, task: &Task<'_>, env: &Env) -> Result<(), Trouble> {
        if !task.look || self.engine.is_coming_up(task.id) {
            return Ok(());
        }
        match self.observe(task.id).await? {
            Seen::Down(reason) if self.starts.count(task.id, env.deadline) >= STARTS_MAX => {
                let reason = format!(
                    "{reason}, {STARTS_MAX} times before it was ready: is it an environment's image?"
                );
                Err(failed(Phase::Ready, "ended_early", reason))
            }
            Seen::ComingUp(Some(progress)) if progress.weight == Weight::Final => Err(given_up(progress)),
            Seen::Down(_) | Seen::Missing | Seen::ComingUp(_) | Seen::Up => Ok(()),
        }
    }

    /// An engine that starts what ended again says so each time.
    pub(crate) fn ends_by_itself(&self, id: &EnvId, env: &Env) -> bool {
        self.starts.count(id, env.deadline) >= STARTS_MAX
    }

    fn spec(&self, task: &Task<'_>, env: &Env) -> Spec {
        let requested = env.requested.as_ref();
        let jupyter = requested.is_some_and(|requested| requested.jupyter);
        let asked = requested.map(|requested| requested.image.as_str()).unwrap_or_default();
        let image = match (asked, jupyter) {
            ("", true) => &self.image_jupyter,
            ("", false) => &self.image,
            (asked, _) => asked,
        };
        let published = |(purpose, (_, port)): (&PortPurpose, &(events::ids::PoolName, u16))| Published {
            purpose: *purpose,
            port: *port,
        };
        Spec {
            env: task.id.clone(),
            tenant: task.tenant.clone(),
            image: image.to_owned(),
            resources: env.resources(),
            datasets: requested.map(|requested| requested.datasets.clone()).unwrap_or_default(),
            ports: env.ports.iter().map(published).collect(),
            token: sentry_token(&self.keys, task.id),
        }
    }

    /// The container exists and was told to start. `PodCreated` is appended while it starts: its sentry
    /// cannot be ready before, and the append costs nothing then.
    async fn make(&self, task: &Task<'_>, spec: &Spec) -> Result<(), Making> {
        let began = Instant::now();
        let engine_ref = self.engine.ensure(spec).await?;
        let cause = fresh(task.cause);
        let rule = |state: &Env| created(state, PodCreated { engine_ref: engine_ref.clone() });
        let (started, recorded) = tokio::join!(
            self.engine.start(spec),
            self.log.decide::<Env, EnvRefusal>(task.tenant, task.id.as_str(), &cause, 0, rule),
        );
        started?;
        // refused when it was stopped or deleted meanwhile, or is ready already: the next look decides
        match decided(recorded) {
            Ok(_) | Err(Trouble::Changed) => {}
            Err(trouble @ (Trouble::Failed(_) | Trouble::Again(_))) => return Err(Making::Trouble(trouble)),
        }
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(env.id = %task.id, duration_ms, "the container was told to start");
        Ok(())
    }
}

/// What an engine says will not pass is the reason of the failure.
pub fn given_up(progress: Progress) -> Trouble {
    failed(progress.phase, progress.code, progress.message)
}

enum Making {
    PortsTaken { ports: Vec<u16>, reason: String },
    Trouble(Trouble),
}

impl From<ComputeError> for Making {
    fn from(error: ComputeError) -> Self {
        match error {
            ComputeError::PortsTaken { ports, reason } => Self::PortsTaken { ports, reason },
            error @ (ComputeError::ImageMissing(_)
            | ComputeError::DatasetMissing(_)
            | ComputeError::Unreachable(_)
            | ComputeError::Busy(_)
            | ComputeError::Refused { .. }) => Self::Trouble(error.into()),
        }
    }
}
