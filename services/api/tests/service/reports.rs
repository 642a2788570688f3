//! Is a report the same whoever computes it when, in both formats, and does it tell nobody of others?

use audit::report::REPORTS;
use audit::report::document::Document;
use audit::report::rows::Row;
use chrono::{SecondsFormat, Utc};
use harness::Api;
use reqwest::Client;
use serde_json::{Value, json};

use crate::evidence::writer;
use crate::server_grants::{grant, person};
use crate::world::{World, asked, problem, world};

async fn report(api: &Api, name: &str, query: &str) -> Document {
    let path = format!("/api/audit/reports/{name}?{query}");
    let answer = api.get(&path).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.content_type, "application/json");
    let document = Document::from_json(answer.body.to_string().as_bytes()).unwrap();
    assert_eq!(document.head.report, name);
    assert_eq!(answer.position, Some(document.head.to_sequence));
    assert_eq!(document.rows_digest(), document.head.rows_digest);
    document
}

/// The rows as a table, and what is said beside it.
async fn table(api: &Api, name: &str, query: &str) -> (String, Document) {
    let url = format!("{}/api/audit/reports/{name}?{query}&format=csv", api.base());
    let answer = Client::new().get(url).bearer_auth(api.token().unwrap()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8; header=present");
    let head = answer.headers()["portreeve-report"].to_str().unwrap().to_owned();
    let text = answer.text().await.unwrap();
    let document = Document::from_csv(head.as_bytes(), text.as_bytes()).unwrap();
    (text, document)
}

fn texts(document: &Document) -> Vec<Vec<String>> {
    let row = |row: &Row| row.iter().map(|cell| cell.text().into_owned()).collect();
    document.rows.iter().map(row).collect()
}

/// Of each row the cells of these columns.
fn columns(document: &Document, names: &[&str]) -> Vec<Vec<String>> {
    let place = |name: &&str| document.head.columns.iter().position(|column| column == *name).unwrap();
    let places: Vec<usize> = names.iter().map(place).collect();
    texts(document).iter().map(|row| places.iter().map(|at| row[*at].clone()).collect()).collect()
}

/// An environment whose password was reset and whose door was closed to an address; answers its id.
async fn environment(world: &World, api: &Api, tenant: &str) -> String {
    let made = api.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap().to_owned();
    let reset = api.post(&format!("/api/environments/{id}/reset-password"), &json!({})).await.unwrap();
    reset.expect(200).unwrap();
    world.lock_out(&tenant.parse().unwrap(), &id, "203.0.113.9").await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_range_gives_the_same_report_in_both_formats() {
    let world = world().await;
    let admin = &world.admin;
    // what a spreadsheet would take for a formula
    admin.post("/api/tenants", &json!({"name": "=1+1"})).await.unwrap().expect(201).unwrap();
    environment(&world, admin, "default").await;
    let head = world.head().await;
    let range = format!("from=2&to={head}");
    let mut before = Vec::new();
    for known in REPORTS {
        let once = report(admin, known.name, &range).await;
        assert_eq!(once, report(admin, known.name, &range).await, "{}", known.name);
        assert_eq!((once.head.from_sequence, once.head.to_sequence, once.head.messages), (2, head, head));
        assert_eq!((once.head.unreadable, once.head.columns.len()), (0, known.columns.len()));
        before.push(once);
    }
    environment(&world, admin, "default").await;
    for (known, once) in REPORTS.iter().zip(before) {
        let again = report(admin, known.name, &range).await;
        assert_eq!(again, once, "{}", known.name);
        let (text, csv) = table(admin, known.name, &range).await;
        assert_eq!((&csv.head, texts(&csv)), (&once.head, texts(&once)), "{}", known.name);
        assert!(!text.contains(",\"=") && !text.contains("\n\"="), "{text}");
        let more = report(admin, known.name, "from=2").await;
        assert_ne!(more.head.digest, once.head.digest);
    }
    let privileged = report(admin, "privileged", &range).await;
    let named = columns(&privileged, &["action", "detail"]);
    assert!(named.contains(&vec!["TenantRegistered".to_owned(), "=1+1".to_owned()]), "{named:?}");
    let (text, _) = table(admin, "privileged", &range).await;
    assert!(text.contains("\"'=1+1\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_a_report_is_what_anchors_sign() {
    let world = world().await;
    let _writer = writer(&world);
    let anchored = world.admin.post("/api/audit/anchor", &json!({})).await.unwrap().expect(201).unwrap();
    let upto = anchored.body["upto"].as_u64().unwrap();
    let made = report(&world.admin, "access", &format!("from={upto}&to={upto}")).await;
    assert_eq!(anchored.body["hash"], json!(made.head.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_each_others_rows() {
    let world = world().await;
    world.tenant("Blue").await;
    world.tenant("Red").await;
    let alice = world.caller("blue", "developer").await;
    let id = environment(&world, &alice, "blue").await;
    let (blue, red) = (world.caller("blue", "auditor").await, world.caller("red", "auditor").await);
    let range = format!("to={}", world.head().await);
    for known in REPORTS {
        let own = report(&blue, known.name, &range).await;
        assert!(texts(&own).iter().all(|row| row[0] == "blue"), "{own:?}");
        // an admin who asks for the tenant gets the same
        let asked = report(&world.admin, known.name, &format!("{range}&tenant=blue")).await;
        assert_eq!((&asked, asked.head.tenant.as_ref().unwrap().as_str()), (&own, "blue"));
        let other = report(&red, known.name, &range).await;
        assert!(texts(&other).iter().all(|row| row[0] == "red"), "{other:?}");
        assert!(!format!("{other:?}").contains(&id), "{other:?}");
        assert_eq!(own.head.digest, other.head.digest, "the log is one");
        let path = format!("/api/audit/reports/{}", known.name);
        problem(&red.get(&format!("{path}?tenant=blue")).await.unwrap(), 404, "not_found");
        problem(&alice.get(&path).await.unwrap(), 403, "forbidden");
        let operator = world.caller("blue", "operator").await;
        problem(&operator.get(&path).await.unwrap(), 403, "forbidden");
    }
    for (name, rows) in [("logins", 6), ("passwords", 5)] {
        let made = report(&blue, name, &range).await;
        assert!(made.rows.len() >= rows, "{made:?}");
        assert!(report(&red, name, &range).await.rows.is_empty());
    }
    // tokens lie under the system's tenant, and are told where they belong
    let tokens = report(&red, "privileged", &range).await;
    assert!(columns(&tokens, &["action"]).concat().contains(&"TokenIssued".to_owned()), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_told_from_the_event_that_gave_it_to_the_one_that_took_it() {
    let world = world().await;
    let admin = &world.admin;
    let server = json!({
        "name": "web", "host": "127.0.0.1", "port": 22, "username": "developer", "password": "Right-Pass-1",
        "zone": "dmz", "test": false,
    });
    admin.post("/api/servers", &server).await.unwrap().expect(201).unwrap();
    person(&world, "alice").await;
    let zone = |grants: Value| json!({"servers": {"zone": "dmz"}, "grants": grants});
    let granted = json!([{"user": "alice", "may": ["terminal"]}]);
    grant(&world, "/api/server-grants", zone(granted)).await;
    let given = world.head().await;
    let between = Utc::now();
    grant(&world, "/api/server-grants", zone(json!([]))).await;
    let taken = world.head().await;
    let grants = async |query: String| {
        let made = report(admin, "access", &query).await;
        let mut rows = columns(&made, &["what", "who", "on", "may", "began_sequence", "ended_sequence"]);
        rows.retain(|row| row[0] == "grant");
        rows
    };
    let began = given.to_string();
    let row = |ended: &str| {
        let cells = ["grant", "user alice", "zone dmz", "terminal", began.as_str(), ended];
        vec![cells.map(str::to_owned).to_vec()]
    };
    assert_eq!(grants(format!("to={taken}")).await, row(&taken.to_string()));
    // it held all the time; at its end it holds still, behind its end it is gone
    assert_eq!(grants(format!("from={given}&to={given}")).await, row(""));
    assert_eq!(grants(format!("from={taken}&to={taken}")).await, row(&taken.to_string()));
    assert!(grants(format!("from={}&to={taken}", taken + 1)).await.is_empty());
    // of times the first counts and the last does not: what ends before begins where the other ends
    let time = between.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let earlier = report(admin, "access", &format!("to={time}")).await.head;
    let later = report(admin, "access", &format!("from={time}")).await.head;
    assert_eq!((earlier.to_sequence, later.from_sequence, later.to_sequence), (given, given + 1, taken));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_named() {
    let world = world().await;
    let admin = &world.admin;
    for name in ["one", "two", "three"] {
        world.tenant(name).await;
    }
    for (query, field, code) in [
        ("from=5&to=3", "from", "after_to"),
        ("from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z", "from", "after_to"),
        ("to=100000", "to", "in_future"),
        ("to=2999-01-01T00:00:00Z", "to", "in_future"),
        ("from=yesterday", "from", "malformed"),
        ("format=xml", "format", "malformed"),
        ("tenant=A%20B", "tenant", "malformed"),
        ("until=3", "until", "unknown"),
    ] {
        let answer = admin.get(&format!("/api/audit/reports/logins?{query}")).await.unwrap();
        problem(&answer, 400, "parameter_invalid");
        let error = &answer.body["errors"][0];
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!(code)), "{}", answer.body);
    }
    problem(&admin.get("/api/audit/reports/nothing").await.unwrap(), 404, "not_found");
    let none = report(admin, "logins", "from=1&to=0").await;
    assert_eq!((none.head.messages, none.rows.len()), (0, 0));
}
