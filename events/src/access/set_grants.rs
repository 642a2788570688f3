//! May these be the grants of these servers? Within bounds, because each use of a server reads them all.

use std::collections::BTreeSet;

use super::{Access, AccessEvent, AccessRefusal, Grant, GrantsSet};
use crate::aggregate::Decision;

/// Grants of one server, zone, group or label.
pub const GRANTS_MAX: usize = 100;
/// Servers, zones, groups and labels of a tenant that have grants.
pub const SCOPES_MAX: usize = 5_000;
/// Patterns of one list of a grant.
pub const PATTERNS_MAX: usize = 50;
/// Patterns of all grants of one place, so that they fit into one event.
pub const PATTERNS_OF_PLACE_MAX: usize = 1_000;

pub fn set_grants(state: &Access, asked: GrantsSet) -> Decision<AccessEvent, AccessRefusal> {
    let before = state.grants.get(&asked.servers);
    if before.map_or(&[][..], Vec::as_slice) == asked.grants {
        Ok(None)
    } else if asked.grants.len() > GRANTS_MAX {
        Err(AccessRefusal::TooManyGrants)
    } else if before.is_none() && state.grants.len() >= SCOPES_MAX {
        Err(AccessRefusal::TooManyScopes)
    } else if has_too_many_patterns(&asked.grants) {
        Err(AccessRefusal::TooManyPatterns)
    } else {
        Ok(Some(asked.into()))
    }
}

fn has_too_many_patterns(grants: &[Grant]) -> bool {
    let lengths = || grants.iter().flat_map(|grant| grant.commands.lists()).map(BTreeSet::len);
    lengths().any(|length| length > PATTERNS_MAX) || lengths().sum::<usize>() > PATTERNS_OF_PLACE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::pattern::Pattern;
    use crate::access::{Commands, Grantee, Right, Scope};
    use crate::ids::{Tag, UserName};
    use crate::testing::given;

    fn set(zone: &str, users: usize) -> GrantsSet {
        let grant = |number| Grant {
            to: Grantee::User(UserName::parse(format!("u{number}")).unwrap()),
            may: [Right::Terminal].into(),
            commands: Commands::default(),
            from: None,
            until: None,
        };
        GrantsSet { servers: Scope::Zone(Tag::parse(zone).unwrap()), grants: (0..users).map(grant).collect() }
    }

    #[test]
    fn grants_are_replaced_as_a_whole() {
        assert_eq!(set_grants(&Access::default(), set("a", 0)), Ok(None), "there are none");
        let one = given::<Access>(vec![(0, set("a", 2).into())]);
        assert_eq!(set_grants(&one, set("a", 2)), Ok(None));
        let none = given::<Access>(vec![(0, set("a", 2).into()), (1, set("a", 0).into())]);
        assert_eq!(none, Access::default());
        assert_eq!(set_grants(&one, set("b", GRANTS_MAX + 1)), Err(AccessRefusal::TooManyGrants));
    }

    #[test]
    fn patterns_are_bounded_in_each_list_and_at_each_place() {
        let with = |grants: usize, patterns: usize| {
            let mut set = set("a", grants);
            for grant in &mut set.grants {
                let pattern = |number| Pattern::parse(format!("p{number}")).unwrap();
                grant.commands.deny = (0..patterns).map(pattern).collect();
            }
            set_grants(&Access::default(), set)
        };
        assert!(with(20, PATTERNS_MAX).unwrap().is_some());
        assert_eq!(with(1, PATTERNS_MAX + 1), Err(AccessRefusal::TooManyPatterns));
        assert_eq!(with(21, PATTERNS_MAX), Err(AccessRefusal::TooManyPatterns), "all together");
    }

    #[test]
    fn a_tenant_has_a_bounded_number_of_places() {
        let past = (0..SCOPES_MAX).map(|number| (0, set(&format!("z{number}"), 1).into())).collect();
        let full = given::<Access>(past);
        assert_eq!(set_grants(&full, set("one-more", 1)), Err(AccessRefusal::TooManyScopes));
        assert!(set_grants(&full, set("z1", 2)).unwrap().is_some(), "it has its place");
    }
}
