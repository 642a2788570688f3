//! Which subscription is meant, in whose name does it tell, and who may do what with it?
//!
//! Operators and admins set and manage them, auditors see that they are there. One tells what its maker's role sees of
//! the tenant, as long as they have it; whoever reads in its name must see as much themselves.

pub mod fields;
pub mod kept;
pub mod reader;
pub mod view;

use events::ids::{SubscriptionId, TenantId};
use events::subscription::{Subscription, SubscriptionSet};
use events::user::Role;
use projections::subscriptions;

use crate::access::Caller;
use crate::app::App;
use crate::auth::by_actor;
use crate::problem::Problem;

/// Subscriptions of a tenant.
pub const SUBSCRIPTIONS_MAX: u64 = 20;

pub struct Found {
    pub tenant: TenantId,
    pub id: SubscriptionId,
    pub state: Subscription,
    pub set: SubscriptionSet,
}

/// Looks in the caller's tenant; for an admin then in all, where the read model says which.
pub async fn find(app: &App, caller: &Caller, id: &str) -> Result<Found, Problem> {
    let unknown = || Problem::not_found("subscription");
    sees(caller).map_err(|_| unknown())?;
    let id = SubscriptionId::parse(id).map_err(|_| unknown())?;
    let mut tenant = caller.tenant.clone();
    let mut state = app.log.load::<Subscription>(&tenant, id.as_str()).await?.state;
    if state.set.is_none() && caller.tenant_seen().is_none() {
        let row = subscriptions::get(&app.projections, None, &id).await?.value;
        tenant = row.ok_or_else(unknown)?.tenant;
        state = app.log.load::<Subscription>(&tenant, id.as_str()).await?.state;
    }
    let set = state.set.clone().ok_or_else(unknown)?;
    Ok(Found { tenant, id, state, set })
}

pub fn sees(caller: &Caller) -> Result<(), Problem> {
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])
}

pub fn manages(caller: &Caller) -> Result<(), Problem> {
    caller.needs(&[Role::Admin, Role::Operator])
}

/// Whoever reads in its name must see as much as it tells.
pub fn reads(caller: &Caller, set: &SubscriptionSet) -> Result<(), Problem> {
    manages(caller)?;
    if caller.role == set.role || caller.role == Role::Admin {
        return Ok(());
    }
    let detail = format!("it was set by an {} and tells more than an operator sees", set.role.name());
    Err(Problem::new("forbidden", detail))
}

/// As whom it tells.
pub fn in_the_name_of(tenant: &TenantId, set: &SubscriptionSet) -> Caller {
    Caller {
        actor: set.actor.clone(),
        owner: set.by.clone(),
        tenant: tenant.clone(),
        role: set.role,
        sign_in: None,
    }
}

/// As whom it tells, if its maker still has the rights of then: otherwise `unauthorized` or `forbidden`.
pub async fn standing(app: &App, tenant: &TenantId, set: &SubscriptionSet) -> Result<Caller, Problem> {
    let maker = by_actor(app, &set.actor, None).await?;
    let as_before = maker.role == set.role && maker.tenant == *tenant;
    if as_before || maker.role == Role::Admin {
        return Ok(in_the_name_of(tenant, set));
    }
    Err(Problem::new("forbidden", format!("{} may not see as much any more as when it was set", set.actor)))
}

/// Whether the rights of whoever set it are gone, and not merely unknown for a moment.
pub fn is_over(problem: &Problem) -> bool {
    matches!(problem.code(), "unauthorized" | "forbidden")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::ids::UserName;
    use events::subscription::{Delivery, Filter};

    use super::*;

    #[test]
    fn nobody_reads_more_than_they_see() {
        let set = |role| SubscriptionSet {
            name: "one".to_owned(),
            filter: Filter::default(),
            delivery: Delivery::Pull,
            after: 0,
            by: UserName::parse("alice").unwrap(),
            actor: "user:alice".to_owned(),
            role,
        };
        let tenant = TenantId::parse("a").unwrap();
        let caller = |role| in_the_name_of(&tenant, &set(role));
        let (admin, operator) = (Role::Admin, Role::Operator);
        for (reader, maker, may) in [
            (admin, admin, true),
            (admin, operator, true),
            (operator, operator, true),
            (operator, admin, false),
            (Role::Auditor, operator, false),
            (Role::Developer, operator, false),
        ] {
            assert_eq!(reads(&caller(reader), &set(maker)).is_ok(), may, "{reader:?} {maker:?}");
        }
        assert!(sees(&caller(Role::Auditor)).is_ok() && sees(&caller(Role::Developer)).is_err());
    }
}
