//! What does a container's sentry do? Asks for its policy, says what is in force, reports what it saw.
//! As the real one, it never gives up: it reconnects with back-off for as long as its container runs.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::engine::{Container, Engine, Failure};

/// The provisioner holds a policy request open for 25 seconds; later than this it is lost.
const ANSWER_AT_MOST: Duration = Duration::from_secs(40);
const BACK_OFF_FIRST_MS: u64 = 50;
const BACK_OFF_MAX_MS: u64 = 1_000;
/// As many as one request may carry.
const REPORTS_MAX: usize = 500;
/// What the inner doors show; nobody listens there.
const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEOrEXHg8Bn3xHXpBKOvDrOs4tEwXaFYX5cpA4RE5oBD";
/// Where the folder with the provisioner's socket is mounted, and where the spool lies.
const CONTROL_FOLDER: &str = "/run/portreeve";
const STATE_FOLDER: &str = "/var/lib/portreeve";

struct Guard {
    engine: Arc<Engine>,
    container: String,
    spool: String,
    socket: String,
    token: String,
    line: Option<SendRequest<Full<Bytes>>>,
}

/// Plays the sentry of a container that starts; `None` when it was not told whom to ask.
pub fn begin(engine: &Arc<Engine>, container: &Container) -> Option<tokio::task::AbortHandle> {
    let url = container.variable("PORTREEVE_CONTROL_URL")?;
    let inside = url.strip_prefix("unix:")?.trim_start_matches("//");
    let folder = container.mounted_at(CONTROL_FOLDER)?;
    let guard = || Guard {
        engine: Arc::clone(engine),
        container: container.id.clone(),
        spool: container.mounted_at(STATE_FOLDER).unwrap_or_else(|| container.id.clone()),
        socket: inside.replacen(CONTROL_FOLDER, &folder, 1),
        token: container.variable("PORTREEVE_SENTRY_TOKEN").unwrap_or_default(),
        line: None,
    };
    let (enforcing, reporting) = (guard(), guard());
    let grew = container.spool_grew.subscribe();
    let both = async move {
        tokio::join!(enforcing.enforce(), reporting.report(grew));
    };
    Some(tokio::spawn(both).abort_handle())
}

/// Puts reports into a container's spool, numbered in their order.
pub fn report(engine: &Engine, key: &str, reports: Vec<Value>) -> Result<(), Failure> {
    let mut held = engine.held();
    let container = held.find(key)?;
    let name = container.mounted_at(STATE_FOLDER).unwrap_or_else(|| container.id.clone());
    let id = container.id.clone();
    let spool = held.spools.entry(name).or_default();
    if spool.id.is_empty() {
        spool.id = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
    }
    for mut report in reports {
        spool.newest += 1;
        report["number"] = json!(spool.newest);
        if report["at"].is_null() {
            report["at"] = json!(chrono::Utc::now());
        }
        spool.waiting.push_back(report);
    }
    let newest = spool.newest;
    held.find(&id)?.spool_grew.send_replace(newest);
    Ok(())
}

impl Guard {
    /// Asks for the policy for ever.
    async fn enforce(mut self) {
        let mut have = String::new();
        let mut back_off = BackOff::default();
        loop {
            match self.ask(&have).await {
                Ok(Some(policy)) => {
                    have = policy["version"].as_str().unwrap_or_default().to_owned();
                    self.note(&have, policy);
                    if self
                        .post("/v1/applied", &json!({"version": have, "host_key": HOST_KEY}))
                        .await
                        .is_err()
                    {
                        have.clear();
                        back_off.wait().await;
                    }
                }
                Ok(None) => back_off = BackOff::default(),
                Err(()) => back_off.wait().await,
            }
        }
    }

    fn note(&self, version: &str, policy: Value) {
        let mut held = self.engine.held();
        held.policies_applied += 1;
        if let Ok(container) = held.find_mut(&self.container) {
            container.policy_version = version.to_owned();
            container.policy = policy;
        }
    }

    /// Sends what the spool holds, for ever.
    async fn report(mut self, mut grew: watch::Receiver<u64>) {
        let mut back_off = BackOff::default();
        loop {
            let Some(batch) = self.waiting() else {
                if grew.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.post("/v1/reports", &batch).await {
                Ok(answer) => {
                    self.forget(answer["accepted_through"].as_u64().unwrap_or(0));
                    back_off = BackOff::default();
                }
                Err(()) => back_off.wait().await,
            }
        }
    }

    fn waiting(&self) -> Option<Value> {
        let held = self.engine.held();
        let spool = held.spools.get(&self.spool)?;
        let reports: Vec<&Value> = spool.waiting.iter().take(REPORTS_MAX).collect();
        (!reports.is_empty()).then(|| json!({"spool_id": spool.id, "reports": reports}))
    }

    fn forget(&self, through: u64) {
        let mut held = self.engine.held();
        if let Some(spool) = held.spools.get_mut(&self.spool) {
            spool.waiting.retain(|report| report["number"].as_u64().is_some_and(|number| number > through));
        }
    }

    /// The policy in force, when it differs from the one it has.
    async fn ask(&mut self, have: &str) -> Result<Option<Value>, ()> {
        let (status, body) = self.exchange("GET", &format!("/v1/policy?have={have}"), None).await?;
        match status {
            200 => Ok(Some(body)),
            204 => Ok(None),
            _ => Err(()),
        }
    }

    async fn post(&mut self, path: &str, body: &Value) -> Result<Value, ()> {
        let (status, body) = self.exchange("POST", path, Some(body)).await?;
        if (200..300).contains(&status) { Ok(body) } else { Err(()) }
    }

    async fn exchange(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), ()> {
        if self.engine.held().sentries_silent {
            return Err(());
        }
        let done = tokio::time::timeout(ANSWER_AT_MOST, self.exchange_once(method, path, body)).await;
        let result = done.unwrap_or(Err(()));
        if result.is_err() {
            self.line = None;
        }
        result
    }

    async fn exchange_once(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), ()> {
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "provisioner")
            .header("portreeve-host-key", HOST_KEY)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(bytes))
            .map_err(drop)?;
        let mut line = match self.line.take() {
            Some(line) if line.is_ready() => line,
            Some(_) | None => dial(&self.socket).await?,
        };
        let response = line.send_request(request).await.map_err(drop)?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(drop)?.to_bytes();
        if line.ready().await.is_ok() {
            self.line = Some(line);
        }
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}

async fn dial(socket: &str) -> Result<SendRequest<Full<Bytes>>, ()> {
    let stream = UnixStream::connect(socket).await.map_err(drop)?;
    let (line, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(drop)?;
    // It ends with the line.
    tokio::spawn(connection);
    Ok(line)
}

struct BackOff {
    next_ms: u64,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { next_ms: BACK_OFF_FIRST_MS }
    }
}

impl BackOff {
    async fn wait(&mut self) {
        let jitter = rand::random_range(self.next_ms / 2..=self.next_ms);
        tokio::time::sleep(Duration::from_millis(jitter)).await;
        self.next_ms = (self.next_ms * 2).min(BACK_OFF_MAX_MS);
    }
}
