//! How does one step of a reconciliation sign what it appends? Each with a command of its own.

use events::envelope::Cause;
use events::ids::EnvId;
use uuid::Uuid;

use crate::fleet::Origin;

/// Name of this service as an actor.
pub const SERVICE: &str = "provisioner";

/// The same cause with a new command. A step looks at the state, so what is decided already is not
/// decided again; the identity of the command serves only to recognise its own unclear append.
pub fn fresh(cause: &Cause) -> Cause {
    Cause { command: Uuid::new_v4(), ..cause.clone() }
}

/// A sweep or a timer.
pub fn by_itself() -> Cause {
    Cause::new(Uuid::new_v4(), format!("service:{SERVICE}"))
}

/// The engine said something on the way up; what set it under way is the newest request.
pub fn by_engine(origin: &Origin) -> Cause {
    let cause = by_itself();
    Cause {
        correlation: origin.correlation,
        causation: Some(origin.event),
        traceparent: origin.traceparent.clone(),
        ..cause
    }
}

/// The sentry of `env` said something; what set it under way is the environment's newest request.
pub fn by_sentry(env: &EnvId, origin: Option<&Origin>) -> Cause {
    let mut cause = Cause::new(Uuid::new_v4(), format!("sentry:{env}"));
    if let Some(origin) = origin {
        cause.correlation = origin.correlation;
        cause.causation = Some(origin.event);
        cause.traceparent.clone_from(&origin.traceparent);
    }
    cause
}
