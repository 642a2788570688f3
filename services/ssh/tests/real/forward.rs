//! Do bytes to a port behind the server arrive as they are, both ways at once, and stop when nobody reads?

use std::time::Duration;

use ssh::channel::{ChannelError, WINDOW_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{SOON, World};

const BYTES: usize = 8 << 20;

/// A port that sends back what comes, and its end.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.into_split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_through_a_forward_comes_back_as_it_was() {
    let (world, port) = (World::start().await, echo().await);
    let connection = world.connect().await;
    let sent: Vec<u8> = (0..BYTES).map(|n| (n * 31 % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(connection.forward("127.0.0.1", port).await.unwrap());
    let sending = sent.clone();
    let writing = async move {
        write.write_all(&sending).await.unwrap();
        write.shutdown().await.unwrap();
        write
    };
    let mut came = Vec::new();
    let both = async { tokio::join!(writing, read.read_to_end(&mut came)) };
    let (_write, read_all) = tokio::time::timeout(SOON, both).await.expect("both directions end");
    assert_eq!(read_all.unwrap(), BYTES);
    assert!(came == sent, "other bytes came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_stops_the_sender_and_who_leaves_ends_the_connection() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let flood = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let piece = vec![7; 64 << 10];
        while socket.write_all(&piece).await.is_ok() {}
    });
    let connection = world.connect().await;
    let mut forward = connection.forward("127.0.0.1", port).await.unwrap();
    let traffic = connection.traffic();
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
    let mut some = vec![0; 3 * WINDOW_BYTES as usize];
    forward.read_exact(&mut some).await.unwrap();
    assert!(some.iter().all(|byte| *byte == 7));
    drop(forward);
    tokio::time::timeout(SOON, flood).await.expect("the server's connection ends too").unwrap();
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_refusal() {
    let world = World::start().await;
    let port = harness::free_ports::one().unwrap();
    let refused = world.connect().await.forward("127.0.0.1", port).await.map(drop);
    assert!(matches!(refused, Err(ChannelError::Refused { .. })), "{refused:?}");
}
