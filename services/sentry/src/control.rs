//! How is the control plane asked and told?

use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::sentry_protocol::{
    ACTIVE_AT_HEADER, Applied, HOST_KEY_HEADER, POLICY_WAIT_S, Policy, Reports, ReportsAccepted,
};
use reqwest::{Response, StatusCode};

use crate::config::{Config, ControlUrl};

const CONNECT_WAIT: Duration = Duration::from_secs(3);
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How much longer than it promises the control plane may hold a policy request.
const POLICY_WAIT_EXTRA: Duration = Duration::from_secs(10);
/// A policy holds some keys and addresses; more than this is not one.
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("{call} got no answer")]
    Call { call: &'static str, source: reqwest::Error },
    /// 401: the token is not this environment's.
    #[error("{call} was refused: the token is not this environment's")]
    Unauthorized { call: &'static str },
    /// 404: the environment is gone.
    #[error("{call}: this environment is gone")]
    Gone { call: &'static str },
    #[error("{call} was answered with {status}")]
    Status { call: &'static str, status: StatusCode },
    #[error("{call} was answered with something else: {why}")]
    Answer { call: &'static str, why: String },
}

impl ControlError {
    /// Whether trying again soon makes sense.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Gone { .. })
    }
}

#[derive(Clone)]
pub struct Control {
    http: reqwest::Client,
    base: String,
    token: crate::config::Token,
}

impl Control {
    pub fn new(config: &Config) -> Result<Self, ControlError> {
        let builder = reqwest::Client::builder().connect_timeout(CONNECT_WAIT).no_proxy();
        let (builder, base) = match &config.control_url {
            ControlUrl::Unix(path) => (builder.unix_socket(path.as_path()), "http://control".to_owned()),
            ControlUrl::Http(base) => (builder, base.clone()),
        };
        let http = builder.build().map_err(ControlError::Client)?;
        Ok(Self { http, base, token: config.token.clone() })
    }

    /// The policy, once its version differs from `have`; `None`: not within the time of one request.
    /// `host_key` is what the inner door shows, once it is open; `active_at` when there was traffic last.
    pub async fn policy(
        &self,
        have: &str,
        host_key: Option<&str>,
        active_at: DateTime<Utc>,
    ) -> Result<Option<Policy>, ControlError> {
        let call = "GET /v1/policy";
        let mut request = self.http.get(format!("{}/v1/policy", self.base)).query(&[("have", have)]);
        request = request.header(ACTIVE_AT_HEADER, active_at.to_rfc3339());
        if let Some(host_key) = host_key {
            request = request.header(HOST_KEY_HEADER, host_key);
        }
        let wait = Duration::from_secs(POLICY_WAIT_S) + POLICY_WAIT_EXTRA;
        let response = self.send(call, request, wait).await?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            _ => Ok(Some(json(call, response).await?)),
        }
    }

    pub async fn applied(&self, version: &str, host_key: Option<&str>) -> Result<(), ControlError> {
        let applied = Applied { version: version.into(), host_key: host_key.map(str::to_owned) };
        let request = self.http.post(format!("{}/v1/applied", self.base)).json(&applied);
        self.send("POST /v1/applied", request, ANSWER_WAIT).await.map(drop)
    }

    pub async fn reports(&self, reports: &Reports) -> Result<ReportsAccepted, ControlError> {
        let call = "POST /v1/reports";
        let request = self.http.post(format!("{}/v1/reports", self.base)).json(reports);
        json(call, self.send(call, request, ANSWER_WAIT).await?).await
    }

    async fn send(
        &self,
        call: &'static str,
        request: reqwest::RequestBuilder,
        wait: Duration,
    ) -> Result<Response, ControlError> {
        let sent = request.bearer_auth(self.token.reveal()).timeout(wait).send().await;
        let response = sent.map_err(|source| ControlError::Call { call, source: source.without_url() })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => Err(ControlError::Unauthorized { call }),
            StatusCode::NOT_FOUND => Err(ControlError::Gone { call }),
            status => Err(ControlError::Status { call, status }),
        }
    }
}

async fn json<T: serde::de::DeserializeOwned>(
    call: &'static str,
    mut response: Response,
) -> Result<T, ControlError> {
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|source| ControlError::Call { call, source: source.without_url() })?
    {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(ControlError::Answer { call, why: format!("more than {ANSWER_BYTES_MAX} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    // the position, not the text: a policy holds secrets
    serde_json::from_slice(&body).map_err(|error| ControlError::Answer {
        call,
        why: format!("not the expected JSON at line {}, column {}", error.line(), error.column()),
    })
}
