//! Is what a terminal shows seen as it passes, and nothing else? With OpenSSH at both ends.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::world::{World, output, ssh};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_seen_and_what_is_typed_and_has_no_terminal_is_not() {
    let world = World::start().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let port = world.relay_watched(Some(tell)).await;
    // no terminal
    let plain = output(ssh(port, &["any@127.0.0.1", "echo plain"])).await;
    assert_eq!(plain.stdout, b"plain\n");
    assert!(told.try_recv().is_err(), "nothing has a terminal");
    let mut command =
        ssh(port, &["-tt", "any@127.0.0.1", "stty -echo; echo ready; read line; echo got-${#line}"]);
    let mut child =
        command.env("TERM", "vt220").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = vec![next(&mut told).await];
    assert!(seen[0].starts_with("Opened { terminal: 1,") && seen[0].contains("vt220"), "{seen:?}");
    let text = |seen: &[String]| -> Vec<u8> { seen.iter().flat_map(|seen| bytes_of(seen)).collect() };
    while !String::from_utf8_lossy(&text(&seen)).contains("ready") {
        seen.push(next(&mut told).await);
    }
    child.stdin.as_mut().unwrap().write_all(b"typed\n").await.unwrap();
    while !seen.last().unwrap().starts_with("Closed { terminal: 1 }") {
        seen.push(next(&mut told).await);
    }
    let shown = String::from_utf8(text(&seen)).unwrap();
    assert!(shown.contains("got-5") && !shown.contains("typed"), "{shown:?}");
    let said = tokio::time::timeout(crate::world::SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), shown, "what the person saw is what was seen");
}

async fn next(told: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(crate::world::SOON, told.recv()).await.expect("something is seen").unwrap()
}

/// Of `Output { terminal: 1, bytes: [1, 2] }`.
fn bytes_of(seen: &str) -> Vec<u8> {
    let Some((_, list)) = seen.strip_prefix("Output").and_then(|rest| rest.split_once('[')) else {
        return Vec::new();
    };
    list.trim_end_matches("] }").split(", ").map(|byte| byte.parse().unwrap()).collect()
}
