//! What is true of an environment after its events?

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;

use super::progress::PROGRESS_MAX;
use super::{EnvEvent, EnvFailed, EnvProgressed, EnvRequested, InnerDoor, Phase, PortPurpose, RequestCause};
use crate::aggregate::Aggregate;
use crate::ids::{PoolName, UserName};
use crate::resources::Resources;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Never asked for.
    #[default]
    Absent,
    Creating,
    Running,
    Stopping,
    Stopped,
    Starting,
    Failed,
    Deleting,
    Deleted,
}

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// Waiting for the provisioner, so a deadline runs.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Creating | Self::Starting | Self::Stopping | Self::Deleting)
    }

    /// Being made or started.
    pub const fn is_coming_up(self) -> bool {
        matches!(self, Self::Creating | Self::Starting)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub phase: Phase,
    pub code: String,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Env {
    pub status: Status,
    /// What was asked for; `None` only while absent.
    pub requested: Option<EnvRequested>,
    pub requested_at: Option<DateTime<Utc>>,
    pub ports: BTreeMap<PortPurpose, (PoolName, u16)>,
    pub allow_list: Vec<IpNet>,
    pub engine_ref: Option<String>,
    /// Where gateway and web terminal get in; only while it runs.
    pub inner: Option<InnerDoor>,
    /// Set exactly in pending states.
    pub deadline: Option<DateTime<Utc>>,
    pub failure: Option<Failure>,
    /// What was said since it began to come up, a loss before it included, oldest first; empty otherwise.
    pub progress: Vec<EnvProgressed>,
    /// When it last got ready.
    pub ready_at: Option<DateTime<Utc>>,
    /// A job runs until then, somebody said.
    pub job_until: Option<DateTime<Utc>>,
    /// It was said that it is stopped then, because it is idle.
    pub stops_at: Option<DateTime<Utc>>,
    /// It was said that it is deleted then, because its time ends.
    pub deletes_at: Option<DateTime<Utc>>,
    /// Why a delete was asked for; it is carried on with even after a failure.
    pub delete_cause: Option<RequestCause>,
    /// When it was lost, newest last; bounded by [`LOSSES_KEPT`].
    pub losses: Vec<DateTime<Utc>>,
}

/// More losses than this are not remembered.
pub const LOSSES_KEPT: usize = 8;

impl Env {
    pub fn exists(&self) -> bool {
        !matches!(self.status, Status::Absent | Status::Deleted)
    }

    /// It shall go, or is gone.
    pub fn delete_requested(&self) -> bool {
        self.delete_cause.is_some()
    }

    /// When its time to live ends.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        let ttl_s = i64::try_from(self.requested.as_ref()?.ttl_s?).ok()?;
        self.requested_at?.checked_add_signed(TimeDelta::try_seconds(ttl_s)?)
    }

    pub fn owner(&self) -> Option<&UserName> {
        self.requested.as_ref().map(|requested| &requested.owner)
    }

    pub fn resources(&self) -> Resources {
        self.requested.as_ref().map(|requested| requested.resources).unwrap_or_default()
    }

    pub fn port(&self, purpose: PortPurpose) -> Option<u16> {
        self.ports.get(&purpose).map(|(_, port)| *port)
    }

    /// How far it has come, while it is coming up.
    pub fn newest_progress(&self) -> Option<&EnvProgressed> {
        self.progress.last()
    }

    /// The ports it needs and does not have yet.
    pub fn ports_missing(&self) -> Vec<PortPurpose> {
        let asked = self.requested.as_ref();
        if asked.is_some_and(|requested| requested.gateway_only) {
            return Vec::new();
        }
        let jupyter = asked.is_some_and(|requested| requested.jupyter);
        [PortPurpose::Ssh, PortPurpose::Jupyter]
            .into_iter()
            .filter(|purpose| *purpose == PortPurpose::Ssh || jupyter)
            .filter(|purpose| !self.ports.contains_key(purpose))
            .collect()
    }

    fn pending(&mut self, status: Status, deadline: DateTime<Utc>) {
        self.settled(status);
        self.deadline = Some(deadline);
    }

    fn settled(&mut self, status: Status) {
        self.status = status;
        self.deadline = None;
        self.failure = None;
        self.inner = None;
        self.stops_at = None;
        self.progress.clear();
    }

    fn failed(&mut self, failed: &EnvFailed) {
        self.settled(Status::Failed);
        self.failure =
            Some(Failure { phase: failed.phase, code: failed.code.clone(), reason: failed.reason.clone() });
    }
}

impl Aggregate for Env {
    type Event = EnvEvent;

    fn evolve(&mut self, event: &EnvEvent, at: DateTime<Utc>) {
        match event {
            EnvEvent::EnvRequested(asked) => {
                self.pending(Status::Creating, asked.deadline);
                self.allow_list.clone_from(&asked.allow_list);
                self.requested = Some(asked.clone());
                self.requested_at = Some(at);
            }
            EnvEvent::PortBound(bound) => {
                self.ports.insert(bound.purpose, (bound.pool.clone(), bound.port));
            }
            EnvEvent::PodCreated(created) => self.engine_ref = Some(created.engine_ref.clone()),
            EnvEvent::PodReady(ready) => {
                self.settled(Status::Running);
                self.inner.clone_from(&ready.inner);
                self.ready_at = Some(at);
            }
            EnvEvent::EnvProgressed(progressed) => {
                if self.status.is_coming_up() && self.progress.len() < PROGRESS_MAX {
                    self.progress.push(progressed.clone());
                }
            }
            EnvEvent::PodLost(lost) => {
                self.pending(Status::Starting, lost.deadline);
                self.progress.push(lost.as_progress());
                self.losses.push(at);
                if self.losses.len() > LOSSES_KEPT {
                    self.losses.remove(0);
                }
            }
            EnvEvent::EnvFailed(failed) => self.failed(failed),
            EnvEvent::EnvStopRequested(asked) => self.pending(Status::Stopping, asked.deadline),
            EnvEvent::EnvStopped(_) => self.settled(Status::Stopped),
            EnvEvent::EnvStartRequested(asked) => {
                self.pending(Status::Starting, asked.deadline);
                self.losses.clear();
            }
            EnvEvent::EnvDeleteRequested(asked) => {
                self.pending(Status::Deleting, asked.deadline);
                self.delete_cause = Some(asked.cause);
            }
            EnvEvent::EnvDeleted(_) => {
                self.settled(Status::Deleted);
                self.ports.clear();
                self.engine_ref = None;
            }
            EnvEvent::EnvEndsSoon(soon) => match soon.cause {
                RequestCause::Idle => self.stops_at = soon.at,
                RequestCause::TtlEnded => self.deletes_at = soon.at,
                RequestCause::Asked | RequestCause::NeverStarted => {}
            },
            EnvEvent::JobMarked(marked) => self.job_until = marked.until,
            EnvEvent::AllowListSet(set) => self.allow_list.clone_from(&set.ranges),
        }
    }
}
