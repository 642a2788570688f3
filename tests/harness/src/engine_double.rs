//! How does a test start and steer the double of a container engine? (`src/bin/engine_double` is it.)

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::child::Child;
use crate::eventually::eventually;
use crate::programs;

const UP_AT_MOST: Duration = Duration::from_secs(10);

pub struct EngineDouble {
    /// Its folder and its process end with it.
    folder: tempfile::TempDir,
    process: Child,
}

/// A container as the double shows it.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct DoubleContainer {
    pub id: String,
    pub name: String,
    pub env_id: Option<String>,
    pub running: bool,
    pub ports: Vec<String>,
    pub labels: Value,
    pub policy_version: String,
    pub policy: Value,
}

#[derive(Debug, Clone, serde::Deserialize)]
pub struct DoubleVolume {
    pub name: String,
    pub labels: Value,
}

#[derive(Debug, Clone, serde::Deserialize)]
pub struct DoubleState {
    pub containers: Vec<DoubleContainer>,
    pub volumes: Vec<DoubleVolume>,
    pub policies_applied: u64,
}

impl EngineDouble {
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("engine-").tempdir()?;
        let socket = folder.path().join("engine.sock");
        let program = programs::built("engine_double")?;
        let process = Child::start(program, &folder.path().join("log"), |command| {
            command.arg(&socket);
        })?;
        let double = Self { folder, process };
        eventually("the engine double answers", UP_AT_MOST, || double.state())
            .await
            .with_context(|| double.process.log_tail())?;
        Ok(double)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// For `--container-host`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub async fn state(&self) -> anyhow::Result<DoubleState> {
        Ok(serde_json::from_value(self.call("GET", "/double/state", &Value::Null).await?)?)
    }

    pub async fn kill_container(&self, name: &str) -> anyhow::Result<()> {
        self.call("POST", &format!("/double/containers/{name}/kill"), &Value::Null).await.map(drop)
    }

    pub async fn remove_container(&self, name: &str) -> anyhow::Result<()> {
        self.call("DELETE", &format!("/double/containers/{name}"), &Value::Null).await.map(drop)
    }

    pub async fn set_image(&self, name: &str, present: bool) -> anyhow::Result<()> {
        self.call("POST", "/double/images", &json!({"name": name, "present": present})).await.map(drop)
    }

    pub async fn fail_next_start(&self, message: &str) -> anyhow::Result<()> {
        let body = json!({"status": 500, "message": message});
        self.call("POST", "/double/start-failures", &body).await.map(drop)
    }

    pub async fn report(&self, container: &str, reports: &[Value]) -> anyhow::Result<()> {
        let path = format!("/double/containers/{container}/reports");
        self.call("POST", &path, &json!({"reports": reports})).await.map(drop)
    }

    pub async fn silence_sentries(&self, silent: bool) -> anyhow::Result<()> {
        self.call("POST", "/double/sentries", &json!({"silent": silent})).await.map(drop)
    }

    /// Any call of the Docker Engine API, behind the product's back.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let stream = UnixStream::connect(self.socket()).await?;
        let (mut line, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "engine")
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(bytes)))?;
        let response = line.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if !status.is_success() {
            bail!("{method} {path}: the engine double answered {status}: {answer}");
        }
        Ok(answer)
    }
}
