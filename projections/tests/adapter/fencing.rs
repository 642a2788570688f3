//! Do two feeders at once leave neither a gap nor a double?

use std::sync::Arc;

use events::Recorded;
use projections::{Chunk, FeedError, Gap, Projections, Unreadable};

use crate::story::Story;
use crate::{assert_rows_follow, feed_all, fresh};

/// Feeds to the end as the projector does: fenced, it looks where the rows stand and goes on.
async fn feed_to_the_end(projections: Projections, log: Arc<Vec<Recorded>>, size: usize) -> (u32, u32) {
    let (mut fed, mut fenced) = (0, 0);
    loop {
        let from = projections.position().await.unwrap();
        let rest = &log[usize::try_from(from).unwrap()..];
        if rest.is_empty() {
            return (fed, fenced);
        }
        let events = &rest[..size.min(rest.len())];
        match projections.feed(from, events.last().unwrap().seq, events).await {
            Ok(()) => fed += 1,
            Err(FeedError::Fenced { .. }) => fenced += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_feeders_at_once_are_fenced() {
    let (postgres, projections) = fresh().await;
    let second = Projections::connect(&postgres.url()).await.unwrap();
    let log = Arc::new(Story::long(8_000));
    let one = tokio::spawn(feed_to_the_end(projections.clone(), log.clone(), 40));
    let two = tokio::spawn(feed_to_the_end(second, log.clone(), 70));
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert!(one.1 + two.1 > 0, "nobody was ever fenced, so nothing was shown: {one:?} {two:?}");
    assert_rows_follow(&projections, &log).await;
}

#[tokio::test]
async fn a_gap_is_refused_and_changes_nothing() {
    let (_postgres, projections) = fresh().await;
    let log = Story::long(20);
    feed_all(&projections, &log[..5], 5).await;
    let gap = projections.feed(5, 8, &log[6..8]).await;
    assert!(matches!(gap, Err(FeedError::Gap(Gap { expected: 6, found: 7 }))), "{gap:?}");
    let doubled = projections.feed(4, 6, &log[4..6]).await;
    assert!(matches!(doubled, Err(FeedError::Fenced { from: 4 })), "{doubled:?}");
    assert_eq!(projections.position().await.unwrap(), 5);
    feed_all(&projections, &log, 5).await;
    assert_rows_follow(&projections, &log).await;
}

#[tokio::test]
async fn an_unreadable_message_is_passed_and_counted() {
    let (_postgres, projections) = fresh().await;
    let log = Story::long(4);
    let mut chunk = Chunk::after(0);
    chunk.push(log[0].clone()).unwrap();
    let subject = "ev.acme.env.x".to_owned();
    chunk.push_unreadable(Unreadable { seq: 2, subject, reason: "NUL \0 inside".into() }).unwrap();
    chunk.push(log[2].clone()).unwrap();
    projections.feed_chunk(&chunk).await.unwrap();
    let status = projections.status().await.unwrap();
    assert!(status.iter().all(|status| status.position == 3 && status.unreadable == 1), "{status:?}");
}
