//! Does a reader that stops bound what is held, and do keys still get through?

use std::time::Duration;

use ssh::channel::{Output, WINDOW_BYTES};

use crate::world::{SOON, World};

#[tokio::test]
async fn a_stopped_reader_stops_the_sender_and_nobody_else() {
    let world = World::start().await;
    let connection = world.connect().await;
    let (reader, writer) = connection.command(b"read line; exec yes", None).await.unwrap().split();
    writer.data("go\n").await.unwrap();
    let traffic = connection.traffic();
    // until nothing more arrives, the window is spent
    let mut before = 0;
    let stopped = async {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = traffic.received();
            if now == before && now >= u64::from(WINDOW_BYTES) {
                return now;
            }
            before = now;
        }
    };
    let held = tokio::time::timeout(SOON, stopped).await.expect("the sender stops");
    assert!(held < 2 * u64::from(WINDOW_BYTES), "{held} bytes came to a reader that does not read");
    // another command on the same connection, and input to the stopped one
    let other = connection.command(b"echo alive", None).await.unwrap();
    assert_eq!(other.next().await.unwrap(), Some(Output::Data("alive\n".into())));
    writer.signal("TERM").await.unwrap();
    // reading goes on where it stopped, to the end
    let mut bytes = 0;
    let rest = async {
        while let Some(output) = reader.next().await.unwrap() {
            if let Output::Data(data) = output {
                bytes += data.len();
            }
        }
        bytes
    };
    let bytes = tokio::time::timeout(SOON, rest).await.expect("the command was ended by the signal");
    assert!(bytes >= WINDOW_BYTES as usize, "{bytes}");
}
