//! Of when is an answer? What is true now stands in the read models; what was true at `?as_of=` is folded from the log.

use std::sync::Arc;

use audit::time_travel::{Instant, TravelError};
use chrono::{DateTime, Utc};
use events::ids::{BatchId, CommandId, EnvId, RelayId, ScheduleId, ServerId, TenantId, UserName};
use nats::Log;
use projections::batches::{self, BatchRow};
use projections::commands::{self, CommandRow};
use projections::environments::{self, EnvironmentRow};
use projections::fleet::{Fleet, ReplayError};
use projections::port_mappings::{self, PortMappingRow};
use projections::quotas::{self, QuotaRow};
use projections::relays::{self, RelayRow};
use projections::schedule_runs::{self, RunRow};
use projections::schedules::{self, ScheduleRow};
use projections::servers::{self, ServerRow};
use projections::sessions::{self, SessionRow};
use projections::{At, Page, Projections, QueryError};

use crate::app::App;
use crate::params::Params;
use crate::problem::{FieldError, Problem};

/// How `?as_of=` is described.
pub const AS_OF: &str =
    "Sequence or RFC 3339 time: the answer as it was then. `Portreeve-Position` says which sequence";

/// An event that a fleet was folded from a moment ago.
const GONE: &str = "an event that was there a moment ago is not there; try again";

/// An instant as it was asked for: by which parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    pub parameter: &'static str,
    pub instant: Instant,
}

/// A sequence, or an RFC 3339 time.
pub fn instant(text: &str) -> Result<Instant, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(Instant::Sequence(sequence));
    }
    // a plus sign that was not escaped arrives as a blank
    let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
    time.map(|time| Instant::Time(time.to_utc()))
        .map_err(|_| "must be a sequence or an RFC 3339 time".to_owned())
}

impl Params {
    pub fn instant(&mut self, parameter: &'static str) -> Option<Asked> {
        self.parsed(parameter, instant).map(|instant| Asked { parameter, instant })
    }

    pub fn as_of(&mut self) -> Option<Asked> {
        self.instant("as_of")
    }
}

/// Where rows are read.
pub enum Reading {
    Live(Projections),
    AsOf(Arc<Fleet>),
}

impl App {
    /// Waits until the read model has the sequence of `?after=`; then what is true now, or was when it is asked for.
    pub async fn reading(&self, after: Option<u64>, as_of: Option<Asked>) -> Result<Reading, Problem> {
        self.caught_up(after).await?;
        match as_of {
            None => Ok(Reading::Live(self.projections.clone())),
            Some(asked) => Ok(Reading::AsOf(self.fleet(asked).await?)),
        }
    }

    pub async fn fleet(&self, asked: Asked) -> Result<Arc<Fleet>, Problem> {
        let at = self.sequence(asked).await?;
        self.time_travel.fleet(at).await.map_err(|error| problem(asked.parameter, error))
    }

    /// The sequence that an instant stands for: of a time, that of the last event that was stored up to then.
    pub async fn sequence(&self, asked: Asked) -> Result<u64, Problem> {
        let at = self.time_travel.sequence(asked.instant, Utc::now()).await;
        at.map_err(|error| problem(asked.parameter, error))
    }
}

/// What is told of an instant that a query parameter named.
pub fn problem(parameter: &str, error: TravelError) -> Problem {
    match error {
        TravelError::NotYet { .. } | TravelError::Future { .. } => {
            let detail = error.to_string();
            let wrong = FieldError { field: parameter.to_owned(), code: "in_future", detail: detail.clone() };
            Problem::parameters(format!("{parameter}: {detail}"), vec![wrong])
        }
        TravelError::Log(error) => error.into(),
        TravelError::Replay { source: ReplayError::Snapshots(error), .. } => error.into(),
        TravelError::Replay { source: ReplayError::Source(_) | ReplayError::Short { .. }, .. } => {
            Problem::caused("log_unavailable", "the event log did not answer; try again", &error)
        }
        TravelError::Replay { source: ReplayError::Gap(_), .. } => Problem::internal(&error),
    }
}

impl Reading {
    pub async fn environment(
        &self,
        tenant: Option<&TenantId>,
        env: &EnvId,
    ) -> Result<At<Option<EnvironmentRow>>, QueryError> {
        match self {
            Self::Live(projections) => environments::get(projections, tenant, env).await,
            Self::AsOf(fleet) => Ok(At { position: fleet.position(), value: fleet.environment(tenant, env) }),
        }
    }

    pub async fn environments(
        &self,
        filter: &environments::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<EnvironmentRow>, QueryError> {
        match self {
            Self::Live(projections) => environments::list(projections, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.environments(filter, cursor, limit),
        }
    }

    pub async fn ports(
        &self,
        filter: &port_mappings::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<PortMappingRow>, QueryError> {
        match self {
            Self::Live(projections) => port_mappings::list(projections, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.ports(filter, cursor, limit),
        }
    }

    pub async fn sessions(
        &self,
        filter: &sessions::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<SessionRow>, QueryError> {
        match self {
            Self::Live(projections) => sessions::list(projections, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.sessions(filter, cursor, limit),
        }
    }

    pub async fn server(
        &self,
        tenant: Option<&TenantId>,
        server: &ServerId,
    ) -> Result<At<Option<ServerRow>>, QueryError> {
        match self {
            Self::Live(projections) => servers::get(projections, tenant, server).await,
            Self::AsOf(fleet) => Ok(At { position: fleet.position(), value: fleet.server(tenant, server) }),
        }
    }

    pub async fn servers(
        &self,
        filter: &servers::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<ServerRow>, QueryError> {
        match self {
            Self::Live(projections) => servers::list(projections, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.servers(filter, cursor, limit),
        }
    }

    pub async fn quota(&self, tenant: &TenantId) -> Result<At<Option<QuotaRow>>, QueryError> {
        match self {
            Self::Live(projections) => quotas::get(projections, tenant).await,
            Self::AsOf(fleet) => Ok(At { position: fleet.position(), value: fleet.quota(tenant) }),
        }
    }

    pub async fn quotas(
        &self,
        tenant: Option<&TenantId>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<QuotaRow>, QueryError> {
        match self {
            Self::Live(projections) => quotas::list(projections, tenant, cursor, limit).await,
            Self::AsOf(fleet) => fleet.quotas(tenant, cursor, limit),
        }
    }

    pub async fn relay(
        &self,
        tenant: Option<&TenantId>,
        relay: &RelayId,
    ) -> Result<At<Option<RelayRow>>, QueryError> {
        match self {
            Self::Live(projections) => relays::get(projections, tenant, relay).await,
            Self::AsOf(fleet) => Ok(At { position: fleet.position(), value: fleet.relay(tenant, relay) }),
        }
    }

    pub async fn relays(
        &self,
        filter: &relays::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<RelayRow>, QueryError> {
        match self {
            Self::Live(projections) => relays::list(projections, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.relays(filter, cursor, limit),
        }
    }

    pub async fn batch(
        &self,
        filter: &batches::Filter,
        batch: &BatchId,
    ) -> Result<At<Option<BatchRow>>, QueryError> {
        match self {
            Self::Live(projections) => batches::get(projections, filter, batch).await,
            Self::AsOf(fleet) => Ok(At { position: fleet.position(), value: fleet.batch(filter, batch) }),
        }
    }

    pub async fn batches(
        &self,
        filter: &batches::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<BatchRow>, QueryError> {
        match self {
            Self::Live(projections) => batches::list(projections, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.batches(filter, cursor, limit),
        }
    }

    /// With its outputs. The fleet of an instant does not hold them: `log` has the events that do.
    pub async fn command(
        &self,
        log: &Log,
        tenant: Option<&TenantId>,
        owner: Option<&UserName>,
        command: &CommandId,
    ) -> Result<At<Option<CommandRow>>, Problem> {
        let fleet = match self {
            Self::Live(projections) => return Ok(commands::get(projections, tenant, owner, command).await?),
            Self::AsOf(fleet) => fleet,
        };
        let mut value = None;
        if let Some((mut row, spoke)) = fleet.command(tenant, owner, command) {
            for sequence in spoke {
                let recorded = log.event_at(*sequence).await?;
                row.hear(&recorded.ok_or_else(|| Problem::new("log_unavailable", GONE))?);
            }
            value = Some(row);
        }
        Ok(At { position: fleet.position(), value })
    }

    /// Of one batch, without their outputs.
    pub async fn commands(
        &self,
        batch: &BatchId,
        filter: &commands::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<CommandRow>, QueryError> {
        match self {
            Self::Live(projections) => commands::of_batch(projections, batch, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.commands(batch, filter, cursor, limit),
        }
    }

    pub async fn schedule(
        &self,
        filter: &schedules::Filter,
        schedule: &ScheduleId,
    ) -> Result<At<Option<ScheduleRow>>, QueryError> {
        match self {
            Self::Live(projections) => schedules::get(projections, filter, schedule).await,
            Self::AsOf(fleet) => {
                Ok(At { position: fleet.position(), value: fleet.schedule(filter, schedule) })
            }
        }
    }

    pub async fn schedules(
        &self,
        filter: &schedules::Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRow>, QueryError> {
        match self {
            Self::Live(projections) => schedules::list(projections, filter, cursor, limit).await,
            Self::AsOf(fleet) => fleet.schedules(filter, cursor, limit),
        }
    }

    /// The newest ones of a schedule, newest first.
    pub async fn runs(&self, schedule: &ScheduleId, limit: u32) -> Result<Vec<RunRow>, QueryError> {
        match self {
            Self::Live(projections) => {
                Ok(schedule_runs::of_schedule(projections, schedule, limit).await?.value)
            }
            Self::AsOf(fleet) => Ok(fleet.runs(schedule, limit)),
        }
    }

    /// The newest one of each of these.
    pub async fn newest_runs<'s>(
        &self,
        schedules: impl IntoIterator<Item = &'s ScheduleId>,
    ) -> Result<Vec<RunRow>, QueryError> {
        match self {
            Self::Live(projections) => Ok(schedule_runs::newest(projections, schedules).await?.value),
            Self::AsOf(fleet) => Ok(fleet.newest_runs(schedules)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_instant_is_a_sequence_or_a_time() {
        assert_eq!(instant("17"), Ok(Instant::Sequence(17)));
        assert!(matches!(instant("2026-01-02T03:04:05Z"), Ok(Instant::Time(_))));
        assert_eq!(instant("2026-01-02T03:04:05 01:00"), instant("2026-01-02T02:04:05Z"));
        for wrong in ["-1", "yesterday", "1.5"] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }
}
