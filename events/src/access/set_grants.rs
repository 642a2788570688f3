//! May these be the grants of these servers? Within bounds, because each use of a server reads them all.

use super::{Access, AccessEvent, AccessRefusal, GrantsSet};
use crate::aggregate::Decision;

/// Grants of one server, zone, group or label.
pub const GRANTS_MAX: usize = 100;
/// Servers, zones, groups and labels of a tenant that have grants.
pub const SCOPES_MAX: usize = 5_000;

pub fn set_grants(state: &Access, asked: GrantsSet) -> Decision<AccessEvent, AccessRefusal> {
    let before = state.grants.get(&asked.servers);
    if before.map_or(&[][..], Vec::as_slice) == asked.grants {
        Ok(None)
    } else if asked.grants.len() > GRANTS_MAX {
        Err(AccessRefusal::TooManyGrants)
    } else if before.is_none() && state.grants.len() >= SCOPES_MAX {
        Err(AccessRefusal::TooManyScopes)
    } else {
        Ok(Some(asked.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Grant, Grantee, Right, Scope};
    use crate::ids::{Tag, UserName};
    use crate::testing::given;

    fn set(zone: &str, users: usize) -> GrantsSet {
        let grant = |number| Grant {
            to: Grantee::User(UserName::parse(format!("u{number}")).unwrap()),
            may: [Right::Terminal].into(),
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
    fn a_tenant_has_a_bounded_number_of_places() {
        let past = (0..SCOPES_MAX).map(|number| (0, set(&format!("z{number}"), 1).into())).collect();
        let full = given::<Access>(past);
        assert_eq!(set_grants(&full, set("one-more", 1)), Err(AccessRefusal::TooManyScopes));
        assert!(set_grants(&full, set("z1", 2)).unwrap().is_some(), "it has its place");
    }
}
