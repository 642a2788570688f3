//! Does a terminal hold under load and through drops? Bounded, exact, and taken up again.

use std::time::Duration;

use harness::Terminal;
use serde_json::json;

use crate::terminal_place::place;

/// What may be under way to a client that acknowledges nothing, and what the piece in hand may add.
const UNACKNOWLEDGED_BYTES_MAX: usize = (512 << 10) + (64 << 10);
const QUIET: Duration = Duration::from_millis(1_500);
/// More in all than anything on the way holds.
const PASTES: usize = 160;
const PASTE_BYTES: usize = 100_000;
const LINES: usize = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn who_acknowledges_nothing_stops_their_own_shell_alone() {
    let place = place().await;
    let mut flooded = place.binary().await;
    flooded.acknowledges = false;
    let mut other = place.binary().await;
    flooded.types("yes\r").await.unwrap();
    flooded.until_quiet(QUIET).await.unwrap();
    let shown = flooded.output.len();
    assert!((100_000..UNACKNOWLEDGED_BYTES_MAX).contains(&shown), "{shown} bytes");
    assert_eq!(other.runs("echo still here").await.unwrap(), "still here\n");
    // what is acknowledged lets as much follow
    flooded.acknowledge(flooded.offset).await.unwrap();
    flooded.until_quiet(QUIET).await.unwrap();
    let more = flooded.output.len() - shown;
    assert!((100_000..UNACKNOWLEDGED_BYTES_MAX).contains(&more), "{more} bytes more");
    // and a client cannot acknowledge what it was not sent
    flooded.acknowledge(u64::MAX).await.unwrap();
    flooded.until_quiet(QUIET).await.unwrap();
    let more = flooded.output.len() - shown - more;
    assert!((100_000..UNACKNOWLEDGED_BYTES_MAX).contains(&more), "{more} bytes at last");
    flooded.acknowledges = true;
    flooded.acknowledge(flooded.offset).await.unwrap();
    flooded.types("\u{3}").await.unwrap();
    flooded.until_shows("^C").await.unwrap();
    assert_eq!(flooded.runs("echo over").await.unwrap(), "over\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_what_they_paste_is_not_stuck() {
    let place = place().await;
    let mut terminal = place.binary().await;
    terminal.acknowledges = false;
    terminal.runs("stty -echo -icanon; echo raw").await.unwrap();
    // cat waits for us to draw, and we, for cat to read
    terminal.types("cat\r").await.unwrap();
    for _ in 0..PASTES {
        terminal.types_and_reads(&"x".repeat(PASTE_BYTES)).await.unwrap();
    }
    terminal.acknowledges = true;
    terminal.acknowledge(terminal.offset).await.unwrap();
    let all = |terminal: &Terminal| terminal.output.len() >= PASTES * PASTE_BYTES;
    terminal.until("all of it came back", all).await.unwrap();
}

/// The numbers of all whole lines `n <number>` in `text`.
fn numbers(text: &str) -> Vec<usize> {
    // the first one stands behind what the shell says to the terminal before a command
    let lines = text.split(['\r', '\n']).filter_map(|line| line.strip_prefix("n "));
    lines.filter_map(|number| number.parse().ok()).collect()
}

async fn counts_through_drops(binary: bool) {
    let place = place().await;
    let mut terminal = if binary { place.binary().await } else { place.json().await };
    let session = terminal.session.clone().unwrap();
    let start = format!("for n in $(seq {LINES}); do echo n $n; done; echo a''ll\r");
    terminal.types(&start).await.unwrap();
    let mut shown = Vec::new();
    let mut drops = 0;
    loop {
        let before = terminal.output.len();
        let enough = |terminal: &Terminal| {
            terminal.output.len() > before + 40_000 || terminal.text().contains("all\r\n")
        };
        terminal.until("some lines", enough).await.unwrap();
        let (offset, begins_at) = (terminal.offset, terminal.begins_at);
        assert_eq!(begins_at, shown.len() as u64, "it begins where we left");
        shown.extend_from_slice(&terminal.output);
        assert_eq!(shown.len() as u64, offset);
        if terminal.text().contains("all\r\n") {
            break;
        }
        terminal.drop_connection().unwrap();
        drops += 1;
        terminal = place.back(&session, offset, binary).await;
    }
    assert!(drops >= 5, "{drops}");
    let text = String::from_utf8(shown).unwrap();
    assert_eq!(numbers(&text), (1..=LINES).collect::<Vec<_>>(), "no gap and no repeat");
    terminal.types("exit\r").await.unwrap();
    terminal.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();
    let rows = place.sessions("one session", |items| items.iter().all(|i| !i["closed_at"].is_null())).await;
    assert_eq!(rows.len(), 1, "one shell, one session: {rows:#?}");
    assert_eq!(rows[0]["bytes_out"], json!(terminal.offset));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_comes_back_to_every_byte() {
    counts_through_drops(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_comes_back_to_every_byte_as_json() {
    counts_through_drops(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_takes_the_shell_over() {
    let place = place().await;
    let mut first = place.binary().await;
    first.runs("export KEPT=yes; echo set").await.unwrap();
    let session = first.session.clone().unwrap();
    let mut second = place.back(&session, 0, true).await;
    let error = first.fails("taken_over", 4409).await.unwrap();
    assert_eq!(error["retryable"], false);
    second.until("what was shown is replayed", |terminal| terminal.replayed).await.unwrap();
    assert!(second.text().contains("set\r\n"), "{}", second.text());
    assert_eq!(second.runs("echo $KEPT").await.unwrap(), "yes\n");
    assert!(second.newest("people").is_none(), "nobody else is there: {:?}", second.told);
    // somebody else's it is not
    let other = place.world.caller("default", "operator").await;
    let more = format!("&session={session}&offset=0");
    let opening = harness::terminal::Opening::of(&other, &place.env, &more).await.unwrap();
    opening.open(&other).await.unwrap().fails("session_unknown", 4404).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_after_the_end_is_shown_it() {
    let place = place().await;
    let mut terminal = place.binary().await;
    terminal.runs("true").await.unwrap();
    let (session, offset) = (terminal.session.clone().unwrap(), terminal.offset);
    terminal.types("sleep 0.5; echo last wo''rds; exit 3\r").await.unwrap();
    terminal.drop_connection().unwrap();
    place.sessions("it has ended", |items| items.iter().all(|item| item["reason"] == "exited")).await;
    let mut terminal = place.back(&session, offset, true).await;
    terminal.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();
    assert!(terminal.text().contains("last words"), "{}", terminal.text());
    assert_eq!(terminal.newest("exit"), Some(&json!({"type": "exit", "code": 3})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_to_which_nobody_comes_back_ends_after_its_grace() {
    let place = place().await;
    let left = place.binary().await;
    let dropped = place.binary().await;
    left.leave().await.unwrap();
    dropped.drop_connection().unwrap();
    let rows =
        place.sessions("both have ended", |items| items.iter().all(|i| !i["closed_at"].is_null())).await;
    let reasons: std::collections::BTreeSet<_> =
        rows.iter().filter_map(|row| row["reason"].as_str()).collect();
    assert_eq!(reasons, ["client_left", "connection_lost"].into());
}
