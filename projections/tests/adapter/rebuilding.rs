//! Does a rebuild beside leave readers and writers alone, and repair what is wrong?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use events::Recorded;
use harness::eventually;
use projections::rebuild::{BuildError, Source};
use projections::{Chunk, Projections, State, audit_log, environments};

use crate::story::Story;
use crate::{Reader, assert_rows_follow, feed_all, fresh};

async fn rebuild(projections: &Projections, name: &str, log: &[Recorded]) -> u64 {
    assert!(projections.request_rebuild(name).await.unwrap());
    let rebuild = projections.next_rebuild().await.unwrap().expect("asked for");
    assert_eq!(rebuild.projection(), name);
    let mut reader = Reader::after(log, rebuild.position());
    rebuild.run(&mut reader).await.unwrap().position
}

#[tokio::test]
async fn a_rebuild_repairs_rows_and_a_comparison_shows_them() {
    let (postgres, projections) = fresh().await;
    let log = Story::long(3_000);
    feed_all(&projections, &log, 500).await;
    postgres.sql("portreeve", "UPDATE environments SET status = 'running', gpu = 77").await.unwrap();
    postgres.sql("portreeve", "DELETE FROM audit_log WHERE seq = 1500").await.unwrap();
    let seen = projections.compare("environments", &mut Reader::after(&log, 0)).await.unwrap();
    assert_eq!(seen.position, 3_000.max(log.len() as u64));
    assert!(seen.only_live.iter().all(|row| row["gpu"] == 77) && !seen.only_log.is_empty(), "{seen:?}");
    let seen = projections.compare("audit_log", &mut Reader::after(&log, 0)).await.unwrap();
    assert_eq!((seen.only_live.len(), seen.only_log[0]["seq"].as_u64()), (0, Some(1_500)));
    for name in projections::NAMES {
        assert_eq!(rebuild(&projections, name, &log).await, log.len() as u64);
    }
    assert_rows_follow(&projections, &log).await;
    let status = projections.status().await.unwrap();
    assert!(status.iter().all(|status| status.state == State::Live), "{status:?}");
    assert!(projections.next_rebuild().await.unwrap().is_none());
}

/// A log that is still being written.
struct Growing {
    log: Arc<Vec<Recorded>>,
    written: tokio::sync::watch::Receiver<usize>,
    at: usize,
}

impl Source for Growing {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn std::error::Error + Send + Sync>> {
        let at = self.at;
        let news = self.written.wait_for(|written| *written > at);
        drop(tokio::time::timeout(Duration::from_millis(20), news).await);
        let written = *self.written.borrow();
        let mut chunk = Chunk::after(at as u64);
        for event in self.log[at..written].iter().take(max) {
            chunk.push(event.clone())?;
            self.at += 1;
        }
        Ok(chunk)
    }
}

/// Every answer is whole: the audit log has each event up to its position, the environments all rows.
async fn read_until(projections: Projections, log: Arc<Vec<Recorded>>, done: Arc<AtomicBool>) -> u32 {
    let mut reads = 0;
    while !done.load(Ordering::SeqCst) {
        let page = audit_log::list(&projections, &audit_log::Filter::default(), None, 500).await.unwrap();
        let newest = page.items.first().map_or(0, |row| row.seq);
        assert_eq!(newest, page.position, "rows and position are from one instant");
        assert_eq!(page.items.len() as u64, page.position.min(500));
        let filter = environments::Filter { status: Some("deleted".into()), ..Default::default() };
        let live =
            environments::list(&projections, &environments::Filter::default(), None, 500).await.unwrap();
        let position = usize::try_from(live.position).unwrap();
        let last = environments::list(&projections, &filter, None, 500).await.unwrap();
        let asked = |position: usize| {
            log[..position].iter().filter(|event| event.event.event_type() == "EnvRequested").count()
        };
        assert!(
            live.items.len() + last.items.len() + 12 >= asked(position) && asked(position) > 0,
            "{position}"
        );
        reads += 1;
    }
    reads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_rebuilding_readers_see_whole_rows_and_writers_go_on() {
    let (_postgres, projections) = fresh().await;
    let log = Arc::new(Story::long(12_000));
    feed_all(&projections, &log[..6_000], 500).await;
    let (write, written) = tokio::sync::watch::channel(6_000);
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_until(projections.clone(), log.clone(), done.clone()));
    let writer = tokio::spawn({
        let (projections, log, done) = (projections.clone(), log.clone(), done.clone());
        async move {
            let mut at = 6_000;
            while at < log.len() && !done.load(Ordering::SeqCst) {
                let to = (at + 7).min(log.len());
                write.send_replace(to);
                projections.feed(at as u64, to as u64, &log[at..to]).await.unwrap();
                at = to;
            }
            write.send_replace(at);
            at
        }
    });
    let mut switches = Vec::new();
    for name in ["audit_log", "environments", "audit_log", "environments", "port_mappings"] {
        projections.request_rebuild(name).await.unwrap();
        let rebuild = projections.next_rebuild().await.unwrap().unwrap();
        let mut source = Growing { log: log.clone(), written: written.clone(), at: 0 };
        switches.push(rebuild.run(&mut source).await.unwrap().position);
    }
    done.store(true, Ordering::SeqCst);
    let (reads, at) = (reader.await.unwrap(), writer.await.unwrap());
    assert!(switches.windows(2).all(|pair| pair[0] < pair[1]) && reads > 10, "{switches:?} {reads}");
    assert!(switches[0] > 6_000, "written while rebuilding: {switches:?}");
    assert_eq!(projections.position().await.unwrap(), at as u64);
    assert_rows_follow(&projections, &log[..at]).await;
}

#[tokio::test]
async fn a_rebuild_left_alone_is_resumed_by_another_and_its_first_holder_is_fenced() {
    let (postgres, projections) = fresh().await;
    let log = Story::long(9_000);
    feed_all(&projections, &log, 500).await;
    projections.request_rebuild("audit_log").await.unwrap();
    let first = projections.next_rebuild().await.unwrap().unwrap();
    assert!(!projections.request_rebuild("audit_log").await.unwrap(), "it is under way");
    assert!(projections.next_rebuild().await.unwrap().is_none(), "somebody has it");
    // The log cannot be read to its end: the build stops half way.
    let error = first.run(&mut Broken(Reader::after(&log, 0))).await.unwrap_err();
    assert!(matches!(error, BuildError::Source(_)), "{error:?}");
    let old = "UPDATE shadow SET touched_at = now() - interval '1 hour'";
    postgres.sql("portreeve", old).await.unwrap();
    let second = projections.next_rebuild().await.unwrap().unwrap();
    assert!(second.position() > 0, "resumed, not begun again");
    postgres.sql("portreeve", old).await.unwrap();
    let third = projections.next_rebuild().await.unwrap().unwrap();
    let mut reader = Reader::after(&log, second.position());
    let error = second.run(&mut reader).await.unwrap_err();
    assert!(matches!(error, BuildError::TakenOver), "{error:?}");
    let mut reader = Reader::after(&log, third.position());
    third.run(&mut reader).await.unwrap();
    assert_rows_follow(&projections, &log).await;
}

struct Broken<'l>(Reader<'l>);

impl Source for Broken<'_> {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn std::error::Error + Send + Sync>> {
        let chunk = self.0.next(max).await?;
        if chunk.to > 6_000 { Err("the log is away".into()) } else { Ok(chunk) }
    }
}

#[tokio::test]
async fn a_new_version_of_a_projection_asks_for_its_rebuild() {
    let (postgres, projections) = fresh().await;
    let log = Story::long(500);
    feed_all(&projections, &log, 500).await;
    postgres.sql("portreeve", "UPDATE checkpoint SET version = 0 WHERE name = 'sessions'").await.unwrap();
    postgres.sql("portreeve", "DELETE FROM checkpoint WHERE name = 'logins'").await.unwrap();
    postgres.sql("portreeve", "TRUNCATE logins, sessions").await.unwrap();
    projections.migrate().await.unwrap();
    let more = Story::long(600);
    feed_all(&projections, &more, 500).await;
    for _ in 0..2 {
        let rebuild = projections.next_rebuild().await.unwrap().expect("migrate asked for it");
        let mut reader = Reader::after(&more, rebuild.position());
        rebuild.run(&mut reader).await.unwrap();
    }
    assert_rows_follow(&projections, &more).await;
    let status = eventually("all are live", Duration::from_secs(5), || async {
        let status = projections.status().await.unwrap();
        let live = status.iter().all(|status| status.position == more.len() as u64);
        if live { Ok(status) } else { Err(format!("{status:?}")) }
    });
    assert_eq!(status.await.unwrap().len(), projections::NAMES.len());
}

#[tokio::test]
async fn a_newer_release_is_not_fed_by_an_older_one() {
    let (postgres, projections) = fresh().await;
    postgres.sql("portreeve", "UPDATE checkpoint SET version = 99 WHERE name = 'logins'").await.unwrap();
    let log = Story::long(10);
    let refused = projections.feed(0, 10, &log[..10]).await;
    assert!(matches!(refused, Err(projections::FeedError::Newer { .. })), "{refused:?}");
    assert_eq!(projections.position().await.unwrap(), 0);
}
