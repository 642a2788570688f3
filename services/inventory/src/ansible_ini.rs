//! How is an Ansible inventory in its INI form read?

use crate::ansible::{Found, Said, Variables};
use crate::{Inventory, Wrong};

enum Section {
    Hosts(String),
    Children(String),
    Variables(String),
    /// Wrong, and said so: what stands in it is passed over.
    Unknown,
}

pub fn read(text: &str) -> Result<Inventory, Vec<Wrong>> {
    let mut found = Found::default();
    let mut section = Section::Hosts("ungrouped".to_owned());
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = heading(text) {
            section = self::section(&mut found, line, name);
            continue;
        }
        match &section {
            Section::Hosts(group) => hosts(&mut found, group, line, text),
            Section::Children(group) => {
                let child = text.split(['#', ' ']).next().unwrap_or_default().to_owned();
                found.groups.entry(child.clone()).or_default();
                found.groups.entry(group.clone()).or_default().children.insert(child);
            }
            Section::Variables(group) => match text.split_once('=') {
                Some((name, value)) => {
                    let said = Said { line, value: unquoted(value.trim()).to_owned() };
                    let group = found.groups.entry(group.clone()).or_default();
                    group.variables.insert(name.trim().to_owned(), said);
                }
                None => found.wrong.push(Wrong::new(line, "", "malformed", "must be name=value")),
            },
            Section::Unknown => {}
        }
    }
    found.finish()
}

/// `[web]`; a host may begin so too: `[::1]:22`.
fn heading(text: &str) -> Option<&str> {
    let text = text.split('#').next()?.trim_end();
    let name = text.strip_prefix('[')?.strip_suffix(']')?;
    name.parse::<std::net::Ipv6Addr>().is_err().then_some(name)
}

fn section(found: &mut Found, line: u64, name: &str) -> Section {
    match name.split_once(':') {
        None => {
            found.groups.entry(name.to_owned()).or_default();
            Section::Hosts(name.to_owned())
        }
        Some((group, "children")) => Section::Children(group.to_owned()),
        Some((group, "vars")) => Section::Variables(group.to_owned()),
        Some((_, kind)) => {
            let detail = format!("a section is [group], [group:children] or [group:vars], not {kind:?}");
            found.wrong.push(Wrong::new(line, "", "malformed", detail));
            Section::Unknown
        }
    }
}

fn hosts(found: &mut Found, group: &str, line: u64, text: &str) {
    let Some(words) = shlex::split(text) else {
        return found.wrong.push(Wrong::new(line, "", "malformed", "has a quote that does not end"));
    };
    let mut words = words.into_iter();
    let Some(pattern) = words.next() else { return };
    let mut variables = Variables::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => {
                variables.insert(name.to_owned(), Said { line, value: value.to_owned() });
            }
            None => {
                let detail = format!("{word:?} must be name=value");
                found.wrong.push(Wrong::new(line, "", "malformed", detail));
            }
        }
    }
    found.add(group, &pattern, line, &variables);
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    const TEXT: &str = "\
mail.example.org ansible_user=root # the old one
[web]
web[1:2].example.org:2222 ansible_ssh_pass='two words'
[db]
one ansible_host=10.0.0.5 ansible_user=\"dba\"
localhost ansible_connection=local
[site:children]
web
db
[site:vars]
ansible_user=deploy
ansible_ssh_private_key_file=~/.ssh/site
[web:vars]
ansible_user = 'www'
";

    #[test]
    fn hosts_have_the_variables_that_are_nearest() {
        let read = read(TEXT).unwrap();
        let rows: Vec<_> =
            read.rows.iter().map(|row| (row.line, Value::Object(row.fields.clone()))).collect();
        let web = |n: u8| {
            let name = format!("web{n}.example.org");
            json!({"name": name, "host": name, "port": 2222, "username": "www", "password": "two words",
                "private_key_file": "~/.ssh/site", "groups": ["site", "web"]})
        };
        let expected = [
            (
                1,
                json!({"name": "mail.example.org", "host": "mail.example.org", "username": "root", "groups": []}),
            ),
            (3, web(1)),
            (3, web(2)),
            (
                5,
                json!({"name": "one", "host": "10.0.0.5", "username": "dba", "private_key_file": "~/.ssh/site",
                "groups": ["db", "site"]}),
            ),
        ];
        assert_eq!(rows, expected);
        assert_eq!(read.rows[1].line_of("username"), 14);
        assert_eq!((read.notes.len(), read.notes[0].line), (1, 6));
    }

    #[test]
    fn every_line_that_is_wrong_is_named() {
        let text = "a b\n[x:y]\nignored here\n[web]\nb 'c\nc[3:1]\n[web:vars]\nplain\n\
                    [d]\nd ansible_host='{{ x }}'\n[web:children]\nweb\n";
        let wrong: Vec<_> =
            read(text).unwrap_err().into_iter().map(|wrong| (wrong.line, wrong.field)).collect();
        let expected = [(1, ""), (2, ""), (5, ""), (6, "name"), (8, ""), (10, "host")];
        assert_eq!(wrong, expected.map(|(line, field)| (line, field.to_owned())));
    }
}
