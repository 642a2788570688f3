//! What does the engine hold? Everything in memory, behind one lock that is never held over a wait.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{broadcast, watch};

use crate::events::EVENTS_BEHIND_MAX;

/// Images that are there from the start.
const IMAGES: [&str; 2] = ["portreeve/env:dev", "portreeve/env-jupyter:dev"];

pub struct Engine {
    held: Mutex<Held>,
    pub events: broadcast::Sender<Value>,
}

#[derive(Default)]
pub struct Held {
    /// By id.
    pub containers: BTreeMap<String, Container>,
    /// Name to id.
    pub names: HashMap<String, String>,
    /// Published by containers that run.
    pub ports_taken: HashSet<String>,
    /// By name.
    pub volumes: BTreeMap<String, Volume>,
    pub images: BTreeSet<String>,
    /// What the next starts fail with, in order.
    pub start_failures: VecDeque<Failure>,
    /// By the name of the volume they lie on.
    pub spools: HashMap<String, Spool>,
    /// While set, sentries neither ask nor report.
    pub sentries_silent: bool,
    /// Policy requests answered with a policy, all sentries together.
    pub policies_applied: u64,
    pub made: u64,
    pub starts: u32,
}

#[derive(Clone)]
pub struct Volume {
    pub labels: Value,
    pub created_at: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Created,
    Running,
    Exited,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

pub struct Container {
    pub id: String,
    pub name: String,
    /// The body of the create call.
    pub asked: Value,
    pub state: State,
    pub exit_code: i64,
    pub created_at: String,
    pub started_at: String,
    pub finished_at: String,
    /// The number of its newest start among those of all.
    pub starts: u32,
    /// The task that plays its sentry.
    pub sentry: Option<tokio::task::AbortHandle>,
    /// The version of the policy its sentry has in force.
    pub policy_version: String,
    pub policy: Value,
    /// Tells the sentry that its spool grew.
    pub spool_grew: watch::Sender<u64>,
}

/// What a sentry has to report, on its state volume: it outlives the container.
#[derive(Default, Clone)]
pub struct Spool {
    pub id: String,
    /// The newest number given.
    pub newest: u64,
    pub waiting: VecDeque<Value>,
}

/// What the engine says when it cannot.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: u16,
    pub message: String,
}

impl Failure {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl Default for Engine {
    fn default() -> Self {
        let held = Held { images: IMAGES.map(str::to_owned).into(), ..Held::default() };
        Self { held: Mutex::new(held), events: broadcast::Sender::new(EVENTS_BEHIND_MAX) }
    }
}

impl Engine {
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// By id, a prefix of it, or name.
    pub fn find(&self, key: &str) -> Result<&Container, Failure> {
        self.key_of(key).and_then(|id| self.containers.get(&id)).ok_or_else(|| no_such_container(key))
    }

    pub fn find_mut(&mut self, key: &str) -> Result<&mut Container, Failure> {
        let id = self.key_of(key).ok_or_else(|| no_such_container(key))?;
        self.containers.get_mut(&id).ok_or_else(|| no_such_container(key))
    }

    pub fn key_of(&self, key: &str) -> Option<String> {
        if self.containers.contains_key(key) {
            return Some(key.to_owned());
        }
        self.names.get(key).cloned().or_else(|| {
            let short = key.len() >= SHORT_ID_LENGTH;
            short.then(|| self.containers.keys().find(|id| id.starts_with(key)).cloned()).flatten()
        })
    }
}

/// A prefix of an id counts from this length on, in characters.
const SHORT_ID_LENGTH: usize = 12;

pub fn no_such_container(key: &str) -> Failure {
    Failure::new(404, format!("No such container: {key}"))
}

impl Container {
    pub fn image(&self) -> &str {
        self.asked["Image"].as_str().unwrap_or_default()
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        self.asked["Labels"].get(name)?.as_str()
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        let variables = self.asked["Env"].as_array()?;
        let mut variables = variables.iter().filter_map(Value::as_str);
        variables.find_map(|variable| variable.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    }

    /// What is mounted at a path: a folder of the host or the name of a volume.
    pub fn mounted_at(&self, path: &str) -> Option<String> {
        self.mounts().into_iter().find(|(_, target)| target == path).map(|(source, _)| source)
    }

    /// Source and target of each mount.
    pub fn mounts(&self) -> Vec<(String, String)> {
        let host = &self.asked["HostConfig"];
        let mut mounts = Vec::new();
        for bind in host["Binds"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut parts = bind.split(':');
            if let (Some(source), Some(target)) = (parts.next(), parts.next()) {
                mounts.push((source.to_owned(), target.to_owned()));
            }
        }
        for mount in host["Mounts"].as_array().into_iter().flatten() {
            if let (Some(source), Some(target)) = (mount["Source"].as_str(), mount["Target"].as_str()) {
                mounts.push((source.to_owned(), target.to_owned()));
            }
        }
        mounts
    }

    /// Host ports it publishes, as asked.
    pub fn host_ports(&self) -> Vec<String> {
        let bindings = self.asked["HostConfig"]["PortBindings"].as_object();
        let lists = bindings.into_iter().flat_map(|map| map.values());
        lists
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|binding| binding["HostPort"].as_str().map(str::to_owned))
            .filter(|port| !port.is_empty() && port != "0")
            .collect()
    }
}

pub fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}
