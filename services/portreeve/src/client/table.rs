//! How is an answer printed for a person? Columns side by side, or one field a line.

use std::io::Write;

use serde_json::Value;

/// A heading, and where its value stands in an item (a JSON pointer without the first slash).
pub type Column = (&'static str, &'static str);

/// The widest cell; longer text is cut with an ellipsis, except in the last column.
const CELL_CHARS_MAX: usize = 48;

/// A list as a table; says so when it is empty.
pub fn print(items: &[Value], columns: &[Column]) {
    let text = if items.is_empty() { "none\n".to_owned() } else { render(items, columns) };
    out(&text);
}

/// One thing, a field a line; absent fields are left out.
pub fn print_one(item: &Value, columns: &[Column]) {
    let shown: Vec<(&str, String)> = columns
        .iter()
        .map(|(heading, pointer)| (*heading, cell(item, pointer)))
        .filter(|(_, text)| text != "-")
        .collect();
    let width = shown.iter().map(|(heading, _)| heading.len()).max().unwrap_or(0);
    let lines: String = shown.iter().map(|(heading, text)| format!("{heading:<width$}  {text}\n")).collect();
    out(&lines);
}

/// An answer as JSON, indented.
pub fn print_json(value: &Value) {
    out(&format!("{value:#}\n"));
}

/// What a pipe no longer wants to read is nobody's error.
pub fn out(text: &str) {
    let _closed = std::io::stdout().write_all(text.as_bytes());
    let _closed = std::io::stdout().flush();
}

fn render(items: &[Value], columns: &[Column]) -> String {
    let last = columns.len().saturating_sub(1);
    let heading = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let mut rows: Vec<Vec<String>> = vec![heading];
    rows.extend(items.iter().map(|item| {
        let cells = columns.iter().enumerate();
        cells
            .map(|(at, (_, pointer))| {
                let text = cell(item, pointer);
                if at == last { text } else { cut(text) }
            })
            .collect()
    }));
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|at| width(at).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

fn cut(text: String) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    let mut short: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

/// `-` for what is absent.
pub fn cell(item: &Value, pointer: &str) -> String {
    match item.pointer(&format!("/{pointer}")) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => printable(&whole_seconds(text)),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Array(values)) => {
            let texts: Vec<String> = values
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), printable))
                .collect();
            if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
        }
        Some(object @ Value::Object(_)) => printable(&object.to_string()),
    }
}

/// What others wrote cannot steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Times are shown without their fractions.
fn whole_seconds(text: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.to_utc().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up_and_what_is_absent_is_a_dash() {
        let items = [
            json!({"id": "env-a", "resources": {"cpu": 2}, "at": "2026-01-02T03:04:05.678901Z"}),
            json!({"id": "environment-b", "resources": {"cpu": 0.5}, "at": null}),
        ];
        let table = render(&items, &[("ID", "id"), ("CPU", "resources/cpu"), ("AT", "at")]);
        assert_eq!(
            table,
            "ID             CPU  AT\nenv-a          2    2026-01-02T03:04:05Z\nenvironment-b  0.5  -\n"
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(cell(&json!({"name": "a\u{1b}[2Jb"}), "name"), "a\u{fffd}[2Jb");
    }
}
