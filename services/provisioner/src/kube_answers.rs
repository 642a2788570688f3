//! What does the apiserver's answer mean? Done before, try later, another port, or no.

use std::time::Duration;

use events::env::Phase;
use kube::core::Status;

use crate::compute::ComputeError;

/// An apiserver that says nothing for this long does not answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);

/// No answer, or one that says no.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no answer within {ANSWER_MAX:?}")]
    Silent,
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

impl AskError {
    fn status(&self) -> Option<&Status> {
        if let Self::Kube(kube::Error::Api(status)) = self { Some(status) } else { None }
    }

    pub fn is_missing(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// Also said of what is on its way out.
    pub fn is_there(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }

    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|status| status.code == 403)
    }

    /// The object was understood and is not taken as it is.
    pub fn is_invalid(&self) -> bool {
        self.status().is_some_and(|status| status.code == 422)
    }

    /// Which of the Service's ports somebody else holds, or the cluster does not give out: their
    /// places in the Service, with the apiserver's words.
    pub fn node_ports_taken(&self) -> Option<(Vec<usize>, String)> {
        let status = self.status().filter(|_| self.is_invalid())?;
        let causes = &status.details.as_ref()?.causes;
        let about_ports = causes.iter().filter_map(|cause| {
            let place = cause.field.strip_prefix("spec.ports[")?.strip_suffix("].nodePort")?;
            place.parse().ok()
        });
        let places: Vec<usize> = about_ports.collect();
        (!places.is_empty()).then(|| (places, status.message.clone()))
    }
}

/// What a step makes of an answer that it did not expect.
pub fn refused(phase: Phase, error: AskError) -> ComputeError {
    let Some(status) = error.status() else { return ComputeError::Unreachable(Box::new(error)) };
    match status.code {
        // who we are is not accepted now (a token that was just renewed), or too many ask at once
        401 | 429 => ComputeError::Unreachable(Box::new(error)),
        // somebody else changed it at the same time
        409 => ComputeError::Busy(status.message.clone()),
        500.. => ComputeError::Unreachable(Box::new(error)),
        _ => ComputeError::Refused { phase, reason: status.message.clone() },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn said(json: serde_json::Value) -> AskError {
        AskError::Kube(kube::Error::Api(Box::new(serde_json::from_value(json).unwrap())))
    }

    #[test]
    fn a_node_port_of_somebody_else_is_told_from_one_that_is_not_given_out_only_in_words() {
        let taken = said(serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422,
            "message": "Service \"env-a\" is invalid: spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated",
            "reason": "Invalid",
            "details": {"name": "env-a", "kind": "Service", "causes": [{"reason": "FieldValueInvalid",
                "message": "Invalid value: 30001: provided port is already allocated", "field": "spec.ports[1].nodePort"}]},
        }));
        let (places, words) = taken.node_ports_taken().unwrap();
        assert_eq!(places, [1]);
        assert!(words.contains("already allocated"));
        let other = said(serde_json::json!({
            "status": "Failure", "code": 422, "message": "Service \"env-a\" is invalid: spec.type", "reason": "Invalid",
            "details": {"causes": [{"reason": "FieldValueNotSupported", "message": "no", "field": "spec.type"}]},
        }));
        assert_eq!(other.node_ports_taken(), None);
        assert!(matches!(refused(Phase::Create, other), ComputeError::Refused { .. }));
    }

    #[test]
    fn what_passes_is_tried_again_and_what_is_refused_is_not() {
        let answer = |code: u16| {
            let status =
                serde_json::json!({"status": "Failure", "code": code, "message": "m", "reason": "r"});
            refused(Phase::Create, said(status))
        };
        for code in [401, 429, 500, 503, 504] {
            assert!(matches!(answer(code), ComputeError::Unreachable(_)), "{code}");
        }
        assert!(matches!(answer(409), ComputeError::Busy(_)));
        for code in [400, 403, 404, 422] {
            assert!(matches!(answer(code), ComputeError::Refused { .. }), "{code}");
        }
        assert!(matches!(refused(Phase::Create, AskError::Silent), ComputeError::Unreachable(_)));
    }
}
