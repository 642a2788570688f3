//! What can get in the way of a step? The world (try again), the engine (failed), or a newer fact.

use std::error::Error;

use events::aggregate::Refusal;
use events::env::{EnvFailed, Phase};
use kit::error::chain;
use nats::{DecideError, Decided};

use crate::compute::ComputeError;

/// Why a step was not done.
#[derive(Debug)]
pub enum Trouble {
    /// It cannot be done at all: the environment has failed.
    Failed(EnvFailed),
    /// It could not be done now; the text is for the operator's log.
    Again(String),
    /// Something newer was decided meanwhile: look again.
    Changed,
}

/// The world broke; it may be whole again later.
pub fn again(error: impl Error + 'static) -> Trouble {
    Trouble::Again(chain(&error))
}

/// A refusal by the rules of the environment means that somebody decided otherwise meanwhile.
pub fn decided<A, R: Refusal>(result: Result<Decided<A>, DecideError<R>>) -> Result<Decided<A>, Trouble> {
    match result {
        Ok(decided) => Ok(decided),
        Err(DecideError::Refused(_)) => Err(Trouble::Changed),
        Err(error) => Err(again(error)),
    }
}

pub fn failed(phase: Phase, code: &str, reason: impl Into<String>) -> Trouble {
    Trouble::Failed(EnvFailed { phase, code: code.to_owned(), reason: reason.into() })
}

impl From<ComputeError> for Trouble {
    fn from(error: ComputeError) -> Self {
        match error {
            ComputeError::ImageMissing(image) => failed(
                Phase::Image,
                "image_missing",
                format!(
                    "the container engine has no image {image:?}: pull or build it there (make build \
                     makes portreeve/env:dev), then start the environment"
                ),
            ),
            ComputeError::DatasetMissing(reason) => failed(Phase::Volume, "dataset_missing", reason),
            ComputeError::PortsTaken { ports, reason } => failed(
                Phase::Port,
                "ports_taken",
                format!("other programs on the machine hold the ports {ports:?}: {reason}"),
            ),
            ComputeError::Refused { phase, reason } => failed(phase, "engine_refused", reason),
            ComputeError::Unreachable(_) | ComputeError::Busy(_) => again(error),
        }
    }
}
