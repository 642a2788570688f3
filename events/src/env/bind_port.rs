//! May this allocated port lead to the environment? While it is being made or started.

use super::{Env, EnvEvent, EnvRefusal, PortBound, Status};
use crate::aggregate::Decision;

pub fn bind_port(state: &Env, bound: PortBound) -> Decision<EnvEvent, EnvRefusal> {
    match state.status {
        Status::Absent | Status::Deleted => Err(EnvRefusal::NotFound),
        Status::Deleting => Err(EnvRefusal::Deleting),
        Status::Running | Status::Stopping | Status::Stopped | Status::Failed => {
            Err(EnvRefusal::WrongStatus { status: state.status.name(), needs: "creating or starting" })
        }
        Status::Creating | Status::Starting => {
            let same = state.ports.get(&bound.purpose) == Some(&(bound.pool.clone(), bound.port));
            Ok(if same { None } else { Some(bound.into()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::{asked, bound};
    use crate::env::{EnvDeleteRequested, RequestCause};
    use crate::testing::{given, t};

    #[test]
    fn a_port_is_bound_once_and_may_be_replaced_while_pending() {
        let asked_for = given::<Env>(vec![(0, asked().into())]);
        assert_eq!(bind_port(&asked_for, bound(30000)), Ok(Some(bound(30000).into())));
        let has = given::<Env>(vec![(0, asked().into()), (1, bound(30000).into())]);
        assert_eq!(bind_port(&has, bound(30000)), Ok(None));
        assert_eq!(bind_port(&has, bound(30001)), Ok(Some(bound(30001).into())));
    }

    #[test]
    fn a_deleting_environment_gets_no_port() {
        let delete = EnvDeleteRequested { cause: RequestCause::Asked, deadline: t(300) };
        let going = given::<Env>(vec![(0, asked().into()), (1, delete.into())]);
        assert_eq!(bind_port(&going, bound(30000)), Err(EnvRefusal::Deleting));
    }
}
