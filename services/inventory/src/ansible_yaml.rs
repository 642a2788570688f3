//! How is an Ansible inventory in its YAML form read?

use serde_json::Value;

use crate::ansible::{Found, Said, Variables};
use crate::node::{Entry, Node, parse};
use crate::{Inventory, Note, Wrong};

pub fn read(text: &str) -> Result<Inventory, Vec<Wrong>> {
    let root = parse(text).map_err(|wrong| vec![wrong])?;
    let mut found = Found::default();
    for Entry { line, key, value } in mapping(&mut found, &root, "the inventory", "") {
        group(&mut found, key, *line, value);
    }
    found.finish()
}

/// What is no mapping is said to be wrong.
fn mapping<'n>(found: &mut Found, node: &'n Node, what: &str, field: &str) -> &'n [Entry] {
    node.entries().unwrap_or_else(|| {
        found.wrong.push(Wrong::new(node.line, field, "wrong_type", format!("{what} must be a mapping")));
        &[]
    })
}

/// Nested as deep as a text may be nested.
fn group(found: &mut Found, name: &str, line: u64, node: &Node) {
    found.groups.entry(name.to_owned()).or_default();
    for Entry { line: at, key, value } in mapping(found, node, "a group", name) {
        match key.as_str() {
            "hosts" => {
                for host in mapping(found, value, "hosts", "hosts") {
                    let variables = variables(found, &host.value);
                    found.add(name, &host.key, host.line, &variables);
                }
            }
            "vars" => {
                let variables = variables(found, value);
                found.groups.entry(name.to_owned()).or_default().variables.extend(variables);
            }
            "children" => {
                for child in mapping(found, value, "children", "children") {
                    group(found, &child.key, child.line, &child.value);
                    found.groups.entry(name.to_owned()).or_default().children.insert(child.key.clone());
                }
            }
            other => {
                let text =
                    format!("{other} of group {name} (line {line}) is none of hosts, vars and children");
                found.notes.push(Note { line: *at, text });
            }
        }
    }
}

fn variables(found: &mut Found, node: &Node) -> Variables {
    let mut variables = Variables::new();
    for Entry { line, key, value } in mapping(found, node, "variables", "") {
        // lists and mappings say nothing of how a host is reached
        let word = value.word().or_else(|| match value.value() {
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
        });
        variables.extend(word.map(|value| (key.clone(), Said { line: *line, value })));
    }
    variables
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const TEXT: &str = "\
all:
  vars:
    ansible_user: deploy
  hosts:
    mail:
  children:
    web:
      hosts:
        web[1:2]:
          ansible_port: 2222
          tags: [a]
    site:
      children:
        web:
        db:
          hosts:
            one: {ansible_host: 10.0.0.5, ansible_user: dba}
      vars: {ansible_ssh_private_key_file: ~/.ssh/site}
";

    #[test]
    fn groups_hosts_and_variables_are_found_with_their_lines() {
        let rows = read(TEXT).unwrap().rows;
        let of = |name: &str| rows.iter().find(|row| row.fields["name"] == name).unwrap();
        assert_eq!(rows.len(), 4);
        assert_eq!(
            Value::Object(of("mail").fields.clone()),
            json!({"name": "mail", "host": "mail",
            "username": "deploy", "groups": []})
        );
        assert_eq!(
            Value::Object(of("web2").fields.clone()),
            json!({"name": "web2", "host": "web2", "port": 2222,
            "username": "deploy", "private_key_file": "~/.ssh/site", "groups": ["site", "web"]})
        );
        assert_eq!(of("one").fields["username"], "dba");
        assert_eq!((of("one").line, of("one").line_of("host"), of("mail").line_of("username")), (17, 17, 3));
    }

    #[test]
    fn what_has_the_wrong_shape_is_named_with_its_line() {
        let wrong = |text: &str| {
            let wrong = read(text).unwrap_err().remove(0);
            (wrong.line, wrong.field, wrong.code)
        };
        assert_eq!(wrong("all:\n  hosts: [a]\n"), (2, "hosts".into(), "wrong_type"));
        assert_eq!(wrong("[a]"), (1, String::new(), "wrong_type"));
        assert_eq!(
            wrong("all:\n  hosts:\n    a:\n      ansible_port: '{{ p }}'\n"),
            (4, "port".into(), "malformed")
        );
        assert_eq!(read("all:\n  host:\n    a:\n").unwrap().notes[0].line, 2);
    }
}
