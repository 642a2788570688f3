//! Who may connect to the tenant's environments? An address must pass this list and the environment's.

use ipnet::IpNet;

use super::{Tenant, TenantAllowListSet, TenantEvent, TenantRefusal};
use crate::aggregate::Decision;

pub fn set_allow_list(state: &Tenant, ranges: Vec<IpNet>) -> Decision<TenantEvent, TenantRefusal> {
    if state.name.is_none() {
        Err(TenantRefusal::NotFound)
    } else if state.allow_list == ranges {
        Ok(None)
    } else {
        Ok(Some(TenantAllowListSet { ranges }.into()))
    }
}
