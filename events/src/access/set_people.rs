//! May these people be a group? Within bounds, because each use of a server reads them all.

use std::collections::BTreeSet;

use super::{Access, AccessEvent, AccessRefusal, PeopleGroupSet};
use crate::aggregate::Decision;

pub const MEMBERS_MAX: usize = 1_000;
/// Of one tenant.
pub const GROUPS_MAX: usize = 200;

pub fn set_people(state: &Access, asked: PeopleGroupSet) -> Decision<AccessEvent, AccessRefusal> {
    let before = state.groups.get(&asked.group);
    if before.unwrap_or(&BTreeSet::new()) == &asked.members {
        Ok(None)
    } else if asked.members.len() > MEMBERS_MAX {
        Err(AccessRefusal::TooManyMembers)
    } else if before.is_none() && state.groups.len() >= GROUPS_MAX {
        Err(AccessRefusal::TooManyGroups)
    } else {
        Ok(Some(asked.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Tag, UserName};
    use crate::testing::given;

    fn set(group: &str, members: usize) -> PeopleGroupSet {
        let name = |number| UserName::parse(format!("u{number}")).unwrap();
        PeopleGroupSet { group: Tag::parse(group).unwrap(), members: (0..members).map(name).collect() }
    }

    #[test]
    fn a_group_is_its_members() {
        assert_eq!(set_people(&Access::default(), set("ops", 0)), Ok(None));
        let ops = given::<Access>(vec![(0, set("ops", 2).into())]);
        assert_eq!(set_people(&ops, set("ops", 2)), Ok(None));
        assert!(set_people(&ops, set("ops", 0)).unwrap().is_some());
        assert_eq!(set_people(&ops, set("ops", MEMBERS_MAX + 1)), Err(AccessRefusal::TooManyMembers));
        let past = (0..GROUPS_MAX).map(|number| (0, set(&format!("g{number}"), 1).into())).collect();
        let full = given::<Access>(past);
        assert_eq!(set_people(&full, set("one-more", 1)), Err(AccessRefusal::TooManyGroups));
    }
}
