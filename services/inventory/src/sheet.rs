//! How does a table with a heading become rows, and rows a table? Lists in a cell are separated by blanks.

use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value, json};

use crate::{COLUMNS, Inventory, Row, Wrong};

/// What spreadsheets take for a formula; a text that begins so is written with an apostrophe before it.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Columns that are read and never written.
const CREDENTIALS: &[&str] = &["password", "private_key", "private_key_file", "passphrase", "certificate"];

pub fn read(text: &str) -> Result<Inventory, Vec<Wrong>> {
    // whichever separates the heading: spreadsheets write what their country writes
    let heading = text.lines().next().unwrap_or_default();
    let delimiter = [b',', b';', b'\t'].into_iter().find(|mark| heading.contains(char::from(*mark)));
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter.unwrap_or(b','))
        .trim(Trim::Headers)
        .flexible(true)
        .from_reader(text.as_bytes());
    let headings = reader.headers().map_err(|error| vec![unreadable(&error)])?.clone();
    let mut wrong = wrong_headings(&headings);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                wrong.push(unreadable(&error));
                break;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != headings.len() {
            let (has, wanted) = (record.len(), headings.len());
            let detail = format!("has {has} cells; the heading has {wanted}");
            wrong.push(Wrong::new(line, "", "malformed", detail));
            continue;
        }
        match row(line, &headings, &record) {
            Ok(row) => rows.push(row),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(Inventory { rows, notes: Vec::new() }) } else { Err(wrong) }
}

fn unreadable(error: &csv::Error) -> Wrong {
    let line = error.position().map_or(1, csv::Position::line);
    Wrong::new(line, "", "malformed", format!("is no CSV: {error}"))
}

fn wrong_headings(headings: &StringRecord) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (at, heading) in headings.iter().enumerate() {
        if heading.is_empty() {
            wrong.push(Wrong::new(1, "", "malformed", format!("column {} has no heading", at + 1)));
        } else if !COLUMNS.contains(&heading) && !CREDENTIALS.contains(&heading) {
            let known = [COLUMNS, CREDENTIALS].concat().join(", ");
            let detail = format!("there is no such field; known are {known}");
            wrong.push(Wrong::new(1, heading, "unknown", detail));
        } else if headings.iter().take(at).any(|before| before == heading) {
            wrong.push(Wrong::new(1, heading, "malformed", "stands twice in the heading"));
        }
    }
    wrong
}

fn row(line: u64, headings: &StringRecord, record: &StringRecord) -> Result<Row, Wrong> {
    let mut row = Row::new(line);
    for (heading, cell) in headings.iter().zip(record) {
        let cell = unguarded(cell);
        let value = match heading {
            "groups" => Some(words(cell).map(Value::from).collect()),
            "labels" => Some(Value::Object(labels(line, cell)?)),
            // an empty cell takes these away
            "zone" | "relay" if cell.trim().is_empty() => Some(Value::Null),
            _ if cell.is_empty() => None,
            "port" => Some(cell.trim().parse::<u64>().map_or_else(|_| cell.into(), Value::from)),
            "certificate" => Some(cell.trim().parse::<bool>().map_or_else(|_| cell.into(), Value::from)),
            "method" => {
                if cell.trim() == "certificate" {
                    row.fields.insert("certificate".to_owned(), Value::Bool(true));
                } else if !matches!(cell.trim(), "password" | "private_key") {
                    let detail = "must be password, private_key or certificate";
                    return Err(Wrong::new(line, "method", "malformed", detail));
                }
                None
            }
            _ => Some(cell.into()),
        };
        row.fields.extend(value.map(|value| (heading.to_owned(), value)));
    }
    Ok(row)
}

fn words(cell: &str) -> impl Iterator<Item = &str> {
    cell.split([' ', ',', ';', '\n', '\t']).filter(|word| !word.is_empty())
}

fn labels(line: u64, cell: &str) -> Result<Map<String, Value>, Wrong> {
    let malformed = |word| Wrong::new(line, "labels", "malformed", format!("{word:?} must be key=value"));
    words(cell)
        .map(|word| {
            let (key, value) = word.split_once('=').ok_or_else(|| malformed(word))?;
            Ok((key.to_owned(), value.into()))
        })
        .collect()
}

/// The rows as a table with [`COLUMNS`].
pub fn write(rows: &[Map<String, Value>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // writing to memory does not fail, and each record is as long as the first
    let mut put = |record: Vec<String>| writer.write_record(record).is_ok();
    put(COLUMNS.iter().map(|column| (*column).to_owned()).collect());
    for row in rows {
        put(COLUMNS.iter().map(|column| cell(row.get(*column).unwrap_or(&Value::Null))).collect());
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => guarded(text),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(object) => {
            object.iter().map(|(key, value)| format!("{key}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
        other @ (Value::Bool(_) | Value::Number(_)) => json!(other).to_string(),
    }
}

fn guarded(text: &str) -> String {
    let rest = text.trim_start_matches('\'');
    if rest.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest,
        Some(_) | None => cell,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fields(text: &str) -> Vec<Value> {
        read(text).unwrap().rows.into_iter().map(|row| Value::Object(row.fields)).collect()
    }

    #[test]
    fn cells_have_the_kinds_of_their_columns() {
        let text = "name,host,port,groups,labels,zone,method\n\
                    web one,10.0.0.1,2222,web db,env=prod tier=1,dmz,certificate\n\
                    \"a, b\",h,,,,,password\n";
        let first = json!({"name": "web one", "host": "10.0.0.1", "port": 2222, "groups": ["web", "db"],
            "labels": {"env": "prod", "tier": "1"}, "zone": "dmz", "certificate": true});
        let second = json!({"name": "a, b", "host": "h", "groups": [], "labels": {}, "zone": null});
        assert_eq!(fields(text), [first.clone(), second.clone()]);
        let semicolons = text.lines().map(|line| line.replace(", ", "\u{1}").replace(',', ";"));
        let semicolons = semicolons.map(|line| line.replace('\u{1}', ", ")).collect::<Vec<_>>().join("\r\n");
        assert_eq!(fields(&semicolons), [first, second]);
    }

    #[test]
    fn every_line_that_is_wrong_is_named() {
        let wrong = |text: &str| -> Vec<(u64, String)> {
            read(text).unwrap_err().into_iter().map(|wrong| (wrong.line, wrong.field)).collect()
        };
        let text = "name,labels,method\na,env,password\nb,x=y,\n\"c\nd\",x=y\ne,x=y,card\n";
        assert_eq!(wrong(text), [(2, "labels".into()), (4, String::new()), (6, "method".into())]);
        assert_eq!(wrong("name,name,\na,b,c\n"), [(1, "name".into()), (1, String::new())]);
    }

    #[test]
    fn a_column_that_nobody_reads_is_refused() {
        let wrong = read("name,colour\na,\n").unwrap_err();
        assert_eq!((wrong[0].line, wrong[0].field.as_str(), wrong[0].code), (1, "colour", "unknown"));
    }

    #[test]
    fn what_is_written_is_read_again_and_is_no_formula() {
        for name in ["=1+1", "'=1", "it's", "'x", "a,b \"c\"", "ü", "-", "two\nlines"] {
            let row = json!({"server_id": "srv-a", "name": name, "host": "h", "port": 22, "username": "u",
                "method": "password", "zone": null, "relay": null, "groups": ["a", "b"], "labels": {"k": "v"}});
            let Value::Object(row) = row else { panic!() };
            let text = write(std::slice::from_ref(&row));
            let cell = text.lines().nth(1).unwrap().split(',').nth(1).unwrap();
            assert!(!cell.trim_start_matches('"').starts_with(FORMULA), "{text}");
            let read = fields(&text).remove(0);
            assert_eq!(
                (&read["name"], &read["port"], &read["labels"]),
                (&row["name"], &row["port"], &row["labels"])
            );
        }
    }
}
