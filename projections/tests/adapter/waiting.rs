//! Does a waiting reader wake when its event is there, and only then?

use std::time::{Duration, Instant};

use crate::story::Story;
use crate::{feed_all, fresh};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_wait_on_one_connection() {
    let (_postgres, projections) = fresh().await;
    let log = Story::long(30);
    let waiters: Vec<_> = (0..1_000_u64)
        .map(|n| {
            let projections = projections.clone();
            tokio::spawn(
                async move { projections.wait_for(1 + n % 20, Duration::from_secs(20)).await.unwrap() },
            )
        })
        .collect();
    assert!(!projections.wait_for(1, Duration::from_millis(200)).await.unwrap(), "nothing was fed");
    let started = Instant::now();
    feed_all(&projections, &log[..20], 1).await;
    for waiter in waiters {
        assert!(waiter.await.unwrap());
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(!projections.wait_for(21, Duration::from_millis(100)).await.unwrap());
    assert!(projections.wait_for(20, Duration::ZERO).await.unwrap(), "known at once");
}

#[tokio::test]
async fn news_comes_within_milliseconds() {
    let (_postgres, projections) = fresh().await;
    let log = Story::long(30);
    assert!(projections.wait_for(0, Duration::from_secs(5)).await.unwrap());
    let mut longest = Duration::ZERO;
    for event in &log {
        projections.feed(event.seq - 1, event.seq, std::slice::from_ref(event)).await.unwrap();
        let fed = Instant::now();
        assert!(projections.wait_for(event.seq, Duration::from_secs(5)).await.unwrap());
        longest = longest.max(fed.elapsed());
    }
    assert!(longest < Duration::from_millis(500), "{longest:?}: the notifications do not come");
}
