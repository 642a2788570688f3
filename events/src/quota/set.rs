//! May the limits be changed? Always; what is in use beyond them stays until it is released.

use super::{Quota, QuotaEvent, QuotaRefusal, QuotaSet};
use crate::aggregate::Decision;
use crate::resources::Limits;

pub fn set(state: &Quota, limits: Limits) -> Decision<QuotaEvent, QuotaRefusal> {
    Ok((state.limits != limits).then(|| QuotaSet { limits }.into()))
}
