//! May this person do this on that server now? The one place where that is decided.
//!
//! Operators and admins may everything with their tenant's servers, auditors see and change nothing, developers
//! may what is granted to them, to their role or to a group that they are in.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{Access, Grant, Grantee, Right, Scope};
use crate::ids::{ServerId, UserName};
use crate::server::Settings;
use crate::user::Role;

/// Who is asking; of the tenant whose access it is.
#[derive(Debug, Clone, Copy)]
pub struct Person<'p> {
    pub user: &'p UserName,
    pub role: Role,
}

/// Which servers exist for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    All,
    /// Those that are in one of them.
    In(BTreeSet<Scope>),
}

/// What the person may do on this server now.
pub fn rights(
    access: &Access,
    person: Person<'_>,
    server: &ServerId,
    settings: &Settings,
    now: DateTime<Utc>,
) -> BTreeSet<Right> {
    match person.role {
        Role::Admin | Role::Operator => Right::ALL.into(),
        Role::Auditor => [Right::Facts].into(),
        Role::Enroller => BTreeSet::new(),
        Role::Developer => scopes_of(server, settings)
            .iter()
            .filter_map(|scope| access.grants.get(scope))
            .flatten()
            .filter(|grant| counts(access, grant, person, now))
            .flat_map(|grant| grant.may.iter().copied())
            .collect(),
    }
}

/// Which servers the person is shown: those on which they may do something.
pub fn visible(access: &Access, person: Person<'_>, now: DateTime<Utc>) -> Visible {
    match person.role {
        Role::Admin | Role::Operator | Role::Auditor => Visible::All,
        Role::Enroller => Visible::In(BTreeSet::new()),
        Role::Developer => {
            let counts = |grants: &[Grant]| grants.iter().any(|grant| counts(access, grant, person, now));
            let scopes = access.grants.iter().filter(|(_, grants)| counts(grants));
            Visible::In(scopes.map(|(scope, _)| scope.clone()).collect())
        }
    }
}

/// Everything by which this server can be meant.
pub fn scopes_of(server: &ServerId, settings: &Settings) -> Vec<Scope> {
    let mut scopes = vec![Scope::Server(server.clone())];
    scopes.extend(settings.zone.iter().cloned().map(Scope::Zone));
    scopes.extend(settings.groups.iter().cloned().map(Scope::Group));
    let label = |(key, value): (&_, &_)| Scope::Label { key: Clone::clone(key), value: Clone::clone(value) };
    scopes.extend(settings.labels.iter().map(label));
    scopes
}

/// Whether the grant is in force and names the person.
pub(super) fn counts(access: &Access, grant: &Grant, person: Person<'_>, now: DateTime<Utc>) -> bool {
    let is_meant = match &grant.to {
        Grantee::User(user) => user == person.user,
        Grantee::Role(role) => *role == person.role,
        Grantee::Group(group) => access.groups.get(group).is_some_and(|people| people.contains(person.user)),
    };
    let began = grant.from.is_none_or(|from| from <= now);
    let ended = grant.until.is_some_and(|until| until <= now);
    is_meant && began && !ended && !grant.may.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::access::{Commands, GrantsSet, PeopleGroupSet};
    use crate::ids::Tag;
    use crate::server::testing::settings;
    use crate::testing::{given, t};

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn server(number: u128) -> ServerId {
        ServerId::from_seed(&Uuid::from_u128(number))
    }

    /// In zone `dmz`, group `web`, with label `env=prod`.
    fn labelled() -> Settings {
        Settings {
            zone: Some(tag("dmz")),
            groups: [tag("web")].into(),
            labels: [(tag("env"), tag("prod"))].into(),
            ..settings()
        }
    }

    fn grant(to: Grantee, right: Right) -> Grant {
        Grant { to, may: [right].into(), commands: Commands::default(), from: None, until: None }
    }

    fn access(servers: Scope, grants: Vec<Grant>) -> Access {
        let people = PeopleGroupSet { group: tag("ops"), members: [user("bob")].into() };
        given(vec![(0, GrantsSet { servers, grants }.into()), (0, people.into())])
    }

    fn of(access: &Access, name: &str, role: Role, now: DateTime<Utc>) -> Vec<Right> {
        let name = user(name);
        let person = Person { user: &name, role };
        rights(access, person, &server(1), &labelled(), now).into_iter().collect()
    }

    #[test]
    fn a_server_is_meant_by_id_zone_group_or_label() {
        let grants = vec![grant(Grantee::User(user("alice")), Right::Terminal)];
        let label = |value| Scope::Label { key: tag("env"), value: tag(value) };
        let meant =
            [Scope::Server(server(1)), Scope::Zone(tag("dmz")), Scope::Group(tag("web")), label("prod")];
        for scope in meant {
            let access = access(scope, grants.clone());
            assert_eq!(of(&access, "alice", Role::Developer, t(0)), [Right::Terminal]);
            assert_eq!(of(&access, "carol", Role::Developer, t(0)), []);
        }
        let others =
            [Scope::Server(server(2)), Scope::Zone(tag("web")), Scope::Group(tag("dmz")), label("test")];
        for scope in others {
            assert_eq!(of(&access(scope, grants.clone()), "alice", Role::Developer, t(0)), []);
        }
    }

    #[test]
    fn a_user_a_role_or_a_group_is_meant() {
        let grants = vec![
            grant(Grantee::Group(tag("ops")), Right::Command),
            grant(Grantee::Role(Role::Developer), Right::Facts),
            grant(Grantee::Group(tag("web")), Right::Terminal),
        ];
        let access = access(Scope::Zone(tag("dmz")), grants);
        assert_eq!(of(&access, "bob", Role::Developer, t(0)), [Right::Command, Right::Facts]);
        assert_eq!(of(&access, "carol", Role::Developer, t(0)), [Right::Facts]);
    }

    #[test]
    fn a_grant_has_a_beginning_and_an_end() {
        let dated = Grant {
            from: Some(t(10)),
            until: Some(t(20)),
            ..grant(Grantee::User(user("alice")), Right::Terminal)
        };
        let access = access(Scope::Zone(tag("dmz")), vec![dated]);
        for (second, may) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(!of(&access, "alice", Role::Developer, t(second)).is_empty(), may, "{second}");
        }
    }

    #[test]
    fn operators_need_no_grant_and_auditors_get_none() {
        let open =
            access(Scope::Zone(tag("dmz")), vec![grant(Grantee::Role(Role::Auditor), Right::Terminal)]);
        assert_eq!(of(&open, "olga", Role::Operator, t(0)), Right::ALL);
        assert_eq!(of(&open, "olga", Role::Admin, t(0)), Right::ALL);
        assert_eq!(of(&open, "otto", Role::Auditor, t(0)), [Right::Facts], "an auditor changes nothing");
    }

    fn any_tag() -> impl Strategy<Value = Tag> {
        prop_oneof![Just(tag("a")), Just(tag("b"))]
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        prop_oneof![
            (0u128..3).prop_map(|number| Scope::Server(server(number))),
            any_tag().prop_map(Scope::Zone),
            any_tag().prop_map(Scope::Group),
            (any_tag(), any_tag()).prop_map(|(key, value)| Scope::Label { key, value }),
        ]
    }

    fn any_grant() -> impl Strategy<Value = Grant> {
        let to = prop_oneof![
            prop_oneof![Just("alice"), Just("bob")].prop_map(|name| Grantee::User(user(name))),
            Just(Grantee::Role(Role::Developer)),
            Just(Grantee::Role(Role::Operator)),
            any_tag().prop_map(Grantee::Group),
        ];
        let may = prop::collection::btree_set(
            prop_oneof![Just(Right::Terminal), Just(Right::Command), Just(Right::Facts)],
            0..3,
        );
        let date = || prop::option::of((0i64..4).prop_map(t));
        (to, may, date(), date()).prop_map(|(to, may, from, until)| Grant {
            to,
            may,
            commands: Commands::default(),
            from,
            until,
        })
    }

    proptest! {
        /// Who is shown a server may do something there, and the other way round.
        #[test]
        fn a_person_sees_only_what_they_may_use(
            grants in prop::collection::vec((any_scope(), prop::collection::vec(any_grant(), 0..3)), 0..6),
            groups in prop::collection::vec((any_tag(), prop::bool::ANY), 0..3),
            (zone, group, label) in (prop::option::of(any_tag()), prop::option::of(any_tag()),
                prop::option::of((any_tag(), any_tag()))),
            number in 0u128..3,
            second in 0i64..4,
        ) {
            let mut past: Vec<(i64, crate::access::AccessEvent)> = grants
                .into_iter()
                .map(|(servers, grants)| (0, GrantsSet { servers, grants }.into()))
                .collect();
            past.extend(groups.into_iter().map(|(group, with)| {
                let members = if with { [user("alice")].into() } else { BTreeSet::new() };
                (0, PeopleGroupSet { group, members }.into())
            }));
            let access = given::<Access>(past);
            let settings = Settings {
                zone,
                groups: group.into_iter().collect(),
                labels: label.into_iter().collect(),
                ..settings()
            };
            let name = user("alice");
            let person = Person { user: &name, role: Role::Developer };
            let may = !rights(&access, person, &server(number), &settings, t(second)).is_empty();
            let Visible::In(scopes) = visible(&access, person, t(second)) else { panic!("not all") };
            let sees = scopes_of(&server(number), &settings).iter().any(|scope| scopes.contains(scope));
            prop_assert_eq!(may, sees);
        }
    }
}
