//! Does the command begin to wait? Once.

use super::{Command, CommandEvent, CommandRefusal, CommandRequested, Stage};
use crate::aggregate::Decision;

pub fn request(state: &Command, asked: CommandRequested) -> Decision<CommandEvent, CommandRefusal> {
    Ok((state.stage == Stage::Absent).then(|| asked.into()))
}
