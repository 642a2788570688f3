//! Does a killed PostgreSQL cost nothing but time?

use std::time::Duration;

use harness::eventually;
use projections::rebuild::Source as _;

use crate::story::Story;
use crate::{Reader, assert_rows_follow, feed_all, fresh};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_equal_a_rebuild_after_kill_minus_nine() {
    let (mut postgres, projections) = fresh().await;
    let log = std::sync::Arc::new(Story::long(20_000));
    for round in 0..4 {
        let feeder = tokio::spawn({
            let (projections, log) = (projections.clone(), log.clone());
            async move {
                let mut from = projections.position().await.unwrap();
                let mut reader = Reader::after(&log, from);
                loop {
                    let chunk = reader.next(100).await.unwrap();
                    if chunk.is_empty() || projections.feed_chunk(&chunk).await.is_err() {
                        return from;
                    }
                    from = chunk.to;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(120 + 60 * round)).await;
        postgres.kill().unwrap();
        let fed = feeder.await.unwrap();
        postgres.start_again().await.unwrap();
        let position = eventually("PostgreSQL answers", Duration::from_secs(20), || async {
            projections.position().await.map_err(|error| format!("{error:?}"))
        })
        .await
        .unwrap();
        assert!(position <= fed + 100, "{position} {fed}: nothing is there that was not fed");
        assert!(projections.wait_for(position, Duration::from_secs(10)).await.unwrap());
    }
    feed_all(&projections, &log, 500).await;
    assert_rows_follow(&projections, &log).await;
}
