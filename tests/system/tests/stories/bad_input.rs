//! Is nonsense refused, field by field? Every request body of `/openapi.json` is made wrong in every
//! way its schema names; the answer names the field and the reason, and the log does not grow.

use std::time::Duration;

use harness::{Api, EngineDouble, eventually};
use reqwest::Method;
use serde_json::{Map, Value, json};

use system::ledger::head;
use system::world::{World, create_running, small};

/// Schemas refer to each other at most so deep.
const DEPTH_MAX: usize = 16;
/// Longer texts and lists than this are not made to find out whether they are refused.
const LENGTH_TRIED_MAX: usize = 100_000;

/// One body, wrong in one way.
#[derive(Debug)]
struct Wrong {
    /// As the answer must name it.
    field: String,
    why: String,
    body: Value,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_field_is_named_and_nothing_happens() {
    let world = World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap();
    world.blame(story(&world).await).unwrap();
}

async fn story(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let env = create_running(&api, &small("one")).await?.env_id;
    let server =
        json!({"name": "one", "host": "192.0.2.1", "username": "ops", "password": "secret", "test": false});
    let server = api.post("/api/servers", &server).await?.expect(201)?.text("server_id")?.to_owned();
    let relay = api.post("/api/relays", &json!({"name": "one"})).await?.expect(201)?;
    let relay = relay.text("relay_id")?.to_owned();
    let document = api.get("/openapi.json").await?.expect(200)?.body;
    let before = until_quiet(world).await?;
    let mut failures = Vec::new();
    let (mut operations, mut tried) = (0, 0);
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                continue;
            }
            operations += 1;
            let schema = resolved(&document, schema, 0);
            let valid = sample(&schema);
            let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
            let address = address(path, &env, &server, &relay);
            for wrong in all_wrong(&schema, &valid) {
                tried += 1;
                if let Err(why) = refused(&api, &method, &address, &wrong).await {
                    failures.push(format!("{method} {path}: {} {}: {why}", wrong.field, wrong.why));
                }
            }
            // Where no field must be there, nothing is as good as none.
            let nothing = schema["required"].get(0).map(|_| ("", "nothing"));
            for (text, why) in [("{", "no JSON"), ("[]", "a list")].into_iter().chain(nothing) {
                tried += 1;
                if let Err(seen) = raw_refused(&api, &method, &address, text).await {
                    failures.push(format!("{method} {path}: {why}: {seen}"));
                }
            }
        }
    }
    println!(
        "{operations} operations, {tried} wrong bodies, {} not refused as they should be",
        failures.len()
    );
    assert!(operations >= 8, "/openapi.json describes {operations} bodies only");
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(head(&world.installation).await?, before, "the log has grown");
    Ok(())
}

/// The head of the log once nothing is on its way any more.
async fn until_quiet(world: &World<EngineDouble>) -> anyhow::Result<u64> {
    eventually("the log is quiet", Duration::from_secs(30), || async {
        let first = head(&world.installation).await.map_err(|error| error.to_string())?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let second = head(&world.installation).await.map_err(|error| error.to_string())?;
        if first == second { Ok(first) } else { Err(format!("it grew from {first} to {second}")) }
    })
    .await
}

/// A place that exists, so that the body is what is wrong.
fn address(path: &str, env: &str, server: &str, relay: &str) -> String {
    let id = match path.split('/').nth(2) {
        Some("environments") => env,
        Some("servers") => server,
        Some("relays") => relay,
        _ => "default",
    };
    path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect::<Vec<_>>().join("/")
}

async fn refused(api: &Api, method: &Method, address: &str, wrong: &Wrong) -> Result<(), String> {
    let answer = api.call(method.clone(), address, Some(&wrong.body), None).await;
    let answer = answer.map_err(|error| format!("{error:#}"))?;
    if !matches!(answer.status, 400 | 422) {
        return Err(format!("answered {} {}", answer.status, answer.body));
    }
    if !answer.content_type.starts_with("application/problem+json") {
        return Err(format!("is of type {}", answer.content_type));
    }
    let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
    let named = |error: &Value| {
        let detail = error["detail"].as_str().unwrap_or_default();
        error["field"] == wrong.field.as_str() && !detail.is_empty()
    };
    if errors.iter().any(named) { Ok(()) } else { Err(format!("the field is not named: {}", answer.body)) }
}

async fn raw_refused(api: &Api, method: &Method, address: &str, text: &'static str) -> Result<(), String> {
    let request = reqwest::Client::new()
        .request(method.clone(), format!("{}{address}", api.base()))
        .bearer_auth(api.token().unwrap_or_default())
        .header("content-type", "application/json")
        .body(text);
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    if matches!(status, 400 | 422) { Ok(()) } else { Err(format!("answered {status}")) }
}

/// The schema with its references replaced.
fn resolved(document: &Value, schema: &Value, depth: usize) -> Value {
    assert!(depth < DEPTH_MAX, "the schemas of /openapi.json go round in a circle");
    if let Some(name) = schema["$ref"].as_str() {
        let target =
            document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} leads nowhere"));
        return resolved(document, target, depth + 1);
    }
    match schema {
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, value)| (key.clone(), resolved(document, value, depth + 1))).collect(),
        ),
        Value::Array(list) => list.iter().map(|value| resolved(document, value, depth + 1)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// Of alternatives the one that is not null, and whether null is one of them.
fn main_schema(schema: &Value) -> (Value, bool) {
    for word in ["oneOf", "anyOf"] {
        if let Some(alternatives) = schema[word].as_array() {
            let is_null = |schema: &&Value| schema["type"] == "null";
            let nullable = alternatives.iter().any(|schema| is_null(&schema));
            if let Some(main) = alternatives.iter().find(|schema| !is_null(schema)) {
                return (main_schema(main).0, nullable);
            }
        }
    }
    if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice) {
        return main_schema(only);
    }
    (schema.clone(), types(schema).contains(&"null"))
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// A value that fits, as small as possible.
fn sample(schema: &Value) -> Value {
    let (schema, _) = main_schema(schema);
    let example = schema.get("example").cloned().or_else(|| schema["examples"].get(0).cloned());
    if let Some(example) = example.filter(|_| !schema["properties"].is_object()) {
        return example;
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match types(&schema).into_iter().find(|kind| *kind != "null") {
        Some("object") | None => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let names = required.iter().filter_map(Value::as_str);
            Value::Object(names.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect())
        }
        Some("array") => json!([]),
        Some("boolean") => json!(true),
        Some("integer" | "number") => {
            let lowest = schema["minimum"].as_f64().unwrap_or(1.0);
            if lowest.fract() == 0.0 { json!(lowest as i64) } else { json!(lowest) }
        }
        Some(_) => {
            json!("a".repeat(usize::try_from(schema["minLength"].as_u64().unwrap_or(1).max(1)).unwrap_or(1)))
        }
    }
}

/// The valid body, wrong in every way the schema names.
fn all_wrong(schema: &Value, valid: &Value) -> Vec<Wrong> {
    let (schema, _) = main_schema(schema);
    let mut wrongs = Vec::new();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let empty = Map::new();
    let object = valid.as_object().unwrap_or(&empty);
    let with = |name: &str, value: Option<Value>| {
        let mut body = object.clone();
        match value {
            Some(value) => body.insert(name.to_owned(), value),
            None => body.remove(name),
        };
        Value::Object(body)
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.contains(&name.as_str());
        if is_required {
            wrongs.push(Wrong { field: name.clone(), why: "is missing".to_owned(), body: with(name, None) });
        }
        for (inside, why, value) in wrong_values(property, is_required) {
            let joint = if inside.is_empty() || inside.starts_with('[') { "" } else { "." };
            wrongs.push(Wrong {
                field: format!("{name}{joint}{inside}"),
                why,
                body: with(name, Some(value)),
            });
        }
    }
    if schema["additionalProperties"] == false {
        let body = with("no_such_field", Some(json!(1)));
        wrongs.push(Wrong { field: "no_such_field".to_owned(), why: "is unknown".to_owned(), body });
    }
    wrongs
}

/// Path inside the value, the way in which it is wrong, and the wrong value.
fn wrong_values(schema: &Value, required: bool) -> Vec<(String, String, Value)> {
    let (schema, nullable) = main_schema(schema);
    let mut found = Vec::new();
    let mut here = |why: String, value: Value| found.push((String::new(), why, value));
    let kinds = types(&schema);
    for (kind, value) in [
        ("null", Value::Null),
        ("boolean", json!(true)),
        ("number", json!(7)),
        ("string", json!("text")),
        ("array", json!([])),
        ("object", json!({})),
    ] {
        let fits = kinds.contains(&kind) || (kind == "number" && kinds.contains(&"integer"));
        let null_is_absent = kind == "null" && (nullable || !required);
        if !fits && !null_is_absent && !kinds.is_empty() {
            here(format!("is of type {kind}"), value);
        }
    }
    if kinds.contains(&"integer") {
        here("is no whole number".to_owned(), json!(1.5));
    }
    for (bound, value) in bounds(&schema) {
        here(bound, value);
    }
    if kinds.contains(&"object") {
        let valid = sample(&schema);
        found
            .extend(all_wrong(&schema, &valid).into_iter().map(|wrong| (wrong.field, wrong.why, wrong.body)));
    }
    if kinds.contains(&"array") {
        for (inside, why, value) in wrong_values(&schema["items"], true) {
            let joint = if inside.is_empty() || inside.starts_with('[') { "" } else { "." };
            found.push((format!("[0]{joint}{inside}"), why, json!([value])));
        }
    }
    found
}

/// Just outside of what the schema's own words allow.
fn bounds(schema: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let kinds = types(schema);
    if let Some(minimum) = schema["minimum"].as_f64() {
        found.push((format!("is below {minimum}"), json!(minimum - 1.0)));
    }
    if let Some(maximum) = schema["maximum"].as_f64() {
        found.push((format!("is above {maximum}"), json!(maximum + 1.0)));
    }
    if let Some(step) = schema["multipleOf"].as_f64() {
        let lowest = schema["minimum"].as_f64().unwrap_or(0.0);
        found.push((format!("is no multiple of {step}"), json!(lowest + 1.0 + step / 2.0)));
    }
    let length = |word: &str| schema[word].as_u64().and_then(|length| usize::try_from(length).ok());
    if let Some(length) = length("minLength").filter(|length| *length > 0) {
        found.push((format!("is shorter than {length}"), json!("a".repeat(length - 1))));
    }
    if let Some(length) = length("maxLength").filter(|length| *length < LENGTH_TRIED_MAX) {
        found.push((format!("is longer than {length}"), json!("a".repeat(length + 1))));
    }
    if let Some(length) = length("maxItems").filter(|length| *length < LENGTH_TRIED_MAX) {
        let item = sample(&schema["items"]);
        found.push((format!("has more than {length} items"), json!(vec![item; length + 1])));
    }
    if schema["enum"].is_array() && kinds.contains(&"string") {
        found.push(("is none of those named".to_owned(), json!("no_such_value")));
    }
    if kinds.contains(&"string") && (schema["pattern"].is_string() || schema["format"].is_string()) {
        let validator = jsonschema::options().should_validate_formats(true).build(schema);
        let validator = validator.unwrap_or_else(|error| panic!("{schema} is no schema: {error}"));
        for candidate in ["no such thing!", "\u{0}", "..", "A B"] {
            if !validator.is_valid(&json!(candidate)) {
                found.push((format!("is {candidate:?}"), json!(candidate)));
            }
        }
    }
    found
}

#[test]
fn a_schema_says_how_its_values_can_be_wrong() {
    let schema = json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "maxLength": 3, "minLength": 1},
            "inner": {"oneOf": [{"type": "null"}, {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "maximum": 5}}}]},
            "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
        },
    });
    let ways: Vec<String> = all_wrong(&schema, &sample(&schema))
        .iter()
        .map(|wrong| format!("{} {}", wrong.field, wrong.why))
        .collect();
    for way in [
        "name is missing",
        "name is of type null",
        "name is longer than 3",
        "name is shorter than 1",
        "inner.n is above 5",
        "inner.n is missing",
        "inner.n is no whole number",
        "list[0] is of type number",
        "list has more than 1 items",
        "no_such_field is unknown",
    ] {
        assert!(ways.contains(&way.to_owned()), "{way} is not tried: {ways:#?}");
    }
    assert!(!ways.contains(&"inner is of type null".to_owned()));
}
