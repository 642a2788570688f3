//! May the environment have this port? When nobody holds it and its rest is over.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Port, PortAllocated, PortEvent, PortRefusal};
use crate::aggregate::Decision;

pub fn allocate(
    state: &Port,
    asked: PortAllocated,
    quarantine: TimeDelta,
    now: DateTime<Utc>,
) -> Decision<PortEvent, PortRefusal> {
    if let Some(holder) = &state.holder {
        let same = holder.env == asked.env && holder.purpose == asked.purpose;
        return if same { Ok(None) } else { Err(PortRefusal::Held(holder.env.clone())) };
    }
    match free_at(state, quarantine) {
        Some(at) if at > now => Err(PortRefusal::Resting(at)),
        Some(_) | None => Ok(Some(asked.into())),
    }
}

/// The instant from which an unheld port may be given out; `None` means always.
pub fn free_at(state: &Port, quarantine: TimeDelta) -> Option<DateTime<Utc>> {
    let rested = state.released_at.map(|at| at + quarantine);
    rested.max(state.blocked_until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::PortPurpose;
    use crate::ids::{EnvId, TenantId};
    use crate::ports::PortReleased;
    use crate::testing::{given, t};
    use uuid::Uuid;

    fn asked(number: u128) -> PortAllocated {
        PortAllocated {
            tenant: TenantId::parse("acme").unwrap(),
            env: EnvId::from_seed(&Uuid::from_u128(number)),
            purpose: PortPurpose::Ssh,
        }
    }

    fn quarantine() -> TimeDelta {
        TimeDelta::seconds(60)
    }

    #[test]
    fn a_held_port_is_not_given_twice() {
        let held = given::<Port>(vec![(0, asked(1).into())]);
        assert_eq!(allocate(&held, asked(1), quarantine(), t(1)), Ok(None), "its own");
        assert_eq!(allocate(&held, asked(2), quarantine(), t(1)), Err(PortRefusal::Held(asked(1).env)));
    }

    #[test]
    fn a_released_port_rests_first() {
        let resting =
            given::<Port>(vec![(0, asked(1).into()), (10, PortReleased { env: asked(1).env }.into())]);
        assert_eq!(allocate(&resting, asked(2), quarantine(), t(69)), Err(PortRefusal::Resting(t(70))));
        assert!(allocate(&resting, asked(2), quarantine(), t(70)).unwrap().is_some());
    }
}
