//! Have records one order, whoever appends them, and is the log read as it was stored?

use nats::AnchorsError;
use nats::stored::SERVER_HEADERS;

use crate::stand::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_append_the_same_record_one_does() {
    let server = server().await;
    let (one, two) = (user(&server, "audit").await.anchors(), user(&server, "audit").await.anchors());
    assert_eq!(one.last().await.unwrap(), 0);
    for after in 0..20 {
        let (first, second) = tokio::join!(one.append(after, "one".into()), two.append(after, "two".into()));
        let lost =
            [&first, &second].into_iter().filter(|done| matches!(done, Err(AnchorsError::Lost { .. })));
        assert_eq!(lost.count(), 1, "{first:?} {second:?}");
        assert!(first.is_ok() || second.is_ok());
    }
    assert_eq!(one.last().await.unwrap(), 20);
    let records = two.read(1).await.unwrap();
    let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert!(matches!(one.append(7, "late".into()).await, Err(AnchorsError::Lost { after: 7 })));
    assert!(two.read(21).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_comes_back_with_its_own_headers_and_no_others() {
    let server = server().await;
    let connection = user(&server, "api").await;
    let log = connection.log();
    for number in 1..=3 {
        claim_for(&log, "a", number).await.unwrap();
    }
    // somebody else's message: a name twice, a name of the server's, none at all
    let raw = raw(&server, "api").await;
    let mut headers = async_nats::HeaderMap::new();
    headers.append("b", "2");
    headers.append("b", "1");
    headers.append("A", "x");
    headers.append("Nats-Sequence", "77");
    raw.request_with_headers("ev.acme.quota.b", headers, "raw".into()).await.unwrap();
    raw.request("ev.acme.quota.c", "bare".into()).await.unwrap();

    let mut reader = log.stored(2);
    let messages = reader.next().await.unwrap();
    assert_eq!(messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert_eq!(reader.position(), 6);
    assert!(reader.next().await.unwrap().is_empty());
    let ours = messages[0].headers();
    assert!(ours.iter().any(|(name, _)| *name == "Nats-Msg-Id"), "stored with it: {ours:?}");
    assert!(ours.iter().all(|(name, _)| !SERVER_HEADERS.contains(name)), "{ours:?}");
    assert!(ours.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{ours:?}");
    assert_eq!(messages[2].headers(), [("A", "x"), ("b", "2"), ("b", "1")]);
    assert_eq!((messages[2].subject.as_str(), &messages[2].payload[..]), ("ev.acme.quota.b", &b"raw"[..]));
    assert!(messages[3].headers().is_empty());
    let at = log.sequence_at(messages[1].time).await.unwrap();
    assert!(at.is_some_and(|seq| seq <= 3), "{at:?}");
    assert_eq!(log.sequence_at(chrono::Utc::now() + chrono::TimeDelta::hours(1)).await.unwrap(), None);
}
