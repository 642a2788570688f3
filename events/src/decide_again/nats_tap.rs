//! Does the rule of a tap of NATS say again what it said? All that it looked at stands in its events.

use super::{Case, Decided};
use crate::nats_tap::NatsTapEvent;
use crate::nats_tap::issue::issue;
use crate::nats_tap::revoke::revoke;

pub(super) fn again(case: &Case<'_>, event: &NatsTapEvent) -> Decided {
    match event.clone() {
        NatsTapEvent::NatsTapIssued(asked) => case.on(|state| issue(state, asked)),
        NatsTapEvent::NatsTapRevoked(_) => case.on(revoke),
    }
}
