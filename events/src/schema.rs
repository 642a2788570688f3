//! What shape has what taps show? JSON Schemas (2020-12) of every event's data and of the envelope around it,
//! from the types that write them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::catalogue::{CATALOGUE, EventType};
use crate::envelope::CloudEvent;

/// The name that the envelope's schema goes by, beside the events' types.
pub const ENVELOPE: &str = "CloudEvent";
/// Nobody can ask for another one, so it stays.
const ENVELOPE_VERSION: u32 = 1;

/// The schema of what `T` writes. We read more than that (what older writers left out), readers need not.
pub fn written<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(absent_not_null))
        .into_generator()
        .into_root_schema_for::<T>()
}

/// Marks an enum to which later releases may add: a reader takes a word that it does not know.
pub fn open(schema: &mut Schema) {
    let keywords = schema.ensure_object();
    let mut known = Map::new();
    for keyword in ["type", "enum", "oneOf"] {
        if let Some(said) = keywords.remove(keyword) {
            known.insert(keyword.to_owned(), said);
        }
    }
    let later = json!({"type": "string", "description": "A word of a later release."});
    keywords.insert("anyOf".to_owned(), json!([known, later]));
}

/// A field that may be absent is left out and never written as null.
fn absent_not_null(schema: &mut Schema) {
    let Some(keywords) = schema.as_object_mut() else { return };
    let required = keywords.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: BTreeSet<String> = required.filter_map(Value::as_str).map(str::to_owned).collect();
    let Some(Value::Object(properties)) = keywords.get_mut("properties") else { return };
    for (name, property) in properties {
        if !required.contains(name)
            && let Some(property) = property.as_object_mut()
        {
            without_null(property);
        }
    }
}

fn without_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|name| name != "null");
        if types.len() == 1
            && let Some(only) = types.pop()
        {
            property.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(cases)) = property.get_mut("anyOf") else { return };
    cases.retain(|case| case["type"] != "null");
    if cases.len() == 1
        && let Some(Value::Object(only)) = cases.pop()
    {
        property.remove("anyOf");
        for (keyword, said) in only {
            property.entry(keyword).or_insert(said);
        }
    }
}

/// Name and version as files and addresses have them: `EnvRequested.v1`.
pub fn label(name: &str, version: u32) -> String {
    format!("{name}.v{version}")
}

/// The schema of an event's data as it is written today, with its example.
pub fn of(event: &EventType) -> Value {
    let mut schema = of_version(event, event.version);
    let sample: Value = serde_json::from_str(event.sample).unwrap_or_default();
    schema["examples"] = json!([sample]);
    schema
}

fn of_version(event: &EventType, version: u32) -> Value {
    named((event.schema)(), event.name, version)
}

/// The schema of the envelope; of `data` it says nothing.
pub fn envelope() -> Value {
    named(written::<CloudEvent>(), ENVELOPE, ENVELOPE_VERSION)
}

fn named(schema: Schema, name: &str, version: u32) -> Value {
    let mut schema = schema.to_value();
    schema["$id"] = format!("urn:portreeve:event:{name}:v{version}").into();
    schema
}

/// All of them by their labels, the envelope's too.
pub fn all() -> BTreeMap<String, Value> {
    let newest = CATALOGUE.iter().map(|event| (label(event.name, event.version), of(event)));
    newest.chain(older()).chain([(label(ENVELOPE, ENVELOPE_VERSION), envelope())]).collect()
}

/// Those of versions that are still written beside the newest.
fn older() -> impl Iterator<Item = (String, Value)> {
    CATALOGUE.iter().flat_map(|event| {
        let versions = event.written.iter().filter(|version| **version != event.version);
        versions.map(|version| (label(event.name, *version), of_version(event, *version)))
    })
}

/// By name or label: `EnvRequested`, `EnvRequested.v1`, `CloudEvent`.
pub fn find(asked: &str) -> Option<Value> {
    let is_meant = |name: &str, version: u32| asked == name || asked == label(name, version);
    if is_meant(ENVELOPE, ENVELOPE_VERSION) {
        return Some(envelope());
    }
    let newest = CATALOGUE.iter().find(|event| is_meant(event.name, event.version)).map(of);
    newest.or_else(|| older().find_map(|(label, schema)| (label == asked).then_some(schema)))
}

/// All of them as `components.schemas` of a larger document: `Event.<type>`, and `Event.part.<name>` for what
/// they share.
pub fn components() -> Map<String, Value> {
    let mut components = Map::new();
    let events = CATALOGUE.iter().map(|event| (format!("Event.{}", event.name), of(event)));
    for (name, mut schema) in events.chain([(ENVELOPE.to_owned(), envelope())]) {
        if let Some(keywords) = schema.as_object_mut() {
            keywords.remove("$schema");
            keywords.remove("$id");
            if let Some(Value::Object(parts)) = keywords.remove("$defs") {
                for (part, mut definition) in parts {
                    point_to_components(&mut definition);
                    components.insert(format!("Event.part.{part}"), definition);
                }
            }
        }
        point_to_components(&mut schema);
        components.insert(name, schema);
    }
    components
}

fn point_to_components(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/components/schemas/Event.part.{name}");
            }
            object.values_mut().for_each(point_to_components);
        }
        Value::Array(values) => values.iter_mut().for_each(point_to_components),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::json_schema;

    #[test]
    fn what_may_be_absent_is_never_null() {
        let mut schema = json_schema!({
            "type": "object",
            "properties": {
                "until": {"type": ["string", "null"], "format": "date-time"},
                "note": {"type": ["string", "null"]},
                "zone": {"description": "Where.", "anyOf": [{"$ref": "#/$defs/Tag"}, {"type": "null"}]},
            },
            "required": ["until"],
        });
        absent_not_null(&mut schema);
        let expected = json!({
            "until": {"type": ["string", "null"], "format": "date-time"},
            "note": {"type": "string"},
            "zone": {"description": "Where.", "$ref": "#/$defs/Tag"},
        });
        assert_eq!(schema.get("properties"), Some(&expected));
    }

    #[test]
    fn an_open_enum_takes_a_word_that_nobody_knows() {
        let mut schema = json_schema!({"description": "d", "type": "string", "enum": ["a"]});
        let closed = jsonschema::validator_for(schema.as_value()).unwrap();
        assert!(closed.is_valid(&json!("a")) && !closed.is_valid(&json!("b")));
        open(&mut schema);
        let opened = jsonschema::validator_for(schema.as_value()).unwrap();
        assert!(opened.is_valid(&json!("a")) && opened.is_valid(&json!("b")) && !opened.is_valid(&json!(1)));
        assert_eq!(schema.get("description"), Some(&json!("d")));
    }

    #[test]
    fn a_part_that_two_events_have_is_the_same_in_both() {
        let mut parts: BTreeMap<String, (String, Value)> = BTreeMap::new();
        for (label, schema) in all() {
            for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
                let (of, before) =
                    parts.entry(name.clone()).or_insert_with(|| (label.clone(), definition.clone()));
                assert_eq!(before, definition, "{name} of {of} and of {label} are two types of one name");
            }
        }
        assert!(parts.contains_key("EnvId") && parts.contains_key("Quantity"));
    }

    #[test]
    fn a_schema_is_found_by_name_and_by_label() {
        assert_eq!(find("EnvRequested"), find("EnvRequested.v1"));
        assert_eq!(find("EnvRequested").unwrap()["$id"], "urn:portreeve:event:EnvRequested:v1");
        assert_eq!(find("CloudEvent"), Some(envelope()));
        assert_eq!(find("BatchRequested"), find("BatchRequested.v2"));
        assert_eq!(find("BatchRequested.v1").unwrap()["$id"], "urn:portreeve:event:BatchRequested:v1");
        for unknown in ["", "EnvRequested.v2", "envrequested", "EnvRequested.v"] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
    }
}
