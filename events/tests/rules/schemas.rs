//! Is what readers were told of the events what is written? Schemas and streams against the table, the golden
//! files and the last release.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::DateTime;
use events::ids::{EventId, TenantId};
use events::released::{Schemas, broken, from_file, promise, to_file};
use events::schema::{self, label};
use events::{CATALOGUE, Event, Meta, Recorded, Subject, asyncapi};
use jsonschema::Validator;
use serde_json::Value;
use uuid::Uuid;

/// Set to anything, what is generated is written anew; set to `release`, the promises of the release too.
const BLESS: &str = "PORTREEVE_BLESS";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn write(name: &str, content: &Value) {
    let path = path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{content:#}\n")).unwrap();
}

fn read(name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(path(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("events/{name}: {error}")))
}

fn schema_file(label: &str) -> String {
    format!("schemas/{label}.json")
}

/// Every version of every event, as its file is named.
fn labels() -> BTreeSet<String> {
    let all = CATALOGUE.iter().flat_map(|row| (1..=row.version).map(move |version| label(row.name, version)));
    all.chain(schema::all().into_keys()).collect()
}

fn assert_kept(name: &str, generated: &Value) {
    if std::env::var_os(BLESS).is_some() {
        write(name, generated);
    }
    let kept = read(name);
    assert!(kept.as_ref() == Some(generated), "events/{name} is stale: {BLESS}=1 cargo test -p events");
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

fn faults(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The example of an event, as a tap shows it.
fn shown(row: &events::catalogue::EventType) -> Value {
    let event = Event::from_wire(row.kind, row.name, row.version, row.sample.as_bytes()).unwrap();
    let id = EventId(Uuid::from_u128(1));
    let meta = Meta {
        id,
        time: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        actor: "user:alice".to_owned(),
        correlation: Uuid::from_u128(2),
        causation: Some(id),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    let subject = Subject::new(TenantId::parse("blue").unwrap(), row.kind, "one");
    Recorded { seq: 7, subject, meta, event }.to_cloudevent()
}

#[test]
fn the_schemas_that_are_kept_are_those_of_the_table() {
    for (label, schema) in schema::all() {
        assert_kept(&schema_file(&label), &schema);
    }
    let known = labels();
    for label in &known {
        let kept = read(&schema_file(label)).is_some();
        assert!(kept, "schemas/{label}.json is missing: it stays as long as the log has such events");
    }
    for file in std::fs::read_dir(path("schemas")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let label = name.strip_suffix(".json").unwrap_or(&name);
        assert!(known.contains(label), "schemas/{name} belongs to no event: wire names never change");
    }
}

#[test]
fn the_streams_that_are_described_are_those_of_the_table() {
    assert_kept("asyncapi.json", &asyncapi::document());
}

#[test]
fn every_golden_file_fits_the_schema_of_its_version_and_no_less_does() {
    for row in CATALOGUE {
        for version in 1..=row.version {
            let label = label(row.name, version);
            let golden = read(&format!("wire/{label}.json")).unwrap();
            let schema = schema::find(&label).or_else(|| read(&schema_file(&label))).unwrap();
            assert!(jsonschema::meta::is_valid(&schema), "{label} is no schema");
            let validator = validator(&schema);
            assert_eq!(faults(&validator, &golden), Vec::<String>::new(), "{label}");
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let mut less = golden.clone();
                less.as_object_mut().unwrap().remove(name);
                assert!(!validator.is_valid(&less), "{label} without {name}");
            }
            let mut more = golden.clone();
            more["a field of a later release"] = Value::Null;
            assert!(validator.is_valid(&more), "{label} is closed to what later releases add");
        }
    }
}

#[test]
fn what_a_tap_shows_fits_the_envelope_and_its_own_message_alone() {
    let envelope = schema::envelope();
    let of_envelope = validator(&envelope);
    let document = asyncapi::document();
    let of_message = |name: &str| {
        let mut document = document.clone();
        document["$ref"] = format!("#/components/messages/{name}/payload").into();
        validator(&document)
    };
    let names: BTreeSet<&String> = envelope["properties"].as_object().unwrap().keys().collect();
    for (row, other) in CATALOGUE.iter().zip(CATALOGUE.iter().skip(1).chain(CATALOGUE.first())) {
        let shown = shown(row);
        assert_eq!(faults(&of_envelope, &shown), Vec::<String>::new(), "{}", row.name);
        assert_eq!(shown.as_object().unwrap().keys().collect::<BTreeSet<_>>(), names, "{}", row.name);
        assert_eq!(faults(&of_message(row.name), &shown), Vec::<String>::new(), "{}", row.name);
        assert!(!of_message(other.name).is_valid(&shown), "{} passes for {}", row.name, other.name);
    }
}

fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_streams_carry_every_event_and_every_reference_leads_somewhere() {
    let document = asyncapi::document();
    let mut found = Vec::new();
    references(&document, &mut found);
    for target in found {
        assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
    }
    let carried = |channel: &str| {
        let messages = document["channels"][channel]["messages"].as_object().unwrap();
        messages.keys().map(String::as_str).collect::<BTreeSet<_>>()
    };
    let events: BTreeSet<&str> = CATALOGUE.iter().map(|row| row.name).collect();
    assert_eq!(carried("eventSocket"), events);
    let with_end: BTreeSet<&str> = events.into_iter().chain(["StreamEnded"]).collect();
    assert_eq!(carried("eventStream"), with_end);
}

#[test]
fn what_the_last_release_promised_is_kept() {
    const FILE: &str = "released.json";
    let now = schema::all();
    let promised = read(FILE).map(|file| from_file(&file)).unwrap_or_default();
    // the whole comparison, whether there was a release or not
    assert_eq!(broken(&now, &now), Vec::<String>::new());
    let faults = broken(&promised, &now);
    assert!(faults.is_empty(), "readers of the last release break:\n{}", faults.join("\n"));
    if std::env::var_os(BLESS).is_some_and(|asked| asked == "release") {
        write(FILE, &to_file(env!("CARGO_PKG_VERSION"), &promise(&promised, &now)));
    }
    let promised: Schemas = read(FILE).map(|file| from_file(&file)).unwrap_or_default();
    assert!(!promised.is_empty(), "events/{FILE} is missing: {BLESS}=release cargo test -p events");
    // a version that is not written any more is described as it was promised
    for (label, schema) in promised.iter().filter(|(label, _)| !now.contains_key(*label)) {
        let kept = read(&schema_file(label));
        assert_eq!(kept.as_ref(), Some(schema), "schemas/{label}.json is not what was released");
    }
}
