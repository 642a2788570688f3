//! What happens to an environment, from the asking to the end?

pub mod allow_list;
pub mod bind_port;
pub mod deadlines;
pub mod delete;
pub mod expire;
pub mod fail;
pub mod give_up;
pub mod idle;
pub mod job;
pub mod observe;
pub mod progress;
pub mod request;
pub mod start;
mod state;
pub mod stop;

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Refusal;
pub use crate::catalogue::EnvEvent;
use crate::ids::{PoolName, UserName};
use crate::resources::Resources;
pub use state::{Env, Failure, Status};

/// Somebody asked for an environment, and its quota is claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvRequested {
    /// Chosen by the person; not unique.
    pub name: String,
    pub owner: UserName,
    /// Image reference; empty means the default image.
    #[serde(default)]
    pub image: String,
    pub resources: Resources,
    /// OpenSSH public key lines for this environment alone.
    #[serde(default)]
    pub ssh_public_keys: Vec<String>,
    #[serde(default)]
    pub jupyter: bool,
    /// Seconds after the request when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// Seconds without traffic after which it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<u64>,
    /// Source ranges that may connect; empty means everyone.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub allow_list: Vec<IpNet>,
    /// Names of the datasets that stand in it, to be read.
    #[serde(default)]
    pub datasets: Vec<String>,
    /// It has no port of its own and is entered through the gateway alone.
    #[serde(default)]
    pub gateway_only: bool,
    /// Ready by then, or failed.
    pub deadline: DateTime<Utc>,
}

/// What a port leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum PortPurpose {
    Ssh,
    Jupyter,
}

impl PortPurpose {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Jupyter => "jupyter",
        }
    }
}

/// A port of the pool, allocated before, leads to this environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortBound {
    pub pool: PoolName,
    pub port: u16,
    pub purpose: PortPurpose,
}

/// The container or pod exists and was told to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodCreated {
    /// The engine's id of it.
    pub engine_ref: String,
}

/// Where the entrances other than its own port get in, and whom they meet there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InnerDoor {
    /// As the engine sees it; reached from beside the environments only.
    pub addr: SocketAddr,
    /// OpenSSH public key line (ed25519), as its sentry said it.
    pub host_key: String,
}

/// The environment accepts connections with the policy in force; again when its inner door moved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodReady {
    /// `None` from a sentry without that door, or an engine that knows no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<InnerDoor>,
}

/// A running environment was found not running; it is being started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodLost {
    /// What was seen, for a person.
    pub reason: String,
    /// Ready again by then, or failed.
    pub deadline: DateTime<Utc>,
}

impl PodLost {
    /// What is in the way until something newer is said.
    pub fn as_progress(&self) -> EnvProgressed {
        EnvProgressed {
            phase: Phase::Run,
            code: "lost".to_owned(),
            message: self.reason.clone(),
            trouble: true,
        }
    }
}

/// Where in its life an environment is, or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum Phase {
    Port,
    Credentials,
    /// A place on a machine is looked for.
    Schedule,
    Image,
    Volume,
    Create,
    Start,
    Ready,
    Run,
    Stop,
    Delete,
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Credentials => "credentials",
            Self::Schedule => "schedule",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Create => "create",
            Self::Start => "start",
            Self::Ready => "ready",
            Self::Run => "run",
            Self::Stop => "stop",
            Self::Delete => "delete",
        }
    }
}

/// On its way up the environment got further, or something is in its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvProgressed {
    pub phase: Phase,
    /// Stable, for programs: `scheduled`, `pulling`, `unschedulable`, `image_pull_failed`, ...
    pub code: String,
    /// For a person.
    pub message: String,
    /// It is in the way; otherwise it is a step done.
    #[serde(default)]
    pub trouble: bool,
}

/// The environment could not reach the state asked for; says in which phase and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvFailed {
    pub phase: Phase,
    /// Stable, for programs: `image_missing`, `deadline_exceeded`, `port_pool_exhausted`, ...
    pub code: String,
    /// For a person.
    pub reason: String,
}

/// Why something was asked of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum RequestCause {
    /// A person or a program asked.
    Asked,
    /// Its time to live ended.
    TtlEnded,
    /// Nobody used it for as long as it was given.
    Idle,
    /// It never got what it needs to begin.
    NeverStarted,
}

impl RequestCause {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::TtlEnded => "ttl_ended",
            Self::Idle => "idle",
            Self::NeverStarted => "never_started",
        }
    }
}

/// The environment will be stopped because it is idle, or deleted because its time ends, at this instant;
/// or, once it was said, it will not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvEndsSoon {
    /// `idle` or `ttl_ended`.
    pub cause: RequestCause,
    /// `None` takes it back: it is used again, or a job was marked.
    pub at: Option<DateTime<Utc>>,
}

/// Somebody said that a job runs in the environment: until then it neither counts as idle nor ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobMarked {
    /// `None` takes the mark away.
    pub until: Option<DateTime<Utc>>,
    /// What it is, for a person.
    #[serde(default)]
    pub note: String,
}

/// The environment shall stop; its data stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvStopRequested {
    pub cause: RequestCause,
    pub deadline: DateTime<Utc>,
}

/// Nothing of the environment runs any more; its data is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvStopped {}

/// The environment shall run again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvStartRequested {
    pub deadline: DateTime<Utc>,
}

/// The environment shall go, with its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvDeleteRequested {
    pub cause: RequestCause,
    pub deadline: DateTime<Utc>,
}

/// Container, volumes and secrets are gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvDeleted {}

/// Who may connect to the environment was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllowListSet {
    /// Empty means everyone.
    #[schemars(with = "Vec<String>")]
    pub ranges: Vec<IpNet>,
}

/// Why a request about an environment was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvRefusal {
    #[error("there is no such environment")]
    NotFound,
    #[error("the environment is being deleted; nothing else can be asked of it")]
    Deleting,
    #[error("the environment is {status}; this needs it to be {needs}")]
    WrongStatus { status: &'static str, needs: &'static str },
}

impl Refusal for EnvRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Deleting => "environment_deleting",
            Self::WrongStatus { .. } => "environment_wrong_status",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::testing::t;

    pub fn asked() -> EnvRequested {
        EnvRequested {
            name: "one".into(),
            owner: UserName::parse("alice").unwrap(),
            image: String::new(),
            resources: Resources::default(),
            ssh_public_keys: vec![],
            jupyter: false,
            ttl_s: None,
            idle_s: None,
            allow_list: vec![],
            datasets: vec![],
            gateway_only: false,
            deadline: t(300),
        }
    }

    pub fn bound(port: u16) -> PortBound {
        PortBound { pool: PoolName::parse("main").unwrap(), port, purpose: PortPurpose::Ssh }
    }

    pub fn running() -> Vec<(i64, EnvEvent)> {
        vec![(0, asked().into()), (1, bound(30000).into()), (2, PodReady::default().into())]
    }
}
