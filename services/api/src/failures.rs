//! What does the world's breaking look like from outside? Which failures are ours, which pass.

use events::aggregate::Refusal;
use nats::{AppendError, DecideError, LogError, OutputError, PositionsError, RecordingError, VaultError};
use projections::QueryError;
use recorder::playback::PlaybackError;

use crate::problem::Problem;

impl<R: Refusal> From<DecideError<R>> for Problem {
    fn from(error: DecideError<R>) -> Self {
        match error {
            DecideError::Refused(refusal) => Self::refused(&refusal),
            DecideError::Contended { attempts } => Self::new(
                "contended",
                format!("others changed the same thing at the same moment, {attempts} times; try again"),
            ),
            DecideError::Log(error) => error.into(),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match &error {
            LogError::Read(_)
            | LogError::Append(
                AppendError::Unavailable
                | AppendError::Unclear(_)
                | AppendError::Lost { .. }
                | AppendError::Duplicate { .. },
            ) => Self::caused("log_unavailable", "the event log did not answer; try again", &error),
            // a full log refuses: nothing is lost, and nothing can be done until there is room
            LogError::Append(AppendError::Refused(_)) => {
                Self::caused("log_unavailable", "the event log takes no more events now", &error)
            }
            LogError::Append(AppendError::TooLarge)
            | LogError::Unreadable { .. }
            | LogError::IdTaken { .. }
            | LogError::TooLong(_) => Self::internal(&error),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match &error {
            VaultError::Unavailable(_) => {
                Self::caused("log_unavailable", "the vault did not answer; try again", &error)
            }
            VaultError::Name(_)
            | VaultError::TooLong
            | VaultError::Refused(_)
            | VaultError::KeyUnknown { .. }
            | VaultError::Damaged(_)
            | VaultError::Randomness => Self::internal(&error),
        }
    }
}

impl From<PositionsError> for Problem {
    fn from(error: PositionsError) -> Self {
        match &error {
            PositionsError::Lost => {
                Self::new("contended", "others moved the position at the same moment; try again")
            }
            PositionsError::Unavailable(_) => {
                Self::caused("log_unavailable", "the positions did not answer; try again", &error)
            }
            PositionsError::Refused(_) => Self::internal(&error),
        }
    }
}

impl From<PlaybackError> for Problem {
    fn from(error: PlaybackError) -> Self {
        match &error {
            PlaybackError::NothingYet => Self::new("recording_not_stored", error.to_string()),
            PlaybackError::Gone => Self::new("recording_removed", error.to_string()),
            PlaybackError::Damaged(_) => Self::caused("recording_damaged", &error.to_string(), &error),
            PlaybackError::Store(RecordingError::Unavailable(_)) => {
                Self::caused("log_unavailable", "the store of recordings did not answer; try again", &error)
            }
            PlaybackError::Store(
                RecordingError::TooLong
                | RecordingError::Randomness
                | RecordingError::Refused(_)
                | RecordingError::KeyUnknown { .. }
                | RecordingError::Damaged { .. },
            ) => Self::internal(&error),
        }
    }
}

impl From<OutputError> for Problem {
    fn from(error: OutputError) -> Self {
        match &error {
            OutputError::Unavailable(_) => {
                Self::caused("log_unavailable", "the store of outputs did not answer; try again", &error)
            }
            OutputError::Damaged { .. } => Self::caused("output_damaged", &error.to_string(), &error),
            OutputError::TooLong
            | OutputError::Randomness
            | OutputError::Refused(_)
            | OutputError::KeyUnknown { .. } => Self::internal(&error),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::CursorInvalid => {
                Self::new("parameter_invalid", "cursor must be the next_cursor of a page of this list")
            }
            QueryError::Database(_) => {
                Self::caused("read_model_unavailable", "the read model did not answer; try again", &error)
            }
            QueryError::Row(_) | QueryError::Projection(_) => Self::internal(&error),
        }
    }
}
