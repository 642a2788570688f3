//! Which images are there?

use serde_json::{Value, json};

use crate::engine::{Engine, Failure};

/// Names of the same image: with and without the registry that is meant when none is named.
fn plain(name: &str) -> &str {
    name.trim_start_matches("docker.io/").trim_start_matches("localhost/")
}

pub fn is_there(engine: &Engine, name: &str) -> Result<(), Failure> {
    if engine.held().images.contains(plain(name)) {
        Ok(())
    } else {
        Err(Failure::new(404, format!("No such image: {name}")))
    }
}

pub fn inspect(engine: &Engine, name: &str) -> Result<Value, Failure> {
    is_there(engine, name)?;
    Ok(json!({"Id": format!("sha256:{:064x}", name.len()), "RepoTags": [name], "Config": {"Labels": {}}}))
}

pub fn list(engine: &Engine) -> Value {
    engine.held().images.iter().map(|name| json!({"Id": name, "RepoTags": [name]})).collect()
}

/// No registry can be reached from here.
pub fn pull(name: &str) -> Failure {
    Failure::new(
        404,
        format!("pull access denied for {name}, repository does not exist or may require 'docker login'"),
    )
}

pub fn set(engine: &Engine, name: &str, present: bool) {
    let mut held = engine.held();
    if present {
        held.images.insert(plain(name).to_owned());
    } else {
        held.images.remove(plain(name));
    }
}
