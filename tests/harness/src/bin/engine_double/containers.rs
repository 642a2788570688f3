//! What happens to a container when it is made, started, stopped, killed or removed?

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::engine::{Container, Engine, Failure, Held, State, now};
use crate::routes::Filters;
use crate::{images, sentry, volumes};

/// Exit codes of a process that was told to end, and of one that was killed.
const EXIT_STOPPED: i64 = 0;
const EXIT_KILLED: i64 = 137;

pub fn create(engine: &Engine, name: Option<&str>, asked: Value) -> Result<Value, Failure> {
    images::is_there(engine, asked["Image"].as_str().unwrap_or_default())?;
    let mut held = engine.held();
    held.made += 1;
    let id = format!("{:016x}{:048x}", rand::random::<u64>(), held.made);
    let name = name.map_or_else(|| format!("double-{}", held.made), str::to_owned);
    if let Some(there) = held.names.get(&name) {
        return Err(Failure::new(
            409,
            format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
                there
            ),
        ));
    }
    let container = Container {
        id: id.clone(),
        name,
        asked,
        state: State::Created,
        exit_code: 0,
        created_at: now(),
        started_at: NEVER.to_owned(),
        finished_at: NEVER.to_owned(),
        starts: 0,
        sentry: None,
        policy_version: String::new(),
        policy: Value::Null,
        spool_grew: watch::Sender::new(0),
    };
    for (source, _) in container.mounts() {
        if !source.starts_with('/') {
            volumes::ensure(&mut held, &source, &json!({}));
        }
    }
    engine.happened("create", &container);
    held.names.insert(container.name.clone(), id.clone());
    held.containers.insert(id.clone(), container);
    Ok(json!({"Id": id, "Warnings": []}))
}

const NEVER: &str = "0001-01-01T00:00:00Z";

/// `Ok(false)` when it runs already.
pub fn start(engine: &Arc<Engine>, key: &str) -> Result<bool, Failure> {
    let mut held = engine.held();
    let (id, ports) = {
        let container = held.find(key)?;
        if container.state == State::Running {
            return Ok(false);
        }
        (container.id.clone(), container.host_ports())
    };
    if let Some(failure) = held.start_failures.pop_front() {
        return Err(failure);
    }
    if let Some(port) = ports.iter().find(|port| held.ports_taken.contains(*port)) {
        return Err(Failure::new(
            500,
            format!(
                "driver failed programming external connectivity on endpoint {key}: Bind for 0.0.0.0:{port} failed: port is already allocated"
            ),
        ));
    }
    held.ports_taken.extend(ports);
    held.starts += 1;
    let starts = held.starts;
    let container = held.find_mut(&id)?;
    container.state = State::Running;
    container.started_at = now();
    container.starts = starts;
    container.policy_version.clear();
    container.sentry = sentry::begin(engine, container);
    engine.happened("start", container);
    Ok(true)
}

/// `Ok(false)` when it does not run.
pub fn stop(engine: &Engine, key: &str) -> Result<bool, Failure> {
    let mut held = engine.held();
    let container = held.find_mut(key)?;
    if container.state != State::Running {
        return Ok(false);
    }
    end(engine, container, EXIT_STOPPED);
    engine.happened("stop", container);
    let ports = container.host_ports();
    give_back(&mut held, &ports);
    Ok(true)
}

pub fn kill(engine: &Engine, key: &str) -> Result<(), Failure> {
    let mut held = engine.held();
    let container = held.find_mut(key)?;
    if container.state != State::Running {
        return Err(Failure::new(
            409,
            format!("Cannot kill container: {key}: Container {} is not running", container.id),
        ));
    }
    engine.happened("kill", container);
    end(engine, container, EXIT_KILLED);
    let ports = container.host_ports();
    give_back(&mut held, &ports);
    Ok(())
}

fn give_back(held: &mut Held, ports: &[String]) {
    for port in ports {
        held.ports_taken.remove(port);
    }
}

fn end(engine: &Engine, container: &mut Container, exit_code: i64) {
    if let Some(sentry) = container.sentry.take() {
        sentry.abort();
    }
    container.state = State::Exited;
    container.exit_code = exit_code;
    container.finished_at = now();
    engine.happened("die", container);
}

pub fn remove(engine: &Engine, key: &str, force: bool) -> Result<(), Failure> {
    let mut held = engine.held();
    let container = held.find_mut(key)?;
    if container.state == State::Running {
        if !force {
            return Err(Failure::new(
                409,
                format!(
                    "You cannot remove a running container {}. Stop the container before attempting removal or force remove",
                    container.id
                ),
            ));
        }
        end(engine, container, EXIT_KILLED);
        let ports = container.host_ports();
        give_back(&mut held, &ports);
    }
    let id = held.find(key)?.id.clone();
    if let Some(container) = held.containers.remove(&id) {
        held.names.remove(&container.name);
        engine.happened("destroy", &container);
    }
    Ok(())
}

/// How often a waiter looks.
const WAIT_LOOK_MS: u64 = 50;

/// Answers when the container does not run (any more); the caller's own limit ends it before.
pub async fn wait(engine: &Engine, key: &str) -> Result<Value, Failure> {
    loop {
        {
            let held = engine.held();
            let container = held.find(key)?;
            if container.state != State::Running {
                return Ok(json!({"StatusCode": container.exit_code}));
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(WAIT_LOOK_MS)).await;
    }
}

pub fn inspect(engine: &Engine, key: &str) -> Result<Value, Failure> {
    let held = engine.held();
    let container = held.find(key)?;
    let running = container.state == State::Running;
    Ok(json!({
        "Id": container.id,
        "Name": format!("/{}", container.name),
        "Created": container.created_at,
        "Image": format!("sha256:{:064x}", container.image().len()),
        "RestartCount": 0,
        "State": {
            "Status": container.state.name(), "Running": running, "Paused": false, "Restarting": false,
            "OOMKilled": false, "Dead": false, "Pid": if running { 4242 } else { 0 },
            "ExitCode": container.exit_code, "Error": "",
            "StartedAt": container.started_at, "FinishedAt": container.finished_at,
        },
        "Config": {
            "Image": container.image(), "Labels": container.asked["Labels"], "Env": container.asked["Env"],
        },
        "HostConfig": container.asked["HostConfig"],
        "Mounts": mounts(container),
        "NetworkSettings": {"Networks": {"double": {"IPAddress": address(container, running)}}, "Ports": if running { container.asked["HostConfig"]["PortBindings"].clone() } else { json!({}) }},
    }))
}

/// One for each start, so that a container that was started again is elsewhere.
fn address(container: &Container, running: bool) -> String {
    let [_, high, low, last] = container.starts.to_be_bytes();
    if running { format!("10.{}.{}.{}", 128 | (high & 127), low, last) } else { String::new() }
}

fn mounts(container: &Container) -> Value {
    let shown = |(source, target): (String, String)| {
        if source.starts_with('/') {
            json!({"Type": "bind", "Source": source, "Destination": target, "RW": false})
        } else {
            json!({"Type": "volume", "Name": source, "Source": format!("/double/{source}"), "Destination": target, "RW": true})
        }
    };
    container.mounts().into_iter().map(shown).collect()
}

pub fn list(engine: &Engine, all: bool, filters: &Filters) -> Value {
    let held = engine.held();
    held.containers
        .values()
        .filter(|container| all || filters.has("status") || container.state == State::Running)
        .filter(|container| filters.allow("status", Some(container.state.name())))
        .filter(|container| filters.allow_part("name", &container.name))
        .filter(|container| filters.allow_part("id", &container.id))
        .filter(|container| filters.labels_match(|label| container.label(label)))
        .map(summary)
        .collect()
}

fn summary(container: &Container) -> Value {
    let ports: Vec<Value> = container
        .host_ports()
        .iter()
        .filter_map(|port| port.parse::<u16>().ok())
        .map(|port| json!({"IP": "127.0.0.1", "PrivatePort": 22, "PublicPort": port, "Type": "tcp"}))
        .collect();
    let created = chrono::DateTime::parse_from_rfc3339(&container.created_at).map_or(0, |at| at.timestamp());
    json!({
        "Id": container.id, "Names": [format!("/{}", container.name)], "Image": container.image(),
        "ImageID": "sha256:0", "Command": "/usr/local/bin/sentry", "Created": created,
        "State": container.state.name(), "Status": container.state.name(),
        "Labels": container.asked["Labels"], "Ports": ports, "Mounts": mounts(container),
        "HostConfig": {"NetworkMode": "default"}, "NetworkSettings": {"Networks": {}},
    })
}
