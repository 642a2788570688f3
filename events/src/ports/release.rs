//! May the environment give the port back? Once, and only its holder.

use super::{Port, PortEvent, PortRefusal, PortReleased};
use crate::aggregate::Decision;
use crate::ids::EnvId;

pub fn release(state: &Port, env: &EnvId) -> Decision<PortEvent, PortRefusal> {
    let held = state.holder.as_ref().is_some_and(|holder| holder.env == *env);
    Ok(held.then(|| PortReleased { env: env.clone() }.into()))
}
