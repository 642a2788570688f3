//! What does a sentry say to its control plane? A small one that keeps everything, on a Unix socket.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kit::sentry_protocol::{Applied, HOST_KEY_HEADER, Numbered, Policy, Report, Reports, ReportsAccepted};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub const TOKEN: &str = "token-of-the-test";

#[derive(Default)]
struct Seen {
    policy: Option<Policy>,
    applied: Vec<String>,
    host_keys: Vec<Option<String>>,
    asked_with: Vec<String>,
    reports: BTreeMap<u64, Numbered>,
    spool_ids: Vec<String>,
    complaints: Vec<String>,
}

#[derive(Clone)]
pub struct ControlPlane {
    pub socket: PathBuf,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
    serving: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl ControlPlane {
    pub fn start(dir: &Path) -> Self {
        let control = Self {
            socket: dir.join("control.sock"),
            seen: Arc::default(),
            changed: Arc::default(),
            serving: Arc::default(),
        };
        control.come_back();
        control
    }

    pub fn go_away(&self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.abort();
        }
        std::fs::remove_file(&self.socket).ok();
    }

    pub fn come_back(&self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let routes = Router::new()
            .route("/v1/policy", get(policy))
            .route("/v1/applied", post(applied))
            .route("/v1/reports", post(reports))
            .with_state(self.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        *self.serving.lock().unwrap() = Some(serving);
    }

    pub fn set(&self, policy: Policy) {
        self.seen.lock().unwrap().policy = Some(policy);
        self.changed.notify_waiters();
    }

    pub fn applied(&self) -> Vec<String> {
        self.seen.lock().unwrap().applied.clone()
    }

    /// What the inner door shows, as it was said last: with a policy in force, and with a request for one.
    pub fn host_keys(&self) -> (Option<String>, Option<String>) {
        let seen = self.seen.lock().unwrap();
        (seen.host_keys.last().cloned().flatten(), seen.asked_with.last().cloned())
    }

    /// Every report, in order; fails if one was numbered twice, changed, or is missing in between.
    pub fn reports(&self) -> Vec<Report> {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.complaints, Vec::<String>::new());
        assert!(seen.spool_ids.len() <= 1, "one spool: {:?}", seen.spool_ids);
        let numbers: Vec<u64> = seen.reports.keys().copied().collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        seen.reports.values().map(|numbered| numbered.report.clone()).collect()
    }
}

fn authorized(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"))
}

async fn policy(
    State(control): State<ControlPlane>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !authorized(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(host_key) = headers.get(HOST_KEY_HEADER) {
        control.seen.lock().unwrap().asked_with.push(host_key.to_str().unwrap().to_owned());
    }
    let have = query.get("have").cloned().unwrap_or_default();
    let other = async {
        loop {
            let changed = control.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let policy = control.seen.lock().unwrap().policy.clone();
            if let Some(policy) = policy.filter(|policy| policy.version != have) {
                return policy;
            }
            changed.await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(25), other).await {
        Ok(policy) => Json(policy).into_response(),
        Err(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn applied(
    State(control): State<ControlPlane>,
    headers: HeaderMap,
    Json(applied): Json<Applied>,
) -> StatusCode {
    if !authorized(&headers) {
        return StatusCode::UNAUTHORIZED;
    }
    let mut seen = control.seen.lock().unwrap();
    seen.applied.push(applied.version);
    seen.host_keys.push(applied.host_key);
    StatusCode::NO_CONTENT
}

async fn reports(State(control): State<ControlPlane>, Json(batch): Json<Reports>) -> Json<ReportsAccepted> {
    let mut seen = control.seen.lock().unwrap();
    if !seen.spool_ids.contains(&batch.spool_id) {
        seen.spool_ids.push(batch.spool_id);
    }
    for report in batch.reports {
        let number = report.number;
        if let Some(before) = seen.reports.insert(number, report.clone())
            && before != report
        {
            seen.complaints.push(format!("number {number} was {before:?} and is {report:?}"));
        }
    }
    let through = seen.reports.keys().last().copied().unwrap_or_default();
    Json(ReportsAccepted { accepted_through: through })
}
