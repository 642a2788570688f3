//! Does what is written by one schema surprise whoever reads by an older one? To say less is harmless, to say
//! something else is not; a field that nobody knew is passed over.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::cases::{Case, cases, properties, requires, type_of};

/// Schemas within schemas that are compared; none goes nearly as deep.
const DEPTH_MAX: usize = 32;

/// Keywords that the comparison understands, or that say nothing of what is written.
const KNOWN: [&str; 19] = [
    "$ref",
    "oneOf",
    "anyOf",
    "type",
    "enum",
    "const",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "items",
    "uniqueItems",
    "properties",
    "required",
    "additionalProperties",
    "title",
    "description",
    "default",
    "examples",
];
/// Those of a whole document.
const KNOWN_OF_DOCUMENT: [&str; 3] = ["$schema", "$id", "$defs"];

/// Something that a reader was told and that holds no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// `resources.cpu`; `[]` is what a list holds, `*` what a map holds. Empty for the whole.
    pub field: String,
    pub what: String,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "as a whole {}", self.what),
            field => write!(f, "field `{field}` {}", self.what),
        }
    }
}

/// What breaks a reader of `read` in what is `written`; both are whole documents.
pub fn breaks(read: &Value, written: &Value) -> Vec<Break> {
    let unknown = unknown_keywords(written).into_iter().map(|keyword| Break {
        field: String::new(),
        what: format!("has the keyword `{keyword}`, which cannot be compared: teach breaks.rs to"),
    });
    let mut found: Vec<Break> = unknown.collect();
    let documents = Documents { read, written };
    for one in documents.compare("", read, written, 0) {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

struct Documents<'d> {
    read: &'d Value,
    written: &'d Value,
}

impl Documents<'_> {
    /// Each case that is written must be one that is read.
    fn compare(&self, field: &str, read: &Value, written: &Value, depth: usize) -> Vec<Break> {
        if depth > DEPTH_MAX {
            return vec![broken(field, "lies too deep to be compared")];
        }
        let known = cases(read, self.read);
        let mut found = Vec::new();
        for case in cases(written, self.written) {
            let tried: Vec<_> = known.iter().map(|known| self.fit(field, known, &case, depth)).collect();
            if tried.iter().any(Vec::is_empty) {
                continue;
            }
            let like = |other: &Case| known.len() == 1 || same_object(other, &case);
            let candidates = known.iter().zip(tried).filter(|(other, _)| like(other));
            match candidates.map(|(_, breaks)| breaks).min_by_key(Vec::len) {
                Some(nearest) => found.extend(nearest),
                None => found.push(broken(field, &format!("may be {} now", shown(&case)))),
            }
        }
        found
    }

    fn fit(&self, field: &str, read: &Case, written: &Case, depth: usize) -> Vec<Break> {
        match (read.get("const"), written.get("const")) {
            (Some(was), Some(is)) if was == is => return Vec::new(),
            (Some(was), _) => {
                return vec![broken(field, &format!("was always {was}, and may be {} now", shown(written)))];
            }
            (None, _) => {}
        }
        let Some(was) = type_of(read) else { return Vec::new() };
        let is = type_of(written);
        if is != Some(was) && !(was == "number" && is == Some("integer")) {
            return vec![broken(field, &format!("was {was}, and is {} now", is.unwrap_or("anything")))];
        }
        match was {
            "string" if written.contains_key("const") => Vec::new(),
            "string" => {
                let promises = ["format", "pattern"];
                promises.iter().filter_map(|word| said(field, word, read, written)).collect()
            }
            "number" | "integer" => wider(field, read, written),
            "array" => self.lists(field, read, written, depth),
            "object" => self.objects(field, read, written, depth),
            _ => Vec::new(),
        }
    }

    fn lists(&self, field: &str, read: &Case, written: &Case, depth: usize) -> Vec<Break> {
        let anything = Value::Bool(true);
        let items = |case: &Case| case.get("items").unwrap_or(&anything).clone();
        let mut found = self.compare(&format!("{field}[]"), &items(read), &items(written), depth + 1);
        let once = |case: &Case| case.get("uniqueItems") == Some(&Value::Bool(true));
        if once(read) && !once(written) {
            found.push(broken(field, "may have the same element twice now"));
        }
        found
    }

    fn objects(&self, field: &str, read: &Case, written: &Case, depth: usize) -> Vec<Break> {
        let mut found = Vec::new();
        for (name, was) in properties(read) {
            let path = within(field, name);
            let Some((_, is)) = properties(written).find(|(written, _)| *written == name) else {
                found.push(broken(&path, "is gone"));
                continue;
            };
            if requires(read, name) && !requires(written, name) {
                found.push(broken(&path, "may be absent now, and was always there"));
            }
            found.extend(self.compare(&path, was, is, depth + 1));
        }
        let anything = Value::Bool(true);
        let others = |case: &Case| case.get("additionalProperties").unwrap_or(&anything).clone();
        let (read_others, written_others) = (others(read), others(written));
        // where nothing is said of other fields, a reader passes them over
        if read_others != anything {
            let known = |name: &String| properties(read).any(|(read, _)| read == name);
            for (name, is) in properties(written).filter(|(name, _)| !known(name)) {
                found.extend(self.compare(&within(field, name), &read_others, is, depth + 1));
            }
            found.extend(self.compare(&within(field, "*"), &read_others, &written_others, depth + 1));
        }
        found
    }
}

fn broken(field: &str, what: &str) -> Break {
    Break { field: field.to_owned(), what: what.to_owned() }
}

fn within(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

/// Both are objects, and one field at least is always there in both: one case of a union, then and now.
fn same_object(one: &Case, other: &Case) -> bool {
    properties(one).any(|(name, _)| requires(one, name) && requires(other, name))
}

/// A promise about texts that is not made any more, or another one.
fn said(field: &str, word: &str, read: &Case, written: &Case) -> Option<Break> {
    let was = read.get(word)?;
    match written.get(word) {
        Some(is) if is == was => None,
        Some(is) => Some(broken(field, &format!("had the {word} {was}, and has {is} now"))),
        None => Some(broken(field, &format!("had the {word} {was}, and has none now"))),
    }
}

fn wider(field: &str, read: &Case, written: &Case) -> Vec<Break> {
    let ((least, most), (written_least, written_most)) = (range(read), range(written));
    let mut found = Vec::new();
    if written_least < least {
        found.push(broken(field, &format!("was at least {least}, and may be {written_least} now")));
    }
    if written_most > most {
        found.push(broken(field, &format!("was at most {most}, and may be {written_most} now")));
    }
    found
}

/// The numbers that it may be; the names of machine integers count as bounds.
fn range(case: &Case) -> (f64, f64) {
    let format = case.get("format").and_then(Value::as_str).unwrap_or_default();
    let (least, most) = match format {
        "uint8" => (0.0, f64::from(u8::MAX)),
        "uint16" => (0.0, f64::from(u16::MAX)),
        "uint32" => (0.0, f64::from(u32::MAX)),
        "uint64" | "uint" => (0.0, u64::MAX as f64),
        "int8" => (f64::from(i8::MIN), f64::from(i8::MAX)),
        "int16" => (f64::from(i16::MIN), f64::from(i16::MAX)),
        "int32" => (f64::from(i32::MIN), f64::from(i32::MAX)),
        "int64" | "int" => (i64::MIN as f64, i64::MAX as f64),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let bound = |word: &str| case.get(word).or_else(|| case.get("const")).and_then(Value::as_f64);
    let least = bound("minimum").map_or(least, |bound| bound.max(least));
    (least, bound("maximum").map_or(most, |bound| bound.min(most)))
}

fn shown(case: &Case) -> String {
    match case.get("const") {
        Some(value) => value.to_string(),
        None => format!("of type {}", type_of(case).unwrap_or("anything")),
    }
}

fn unknown_keywords(document: &Value) -> BTreeSet<String> {
    let mut unknown = BTreeSet::new();
    for (keyword, said) in document.as_object().into_iter().flatten() {
        if keyword == "$defs" {
            said.as_object().into_iter().flatten().for_each(|(_, part)| note_unknown(part, &mut unknown));
        }
    }
    note_unknown(document, &mut unknown);
    unknown.retain(|keyword| !KNOWN_OF_DOCUMENT.contains(&keyword.as_str()));
    unknown
}

fn note_unknown(schema: &Value, unknown: &mut BTreeSet<String>) {
    for (keyword, said) in schema.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "properties" => {
                let parts = said.as_object().into_iter().flatten();
                parts.for_each(|(_, part)| note_unknown(part, unknown));
            }
            "oneOf" | "anyOf" => {
                let parts = said.as_array().into_iter().flatten();
                parts.for_each(|part| note_unknown(part, unknown));
            }
            "items" | "additionalProperties" => note_unknown(said, unknown),
            known if KNOWN.contains(&known) => {}
            other => {
                unknown.insert(other.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(read: Value, written: Value) -> Vec<String> {
        breaks(&read, &written).iter().map(Break::to_string).collect()
    }

    /// An object with these fields, the first `always` of them always there.
    fn object(fields: &[(&str, Value)], always: usize) -> Value {
        let properties: serde_json::Map<_, _> =
            fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
        let required: Vec<_> = fields.iter().take(always).map(|(name, _)| *name).collect();
        json!({"type": "object", "properties": properties, "required": required})
    }

    fn text() -> Value {
        json!({"type": "string"})
    }

    #[test]
    fn what_a_reader_copes_with() {
        let port = json!({"type": "integer", "format": "uint16", "minimum": 0, "maximum": 65_535});
        let words = |words: &[&str]| json!({"type": "string", "enum": words});
        let open = |known: &[&str]| json!({"anyOf": [words(known), {"type": "string"}]});
        let maybe = json!({"type": ["string", "null"]});
        for (why, read, written) in [
            ("nothing", object(&[("a", text())], 1), object(&[("a", text())], 1)),
            ("a new field", object(&[("a", text())], 1), object(&[("a", text()), ("b", text())], 1)),
            ("always there now", object(&[("a", text())], 0), object(&[("a", text())], 1)),
            ("never null now", maybe.clone(), text()),
            ("fewer words", words(&["a", "b"]), words(&["a"])),
            ("words of what was any", text(), words(&["a"])),
            ("a new word of an open enum", open(&["a"]), open(&["a", "b"])),
            ("an enum that closes", open(&["a"]), words(&["a"])),
            ("a format where none was", text(), json!({"type": "string", "format": "date-time"})),
            ("smaller numbers", json!({"type": "integer", "format": "uint64", "minimum": 0}), port.clone()),
            ("whole numbers", json!({"type": "number"}), json!({"type": "integer"})),
            ("another description", json!({"type": "string", "description": "a"}), text()),
            ("anything", json!(true), port),
            ("a case less", json!({"oneOf": [object(&[("a", text())], 1), text()]}), text()),
        ] {
            assert_eq!(told(read, written), Vec::<String>::new(), "{why}");
        }
    }

    #[test]
    fn what_breaks_a_reader_names_the_field() {
        let words = |words: &[&str]| json!({"type": "string", "enum": words});
        let open = json!({"anyOf": [words(&["a"]), {"type": "string"}]});
        let of = |schema: Value| object(&[("a", schema)], 1);
        let number = |format: &str| of(json!({"type": "integer", "format": format, "minimum": 0}));
        let list = |unique: bool, of: Value| json!({"type": "array", "uniqueItems": unique, "items": of});
        let map = |of: Value| json!({"type": "object", "additionalProperties": of});
        let date = json!({"type": "string", "format": "date-time"});
        for (read, written, expected) in [
            (object(&[("a", text()), ("b", text())], 2), of(text()), "field `b` is gone"),
            (object(&[("a", text()), ("b", text())], 1), of(text()), "field `b` is gone"),
            (of(text()), object(&[("a", text())], 0), "field `a` may be absent now, and was always there"),
            (of(text()), of(json!({"type": "integer"})), "field `a` was string, and is integer now"),
            (of(text()), of(json!({"type": ["string", "null"]})), "field `a` was string, and is null now"),
            (of(text()), of(json!({})), "field `a` was string, and is anything now"),
            (of(words(&["a", "b"])), of(words(&["a", "c"])), "field `a` may be \"c\" now"),
            (
                of(words(&["a"])),
                of(open.clone()),
                "field `a` was always \"a\", and may be of type string now",
            ),
            (of(date), of(text()), "field `a` had the format \"date-time\", and has none now"),
            (
                number("uint32"),
                number("uint64"),
                "field `a` was at most 4294967295, and may be 18446744073709552000 now",
            ),
            (
                of(list(true, text())),
                of(list(false, text())),
                "field `a` may have the same element twice now",
            ),
            (
                of(list(true, words(&["a", "b"]))),
                of(list(true, words(&["c"]))),
                "field `a[]` may be \"c\" now",
            ),
            (of(map(text())), of(map(open)), ""),
            (
                of(map(text())),
                of(map(json!({"type": "boolean"}))),
                "field `a.*` was string, and is boolean now",
            ),
            (text(), json!({"type": "object"}), "as a whole was string, and is object now"),
            (
                text(),
                json!({"allOf": [text()], "type": "string"}),
                "as a whole has the keyword `allOf`, which cannot be compared: teach breaks.rs to",
            ),
        ] {
            let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
            assert_eq!(told(read, written), expected);
        }
    }

    #[test]
    fn a_case_of_a_union_is_compared_with_what_it_was() {
        let tagged = |name: &str, held: Value| json!({"type": "object", "properties": {name: held}, "required": [name], "additionalProperties": false});
        let read = json!({"oneOf": [tagged("user", text()), tagged("group", text())]});
        let third =
            json!({"oneOf": [tagged("user", text()), tagged("group", text()), tagged("role", text())]});
        assert_eq!(told(read.clone(), third), ["as a whole may be of type object now"]);
        let other = json!({"oneOf": [tagged("user", text()), tagged("group", json!({"type": "integer"}))]});
        assert_eq!(told(read, other), ["field `group` was string, and is integer now"]);
    }

    #[test]
    fn references_are_followed_in_the_document_that_has_them() {
        let document = |id: Value| {
            let mut document = object(&[("id", json!({"$ref": "#/$defs/Id"}))], 1);
            document["$defs"] = json!({"Id": id});
            document
        };
        assert_eq!(told(document(text()), document(text())), Vec::<String>::new());
        let numbered = document(json!({"type": "integer"}));
        assert_eq!(told(document(text()), numbered), ["field `id` was string, and is integer now"]);
    }
}
