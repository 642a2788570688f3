//! Is the environment's share free again? Repeatable.

use super::{Quota, QuotaEvent, QuotaRefusal, QuotaReleased};
use crate::aggregate::Decision;
use crate::ids::EnvId;

pub fn release(state: &Quota, env: &EnvId) -> Decision<QuotaEvent, QuotaRefusal> {
    Ok(state.claims.contains_key(env).then(|| QuotaReleased { env: env.clone() }.into()))
}
