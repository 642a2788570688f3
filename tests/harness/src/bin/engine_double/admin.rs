//! What may a test do behind the product's back?
//!
//! | call | what |
//! | --- | --- |
//! | `GET /double/state` | `{containers: [...], volumes: [...], policies_applied}` |
//! | `POST /double/containers/<name>/kill` | it ends, as if somebody had killed it |
//! | `DELETE /double/containers/<name>` | it is gone, as if somebody had removed it |
//! | `POST /double/images` `{name, present}` | an image appears or disappears |
//! | `POST /double/start-failures` `{status, message}` | the next start fails like this |
//! | `POST /double/containers/<name>/reports` `{reports: [...]}` | its sentry has seen this |
//! | `POST /double/sentries` `{silent}` | no sentry asks or reports while this is true |

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::{Container, Engine, Failure, State};
use crate::{containers, images, sentry};

pub fn answer(
    engine: &Arc<Engine>,
    method: &Method,
    segments: &[&str],
    body: &Value,
) -> Result<Response, Failure> {
    match (method.as_str(), segments) {
        ("GET", ["state"]) => return Ok(axum::Json(state(engine)).into_response()),
        ("POST", ["containers", name, "kill"]) => containers::kill(engine, name)?,
        ("DELETE", ["containers", name]) => containers::remove(engine, name, true)?,
        ("POST", ["images"]) => {
            let name = body["name"].as_str().unwrap_or_default();
            images::set(engine, name, body["present"].as_bool().unwrap_or(true));
        }
        ("POST", ["start-failures"]) => {
            let status = body["status"].as_u64().and_then(|status| u16::try_from(status).ok());
            let message = body["message"].as_str().unwrap_or("the test said so");
            engine.held().start_failures.push_back(Failure::new(status.unwrap_or(500), message));
        }
        ("POST", ["containers", name, "reports"]) => {
            let reports = body["reports"].as_array().cloned().unwrap_or_default();
            sentry::report(engine, name, reports)?;
        }
        ("POST", ["sentries"]) => engine.held().sentries_silent = body["silent"].as_bool().unwrap_or(false),
        _ => return Err(Failure::new(404, format!("no such call: {method} /double/{}", segments.join("/")))),
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn state(engine: &Engine) -> Value {
    let held = engine.held();
    let containers: Vec<Value> = held.containers.values().map(shown).collect();
    let volumes: Vec<Value> =
        held.volumes.iter().map(|(name, volume)| json!({"name": name, "labels": volume.labels})).collect();
    json!({"containers": containers, "volumes": volumes, "policies_applied": held.policies_applied})
}

fn shown(container: &Container) -> Value {
    json!({
        "id": container.id,
        "name": container.name,
        "image": container.image(),
        "env_id": container.variable("PORTREEVE_ENV_ID"),
        "running": container.state == State::Running,
        "state": container.state.name(),
        "ports": container.host_ports(),
        "labels": container.asked["Labels"],
        "policy_version": container.policy_version,
        "policy": container.policy,
    })
}
