//! Does every failed answer have the one form, whoever makes it?

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, world};

async fn failed(request: RequestBuilder, status: u16, code: &str) -> reqwest::header::HeaderMap {
    let response = request.send().await.unwrap();
    let (seen, headers) = (response.status().as_u16(), response.headers().clone());
    let body: Value = response.json().await.unwrap();
    assert_eq!((seen, body["code"].as_str().unwrap()), (status, code), "{body}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(body["correlation_id"].as_str().unwrap().len(), 36);
    headers
}

fn call(world: &World, method: Method, path: &str) -> RequestBuilder {
    let url = format!("{}{path}", world.admin.base());
    Client::new().request(method, url).bearer_auth(world.admin.token().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failed_answer_is_problem_details() {
    let world = world().await;
    let call = |method, path: &str| call(&world, method, path);
    let json_body = |request: RequestBuilder, body: &str| {
        request.header("content-type", "application/json").body(body.to_owned())
    };
    failed(call(Method::GET, "/nowhere"), 404, "not_found").await;
    failed(call(Method::GET, "/api/nowhere"), 404, "not_found").await;
    failed(call(Method::GET, "/api/environments/x.y"), 404, "not_found").await;
    failed(call(Method::GET, "/api/environments/%ff"), 400, "bad_request").await;
    let headers = failed(call(Method::PATCH, "/api/environments"), 405, "method_not_allowed").await;
    assert!(headers["allow"].to_str().unwrap().contains("POST"));
    failed(json_body(call(Method::POST, "/api/environments"), "{\"a\":"), 400, "json_invalid").await;
    failed(json_body(call(Method::POST, "/api/environments"), ""), 422, "validation_failed").await;
    failed(call(Method::POST, "/api/environments").body("{}"), 415, "unsupported_media_type").await;
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(1024 * 1024));
    failed(json_body(call(Method::POST, "/api/environments"), &large), 413, "body_too_large").await;
    let headers =
        failed(Client::new().get(format!("{}/api/me", world.admin.base())), 401, "unauthorized").await;
    assert_eq!(headers["www-authenticate"], "Bearer");
    // the caller's own id for its request comes back, and is what the events carry
    let id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    let headers = failed(call(Method::GET, "/nowhere").header("x-request-id", id), 404, "not_found").await;
    assert_eq!(headers["x-request-id"], id);
    let made = call(Method::POST, "/api/tenants").header("x-request-id", id).json(&json!({"name": "a"}));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let events = world.everything().await;
    assert_eq!(events.last().unwrap().meta.correlation.to_string(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = world().await;
    let host = world.admin.base().trim_start_matches("http://");
    let mut connection = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /api/environments HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        world.admin.token().unwrap()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = connection.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself_offline() {
    let world = world().await;
    let document = world.admin.get("/openapi.json").await.unwrap().expect(200).unwrap();
    assert_eq!(document.body["openapi"], "3.1.0");
    assert!(document.body["paths"]["/api/environments"]["post"].is_object());
    let page = world.admin.get("/docs/").await.unwrap().expect(200).unwrap();
    assert!(page.body.as_str().unwrap().contains("swagger"));
    assert!(!page.body.as_str().unwrap().contains("https://"), "the page loads from elsewhere");
    world.admin.get("/docs/swagger-ui-bundle.js").await.unwrap().expect(200).unwrap();
    let errors = world.admin.get("/docs/errors").await.unwrap().expect(200).unwrap();
    assert!(errors.body.as_str().unwrap().contains("id=\"quota_exceeded\""));
    let events = world.admin.get("/docs/events").await.unwrap().expect(200).unwrap();
    assert!(events.body.as_str().unwrap().contains("id=\"EnvRequested\""));
    let metrics = world.admin.get("/metrics").await.unwrap().expect(200).unwrap();
    let metrics = metrics.body.as_str().unwrap();
    assert!(metrics.contains("portreeve_api_answers_total{route=\"/openapi.json\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_told_how_events_look_without_a_token() {
    let world = world().await;
    let get = |path: &str| Client::new().get(format!("{}{path}", world.admin.base()));
    let json = async |path: &str| get(path).send().await.unwrap().json::<Value>().await.unwrap();
    let schema = json("/api/events/schemas/EnvRequested").await;
    assert_eq!((&schema["title"], &schema["type"]), (&json!("EnvRequested"), &json!("object")));
    assert_eq!(json("/api/events/schemas/EnvRequested.v1").await, schema);
    assert_eq!(json("/api/events/schemas/CloudEvent").await["title"], "CloudEvent");
    failed(get("/api/events/schemas/EnvPainted"), 404, "not_found").await;
    failed(get("/api/events/schemas/EnvRequested.v2"), 404, "not_found").await;
    let document = json("/asyncapi.json").await;
    assert_eq!(document["asyncapi"], "3.0.0");
    assert_eq!(document["channels"]["eventSocket"]["address"], "/ws/events");
    let described = &document["components"]["schemas"]["Event.EnvRequested"]["properties"];
    assert_eq!(described["name"], schema["properties"]["name"]);
}
