//! Which servers does an OpenSSH client configuration name? As ssh reads it: the first value for a host counts.
//!
//! Not by a crate for it: those open what `Include` names, which here would be files of our own machine.

use crate::{Inventory, Note, Row, Wrong};

/// Of what applies to a host, what is taken over, and as what.
const FIELDS: &[(&str, &str)] = &[
    ("hostname", "host"),
    ("port", "port"),
    ("user", "username"),
    ("identityfile", "private_key_file"),
    ("proxyjump", "proxyjump"),
    ("proxycommand", "proxycommand"),
];

struct Setting {
    line: u64,
    field: &'static str,
    value: String,
}

/// Settings for the hosts that its patterns match.
struct Block {
    line: u64,
    patterns: Vec<String>,
    settings: Vec<Setting>,
}

pub fn read(text: &str) -> Result<Inventory, Vec<Wrong>> {
    let (mut wrong, mut notes) = (Vec::new(), Vec::new());
    let mut blocks = vec![Block { line: 0, patterns: vec!["*".to_owned()], settings: Vec::new() }];
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some((keyword, arguments)) = split(text) else {
            wrong.push(Wrong::new(
                line,
                "",
                "malformed",
                "must be a keyword and its value, with quotes that end",
            ));
            continue;
        };
        let value = || arguments.join(" ");
        match keyword.as_str() {
            "host" => blocks.push(Block { line, patterns: arguments, settings: Vec::new() }),
            "match" => {
                notes.push(Note {
                    line,
                    text: format!("Match {} is passed over, up to the next Host", value()),
                });
                blocks.push(Block { line, patterns: Vec::new(), settings: Vec::new() });
            }
            "include" => notes.push(Note { line, text: format!("Include {} is not opened", value()) }),
            keyword => {
                let field = FIELDS.iter().find(|(name, _)| *name == keyword).map(|(_, field)| *field);
                let block = blocks.last_mut();
                if let (Some(field), Some(block)) = (field, block) {
                    block.settings.push(Setting { line, field, value: value() });
                }
            }
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    for block in &blocks {
        for alias in block.patterns.iter().filter(|pattern| block.line > 0 && is_alias(pattern)) {
            if rows.iter().all(|row| row.fields["name"] != *alias) {
                rows.push(row(alias, block.line, &blocks, &mut notes));
            }
        }
    }
    if wrong.is_empty() { Ok(Inventory { rows, notes }) } else { Err(wrong) }
}

/// Keyword in small letters, and its arguments: `Host a "b c"`, `Port = 22`.
fn split(text: &str) -> Option<(String, Vec<String>)> {
    let end = text.find(|c: char| c.is_whitespace() || c == '=')?;
    let (keyword, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    let arguments = shlex::split(rest).filter(|arguments| !arguments.is_empty())?;
    Some((keyword.to_ascii_lowercase(), arguments))
}

fn is_alias(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '!'])
}

fn row(alias: &str, line: u64, blocks: &[Block], notes: &mut Vec<Note>) -> Row {
    let mut row = Row::new(line);
    row.set(line, "name", alias);
    let (mut proxied, mut user) = (None, None);
    for setting in blocks.iter().filter(|block| applies(block, alias)).flat_map(|block| &block.settings) {
        let Setting { line, field, value } = setting;
        match *field {
            "proxyjump" | "proxycommand" => proxied = proxied.or(Some(setting)),
            field if row.fields.contains_key(field) => {}
            "port" => match value.parse::<u64>() {
                Ok(port) => row.set(*line, "port", port),
                Err(_) => row.set(*line, "port", value.as_str()),
            },
            "host" => row.set(*line, "host", value.replace("%h", alias).replace("%%", "%")),
            "private_key_file" if value == "none" => {}
            field => row.set(*line, field, value.as_str()),
        }
        if *field == "username" {
            user = user.or(Some(value.as_str()));
        }
    }
    if !row.fields.contains_key("host") {
        row.set(line, "host", alias);
    }
    if let Some(key) = row.fields.get("private_key_file").and_then(serde_json::Value::as_str) {
        // the tokens that occur in names of keys
        let key = key.replace("%d", "~").replace("%h", alias).replace("%n", alias);
        let key = key.replace("%r", user.unwrap_or_default()).replace("%%", "%");
        row.fields.insert("private_key_file".to_owned(), key.into());
    }
    if let Some(setting) = proxied.filter(|setting| setting.value != "none") {
        let text =
            format!("{alias} is reached through {}, which is not taken over: name a relay", setting.value);
        notes.push(Note { line: setting.line, text });
    }
    row
}

/// One pattern matches, and none that is negated.
fn applies(block: &Block, alias: &str) -> bool {
    let negated = |pattern: &String| pattern.strip_prefix('!').is_some_and(|pattern| matches(pattern, alias));
    !block.patterns.iter().any(negated) && block.patterns.iter().any(|pattern| matches(pattern, alias))
}

/// `*` any text, `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    // which beginnings of the text the pattern so far matches
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for wanted in pattern {
        let before = std::mem::take(&mut ends);
        ends = match wanted {
            '*' => before
                .iter()
                .scan(false, |any, end| {
                    *any |= end;
                    Some(*any)
                })
                .collect(),
            wanted => std::iter::once(false)
                .chain(text.iter().zip(&before).map(|(c, end)| *end && (wanted == '?' || wanted == *c)))
                .collect(),
        };
    }
    ends.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    const TEXT: &str = "\
# my machines
IdentityFile ~/.ssh/id_ed25519
Host web db
    HostName = %h.example.org
    User deploy
Host web
    Port 2222
Host *.lab !old.lab
    User lab
host \"one.lab\" old.lab
    ProxyJump bastion
Match host x exec \"rm -rf /\"
    User nobody
Include ~/.ssh/more
Host *
    User fallback
    Port 22
";

    #[test]
    fn the_first_value_for_a_host_counts() {
        let read = read(TEXT).unwrap();
        let of = |name: &str| {
            let row = read.rows.iter().find(|row| row.fields["name"] == name).unwrap();
            (row.line, row.line_of("port"), Value::Object(row.fields.clone()))
        };
        let key = "~/.ssh/id_ed25519";
        assert_eq!(
            of("web"),
            (
                3,
                7,
                json!({"name": "web", "host": "web.example.org", "port": 2222,
            "username": "deploy", "private_key_file": key})
            )
        );
        assert_eq!(of("db").2["port"], 22);
        assert_eq!(
            of("one.lab"),
            (
                10,
                17,
                json!({"name": "one.lab", "host": "one.lab", "port": 22,
            "username": "lab", "private_key_file": key})
            )
        );
        assert_eq!(of("old.lab").2["username"], "fallback");
        assert_eq!(read.rows.len(), 4, "patterns are no servers");
        let lines: Vec<_> = read.notes.iter().map(|note| note.line).collect();
        assert_eq!(lines, [12, 14, 11, 11]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let wrong = read("Host a\nUser\nPort \"22\nHost\n").unwrap_err();
        assert_eq!(wrong.iter().map(|wrong| wrong.line).collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn patterns_match_as_in_ssh() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "ac", false),
            ("a?c", "abc", true),
            ("*.lab", "x.lab", true),
            ("*.lab", "lab", false),
            ("**", "x", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
