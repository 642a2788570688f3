//! How does a test get a registry that answers, and has no image? Here is one; gone when dropped.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct EmptyRegistry {
    port: u16,
    serving: JoinHandle<()>,
}

impl EmptyRegistry {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let app = Router::new().route("/v2/", get(|| async { Json(json!({})) })).fallback(missing);
        let serving = tokio::spawn(async move {
            let _ended = axum::serve(listener, app).await;
        });
        Ok(Self { port, serving })
    }

    /// On 127.0.0.1, plain HTTP.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for EmptyRegistry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// In the words of the distribution specification.
async fn missing() -> Response {
    let body =
        json!({"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}]});
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
