//! How does a test talk to the product? JSON over HTTP with a bearer token, nothing hidden.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::Value;

/// The longest a call may take.
const CALL_AT_MOST: Duration = Duration::from_secs(60);

/// The product's HTTP side, as one caller sees it.
#[derive(Clone)]
pub struct Api {
    base: String,
    token: Option<String>,
    client: reqwest::Client,
}

/// What it answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Header `Portreeve-Position`.
    pub position: Option<u64>,
    /// Header `Content-Type`.
    pub content_type: String,
    /// JSON, or the text as a JSON string.
    pub body: Value,
}

impl Api {
    pub fn new(base: impl Into<String>, token: Option<String>) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(CALL_AT_MOST).build()?;
        Ok(Self { base: base.into(), token, client })
    }

    /// The same place with another token.
    pub fn as_caller(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, path, None, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.call(Method::POST, path, Some(body), None).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.call(Method::PUT, path, Some(body), None).await
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::DELETE, path, None, None).await
    }

    /// A write that may be repeated under its key.
    pub async fn post_once(&self, path: &str, body: &Value, key: &str) -> anyhow::Result<Answer> {
        self.call(Method::POST, path, Some(body), Some(key)).await
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let position = header("portreeve-position").and_then(|text| text.parse().ok());
        let content_type = header("content-type").unwrap_or_default();
        let status = response.status().as_u16();
        let text = response.text().await.with_context(|| format!("{method} {path}: the answer's body"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, position, content_type, body })
    }

    /// Every item of a list, page after page.
    pub async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let next = cursor.map_or_else(String::new, |cursor| format!("&cursor={}", escaped(&cursor)));
            let page = self.get(&format!("{path}{joint}limit={PAGE}{next}")).await?.expect(200)?;
            items.extend(page.body["items"].as_array().cloned().unwrap_or_default());
            match page.body["next_cursor"].as_str() {
                Some(text) => cursor = Some(text.to_owned()),
                None => return Ok(items),
            }
        }
        bail!("{path} has more than {PAGES_MAX} pages")
    }
}

/// Items a page, and pages of a list.
const PAGE: usize = 100;
const PAGES_MAX: usize = 1_000;

/// Percent-encoded for a query.
pub fn escaped(text: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(|byte| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Answer {
    /// The answer, if its status is this one.
    pub fn expect(self, status: u16) -> anyhow::Result<Self> {
        if self.status == status {
            return Ok(self);
        }
        bail!("answered {} instead of {status}: {}", self.status, self.body)
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A text of the body.
    pub fn text(&self, field: &str) -> anyhow::Result<&str> {
        self.body[field].as_str().with_context(|| format!("no text {field:?} in {}", self.body))
    }

    /// The problem's code.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}
