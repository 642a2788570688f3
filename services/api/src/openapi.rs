//! What does the API say of itself? `/openapi.json`, `/docs`, `/docs/errors`; generated from the code.

use std::fmt::Write;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use events::schema;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_swagger_ui::SwaggerUi;

use crate::problem::{CODES, ProblemDetails};
use crate::terminal::failure;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portreeve",
        description = "Dev environments with public SSH access. Every write answers with the header \
            `Portreeve-Position`; give it to a read as `?after=` and the read has it. Errors are RFC 9457 \
            problem details; their codes are explained at [/docs/errors](/docs/errors). The schemas named \
            `Event.*` are those of the events that taps and the audit log show as `data`: for people at \
            [/docs/events](/docs/events), the streams that carry them at [/asyncapi.json](/asyncapi.json)."
    ),
    components(schemas(ProblemDetails)),
    security(("bearer" = [])),
    modifiers(&Bearer),
    tags(
        (name = "environments"), (name = "servers"), (name = "relays"), (name = "commands"), (name = "schedules"), (name = "terminals"), (name = "recordings"), (name = "ssh keys"), (name = "tenants"), (name = "users"),
        (name = "tokens"), (name = "auth"), (name = "events"), (name = "subscriptions"), (name = "audit"), (name = "projections"),
    )
)]
pub struct Described;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API token (`ptr_...`) or the token of a login"))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The description of the routes, with the schemas of the events.
pub fn document(routes: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.extend(schema::components());
    }
    document
}

/// The pages. What they need is in the binary.
pub fn routes<S: Clone + Send + Sync + 'static>(document: Value) -> Router<S> {
    let errors = errors_page();
    Router::new()
        .route("/docs/errors", get(move || std::future::ready(Html(errors.clone()))))
        .route("/docs/errors.css", get(|| async { ([(header::CONTENT_TYPE, "text/css")], ERRORS_STYLE) }))
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", document))
}

/// A file of its own, because the pages' policy takes no style that stands in the page.
const ERRORS_STYLE: &str = "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:50rem}\
    td,th{text-align:left;padding:.2rem 1rem .2rem 0}";

/// What the `type` of a problem leads to.
fn errors_page() -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Portreeve: errors</title>\
         <link rel=\"stylesheet\" href=\"/docs/errors.css\"><h1>Errors</h1><table><tr><th>code</th><th>status</th><th>title</th></tr>",
    );
    for row in CODES {
        let (code, status, title) = (row.code, row.status.as_u16(), row.title);
        let _infallible = write!(
            page,
            "<tr id=\"{code}\"><td><code>{code}</code></td><td>{status}</td><td>{title}</td></tr>"
        );
    }
    page.push_str(
        "</table><h1>Terminals</h1><p>What a terminal's WebSocket says in an error, and then closes with.</p>\
         <table><tr><th>code</th><th>close code</th><th>the same again may work</th><th>what to do</th></tr>",
    );
    for (code, close, again, what) in failure::table() {
        let again = if again { "yes" } else { "no" };
        let _infallible = write!(
            page,
            "<tr><td><code>{code}</code></td><td>{close}</td><td>{again}</td><td>{what}</td></tr>"
        );
    }
    page.push_str("</table></html>");
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::CATALOGUE;

    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_event_is_described() {
        let routes = crate::described_routes();
        let document = document(&routes);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > CATALOGUE.len());
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
        for row in CATALOGUE {
            assert!(
                document["components"]["schemas"][format!("Event.{}", row.name)].is_object(),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn every_route_of_the_contract_is_described() {
        let document = document(&crate::described_routes());
        for (method, path) in [
            ("post", "/api/environments"),
            ("get", "/api/environments"),
            ("get", "/api/environments/{id}"),
            ("delete", "/api/environments/{id}"),
            ("get", "/api/environments/{id}/ssh"),
            ("post", "/api/environments/{id}/reset-password"),
            ("put", "/api/tenants/{id}/quota"),
            ("post", "/api/projections/{name}/rebuild"),
            ("get", "/api/events"),
            ("get", "/api/events/schemas/{type}"),
            ("post", "/api/nats-taps"),
            ("get", "/api/nats-taps"),
            ("get", "/api/nats-taps/{id}"),
            ("delete", "/api/nats-taps/{id}"),
            ("get", "/api/audit"),
            ("get", "/api/audit/verify"),
            ("get", "/api/audit/export"),
            ("get", "/api/audit/replay"),
            ("get", "/api/audit/diff"),
            ("get", "/api/audit/reports/{name}"),
            ("get", "/api/audit/explain/{event_id}"),
            ("get", "/api/audit/timeline"),
            ("post", "/api/audit/what-if"),
            ("get", "/api/ports"),
            ("post", "/api/audit/anchor"),
            ("get", "/api/environments/{id}/recordings"),
            ("get", "/api/recordings/{id}"),
            ("put", "/api/tenants/{id}/recording"),
            ("get", "/api/servers/export"),
            ("post", "/api/servers/import"),
            ("post", "/api/servers/{id}/doctor"),
            ("post", "/api/servers/{id}/facts"),
            ("post", "/api/servers/{id}/accounts"),
            ("post", "/api/relays"),
            ("patch", "/api/relays/{id}"),
            ("delete", "/api/relays/{id}"),
            ("post", "/api/relays/{id}/rotate-key"),
            ("post", "/api/relays/{id}/accept"),
            ("post", "/api/commands"),
            ("get", "/api/commands/{id}"),
            ("get", "/api/batches/{id}"),
            ("get", "/api/batches/{id}/commands"),
            ("get", "/api/batches/{id}/events"),
            ("post", "/api/subscriptions"),
            ("get", "/api/subscriptions"),
            ("get", "/api/subscriptions/{id}/events"),
            ("post", "/api/subscriptions/{id}/position"),
            ("post", "/api/subscriptions/{id}/rotate-secret"),
            ("get", "/api/subscriptions/{id}/parked"),
            ("post", "/api/subscriptions/{id}/parked/{sequence}/retry"),
            ("delete", "/api/subscriptions/{id}/parked/{sequence}"),
            ("post", "/api/batches/{id}/cancel"),
            ("post", "/api/schedules"),
            ("get", "/api/schedules"),
            ("get", "/api/schedules/{id}"),
            ("patch", "/api/schedules/{id}"),
            ("delete", "/api/schedules/{id}"),
            ("post", "/api/batches/{id}/approve"),
            ("post", "/api/batches/{id}/reject"),
        ] {
            assert!(document["paths"][path][method]["responses"].is_object(), "{method} {path}");
        }
    }
}
