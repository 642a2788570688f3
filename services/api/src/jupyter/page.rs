//! What does a person read who opened a page of JupyterLab and gets none?

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::head::is_page_opened;
use crate::correlation::Correlation;
use crate::html::escaped;
use crate::problem::{Problem, Whole, note};

const KIND: &str = "text/html; charset=utf-8";
/// Opened by itself it does nothing.
const POLICY: &str = "default-src 'none'";
/// JupyterLab takes a few seconds to start: the page looks again.
const LOOK_AGAIN: &str = "jupyter_unavailable";

/// A layer: a refusal is a page where one was opened, and problem details elsewhere.
pub async fn for_people(request: Request, next: Next) -> Response {
    if !is_page_opened(request.method(), request.headers()) {
        return next.run(request).await;
    }
    let correlation = request.extensions().get::<Correlation>().cloned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    if let Some(correlation) = correlation {
        note(&problem, &correlation, &method, &path);
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(KIND)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (problem.status(), headers, text(&problem)).into_response();
    response.extensions_mut().insert(Whole);
    response
}

fn text(problem: &Problem) -> String {
    let (title, detail, code) = (escaped(problem.title()), escaped(problem.detail()), problem.code());
    let again = if code == LOOK_AGAIN { "<meta http-equiv=\"refresh\" content=\"2\">" } else { "" };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">{again}</head>\
         <body><h1>{title}</h1><p>{detail}</p><p><code>{code}</code></p></body></html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_says_is_text() {
        let page = text(&Problem::new("ticket_refused", "<script>\"&"));
        assert!(
            page.contains("<p>&lt;script&gt;&quot;&amp;</p>") && page.contains("ticket_refused"),
            "{page}"
        );
        assert!(!page.contains("refresh"));
        assert!(text(&Problem::new(LOOK_AGAIN, "")).contains("refresh"));
    }
}
