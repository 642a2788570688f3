//! Is a shell in the browser recorded when its tenant asks for it, with its sizes and without what was typed?

use std::time::Duration;

use harness::terminal::Opening;
use serde_json::{Value, json};

use crate::terminal_place::{Place, place};

/// Typed while nothing is echoed, so no recording may have it.
const TYPED: &str = "Typed-Secret-9";
const SOON: Duration = Duration::from_secs(30);

async fn record(place: &Place, enabled: bool) {
    let asked = json!({"enabled": enabled});
    place.admin().put("/api/tenants/default/recording", &asked).await.unwrap().expect(200).unwrap();
}

async fn recordings(place: &Place, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let path = format!("/api/environments/{}/recordings", place.env);
    harness::eventually(what, SOON, async || {
        let items = place.admin().list(&path).await.map_err(|error| format!("{error:#}"))?;
        if holds(&items) { Ok(items) } else { Err(format!("{items:#?}")) }
    })
    .await
    .unwrap()
}

/// All that its events of this kind say.
async fn said(place: &Place, recording: &Value, kind: &str) -> String {
    let path = format!("/api/recordings/{}", recording["recording_id"].as_str().unwrap());
    let answer = place.admin().get(&path).await.unwrap().expect(200).unwrap();
    let lines = answer.body.as_str().unwrap().lines().skip(1);
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event[1] == kind).map(|event| event[2].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_is_recorded_across_its_connections_when_its_tenant_asks_for_it() {
    let place = place().await;
    record(&place, true).await;
    let opening = Opening::of(place.admin(), &place.env, "&cols=100&rows=40").await.unwrap();
    let mut terminal = opening.binary().ready(place.admin()).await.unwrap();
    let session = terminal.session.clone().unwrap();
    assert_eq!(terminal.runs("printf 'gr\\303\\274n\\n'").await.unwrap(), "grün\n");
    // the terminal echoes nothing when it says so
    let line = "stty -echo; echo quiet-$((40+1)); read -r secret; stty echo; echo got-${#secret}";
    terminal.types(&format!("{line}\r")).await.unwrap();
    terminal.until_shows("quiet-41").await.unwrap();
    terminal.types(&format!("{TYPED}\r")).await.unwrap();
    terminal.until_shows("got-14").await.unwrap();
    terminal.resize(132, 50).await.unwrap();
    assert_eq!(terminal.runs("stty size").await.unwrap(), "50 132\n");
    // the shell goes on without its connection, and so does its recording
    let seen = terminal.offset;
    terminal.drop_connection().unwrap();
    let mut terminal = place.back(&session, seen, true).await;
    assert_eq!(terminal.runs("echo again-$((40+2))").await.unwrap(), "again-42\n");
    // off is for those that begin later
    record(&place, false).await;
    terminal.types("echo last-$((40+3)); exit\r").await.unwrap();
    terminal.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();

    let listed = recordings(&place, "its end", |items| {
        items.len() == 1 && items.iter().all(|item| !item["ended_at"].is_null())
    })
    .await;
    let row = &listed[0];
    assert_eq!(row["recording_id"], format!("{session}.1"));
    assert_eq!((&row["entrance"], &row["user"]), (&json!("web_terminal"), &json!("admin")));
    assert_eq!((&row["cols"], &row["rows"]), (&json!(100), &json!(40)));
    assert_eq!((&row["complete"], &row["lost_bytes"]), (&json!(true), &json!(0)), "{row}");
    let shown = said(&place, row, "o").await;
    for text in ["grün", "got-14", "50 132", "again-42", "last-43"] {
        assert!(shown.contains(text), "{text:?} is missing: {shown:?}");
    }
    assert!(!shown.contains(TYPED), "what was typed is in it");
    assert_eq!(said(&place, row, "r").await, "132x50");
    assert_eq!(said(&place, row, "i").await, "");

    let mut unrecorded = place.binary().await;
    unrecorded.runs("true").await.unwrap();
    let session = unrecorded.session.clone().unwrap();
    unrecorded.types("exit\r").await.unwrap();
    unrecorded.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();
    place
        .sessions("its end", |items| {
            items.iter().any(|item| item["session_id"] == session && !item["closed_at"].is_null())
        })
        .await;
    assert_eq!(place.world.count("RecordingStarted", &session).await, 0);
}
