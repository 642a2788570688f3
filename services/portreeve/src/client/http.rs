//! How is a call to the API made, and a refusal read? RFC 9457 in, one readable error out.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::ClientError;

/// A call that waits for an environment answers within seconds; this is for a server that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Tries of one call. Repeating is harmless: reads change nothing, writes carry an idempotency key.
const TRIES_MAX: u32 = 3;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// Pages of a list that are read one after the other.
const PAGES_MAX: usize = 100;
/// Items asked for in one page.
const PAGE_LIMIT: usize = 200;

/// Problem details, as the server sent them.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: u16,
    members: Map<String, Value>,
}

impl Problem {
    fn read(status: u16, body: &[u8]) -> Self {
        let members = match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => Map::new(),
        };
        Self { status, members }
    }

    /// The wrong fields that a refusal names: field, and what is wrong with it.
    pub fn wrong_fields(&self) -> Vec<(String, String)> {
        let errors = self.members.get("errors").and_then(Value::as_array);
        let text =
            |error: &Value, name| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        errors.into_iter().flatten().map(|error| (text(error, "field"), text(error, "detail"))).collect()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str().filter(|text| !text.is_empty())
    }
}

impl fmt::Display for Problem {
    /// `what is wrong (code, status)`, then each further field on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.text("detail").or_else(|| self.text("title")).unwrap_or("the server refused");
        match self.text("code") {
            Some(code) => write!(f, "{what} ({code}, {})", self.status)?,
            None => write!(f, "{what} ({})", self.status)?,
        }
        for (name, value) in &self.members {
            match (name.as_str(), value) {
                ("detail" | "title" | "code" | "status" | "type" | "instance", _) => {}
                (_, Value::String(text)) => write!(f, "\n  {name}: {text}")?,
                (_, value) => write!(f, "\n  {name}: {value}")?,
            }
        }
        Ok(())
    }
}

/// The API of one Portreeve, as one caller.
pub struct Http {
    client: reqwest::Client,
    base: String,
    token: SecretString,
    /// The newest position an answer named; later reads wait until the server shows it.
    seen: AtomicU64,
}

impl Http {
    pub fn new(base: String, token: SecretString) -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .build()
            .map_err(|source| ClientError::Unreachable { url: base.clone(), source })?;
        Ok(Self { client, base, token, seen: AtomicU64::new(0) })
    }

    /// A read that sees what this caller wrote.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        let mut query = query.to_vec();
        match self.seen.load(Ordering::Relaxed) {
            0 => {}
            position => query.push(("after", position.to_string())),
        }
        self.call(Method::GET, path, &query, None).await
    }

    /// A write; repeated under the same idempotency key when no answer came.
    pub async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        self.call(method, path, &[], body).await
    }

    /// Every item of a list, page after page.
    pub async fn all(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut page_query = query.to_vec();
            page_query.push(("limit", PAGE_LIMIT.to_string()));
            page_query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page = self.get(path, &page_query).await?;
            match page.get("items").and_then(Value::as_array) {
                Some(more) => items.extend(more.iter().cloned()),
                None => return Err(self.unreadable(path, "there is no list of items")),
            }
            cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(items);
            }
        }
        eprintln!("note: only the first {} are shown", items.len());
        Ok(items)
    }

    /// An answer that takes its time; the caller reads it.
    pub async fn slow(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Response, ClientError> {
        self.stream(path, query, None).await
    }

    /// An endless answer; the caller reads it.
    pub async fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
        last_event_id: Option<&str>,
    ) -> Result<reqwest::Response, ClientError> {
        let mut request = self.request(Method::GET, path, query);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(ClientError::Refused(Problem::read(status.as_u16(), &body)))
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, String)]) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .query(query)
            .header("Accept", "application/json, text/event-stream")
            .bearer_auth(self.token.expose_secret())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let key = uuid::Uuid::new_v4().to_string();
        let mut tries = 0;
        loop {
            let mut request = self.request(method.clone(), path, query).timeout(ANSWER_WITHIN);
            if method != Method::GET {
                request = request.header("Idempotency-Key", &key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            tries += 1;
            match self.answer(path, request).await {
                Err(ClientError::Unreachable { .. }) if tries < TRIES_MAX => {
                    tokio::time::sleep(TRY_AGAIN_AFTER).await;
                }
                answered => return answered,
            }
        }
    }

    async fn answer(&self, path: &str, request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let position = response.headers().get("portreeve-position");
        if let Some(position) = position.and_then(|text| text.to_str().ok()?.parse().ok()) {
            self.seen.fetch_max(position, Ordering::Relaxed);
        }
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        if !status.is_success() {
            return Err(ClientError::Refused(Problem::read(status.as_u16(), &body)));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| self.unreadable(path, &error.to_string()))
    }

    pub fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), source }
    }

    pub fn unreadable(&self, path: &str, why: &str) -> ClientError {
        ClientError::Unreadable { url: format!("{}{path}", self.base), why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_one_sentence_with_its_fields() {
        let body = br#"{"type":"about:blank","title":"Quota exceeded","status":403,"code":"quota_exceeded",
            "detail":"the quota allows 2 environments","correlation_id":"c-1","limit":2}"#;
        let shown = Problem::read(403, body).to_string();
        assert_eq!(
            shown,
            "the quota allows 2 environments (quota_exceeded, 403)\n  correlation_id: c-1\n  limit: 2"
        );
        assert_eq!(Problem::read(502, b"<html>").to_string(), "the server refused (502)");
    }
}
