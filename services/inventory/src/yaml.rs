//! How does our own YAML become rows, and rows YAML? A list below `servers`, or the list alone.

use serde_json::{Map, Value, json};

use crate::node::{Entry, Kind, Node, parse};
use crate::{COLUMNS, Inventory, Row, Wrong};

pub fn read(text: &str) -> Result<Inventory, Vec<Wrong>> {
    let root = parse(text).map_err(|wrong| vec![wrong])?;
    let mut wrong = Vec::new();
    let list = servers(&root, &mut wrong);
    let mut rows = Vec::new();
    for node in list.unwrap_or_default() {
        match &node.kind {
            Kind::Map(entries) => rows.push(row(node.line, entries, &mut wrong)),
            Kind::Plain(_) | Kind::List(_) => {
                let detail = "must be a mapping with name, host and so on";
                wrong.push(Wrong::new(node.line, "", "wrong_type", detail));
            }
        }
    }
    if wrong.is_empty() { Ok(Inventory { rows, notes: Vec::new() }) } else { Err(wrong) }
}

fn servers<'n>(root: &'n Node, wrong: &mut Vec<Wrong>) -> Option<&'n [Node]> {
    let mut found = None;
    match &root.kind {
        Kind::List(list) => return Some(list),
        Kind::Map(entries) => {
            for Entry { line, key, value } in entries {
                match (key.as_str(), &value.kind) {
                    ("servers", Kind::List(list)) => found = Some(list.as_slice()),
                    ("servers", Kind::Plain(Value::Null)) => found = Some(&[]),
                    ("servers", _) => {
                        wrong.push(Wrong::new(*line, "servers", "wrong_type", "must be a list"))
                    }
                    (key, _) => {
                        wrong.push(Wrong::new(
                            *line,
                            key,
                            "unknown",
                            "there is no such field; known is servers",
                        ));
                    }
                }
            }
        }
        Kind::Plain(_) => {}
    }
    if found.is_none() && wrong.is_empty() {
        let detail = "must be a list of servers, or a mapping with such a list as servers";
        wrong.push(Wrong::new(root.line, "servers", "missing", detail));
    }
    found
}

fn row(line: u64, entries: &[Entry], wrong: &mut Vec<Wrong>) -> Row {
    let mut row = Row::new(line);
    for Entry { line, key, value } in entries {
        match (key.as_str(), &value.kind) {
            ("method", Kind::Plain(Value::String(method))) => match method.as_str() {
                "certificate" => row.set(*line, "certificate", true),
                "password" | "private_key" => {}
                _ => {
                    let detail = "must be password, private_key or certificate";
                    wrong.push(Wrong::new(*line, "method", "malformed", detail));
                }
            },
            // a label's value is a word, also if it looks like a number
            ("labels", Kind::Map(labels)) => {
                let words = labels.iter().map(|label| {
                    let value = label.value.word().map_or_else(|| label.value.value(), Value::from);
                    (label.key.clone(), value)
                });
                row.set(*line, "labels", Value::Object(words.collect()));
            }
            ("labels" | "groups", Kind::Plain(Value::Null)) => {
                row.set(*line, key, if key == "groups" { json!([]) } else { json!({}) });
            }
            _ => row.set(*line, key, value.value()),
        }
    }
    row
}

/// The rows as a list below `servers`.
pub fn write(rows: &[Map<String, Value>]) -> String {
    let of = |row: &Map<String, Value>| -> Value {
        let known =
            COLUMNS.iter().filter_map(|column| Some(((*column).to_owned(), row.get(*column)?.clone())));
        Value::Object(known.collect())
    };
    let list = json!({ "servers": rows.iter().map(of).collect::<Vec<_>>() });
    // what JSON can say, YAML can
    serde_saphyr::to_string(&list).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_becomes_rows_with_the_lines_of_their_fields() {
        let text = "# ours\nservers:\n  - name: web\n    host: 10.0.0.1\n    port: 22\n    labels: {tier: 1, old: no}\n\
                    \x20 - {name: db, host: h, zone: ~, groups: [a], method: certificate}\n";
        let rows = read(text).unwrap().rows;
        assert_eq!((rows[0].line, rows[0].line_of("port"), rows[0].line_of("username")), (3, 5, 3));
        assert_eq!(rows[0].fields["labels"], json!({"tier": "1", "old": "no"}));
        let second = json!({"name": "db", "host": "h", "zone": null, "groups": ["a"], "certificate": true});
        assert_eq!((rows[1].line, Value::Object(rows[1].fields.clone())), (7, second));
        let alone = text.lines().skip(2).collect::<Vec<_>>().join("\n");
        assert_eq!(read(&alone).unwrap().rows.len(), 2);
    }

    #[test]
    fn what_is_no_list_of_servers_is_named_with_its_line() {
        let wrong = |text: &str| {
            let wrong = read(text).unwrap_err().remove(0);
            (wrong.line, wrong.field, wrong.code)
        };
        assert_eq!(wrong("servers: 3\n"), (1, "servers".into(), "wrong_type"));
        assert_eq!(wrong("servers: []\nmore: 1\n"), (2, "more".into(), "unknown"));
        assert_eq!(wrong("servers:\n  - web\n"), (2, String::new(), "wrong_type"));
        assert_eq!(wrong("servers:\n- name: a\n  method: card\n"), (3, "method".into(), "malformed"));
        assert_eq!(wrong("a: [\n"), (wrong("a: [\n").0, String::new(), "malformed"));
        assert_eq!(wrong("- name: a\n  name: b\n").2, "malformed");
        assert_eq!(wrong("x").2, "missing");
    }

    #[test]
    fn a_text_that_multiplies_itself_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
        }
        assert_eq!(read(&text).unwrap_err()[0].code, "malformed");
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(read(&deep).unwrap_err()[0].code, "malformed");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for name in ["yes", "1.0", "a: b", "#x", "'q'", "null", " x", "two\nlines", "ü", "- a", "*x", "0755"]
        {
            let Value::Object(row) = json!({"server_id": "srv-a", "name": name, "host": "::1", "port": 22,
                "zone": null, "groups": ["on"], "labels": {"1": "2"}})
            else {
                panic!()
            };
            let read = read(&write(std::slice::from_ref(&row))).unwrap().rows.remove(0);
            assert_eq!(read.fields, row);
        }
    }
}
