//! What does a schema allow, case by case? References followed, unions taken apart, a type or a value each.

use serde_json::{Map, Value};

/// The keywords of one case; none of them is a reference or a union.
pub type Case = Map<String, Value>;

/// `root` is the document that `schema` stands in.
pub fn cases(schema: &Value, root: &Value) -> Vec<Case> {
    let Some(keywords) = schema.as_object() else {
        // `false` allows nothing, `true` anything
        return if schema.as_bool() == Some(false) { Vec::new() } else { vec![Case::new()] };
    };
    let mut own = keywords.clone();
    let mut found = vec![Case::new()];
    if let Some(Value::String(target)) = own.remove("$ref") {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        found = target.map(|target| cases(target, root)).unwrap_or_default();
    }
    for union in ["oneOf", "anyOf"] {
        if let Some(Value::Array(branches)) = own.remove(union) {
            let branches: Vec<Case> = branches.iter().flat_map(|branch| cases(branch, root)).collect();
            found = both(&branches, &found);
        }
    }
    both(&one_each(own), &found)
}

/// Splits what may be of several types or values.
fn one_each(case: Case) -> Vec<Case> {
    for (list, single) in [("enum", "const"), ("type", "type")] {
        if let Some(Value::Array(values)) = case.get(list) {
            let mut rest = case.clone();
            rest.remove(list);
            let with = |value: &Value| {
                let mut one = rest.clone();
                one.insert(single.to_owned(), value.clone());
                one
            };
            return values.iter().map(with).collect();
        }
    }
    vec![case]
}

/// What is a case of the one and of the other; the first has the word where both say something.
fn both(first: &[Case], second: &[Case]) -> Vec<Case> {
    first.iter().flat_map(|one| second.iter().map(move |other| joined(one, other))).collect()
}

fn joined(one: &Case, other: &Case) -> Case {
    let mut joined = one.clone();
    for (keyword, said) in other {
        match (joined.get_mut(keyword), said) {
            (Some(Value::Object(fields)), Value::Object(more)) if keyword == "properties" => {
                for (name, schema) in more {
                    fields.entry(name.clone()).or_insert_with(|| schema.clone());
                }
            }
            (Some(Value::Array(names)), Value::Array(more)) if keyword == "required" => {
                names.extend(more.iter().cloned());
            }
            (Some(_), _) => {}
            (None, _) => {
                joined.insert(keyword.clone(), said.clone());
            }
        }
    }
    joined
}

/// Its fields with their schemas.
pub fn properties(case: &Case) -> impl Iterator<Item = (&String, &Value)> {
    case.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// Whether a field is always there.
pub fn requires(case: &Case, name: &str) -> bool {
    let mut required = case.get("required").and_then(Value::as_array).into_iter().flatten();
    required.any(|required| required == name)
}

/// The name of its type; `None` where it may be anything.
pub fn type_of(case: &Case) -> Option<&str> {
    let of_value = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    case.get("type").and_then(Value::as_str).or_else(|| case.get("const").map(of_value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unions_and_references_are_taken_apart() {
        let root = json!({"$defs": {"Word": {"anyOf": [
            {"oneOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "string", "const": "c"}]},
            {"type": "string"},
        ]}}});
        let schema = json!({"description": "d", "anyOf": [{"$ref": "#/$defs/Word"}, {"type": "null"}]});
        let said: Vec<_> = cases(&schema, &root)
            .into_iter()
            .map(|case| (case.get("const").cloned(), case["type"].clone(), case["description"].clone()))
            .collect();
        let row = |value: Option<&str>, kind: &str| (value.map(Value::from), json!(kind), json!("d"));
        let expected = [
            row(Some("a"), "string"),
            row(Some("b"), "string"),
            row(Some("c"), "string"),
            row(None, "string"),
            row(None, "null"),
        ];
        assert_eq!(said, expected);
        assert_eq!(cases(&json!({"type": ["string", "null"]}), &root).len(), 2);
        assert!(cases(&json!(false), &root).is_empty());
        assert_eq!(cases(&json!(true), &root), [Case::new()]);
    }

    #[test]
    fn what_is_beside_a_union_is_true_of_each_case() {
        let object = |name: &str| json!({"type": "object", "properties": {name: {}}, "required": [name]});
        let mut schema = object("at");
        schema["oneOf"] = json!([object("env"), object("server")]);
        let found = cases(&schema, &schema);
        let names: Vec<Vec<&String>> =
            found.iter().map(|case| properties(case).map(|(name, _)| name).collect()).collect();
        assert_eq!(names, [["at", "env"], ["at", "server"]]);
        assert!(found.iter().all(|case| requires(case, "at")));
        assert!(requires(&found[0], "env") && !requires(&found[1], "env"));
    }
}
