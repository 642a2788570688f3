//! Which volumes are there, and who uses them?

use serde_json::{Value, json};

use crate::engine::{Engine, Failure, Held, Volume, now};
use crate::routes::Filters;

fn shown(name: &str, volume: &Volume) -> Value {
    json!({
        "Name": name, "Driver": "local", "Mountpoint": format!("/double/{name}"), "Scope": "local",
        "Labels": volume.labels, "Options": {}, "CreatedAt": volume.created_at,
    })
}

/// A second create of the same name answers with the first, as Docker does.
pub fn create(engine: &Engine, asked: &Value) -> Result<Value, Failure> {
    let name = asked["Name"].as_str().ok_or_else(|| Failure::new(400, "Name is missing"))?;
    let mut held = engine.held();
    ensure(&mut held, name, &asked["Labels"]);
    held.volumes.get(name).map(|volume| shown(name, volume)).ok_or_else(|| no_such_volume(name))
}

pub fn ensure(held: &mut Held, name: &str, labels: &Value) {
    let made = || Volume { labels: labels.clone(), created_at: now() };
    held.volumes.entry(name.to_owned()).or_insert_with(made);
}

pub fn inspect(engine: &Engine, name: &str) -> Result<Value, Failure> {
    engine.held().volumes.get(name).map(|volume| shown(name, volume)).ok_or_else(|| no_such_volume(name))
}

pub fn list(engine: &Engine, filters: &Filters) -> Value {
    let held = engine.held();
    let volumes: Value = held
        .volumes
        .iter()
        .filter(|(_, volume)| filters.labels_match(|label| volume.labels.get(label).and_then(Value::as_str)))
        .filter(|(name, _)| filters.allow_part("name", name))
        .map(|(name, volume)| shown(name, volume))
        .collect();
    json!({"Volumes": volumes, "Warnings": null})
}

pub fn remove(engine: &Engine, name: &str) -> Result<(), Failure> {
    let mut held = engine.held();
    let users = held.containers.values().filter(|container| uses(container.mounts(), name));
    if let Some(user) = users.map(|container| container.id.clone()).next() {
        return Err(Failure::new(409, format!("remove {name}: volume is in use - [{user}]")));
    }
    held.volumes.remove(name).ok_or_else(|| no_such_volume(name))?;
    held.spools.remove(name);
    Ok(())
}

fn uses(mounts: Vec<(String, String)>, name: &str) -> bool {
    mounts.iter().any(|(source, _)| source == name)
}

fn no_such_volume(name: &str) -> Failure {
    Failure::new(404, format!("get {name}: no such volume"))
}
