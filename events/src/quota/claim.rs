//! Does this environment fit into the tenant's quota? Repeatable: a claim made is kept.

use std::fmt::Display;

use super::{Quota, QuotaClaimed, QuotaEvent, QuotaRefusal};
use crate::aggregate::Decision;
use crate::ids::EnvId;
use crate::resources::Resources;

pub fn claim(state: &Quota, env: &EnvId, resources: Resources) -> Decision<QuotaEvent, QuotaRefusal> {
    if state.claims.contains_key(env) {
        return Ok(None);
    }
    let environments = u32::try_from(state.claims.len()).unwrap_or(u32::MAX);
    let (limits, used) = (&state.limits, &state.used);
    let sum = used.plus(&resources);
    check("environments", limits.environments, environments, environments.saturating_add(1), 1)?;
    check("cpu", limits.cpu, used.cpu, sum.cpu, resources.cpu)?;
    check("memory", limits.memory, used.memory, sum.memory, resources.memory)?;
    check("gpu", limits.gpu, used.gpu, sum.gpu, resources.gpu)?;
    check("storage", limits.storage, used.storage, sum.storage, resources.storage)?;
    Ok(Some(QuotaClaimed { env: env.clone(), resources }.into()))
}

fn check<T: PartialOrd + Display + Copy>(
    resource: &'static str,
    limit: Option<T>,
    used: T,
    sum: T,
    asked: T,
) -> Result<(), QuotaRefusal> {
    match limit {
        Some(limit) if sum > limit => Err(QuotaRefusal::Exceeded {
            resource,
            limit: limit.to_string(),
            used: used.to_string(),
            asked: asked.to_string(),
        }),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Aggregate;
    use crate::quota::release::release;
    use crate::quota::{QuotaReleased, QuotaSet};
    use crate::resources::{Limits, Milli};
    use crate::testing::{given, t};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn env(number: u8) -> EnvId {
        EnvId::from_seed(&Uuid::from_u128(number.into()))
    }

    fn cores(thousandths: u64) -> Resources {
        Resources { cpu: Milli::from_thousandths(thousandths), ..Resources::default() }
    }

    fn limited(environments: u32) -> (i64, QuotaEvent) {
        let limits = Limits { environments: Some(environments), ..Limits::default() };
        (0, QuotaSet { limits }.into())
    }

    #[test]
    fn the_claim_beyond_the_quota_is_refused() {
        let full =
            given::<Quota>(vec![limited(1), (1, QuotaClaimed { env: env(1), resources: cores(1) }.into())]);
        assert_eq!(claim(&full, &env(1), cores(1)), Ok(None), "already claimed");
        let refusal = claim(&full, &env(2), cores(1)).unwrap_err();
        assert!(refusal.to_string().contains("quota of environments is 1"), "{refusal}");
    }

    #[test]
    fn a_released_share_can_be_claimed_again() {
        let free = given::<Quota>(vec![
            limited(1),
            (1, QuotaClaimed { env: env(1), resources: cores(1) }.into()),
            (2, QuotaReleased { env: env(1) }.into()),
        ]);
        assert!(claim(&free, &env(2), cores(1)).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn a_quota_is_never_exceeded(
            environments in 0u32..6,
            cpu in 0u64..5_000,
            steps in prop::collection::vec((any::<bool>(), 0u8..10, 0u64..2_000), 0..80),
        ) {
            let limits = Limits { environments: Some(environments), cpu: Some(Milli::from_thousandths(cpu)), ..Limits::default() };
            let mut state = given::<Quota>(vec![(0, QuotaSet { limits }.into())]);
            for (claims, number, thousandths) in steps {
                let decision = if claims {
                    claim(&state, &env(number), cores(thousandths)).unwrap_or(None)
                } else {
                    release(&state, &env(number)).unwrap()
                };
                if let Some(event) = decision {
                    state.evolve(&event, t(1));
                }
                prop_assert!(state.claims.len() as u32 <= environments);
                prop_assert!(state.used.cpu.thousandths() <= cpu);
                let sum: u64 = state.claims.values().map(|claim| claim.resources.cpu.thousandths()).sum();
                prop_assert_eq!(sum, state.used.cpu.thousandths());
            }
        }
    }
}
