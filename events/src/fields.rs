//! Which fields has an event's data, said for people? From its schema.

use serde_json::Value;

use crate::cases::{Case, cases, properties, requires, type_of};

/// Fields within fields that are shown; none lie nearly as deep.
const DEPTH_MAX: usize = 32;

/// One field, or one within another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// `resources.cpu`; `[]` is what a list holds, `*` what a map holds.
    pub path: String,
    /// What it may be, in words.
    pub shape: String,
    /// It is in every such event, or in all that hold it.
    pub always: bool,
    pub description: String,
}

/// The fields of a whole document, those within others after them.
pub fn fields(schema: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    of_objects(&cases(schema, schema), "", schema, &mut found, 0);
    found
}

fn of_objects(among: &[Case], prefix: &str, root: &Value, found: &mut Vec<Field>, depth: usize) {
    let objects: Vec<&Case> = among.iter().filter(|case| type_of(case) == Some("object")).collect();
    if depth > DEPTH_MAX {
        return;
    }
    for (name, schema) in objects.iter().flat_map(|object| properties(object)) {
        let path = format!("{prefix}{name}");
        if found.iter().any(|field| field.path == path) {
            continue;
        }
        let held = cases(schema, root);
        found.push(Field {
            path: path.clone(),
            shape: shape(&held, root),
            always: objects.iter().all(|object| requires(object, name)),
            description: description(schema, root),
        });
        of_objects(&held, &format!("{path}."), root, found, depth + 1);
        for (keyword, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
            let inner = held.iter().filter_map(|case| case.get(keyword));
            let inner: Vec<Case> = inner.flat_map(|schema| cases(schema, root)).collect();
            of_objects(&inner, &format!("{path}{mark}."), root, found, depth + 1);
        }
    }
}

fn description(schema: &Value, root: &Value) -> String {
    let own = schema["description"].as_str();
    let target = || schema["$ref"].as_str()?.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
    own.or_else(|| target()?["description"].as_str()).unwrap_or_default().replace('\n', " ")
}

/// `text (date-time)`, `list of text`, `"a", "b"`, `object or null`.
fn shape(held: &[Case], root: &Value) -> String {
    let mut words: Vec<String> = Vec::new();
    let has_words = held.iter().any(|case| case.contains_key("const"));
    for case in held {
        let word = one_shape(case, root);
        let word = if has_words && word == "text" { "a word of a later release".to_owned() } else { word };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        Some((last, _)) => last.clone(),
        None => "nothing".to_owned(),
    }
}

fn one_shape(case: &Case, root: &Value) -> String {
    if let Some(value) = case.get("const") {
        return value.to_string();
    }
    let inner = |keyword: &str| case.get(keyword).map(|schema| shape(&cases(schema, root), root));
    match type_of(case) {
        Some("string") => match case.get("format").and_then(Value::as_str) {
            Some(format) => format!("text ({format})"),
            None => "text".to_owned(),
        },
        Some("integer") => "whole number".to_owned(),
        Some("array") => format!("list of {}", inner("items").unwrap_or_default()),
        Some("object") => match inner("additionalProperties") {
            Some(values) if values != "nothing" => format!("map to {values}"),
            Some(_) | None => "object".to_owned(),
        },
        Some(other) => other.to_owned(),
        None => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_said_for_people_those_within_others_too() {
        let schema = json!({
            "type": "object",
            "required": ["at", "grants"],
            "properties": {
                "at": {"type": ["string", "null"], "format": "date-time", "description": "When.\nOr never."},
                "grants": {"type": "array", "items": {"$ref": "#/$defs/Grant"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "$defs": {
                "Grant": {
                    "type": "object",
                    "required": ["may"],
                    "properties": {"may": {"$ref": "#/$defs/Right"}, "count": {"type": "integer"}},
                },
                "Right": {
                    "description": "What one may.",
                    "anyOf": [{"type": "string", "enum": ["terminal", "command"]}, {"type": "string"}],
                },
            },
        });
        let said: Vec<_> = fields(&schema)
            .into_iter()
            .map(|field| (field.path, field.shape, field.always, field.description))
            .collect();
        let row = |path: &str, shape: &str, always, description: &str| {
            (path.to_owned(), shape.to_owned(), always, description.to_owned())
        };
        let expected = [
            row("at", "text (date-time) or null", true, "When. Or never."),
            row("grants", "list of object", true, ""),
            row("grants[].count", "whole number", false, ""),
            row(
                "grants[].may",
                "\"terminal\", \"command\" or a word of a later release",
                true,
                "What one may.",
            ),
            row("labels", "map to text", false, ""),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_field_of_one_case_alone_is_not_always_there() {
        let case = |name: &str| json!({"properties": {name: {"type": "string"}}, "required": [name]});
        let schema = json!({
            "type": "object",
            "properties": {"ip": {"type": "string"}},
            "required": ["ip"],
            "oneOf": [case("env"), case("server")],
        });
        let always: Vec<_> = fields(&schema).into_iter().map(|field| (field.path, field.always)).collect();
        let expected = [("env".to_owned(), false), ("ip".to_owned(), true), ("server".to_owned(), false)];
        assert_eq!(always, expected);
    }
}
