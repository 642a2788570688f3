//! May this person run this command on that server now, or does a second person have to say so?
//!
//! The grants in force that name the person on the server add up. A command must be let through by one that gives the
//! right `command`: one without `allow` lets everything through, one with `allow` what fits. A `deny` of any of them
//! refuses, a `dangerous` of any of them asks for approval. Operators and admins need no grant; where grants that
//! name them give the right, they are held to what these let through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};

use super::may::{Person, counts, scopes_of};
use super::pattern::Pattern;
use super::{Access, Right, Scope};
use crate::ids::ServerId;
use crate::server::Settings;
use crate::user::Role;

/// Patterns that a refusal names.
const NAMED_MAX: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Run,
    NeedsApproval {
        /// By which it is dangerous.
        pattern: Pattern,
    },
    Refused(Why),
}

/// Told to whoever asked: people must know what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    NoGrant,
    /// None of these lets it through.
    NotAllowed(BTreeSet<Pattern>),
    Denied(Pattern),
}

impl Why {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoGrant => "no_grant",
            Self::NotAllowed(_) => "not_allowed",
            Self::Denied(_) => "denied",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGrant => f.write_str("there is no grant for command"),
            Self::Denied(pattern) => write!(f, "the command fits a pattern that is denied: {pattern}"),
            Self::NotAllowed(patterns) => {
                f.write_str("the command fits no pattern that is allowed: ")?;
                for (index, pattern) in patterns.iter().take(NAMED_MAX).enumerate() {
                    write!(f, "{}{pattern}", if index > 0 { " | " } else { "" })?;
                }
                if patterns.len() > NAMED_MAX { f.write_str(" | ...") } else { Ok(()) }
            }
        }
    }
}

/// Answers for one server after the other; the grants of each place are compared with the command once.
pub fn may_run<'a>(
    access: &'a Access,
    person: Person<'a>,
    command: &'a str,
    now: DateTime<Utc>,
) -> impl FnMut(&ServerId, &Settings) -> Verdict {
    let mut places: BTreeMap<Scope, Said<'a>> = BTreeMap::new();
    move |server, settings| {
        let mut said = Said::default();
        for scope in scopes_of(server, settings) {
            let of_scope =
                places.entry(scope).or_insert_with_key(|scope| Said::of(access, person, scope, command, now));
            said.add(of_scope);
        }
        said.verdict(person.role)
    }
}

/// What grants say of a command.
#[derive(Clone, Default)]
struct Said<'a> {
    /// One gives the right `command`.
    gives: bool,
    /// One of those lets it through.
    lets_through: bool,
    /// The patterns of those that do not.
    allowed: BTreeSet<&'a Pattern>,
    denied: Option<&'a Pattern>,
    dangerous: Option<&'a Pattern>,
}

impl<'a> Said<'a> {
    fn of(access: &'a Access, person: Person<'_>, scope: &Scope, command: &str, now: DateTime<Utc>) -> Self {
        let mut said = Self::default();
        let grants = access.grants.get(scope).into_iter().flatten();
        for grant in grants.filter(|grant| counts(access, grant, person, now)) {
            let commands = &grant.commands;
            if grant.may.contains(&Right::Command) {
                said.gives = true;
                let fits = |pattern: &Pattern| pattern.lets_through(command);
                if commands.allow.is_empty() || commands.allow.iter().any(fits) {
                    said.lets_through = true;
                } else {
                    said.allowed.extend(&commands.allow);
                }
            }
            let about = |pattern: &&Pattern| pattern.is_about(command);
            said.denied = said.denied.or_else(|| commands.deny.iter().find(about));
            said.dangerous = said.dangerous.or_else(|| commands.dangerous.iter().find(about));
        }
        said
    }

    fn add(&mut self, other: &Self) {
        self.gives |= other.gives;
        self.lets_through |= other.lets_through;
        self.allowed.extend(&other.allowed);
        self.denied = self.denied.or(other.denied);
        self.dangerous = self.dangerous.or(other.dangerous);
    }

    fn verdict(self, role: Role) -> Verdict {
        let needs_grant = match role {
            Role::Admin | Role::Operator => false,
            Role::Developer => true,
            Role::Auditor | Role::Enroller => return Verdict::Refused(Why::NoGrant),
        };
        if needs_grant && !self.gives {
            Verdict::Refused(Why::NoGrant)
        } else if let Some(pattern) = self.denied {
            Verdict::Refused(Why::Denied(pattern.clone()))
        } else if self.gives && !self.lets_through {
            Verdict::Refused(Why::NotAllowed(self.allowed.into_iter().cloned().collect()))
        } else if let Some(pattern) = self.dangerous {
            Verdict::NeedsApproval { pattern: pattern.clone() }
        } else {
            Verdict::Run
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::access::{Commands, Grant, Grantee, GrantsSet, PeopleGroupSet};
    use crate::ids::{Tag, UserName};
    use crate::server::testing::settings;
    use crate::testing::{given, t};

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn patterns(texts: &[&str]) -> BTreeSet<Pattern> {
        texts.iter().map(|text| pattern(text)).collect()
    }

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn alice() -> Grantee {
        Grantee::User(user("alice"))
    }

    fn grant(to: Grantee, commands: Commands) -> Grant {
        Grant { to, may: [Right::Command].into(), commands, from: None, until: None }
    }

    fn allow(texts: &[&str]) -> Commands {
        Commands { allow: patterns(texts), ..Commands::default() }
    }

    fn deny(texts: &[&str]) -> Commands {
        Commands { deny: patterns(texts), ..Commands::default() }
    }

    fn dangerous(texts: &[&str]) -> Commands {
        Commands { dangerous: patterns(texts), ..Commands::default() }
    }

    /// On the zone of the one server.
    fn access(grants: Vec<Grant>) -> Access {
        let ops = PeopleGroupSet { group: Tag::parse("ops").unwrap(), members: [user("bob")].into() };
        given(vec![(0, GrantsSet { servers: zone(), grants }.into()), (0, ops.into())])
    }

    fn zone() -> Scope {
        Scope::Zone(Tag::parse("dmz").unwrap())
    }

    fn asked_by(access: &Access, name: &str, role: Role, command: &str) -> Verdict {
        let name = user(name);
        let settings = Settings { zone: Some(Tag::parse("dmz").unwrap()), ..settings() };
        let person = Person { user: &name, role };
        may_run(access, person, command, t(0))(&ServerId::from_seed(&Uuid::nil()), &settings)
    }

    fn asked(access: &Access, command: &str) -> Verdict {
        asked_by(access, "alice", Role::Developer, command)
    }

    fn denied(text: &str) -> Verdict {
        Verdict::Refused(Why::Denied(pattern(text)))
    }

    #[test]
    fn a_grant_without_patterns_lets_everything_through_and_none_lets_nothing() {
        let open = access(vec![grant(alice(), Commands::default())]);
        assert_eq!(asked(&open, "rm -rf /"), Verdict::Run);
        assert_eq!(asked_by(&open, "carol", Role::Developer, "id"), Verdict::Refused(Why::NoGrant));
        let facts = Grant { may: [Right::Facts].into(), ..grant(alice(), allow(&["*"])) };
        assert_eq!(asked(&access(vec![facts]), "id"), Verdict::Refused(Why::NoGrant), "another right");
        let over = Grant { until: Some(t(0)), ..grant(alice(), Commands::default()) };
        assert_eq!(asked(&access(vec![over]), "id"), Verdict::Refused(Why::NoGrant));
        let auditor = access(vec![grant(Grantee::Role(Role::Auditor), Commands::default())]);
        assert_eq!(asked_by(&auditor, "otto", Role::Auditor, "id"), Verdict::Refused(Why::NoGrant));
    }

    #[test]
    fn what_several_grants_allow_adds_up() {
        let one = grant(alice(), allow(&["uptime"]));
        let other = grant(Grantee::Role(Role::Developer), allow(&["df *"]));
        let both = access(vec![one.clone(), other]);
        assert_eq!(asked(&both, "uptime"), Verdict::Run);
        assert_eq!(asked(&both, "df -h"), Verdict::Run);
        let all = patterns(&["df *", "uptime"]);
        assert_eq!(asked(&both, "df -h; id"), Verdict::Refused(Why::NotAllowed(all)));
        let free = access(vec![one, grant(alice(), Commands::default())]);
        assert_eq!(asked(&free, "id"), Verdict::Run, "one that lets everything through");
    }

    #[test]
    fn a_deny_of_any_grant_that_names_the_person_refuses() {
        for to in [alice(), Grantee::Role(Role::Developer)] {
            let facts = Grant { may: [Right::Facts].into(), ..grant(to, deny(&["*rm -rf*"])) };
            let access = access(vec![grant(alice(), Commands::default()), facts]);
            assert_eq!(asked(&access, "cd /\nrm -rf ."), denied("*rm -rf*"));
            assert_eq!(asked(&access, "ls"), Verdict::Run);
        }
        let ops = Grantee::Group(Tag::parse("ops").unwrap());
        let access = access(vec![
            grant(Grantee::Role(Role::Developer), Commands::default()),
            grant(ops, deny(&["*"])),
        ]);
        assert_eq!(asked_by(&access, "bob", Role::Developer, "id"), denied("*"));
        assert_eq!(asked(&access, "id"), Verdict::Run, "it names others");
    }

    #[test]
    fn what_is_dangerous_needs_approval_and_what_is_denied_does_not_get_it() {
        let risky = grant(alice(), dangerous(&["*reboot*"]));
        let needs = Verdict::NeedsApproval { pattern: pattern("*reboot*") };
        assert_eq!(asked(&access(vec![risky.clone()]), "sudo reboot"), needs);
        assert_eq!(asked(&access(vec![risky.clone()]), "uptime"), Verdict::Run);
        let both = access(vec![risky.clone(), grant(alice(), deny(&["sudo *"]))]);
        assert_eq!(asked(&both, "sudo reboot"), denied("sudo *"));
        let confined = Commands { dangerous: patterns(&["*reboot*"]), ..allow(&["uptime"]) };
        let confined = access(vec![grant(alice(), confined)]);
        assert!(matches!(asked(&confined, "reboot"), Verdict::Refused(Why::NotAllowed(_))));
    }

    #[test]
    fn operators_need_no_grant_and_are_held_to_those_that_name_them() {
        let of = |commands| access(vec![grant(Grantee::Role(Role::Operator), commands)]);
        let olga = |access: &Access, command| asked_by(access, "olga", Role::Operator, command);
        assert_eq!(olga(&access(vec![]), "reboot"), Verdict::Run);
        assert_eq!(olga(&access(vec![grant(alice(), deny(&["*"]))]), "reboot"), Verdict::Run);
        assert_eq!(olga(&of(deny(&["reboot"])), "reboot"), denied("reboot"));
        assert!(matches!(olga(&of(dangerous(&["*"])), "id"), Verdict::NeedsApproval { .. }));
        assert!(matches!(olga(&of(allow(&["uptime"])), "id"), Verdict::Refused(Why::NotAllowed(_))));
        assert_eq!(olga(&of(allow(&["uptime"])), "uptime"), Verdict::Run);
    }

    #[test]
    fn each_server_is_asked_for_by_its_own_places() {
        let access = access(vec![grant(alice(), deny(&["reboot"]))]);
        let (there, name) = (ServerId::from_seed(&Uuid::from_u128(1)), user("alice"));
        let elsewhere = settings();
        let inside = Settings { zone: Some(Tag::parse("dmz").unwrap()), ..settings() };
        let mut may = may_run(&access, Person { user: &name, role: Role::Admin }, "reboot", t(0));
        let verdicts = [&inside, &elsewhere, &inside].map(|settings| may(&there, settings));
        assert_eq!(verdicts, [denied("reboot"), Verdict::Run, denied("reboot")]);
    }

    #[test]
    fn a_refusal_names_some_patterns() {
        let many: BTreeSet<_> = (10..40).map(|number| pattern(&format!("p{number}"))).collect();
        let said = Why::NotAllowed(many).to_string();
        assert!(said.contains("p10 | p11") && said.ends_with("p19 | ..."), "{said}");
    }

    fn any_commands() -> impl Strategy<Value = Commands> {
        let some = || prop::collection::btree_set("[ab*]{1,3}".prop_map(|text| pattern(&text)), 0..3);
        (some(), some(), some()).prop_map(|(allow, deny, dangerous)| Commands { allow, deny, dangerous })
    }

    fn any_grant() -> impl Strategy<Value = Grant> {
        let to = prop_oneof![
            Just(alice()),
            Just(Grantee::Role(Role::Developer)),
            Just(Grantee::Role(Role::Operator)),
            Just(Grantee::User(user("bob"))),
        ];
        let may = prop_oneof![Just(Right::Command), Just(Right::Facts)];
        (to, may, any_commands())
            .prop_map(|(to, may, commands)| Grant { may: [may].into(), ..grant(to, commands) })
    }

    /// How much is let through.
    fn rank(verdict: &Verdict) -> u8 {
        match verdict {
            Verdict::Refused(_) => 0,
            Verdict::NeedsApproval { .. } => 1,
            Verdict::Run => 2,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn another_deny_or_dangerous_never_lets_more_through(
            grants in prop::collection::vec(any_grant(), 1..4),
            (which, added) in (any::<prop::sample::Index>(), "[ab*]{1,3}"),
            command in "[ab;\n]{0,4}",
            role in prop_oneof![Just(Role::Developer), Just(Role::Operator)],
        ) {
            let before = rank(&asked_by(&access(grants.clone()), "alice", role, &command));
            for list in 0..2 {
                let mut grants = grants.clone();
                let chosen = which.index(grants.len());
                let commands = &mut grants[chosen].commands;
                let list = if list == 0 { &mut commands.deny } else { &mut commands.dangerous };
                list.insert(pattern(&added));
                let after = rank(&asked_by(&access(grants), "alice", role, &command));
                prop_assert!(after <= before);
            }
        }

        /// A developer who is let through is so by a grant that gives the right, and by no pattern's star alone.
        #[test]
        fn whoever_runs_was_let_through(
            grants in prop::collection::vec(any_grant(), 0..4),
            command in "[ab;\n]{0,4}",
        ) {
            let verdict = asked(&access(grants.clone()), &command);
            if rank(&verdict) > 0 {
                let lets = |grant: &Grant| {
                    let named = grant.to == alice() || grant.to == Grantee::Role(Role::Developer);
                    let allow = &grant.commands.allow;
                    let fits = |pattern: &Pattern| pattern.lets_through(&command);
                    named && grant.may.contains(&Right::Command) && (allow.is_empty() || allow.iter().any(fits))
                };
                prop_assert!(grants.iter().any(lets));
                let named = |grant: &&Grant| grant.to == alice() || grant.to == Grantee::Role(Role::Developer);
                let denies = |grant: &Grant| grant.commands.deny.iter().any(|pattern| pattern.is_about(&command));
                prop_assert!(!grants.iter().filter(named).any(denies));
            }
        }
    }
}
