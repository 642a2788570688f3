//! Which grants and memberships begin and end when those of a place, or of a group, are set anew? What is said again
//! goes on.

use std::collections::BTreeMap;

use events::Recorded;
use events::access::{Grant, GrantsSet, PeopleGroupSet, Scope};
use events::ids::{ServerId, TenantId};

use super::access::Key;
use super::intervals::{Held, Intervals};
use super::rows::Rows;
use super::words;

pub fn set(held: &mut Intervals<Key>, event: &Recorded, set: &GrantsSet, rows: &mut Rows) {
    let tenant = &event.subject.tenant;
    let one = |grant| (key(tenant, &set.servers, grant), of(tenant, &set.servers, grant));
    let granted: BTreeMap<Key, Held> = set.grants.iter().map(one).collect();
    end(held, event, &set.servers, |key| granted.contains_key(key), rows);
    for (key, grant) in granted {
        held.begin(key, grant, event, rows);
    }
}

/// Nobody gets to the server any more, whatever was granted on it.
pub fn server_removed(held: &mut Intervals<Key>, event: &Recorded, rows: &mut Rows) {
    if let Ok(server) = ServerId::parse(event.subject.id.as_str()) {
        end(held, event, &Scope::Server(server), |_| false, rows);
    }
}

pub fn set_people(held: &mut Intervals<Key>, event: &Recorded, set: &PeopleGroupSet, rows: &mut Rows) {
    let tenant = &event.subject.tenant;
    let first = Key::Member(tenant.clone(), set.group.clone(), String::new());
    let belongs = |key: &Key| matches!(key, Key::Member(of, group, _) if of == tenant && *group == set.group);
    let goes_on = |key: &Key| matches!(key, Key::Member(_, _, name) if set.members.iter().any(|member| member.as_str() == name));
    held.end_those(&first, belongs, goes_on, event, rows);
    for member in &set.members {
        let one = Held {
            tenant: tenant.clone(),
            what: "group_member",
            who: format!("user {member}"),
            on: format!("people {}", set.group),
            may: "member".to_owned(),
            detail: String::new(),
            from: None,
            until: None,
        };
        let key = Key::Member(tenant.clone(), set.group.clone(), member.to_string());
        held.begin(key, one, event, rows);
    }
}

fn end(
    held: &mut Intervals<Key>,
    event: &Recorded,
    servers: &Scope,
    goes_on: impl Fn(&Key) -> bool,
    rows: &mut Rows,
) {
    let tenant = &event.subject.tenant;
    let first = Key::Grant(tenant.clone(), servers.clone(), String::new());
    let belongs = |key: &Key| matches!(key, Key::Grant(of, scope, _) if of == tenant && scope == servers);
    held.end_those(&first, belongs, goes_on, event, rows);
}

/// Grants have no name: one is what it says.
fn key(tenant: &TenantId, servers: &Scope, grant: &Grant) -> Key {
    let said = serde_json::to_string(grant).unwrap_or_default();
    Key::Grant(tenant.clone(), servers.clone(), said)
}

fn of(tenant: &TenantId, servers: &Scope, grant: &Grant) -> Held {
    let patterns = (!grant.commands.is_empty()).then(|| serde_json::to_string(&grant.commands));
    Held {
        tenant: tenant.clone(),
        what: "grant",
        who: words::grantee(&grant.to),
        on: words::scope(servers),
        may: words::joined(grant.may.iter().map(|right| right.name())),
        detail: patterns.and_then(Result::ok).unwrap_or_default(),
        from: grant.from,
        until: grant.until,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use events::Kind;
    use events::access::{AccessEvent, Commands, Grantee, Right};
    use events::ids::{Tag, UserName};
    use events::server::{ServerEvent, ServerRemoved};

    use super::super::access::REPORT;
    use super::super::testing::{SERVER, at, cells, columns, shown, t};
    use super::*;

    fn grant(name: &str, until: Option<i64>) -> Grant {
        Grant {
            to: Grantee::User(UserName::parse(name).unwrap()),
            may: BTreeSet::from([Right::Terminal, Right::Command]),
            commands: Commands::default(),
            from: None,
            until: until.map(t),
        }
    }

    fn set_on(sequence: u64, servers: &Scope, grants: &[Grant]) -> Recorded {
        let set = GrantsSet { servers: servers.clone(), grants: grants.to_vec() };
        at(sequence, Kind::Access, "acme", AccessEvent::GrantsSet(set))
    }

    #[test]
    fn a_grant_begins_when_it_is_said_first_and_ends_when_it_is_not_said_again() {
        let dmz = Scope::Zone(Tag::parse("dmz").unwrap());
        let server = Scope::Server(ServerId::parse(SERVER).unwrap());
        let all = [
            set_on(1, &dmz, &[grant("alice", None), grant("bob", Some(1000))]),
            set_on(2, &server, &[grant("carol", None)]),
            set_on(3, &dmz, &[grant("bob", Some(1000))]),
            at(4, Kind::Server, SERVER, ServerEvent::ServerRemoved(ServerRemoved {})),
        ];
        let rows = cells(&REPORT, 1, None, &all);
        let seen = columns(&REPORT, &rows, &["who", "on", "may", "from", "until", "ended_sequence"]);
        let (on_server, until) = (format!("server {SERVER}"), shown(1000));
        let rights = "terminal command";
        let from = [shown(1), shown(2)];
        let expected = [
            ["user alice", "zone dmz", rights, from[0].as_str(), shown(3).as_str(), "3"].map(str::to_owned),
            ["user bob", "zone dmz", rights, from[0].as_str(), until.as_str(), ""].map(str::to_owned),
            ["user carol", on_server.as_str(), rights, from[1].as_str(), shown(4).as_str(), "4"]
                .map(str::to_owned),
        ];
        assert_eq!(seen, expected);
        // what was over before the range is not of it
        let later = cells(&REPORT, 4, None, &all);
        assert_eq!(columns(&REPORT, &later, &["who"]).concat(), ["user bob", "user carol"]);
    }

    #[test]
    fn a_member_of_a_group_comes_and_goes() {
        let set = |sequence, members: &[&str]| {
            let members = members.iter().map(|name| UserName::parse(*name).unwrap()).collect();
            let set = PeopleGroupSet { group: Tag::parse("ops").unwrap(), members };
            at(sequence, Kind::Access, "acme", AccessEvent::PeopleGroupSet(set))
        };
        let all = [set(1, &["alice", "bob"]), set(2, &["bob", "carol"]), set(3, &[])];
        let rows = cells(&REPORT, 1, None, &all);
        let seen = columns(&REPORT, &rows, &["who", "began_sequence", "ended_sequence"]);
        let expected = [["user alice", "1", "2"], ["user bob", "1", "3"], ["user carol", "2", "3"]];
        assert_eq!(seen, expected);
    }
}
