//! What do Ansible's variables say of a host, whichever form its inventory has?

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Inventory, Note, ROWS_MAX, Row, Wrong};

/// Which of Ansible's names stands for which of ours; the first that is there counts.
const FIELDS: &[(&str, &[&str])] = &[
    ("host", &["ansible_host", "ansible_ssh_host"]),
    ("port", &["ansible_port", "ansible_ssh_port"]),
    ("username", &["ansible_user", "ansible_ssh_user"]),
    ("password", &["ansible_password", "ansible_ssh_password", "ansible_ssh_pass"]),
    ("private_key_file", &["ansible_ssh_private_key_file", "ansible_private_key_file"]),
];
/// Connections that are SSH.
const SSH: [&str; 4] = ["ssh", "smart", "paramiko", "paramiko_ssh"];
/// Groups that say nothing.
const EVERYBODY: [&str; 2] = ["all", "ungrouped"];
/// Groups within groups; also the end of a circle.
const DEPTH_MAX: usize = 32;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub line: u64,
    pub value: String,
}

pub type Variables = BTreeMap<String, Said>;

#[derive(Debug, Default)]
pub struct Group {
    pub hosts: BTreeSet<String>,
    pub children: BTreeSet<String>,
    pub variables: Variables,
}

#[derive(Debug)]
pub struct Host {
    pub line: u64,
    pub variables: Variables,
}

/// All that an inventory says, before it is known which variable counts.
#[derive(Debug, Default)]
pub struct Found {
    pub groups: BTreeMap<String, Group>,
    pub hosts: BTreeMap<String, Host>,
    pub wrong: Vec<Wrong>,
    pub notes: Vec<Note>,
}

impl Found {
    /// A host pattern of a group, with ranges and perhaps a port: `web[01:20].example.org:2222`.
    pub fn add(&mut self, group: &str, pattern: &str, line: u64, variables: &Variables) {
        let (pattern, port) = split_port(pattern);
        let names = match expand(pattern) {
            Ok(names) => names,
            Err(detail) => return self.wrong.push(Wrong::new(line, "name", "malformed", detail)),
        };
        for name in names {
            if self.hosts.len() > ROWS_MAX {
                return;
            }
            let variables = variables.clone();
            let host = self.hosts.entry(name.clone()).or_insert(Host { line, variables: Variables::new() });
            host.variables
                .extend(port.map(|value| ("ansible_port".to_owned(), Said { line, value: value.into() })));
            host.variables.extend(variables);
            self.groups.entry(group.to_owned()).or_default().hosts.insert(name);
        }
    }

    pub fn finish(mut self) -> Result<Inventory, Vec<Wrong>> {
        let (mut wrong, mut notes) = (std::mem::take(&mut self.wrong), std::mem::take(&mut self.notes));
        let mut rows = Vec::new();
        for (name, host) in &self.hosts {
            let member = self.member_of(name);
            let mut variables = Variables::new();
            // what is nearer to the host counts
            for group in member.iter().rev() {
                let said = self.groups.get(*group).into_iter().flat_map(|group| &group.variables);
                variables.extend(said.map(|(name, said)| (name.clone(), said.clone())));
            }
            variables.extend(host.variables.clone());
            match connection(&variables) {
                Some(said) => {
                    let text = format!("{name} is left out: its connection is {}, not SSH", said.value);
                    notes.push(Note { line: host.line, text });
                }
                None => rows.push(row(name, host.line, &member, &variables, &mut wrong)),
            }
        }
        rows.sort_by_key(|row| row.line);
        if wrong.is_empty() { Ok(Inventory { rows, notes }) } else { Err(wrong) }
    }

    /// The groups that have the host, the nearest first; `all` is the farthest.
    fn member_of(&self, host: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        let has = |group: &&String| self.groups.get(*group).is_some_and(|group| group.hosts.contains(host));
        let mut level: Vec<&String> = self.groups.keys().filter(has).collect();
        for _ in 0..DEPTH_MAX {
            level.retain(|group| group.as_str() != "all" && !found.contains(&group.as_str()));
            if level.is_empty() {
                break;
            }
            found.extend(level.iter().map(|group| group.as_str()));
            let above = self
                .groups
                .iter()
                .filter(|(_, group)| level.iter().any(|below| group.children.contains(*below)));
            level = above.map(|(name, _)| name).collect();
        }
        found.push("all");
        found
    }
}

fn connection(variables: &Variables) -> Option<&Said> {
    variables.get("ansible_connection").filter(|said| !SSH.contains(&said.value.as_str()))
}

fn row(name: &str, line: u64, groups: &[&str], variables: &Variables, wrong: &mut Vec<Wrong>) -> Row {
    let mut row = Row::new(line);
    row.set(line, "name", name);
    row.set(line, "host", name);
    for (field, names) in FIELDS {
        let Some(said) = names.iter().find_map(|name| variables.get(*name)) else { continue };
        if said.value.contains("{{") || said.value.contains("$ANSIBLE_VAULT") {
            let detail =
                "is a template or a vault of Ansible, which only Ansible reads: write the value itself";
            wrong.push(Wrong::new(said.line, *field, "malformed", detail));
            continue;
        }
        let port = (*field == "port").then(|| said.value.parse::<u64>().ok()).flatten();
        row.set(said.line, field, port.map_or_else(|| Value::from(said.value.as_str()), Value::from));
    }
    let mut groups: Vec<_> = groups.iter().filter(|group| !EVERYBODY.contains(*group)).copied().collect();
    groups.sort_unstable();
    row.fields.insert("groups".to_owned(), groups.into());
    row
}

/// `web:2222`; the colons of an address are its own.
fn split_port(pattern: &str) -> (&str, Option<&str>) {
    let whole = (pattern, None);
    if let Some((address, rest)) = pattern.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        && address.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return (address, rest.strip_prefix(':'));
    }
    match pattern.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let in_range = host.contains('[') && !host.contains(']');
            if host.contains(':') && !host.contains('[') || in_range { whole } else { (host, Some(port)) }
        }
        Some(_) | None => whole,
    }
}

/// `[01:20]`, `[a:f]`, `[1:9:2]`, several of them.
fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('[') else { return Ok(vec![pattern.to_owned()]) };
    let (range, after) = rest.split_once(']').ok_or_else(|| format!("{pattern:?} has no ] to its ["))?;
    let mut names = Vec::new();
    for rest in expand(after)? {
        for middle in steps(range).ok_or_else(|| format!("{range:?} is no range like 01:20 or a:f"))? {
            if names.len() >= ROWS_MAX {
                return Err(format!("{pattern:?} stands for more than {ROWS_MAX} hosts"));
            }
            names.push(format!("{before}{middle}{rest}"));
        }
    }
    Ok(names)
}

fn steps(range: &str) -> Option<Vec<String>> {
    let parts: Vec<_> = range.split(':').collect();
    let (first, last, step) = match parts.as_slice() {
        [first, last] => (*first, *last, 1),
        [first, last, step] => (*first, *last, step.parse::<usize>().ok().filter(|step| *step > 0)?),
        _ => return None,
    };
    if let (Ok(low), Ok(high)) = (first.parse::<u32>(), last.parse::<u32>()) {
        let width = if first.starts_with('0') { first.len() } else { 0 };
        let numbers = (low..=high).step_by(step).take(ROWS_MAX + 1);
        return (low <= high).then(|| numbers.map(|number| format!("{number:0width$}")).collect());
    }
    let letter = |text: &str| text.chars().next().filter(|c| text.len() == 1 && c.is_ascii_alphabetic());
    let (low, high) = (letter(first)?, letter(last)?);
    (low <= high).then(|| (low..=high).step_by(step).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_range_stands_for_its_hosts() {
        assert_eq!(expand("web[08:10].x").unwrap(), ["web08.x", "web09.x", "web10.x"]);
        assert_eq!(expand("[a:c:2][1:2]").unwrap(), ["a1", "c1", "a2", "c2"]);
        for wrong in ["a[1", "a[x]", "a[3:1]", "a[1:2:0]", "a[1:99999]", "a[1:2000][1:2000]"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_told_from_an_address_and_a_range() {
        assert_eq!(split_port("web:2222"), ("web", Some("2222")));
        assert_eq!(split_port("[::1]:22"), ("::1", Some("22")));
        assert_eq!(split_port("web[1:20]"), ("web[1:20]", None));
        assert_eq!(split_port("web[1:20]:22"), ("web[1:20]", Some("22")));
        assert_eq!(split_port("fe80::1"), ("fe80::1", None));
    }
}
