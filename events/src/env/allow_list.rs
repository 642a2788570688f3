//! Who may connect to the environment? The ranges last set; none means everyone.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{AllowListSet, Env, EnvEvent, EnvRefusal};
use crate::aggregate::Decision;

/// More ranges than this are refused where they are asked for.
pub const RANGES_MAX: usize = 100;

pub fn set_allow_list(state: &Env, ranges: Vec<IpNet>) -> Decision<EnvEvent, EnvRefusal> {
    if !state.exists() {
        Err(EnvRefusal::NotFound)
    } else if state.delete_requested() {
        Err(EnvRefusal::Deleting)
    } else if state.allow_list == ranges {
        Ok(None)
    } else {
        Ok(Some(AllowListSet { ranges }.into()))
    }
}

/// IPv4 addresses written as IPv6 count as IPv4.
pub fn is_allowed(ranges: &[IpNet], ip: IpAddr) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| range.contains(&ip.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::running;
    use crate::testing::given;

    #[test]
    fn an_empty_list_lets_everyone_in() {
        let ranges: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        assert!(is_allowed(&[], "1.2.3.4".parse().unwrap()));
        assert!(is_allowed(&ranges, "10.9.8.7".parse().unwrap()));
        assert!(is_allowed(&ranges, "::ffff:10.9.8.7".parse().unwrap()));
        assert!(!is_allowed(&ranges, "11.0.0.1".parse().unwrap()));
        assert_eq!(set_allow_list(&given(running()), vec![]), Ok(None), "nothing changes");
    }
}
