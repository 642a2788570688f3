//! What does the engine's answer mean? Docker and Podman say the same things in different words.

use bollard::errors::Error;
use events::env::Phase;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compute::{ComputeError, Spec};

/// 304 is an answer, not a failure: it was stopped, or started, before. 404 means gone before.
pub fn already_so(done: Result<(), Error>, phase: Phase) -> Result<(), ComputeError> {
    match done {
        Ok(()) => Ok(()),
        Err(error) if is_missing(&error) || is_unchanged(&error) => Ok(()),
        Err(error) => Err(refused(phase, None, error)),
    }
}

fn status(error: &Error) -> Option<(u16, &str)> {
    #[allow(clippy::wildcard_enum_match_arm)] // the engine's answers are one variant; the rest is transport
    match error {
        Error::DockerResponseServerError { status_code, message } => Some((*status_code, message)),
        _ => None,
    }
}

pub fn is_missing(error: &Error) -> bool {
    // Podman says 500 when a container goes away while it is asked about
    status(error).is_some_and(|(code, text)| code == 404 || code == 500 && text.contains("no such container"))
}

/// Two requests at once, one of them perhaps of a process that was killed.
pub fn is_made_already(error: &Error) -> bool {
    status(error).is_some_and(|(_, text)| text.contains("volume already exists"))
}

pub fn is_unchanged(error: &Error) -> bool {
    status(error).is_some_and(|(code, _)| code == 304)
}

pub fn is_name_conflict(error: &Error) -> bool {
    status(error).is_some_and(|(code, text)| {
        (code == 409 || code == 500) && text.contains("name") && text.contains("already in use")
    })
}

/// The published ports that the engine could not listen on; all of them when it does not say which.
pub fn ports_taken(spec: &Spec, error: &Error) -> Vec<u16> {
    let Some((_, text)) = status(error) else { return Vec::new() };
    if !text.contains("address already in use") && !text.contains("port is already allocated") {
        return Vec::new();
    }
    let all: Vec<u16> = spec.ports.iter().map(|published| published.port).collect();
    let named =
        |port: &u16| text.split(|c: char| !c.is_ascii_digit()).any(|number| number.parse() == Ok(*port));
    let taken: Vec<u16> = all.iter().copied().filter(named).collect();
    if taken.is_empty() { all } else { taken }
}

pub fn words(error: &Error) -> String {
    status(error).map_or_else(|| error.to_string(), |(_, text)| text.to_owned())
}

pub fn unreachable(error: Error) -> ComputeError {
    ComputeError::Unreachable(Box::new(error))
}

pub fn refused(phase: Phase, image: Option<&str>, error: Error) -> ComputeError {
    match (status(&error), image) {
        (Some((404, text)), Some(image)) if text.to_ascii_lowercase().contains("image") => {
            ComputeError::ImageMissing(image.to_owned())
        }
        (Some((_, text)), _) => ComputeError::Refused { phase, reason: text.to_owned() },
        (None, _) => transport(phase, error),
    }
}

/// Answers that cannot be read will not get better; no answer may.
fn transport(phase: Phase, error: Error) -> ComputeError {
    #[allow(clippy::wildcard_enum_match_arm)] // every other error comes from the connection
    match error {
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => {
            ComputeError::Refused { phase, reason: error.to_string() }
        }
        _ => unreachable(error),
    }
}

/// Reads the answer again without the states that Docker does not have; none of them is "running".
/// `path` leads to the state in the answer, or in each of its rows.
pub fn without_states<T: DeserializeOwned>(error: Error, path: &[&str]) -> Result<T, Error> {
    #[allow(clippy::wildcard_enum_match_arm)] // only this one holds the answer
    match error {
        Error::JsonDataError { ref contents, .. } => {
            let mut answer: Value = serde_json::from_str(contents)?;
            match &mut answer {
                Value::Array(rows) => rows.iter_mut().for_each(|row| forget_state(row, path)),
                one => forget_state(one, path),
            }
            serde_json::from_value(answer).map_err(|_| error)
        }
        other => Err(other),
    }
}

fn forget_state(row: &mut Value, path: &[&str]) {
    let Some((last, way)) = path.split_last() else { return };
    let parent = way.iter().try_fold(row, |value, step| value.get_mut(step));
    if let Some(parent) = parent.and_then(Value::as_object_mut)
        && parent.get(*last).and_then(Value::as_str) != Some("running")
    {
        parent.remove(*last);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::testing::spec;
    use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum};

    fn said(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.into() }
    }

    #[test]
    fn states_that_docker_does_not_have_are_read_as_not_running() {
        let answer = r#"[{"Id":"a","State":"stopped"},{"Id":"b","State":"running"}]"#;
        let error = |contents: &str| Error::JsonDataError {
            message: String::new(),
            contents: contents.into(),
            column: 0,
        };
        let rows: Vec<ContainerSummary> = without_states(error(answer), &["State"]).unwrap();
        assert_eq!(rows[0].state, None);
        assert_eq!(rows[1].state, Some(ContainerSummaryStateEnum::RUNNING));
        let answer = r#"{"Id":"a","State":{"Status":"stopped","Running":false,"ExitCode":7}}"#;
        let seen: ContainerInspectResponse = without_states(error(answer), &["State", "Status"]).unwrap();
        assert_eq!(seen.state.unwrap().exit_code, Some(7));
        assert!(without_states::<ContainerInspectResponse>(error("nonsense"), &["State"]).is_err());
    }

    #[test]
    fn what_engines_say_is_understood() {
        let podman =
            "cannot listen on the TCP port: listen tcp4 127.0.0.1:30001: bind: address already in use";
        assert_eq!(ports_taken(&spec(), &said(500, podman)), [30001]);
        let docker = "Bind for 0.0.0.0:30000 failed: port is already allocated";
        assert_eq!(ports_taken(&spec(), &said(500, docker)), [30000]);
        assert_eq!(ports_taken(&spec(), &said(500, "bind: address already in use")), [30000, 30001]);
        assert_eq!(ports_taken(&spec(), &said(500, "out of memory")), Vec::<u16>::new());
        let podman = "the container name \"portreeve-x\" is already in use by 55";
        assert!(is_name_conflict(&said(500, podman)));
        assert!(is_name_conflict(&said(409, "Conflict. The container name \"/x\" is already in use by")));
        assert!(is_missing(&said(500, "container 2e5 does not exist in database: no such container")));
        assert!(!is_missing(&said(500, "disk full")));
        let twice = "adding volume to state: name x-state is in use: volume already exists";
        assert!(is_made_already(&said(500, twice)));
        let missing = refused(Phase::Create, Some("one"), said(404, "no such image: one: image not known"));
        assert!(matches!(missing, ComputeError::ImageMissing(image) if image == "one"));
        let other = refused(Phase::Create, Some("one"), said(500, "disk full"));
        assert!(matches!(other, ComputeError::Refused { reason, .. } if reason == "disk full"));
        assert!(matches!(
            refused(Phase::Create, None, Error::RequestTimeoutError),
            ComputeError::Unreachable(_)
        ));
    }
}
