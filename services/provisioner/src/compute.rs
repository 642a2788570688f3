//! What must an engine be able to do? Make, start, stop, remove and show environments, each repeatable.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::Resources;
use events::env::{Phase, PortPurpose};
use events::ids::{EnvId, TenantId};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use secrecy::SecretString;

/// Everything an engine needs to know to make one environment.
#[derive(Debug, Clone)]
pub struct Spec {
    pub env: EnvId,
    pub tenant: TenantId,
    /// Image reference as the engine knows it.
    pub image: String,
    pub resources: Resources,
    /// Names of the datasets that stand in it, to be read.
    pub datasets: Vec<String>,
    /// Empty where only the gateway leads in.
    pub ports: Vec<Published>,
    /// The bearer token of this environment's sentry.
    pub token: SecretString,
}

/// A port of the machine that leads into the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub purpose: PortPurpose,
    pub port: u16,
}

/// What an engine sees of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Missing,
    /// It is there and not running; the text says since when or why, for a person.
    Down(String),
    /// The engine itself is bringing it up, for the first time or again; with what is in the way.
    ComingUp(Option<Progress>),
    Up,
}

/// How far something has come on its way up, or what is in its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    /// Stable, for programs.
    pub code: &'static str,
    /// For a person.
    pub message: String,
    pub weight: Weight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A step is done.
    Step,
    /// It is in the way, and may pass.
    Trouble,
    /// It will not pass: the environment has failed.
    Final,
}

/// What an engine says of its own accord about an environment on its way up. May come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub env: EnvId,
    pub progress: Progress,
}

/// A container ended or went away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub env: EnvId,
    /// What ended it, for a person, from an engine that starts it again by itself: looking may show
    /// nothing amiss any more.
    pub reason: Option<String>,
    pub seen_at: DateTime<Utc>,
}

/// One file of a folder inside an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// One container of this installation, whatever its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub env: EnvId,
    pub tenant: TenantId,
    pub up: bool,
    /// There is no container, only what outlives it.
    pub storage_only: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("the engine has no image {0:?}")]
    ImageMissing(String),
    /// The text says which, and what is looked for.
    #[error("{0}")]
    DatasetMissing(String),
    /// Somebody else on the machine listens on these ports.
    #[error("ports {ports:?} are taken: {reason}")]
    PortsTaken { ports: Vec<u16>, reason: String },
    #[error("the engine does not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It may be able to later.
    #[error("the engine is not there yet: {0}")]
    Busy(String),
    /// The engine's own words.
    #[error("the engine refused: {reason}")]
    Refused { phase: Phase, reason: String },
}

/// An engine. Every call may be repeated; what is so already is success.
pub trait Compute: Send + Sync + 'static {
    /// The places that outlive the container; their size is that of the first call.
    fn ensure_storage<'a>(
        &'a self,
        tenant: &'a TenantId,
        env: &'a EnvId,
        resources: &'a Resources,
    ) -> BoxFuture<'a, Result<(), ComputeError>>;

    /// Makes it, or makes it anew when it was made to another [`Spec`]; answers the engine's id of it.
    fn ensure<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Result<String, ComputeError>>;

    fn start<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Result<(), ComputeError>>;

    /// Asks it to end, and ends it after `grace`.
    fn stop<'a>(&'a self, env: &'a EnvId, grace: Duration) -> BoxFuture<'a, Result<(), ComputeError>>;

    /// Removes the container; its storage stays.
    fn remove<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<(), ComputeError>>;

    /// Removes what [`Compute::ensure_storage`] made. The container must be gone.
    fn remove_storage<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<(), ComputeError>>;

    fn observe<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<Seen, ComputeError>>;

    /// Where it is reached from beside it, while it runs; `None` where the engine knows no address.
    fn address<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<Option<IpAddr>, ComputeError>>;

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ComputeError>>;

    /// The files of a folder inside the environment, running or not;
    /// empty when there is no container or no such folder.
    fn read_folder<'a>(
        &'a self,
        env: &'a EnvId,
        folder: &'a str,
    ) -> BoxFuture<'a, Result<Vec<File>, ComputeError>>;

    /// Environments whose container ended, as the engine says so; ends when the engine goes away.
    fn endings(&self) -> BoxStream<'_, Result<Ending, ComputeError>>;

    /// What happens on the way up; an engine that starts at once says nothing.
    fn notices(&self) -> BoxStream<'_, Notice> {
        stream::pending().boxed()
    }

    /// Whether it is on its way up and nothing final is in its way, from what is known without asking:
    /// nothing would be decided by asking.
    fn is_coming_up(&self, _env: &EnvId) -> bool {
        false
    }

    /// Whether the engine lets people through to it, from what is known without asking. Its sentry
    /// may be ready before.
    fn lets_through(&self, _env: &EnvId) -> bool {
        true
    }
}
