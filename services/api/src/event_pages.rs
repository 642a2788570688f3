//! Which events are there, for people and for programs? `/docs/events` and `/asyncapi.json`, from the table.

use std::fmt::Write;
use std::future::ready;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use events::catalogue::EventType;
use events::{CATALOGUE, Kind, asyncapi, fields, schema};
use serde_json::Value;

use crate::event_audience::audience;
use crate::html::{escaped, prose};

/// Made once: the table does not change while a process lives.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = Bytes::from(page());
    let document = Bytes::from(asyncapi::document().to_string());
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new()
        .route("/docs/events", get(move || ready(Html(page.clone()))))
        .route("/docs/events.css", get(|| ready(([(header::CONTENT_TYPE, "text/css")], STYLE))))
        .route("/asyncapi.json", get(move || ready((json.clone(), document.clone()))))
}

/// A file of its own, because the pages' policy takes no style that stands in the page.
const STYLE: &str = "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}\
    td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}h3{margin:2.5rem 0 0}\
    pre{overflow-x:auto;padding:.5rem;background:#8881}nav a{margin-right:1rem}";

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Portreeve: events</title>\
    <link rel=\"stylesheet\" href=\"/docs/events.css\"><h1>Events</h1>\
    <p>Everything that changes is an event, and every event goes out to whoever may see it: as \
    server-sent events at <code>GET /api/events</code>, over a WebSocket at <code>GET /ws/events</code>, \
    each a CloudEvent with what is described here as its <code>data</code> \
    (<a href=\"/api/events/schemas/CloudEvent\">its schema</a>). Passwords and private keys are in none: \
    they lie in the vault, and an event says where. One that was written in an older version is shown in \
    today's. Fields may come to be added; pass over those that you do not know.</p>\
    <p>For programs: <a href=\"/asyncapi.json\">AsyncAPI</a>, <a href=\"/docs\">the API</a>.</p><nav>";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for kind in Kind::ALL.iter().map(|kind| kind.wire_name()) {
        let _infallible = write!(page, "<a href=\"#{kind}\">{kind}</a> ");
    }
    page.push_str("</nav>");
    for kind in Kind::ALL {
        let (name, audience) = (kind.wire_name(), audience(*kind));
        let _infallible = write!(page, "<h2 id=\"{name}\">{name}</h2><p>Shown to {audience}.</p>");
        for event in CATALOGUE.iter().filter(|event| event.kind == *kind) {
            add_event(&mut page, event);
        }
    }
    page.push_str("</html>");
    page
}

fn add_event(page: &mut String, event: &EventType) {
    let schema = schema::of(event);
    let (name, version) = (event.name, event.version);
    let label = schema::label(name, version);
    let what = prose(schema["description"].as_str().unwrap_or_default());
    let (rule, by) = (event.rule, event.appended_by.join(", "));
    let _infallible = write!(
        page,
        "<h3 id=\"{name}\">{name} <small>v{version}</small></h3><p>{what}</p>\
         <p><small>Decided by <code>{rule}</code>, appended by {by}; \
         <a href=\"/api/events/schemas/{label}\">JSON Schema</a></small></p>"
    );
    add_fields(page, &schema);
    let sample = escaped(event.sample);
    let _infallible = write!(page, "<details><summary>Example</summary><pre>{sample}</pre></details>");
}

fn add_fields(page: &mut String, schema: &Value) {
    let fields = fields::fields(schema);
    if fields.is_empty() {
        page.push_str("<p>It says no more than that.</p>");
        return;
    }
    page.push_str("<table><tr><th>field</th><th>what it may be</th><th>always there</th><th></th></tr>");
    for field in fields {
        let (path, shape) = (escaped(&field.path), escaped(&field.shape));
        let (always, what) = (if field.always { "yes" } else { "no" }, prose(&field.description));
        let _infallible = write!(
            page,
            "<tr><td><code>{path}</code></td><td>{shape}</td><td>{always}</td><td>{what}</td></tr>"
        );
    }
    page.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_on_the_page_with_its_fields_and_an_example() {
        let page = page();
        for event in CATALOGUE {
            assert!(page.contains(&format!("<h3 id=\"{}\">", event.name)), "{}", event.name);
        }
        assert!(page.contains("<td><code>resources.cpu</code></td><td>number</td><td>yes</td>"), "nested");
        assert!(page.contains("&quot;name&quot;: &quot;training&quot;"), "examples are escaped");
    }
}
