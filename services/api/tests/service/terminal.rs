//! Is a shell in the browser a shell? Typing, sizes, texts in every script, exit codes, and what is recorded.

use std::time::Duration;

use harness::Terminal;
use harness::terminal::Opening;
use serde_json::json;

use crate::terminal_place::{Place, place};

async fn shell_of(place: &Place, binary: bool) -> Terminal {
    let opening = Opening::of(place.admin(), &place.env, "&cols=100&rows=40").await.unwrap();
    let opening = if binary { opening.binary() } else { opening };
    opening.ready(place.admin()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_carry_a_shell_from_its_beginning_to_its_exit_code() {
    let place = place().await;
    for binary in [false, true] {
        let mut terminal = shell_of(&place, binary).await;
        let lines = terminal.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], format!("Connecting to place ({})...", place.env));
        assert_eq!(lines[1], "SSH connection established, starting the terminal...");
        assert_eq!(lines[2], "Terminal ready");
        assert_eq!(terminal.runs("stty size").await.unwrap(), "40 100\n");
        terminal.resize(132, 50).await.unwrap();
        assert_eq!(terminal.runs("stty size").await.unwrap(), "50 132\n");
        assert_eq!(terminal.runs("echo $TERM").await.unwrap(), "xterm-256color\n");
        assert_eq!(terminal.runs("printf '日志: %s\\n' 完成").await.unwrap(), "日志: 完成\n");
        // a character whose bytes come apart
        let cut = terminal.runs("printf '\\346\\227'; sleep 0.3; printf '\\245\\n'").await.unwrap();
        assert_eq!(cut, "日\n");
        terminal.ping(7).await.unwrap();
        terminal.until("it answers", |terminal| terminal.newest("pong").is_some()).await.unwrap();
        assert_eq!(terminal.newest("pong").unwrap()["id"], 7);
        let session = terminal.session.clone().unwrap();
        terminal.types("exit 7\r").await.unwrap();
        terminal.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();
        assert_eq!(terminal.newest("exit"), Some(&json!({"type": "exit", "code": 7})));
        assert_eq!(terminal.closed, Some((1000, "exited".to_owned())));
        is_recorded(&place, &session, terminal.offset).await;
    }
}

async fn is_recorded(place: &Place, session: &str, shown: u64) {
    let listed = place
        .sessions("the session is recorded", |items| {
            items.iter().any(|item| item["session_id"] == session && !item["closed_at"].is_null())
        })
        .await;
    let row = listed.iter().find(|item| item["session_id"] == session).unwrap();
    assert_eq!(row["entrance"], "web_terminal");
    assert_eq!((&row["method"], &row["client"]), (&json!("token"), &json!("harness")));
    assert_eq!((&row["reason"], &row["bytes_out"]), (&json!("exited"), &json!(shown)));
    assert!(row["bytes_in"].as_u64() > Some(100), "{row}");
    let logins = place.admin().list(&format!("/api/environments/{}/logins", place.env)).await.unwrap();
    assert!(logins.iter().any(|item| item["entrance"] == "web_terminal"), "{logins:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_by_a_signal_has_no_code_and_a_large_paste_arrives() {
    let place = place().await;
    let mut terminal = place.binary().await;
    // what is pasted is larger than everything that may wait for the shell
    let shell = terminal.runs("stty -echo -icanon; echo raw").await.unwrap();
    assert_eq!(shell, "raw\n");
    terminal.types("head -c 3000000 | sha256sum\r").await.unwrap();
    for _ in 0..30 {
        terminal.types(&"0123456789".repeat(10_000)).await.unwrap();
    }
    terminal.until_shows("  -").await.unwrap();
    terminal.types("kill -9 $$\r").await.unwrap();
    terminal.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();
    assert_eq!(terminal.newest("exit"), Some(&json!({"type": "exit", "code": null})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keystroke_is_echoed_at_once_also_beside_a_flood() {
    let place = place().await;
    let mut terminal = place.binary().await;
    terminal.runs("true").await.unwrap();
    let mut slowest = Duration::ZERO;
    for key in "abcdefghijklmnopqrstuvwxyz".chars() {
        let began = std::time::Instant::now();
        let from = terminal.output.len();
        terminal.types(&key.to_string()).await.unwrap();
        terminal.until("an echo", |terminal| terminal.output.len() > from).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    // far below the time for which output is joined, were it not for the machine
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
}
