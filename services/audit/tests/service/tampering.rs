//! Is what was done to a real store, to the anchors or to the read models told by the right verdict at the right event?

use std::path::{Path, PathBuf};

use audit::evidence::Evidence;
use audit::record::{Alarm, Record, Said, Statement, now};
use audit::time_travel::TimeTravel;
use events::Event;
use events::quota::QuotaEvent;
use harness::bare_nats::BareNats;
use projections::Chunk;
use projections::fleet::Fleet;
use serde_json::{Value, json};

use crate::world::*;

/// All of it anchored.
const EVENTS: u32 = 35;

/// One event, as an intruder takes it out and puts it back.
#[derive(Clone)]
struct Message {
    subject: String,
    headers: Vec<(String, String)>,
    payload: bytes::Bytes,
}

/// A log that is anchored and read, and nobody who writes anchors any more.
async fn written() -> World {
    let mut world = World::start().await;
    world.append(EVENTS).await;
    let writing = world.write();
    ready(&writing).await;
    world.anchored().await;
    world.holds().await;
    writing.end().await;
    world
}

async fn messages(world: &World) -> Vec<Message> {
    let mut reader = world.api.log().stored(1);
    let mut messages = Vec::new();
    loop {
        let stored = reader.next().await.unwrap();
        if stored.is_empty() {
            return messages;
        }
        messages.extend(stored.into_iter().map(|stored| {
            let headers = stored.headers().into_iter();
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            Message { subject: stored.subject.clone(), headers, payload: stored.payload }
        }));
    }
}

async fn ask(root: &mut BareNats, subject: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = root.request(&format!("$JS.API.{subject}"), &[], body.as_bytes()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["error"].is_null(), "{subject}: {answer}");
    answer
}

/// Writes a stream anew, with what an intruder wants in it. The sequences begin with 1 again.
async fn rewrite(root: &mut BareNats, stream: &str, messages: &[Message], dropped: &[u64]) {
    let mut config = ask(root, &format!("STREAM.INFO.{stream}"), &Value::Null).await["config"].clone();
    ask(root, &format!("STREAM.DELETE.{stream}"), &Value::Null).await;
    // nobody writes anchors for a stream that is set up otherwise: that is noticed before
    config["deny_delete"] = json!(dropped.is_empty());
    ask(root, &format!("STREAM.CREATE.{stream}"), &config).await;
    for message in messages {
        let answer = root.request(&message.subject, &message.headers, &message.payload).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
    }
    for seq in dropped {
        ask(root, &format!("STREAM.MSG.DELETE.{stream}"), &json!({"seq": seq})).await;
    }
}

/// What the verdicts say after an intruder wrote the log anew.
async fn after(world: &World, messages: &[Message], dropped: &[u64]) -> [Option<u64>; 3] {
    rewrite(&mut world.root().await, "EVENTS", messages, dropped).await;
    firsts(&world.verify().await)
}

/// Whoever may do everything with the server may write the log anew; the chain says where it is another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_written_anew_is_told_at_its_first_other_event() {
    let world = written().await;
    let good = messages(&world).await;
    assert_eq!(good.len(), EVENTS as usize);
    assert_eq!(after(&world, &good, &[]).await, [None; 3], "the same log is the same log");

    let mut changed = good.clone();
    let text = String::from_utf8(changed[16].payload.to_vec()).unwrap();
    changed[16].payload = text.replacen("\"cpu\":0.017", "\"cpu\":0.018", 1).into();
    assert_ne!(changed[16].payload, good[16].payload);
    assert_eq!(after(&world, &changed, &[]).await, [Some(17), None, Some(17)], "a byte of a payload");

    let mut changed = good.clone();
    let actor = changed[20].headers.iter_mut().find(|(name, _)| name == "actor").unwrap();
    actor.1 = "user:somebody-else".to_owned();
    assert_eq!(after(&world, &changed, &[]).await, [Some(21), None, Some(21)], "who did it");

    let mut swapped = good.clone();
    swapped.swap(4, 9);
    let [integrity, completeness, fidelity] = after(&world, &swapped, &[]).await;
    assert_eq!((integrity, completeness), (Some(5), None), "two events swapped");
    assert_eq!(fidelity, Some(5));

    let mut moved = good.clone();
    moved.remove(11);
    let [integrity, completeness, _] = after(&world, &moved, &[]).await;
    assert_eq!((integrity, completeness), (Some(12), Some(35)), "one taken out, the rest moved up");

    let [integrity, completeness, fidelity] = after(&world, &good, &[12]).await;
    assert_eq!((integrity, completeness, fidelity), (None, Some(12), Some(12)), "one dropped in the middle");

    let [integrity, completeness, fidelity] = after(&world, &good[..30], &[]).await;
    assert_eq!((integrity, completeness, fidelity), (None, Some(31), Some(31)), "the newest five dropped");
}

/// The file of the block that holds the newest events of a stream.
fn block(store: &Path, stream: &str) -> PathBuf {
    let folder = store.join(format!("jetstream/LOG/streams/{stream}/msgs"));
    let mut blocks: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "blk"))
        .collect();
    blocks.sort();
    blocks.pop().unwrap_or_else(|| panic!("no block in {}", folder.display()))
}

/// One byte of the store's own file, in the middle of one event's payload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_that_flips_on_the_disk_is_told_at_its_event() {
    let mut world = written().await;
    let wanted = String::from_utf8(messages(&world).await[22].payload.to_vec()).unwrap();
    let kept = world.folder.path().join("kept");
    world.nats.kill();
    copy(&world.nats.store(), &kept);
    let path = block(&world.nats.store(), "EVENTS");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(wanted.len())
        .position(|part| part == wanted.as_bytes())
        .expect("it lies there in the clear");
    bytes[at + wanted.len() - 3] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    world.nats.restart().await.unwrap();
    let report = world.verify().await;
    // the server's own sums say that it is damaged: it hands the event out no more, nor what lies behind it
    let [integrity, completeness, fidelity] = firsts(&report);
    assert!(integrity == Some(23) || completeness == Some(23), "{report:#?}");
    assert!(
        integrity.is_none_or(|first| first == 23) && completeness.is_none_or(|first| first == 23),
        "{report:#?}"
    );
    assert!(!report.fidelity.verdict.ok && fidelity.is_none_or(|first| first == 23), "{report:#?}");
    // the store as it was
    world.nats.kill();
    copy(&kept, &world.nats.store());
    world.nats.restart().await.unwrap();
    world.holds().await;
}

/// A whole older copy of the store: everything in it fits together, and it is not what was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_store_is_told_by_what_was_written_out_and_by_the_read_models() {
    let mut world = written().await;
    let kept = world.folder.path().join("kept");
    world.nats.kill();
    copy(&world.nats.store(), &kept);
    world.nats.restart().await.unwrap();
    let writing = world.write();
    world.append(20).await;
    world.anchored().await;
    world.holds().await;
    writing.end().await;

    world.nats.kill();
    let newer = world.folder.path().join("newer");
    copy(&world.nats.store(), &newer);
    copy(&kept, &world.nats.store());
    world.nats.restart().await.unwrap();
    let first = u64::from(EVENTS) + 1;
    // at once by the read models, and as soon as somebody writes anchors by the file
    assert_eq!(firsts(&world.verify().await), [None, None, Some(first)]);
    let writing = world.write();
    ready(&writing).await;
    let report = world.verify().await;
    assert_eq!(firsts(&report), [None, Some(first), Some(first)], "{report:#?}");
    assert!(report.completeness.what.as_ref().is_some_and(|what| what.contains("written out")), "{report:?}");
    // other events in the place of the lost ones heal nothing, and the file is kept as it was
    for number in 500..530 {
        append(&world.api, number).await;
    }
    world.anchored().await;
    world.fed().await;
    let report = world.verify().await;
    assert_eq!(report.completeness.first_sequence, Some(first), "{report:#?}");
    writing.end().await;
    let aside = std::fs::read_dir(world.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("parted-at"))
        .expect("kept aside");
    // the true store again, with the file that belongs to it: nothing is said against it
    world.nats.kill();
    copy(&newer, &world.nats.store());
    world.nats.restart().await.unwrap();
    std::fs::rename(aside, world.file()).unwrap();
    let writing = world.write();
    ready(&writing).await;
    let report = world.verify().await;
    assert_eq!(firsts(&report)[..2], [None, None], "{report:#?}");
    writing.end().await;
}

/// A store whose log is older than its anchors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_before_its_anchors_is_told_at_once() {
    let world = written().await;
    let good = messages(&world).await;
    rewrite(&mut world.root().await, "EVENTS", &good[..28], &[]).await;
    let writing = world.write();
    ready(&writing).await;
    let report = world.verify().await;
    assert_eq!(firsts(&report)[..2], [None, Some(29)], "{report:#?}");
    assert!(report.records > 5, "it is on record: {report:?}");
    writing.end().await;
    let report = world.verify().await;
    assert_eq!(firsts(&report)[..2], [None, Some(29)], "said once: {report:#?}");
}

async fn evidence(world: &World) -> Evidence {
    let mut evidence = Evidence::default();
    for record in world.api.anchors().read(1).await.unwrap() {
        evidence.take(record.number, &record.bytes);
    }
    evidence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_or_changed_anchor_is_not_believed() {
    let world = written().await;
    let mut root = world.root().await;
    let records = world.api.anchors().read(1).await.unwrap();
    let message =
        |payload: bytes::Bytes| Message { subject: "anchor.log".to_owned(), headers: Vec::new(), payload };
    let good: Vec<Message> = records.iter().map(|record| message(record.bytes.clone())).collect();
    rewrite(&mut root, "ANCHORS", &good, &[]).await;
    assert_eq!(firsts(&world.verify().await), [None; 3]);

    // signed by the forger's own key
    let before = evidence(&world).await;
    let statement = Statement {
        number: before.number() + 1,
        previous: before.digest(),
        time: now(),
        key: before.current_key(),
        said: Said::Alarm(Alarm { first_sequence: 3, what: "forged".to_owned() }),
    };
    let own = audit::record::SigningKey::from_bytes(&[7; 32]);
    let forged = message(Record::sign(&statement, &own, None).to_bytes().into());
    let with = |more: Message| good.iter().cloned().chain([more]).collect::<Vec<_>>();
    rewrite(&mut root, "ANCHORS", &with(forged), &[]).await;
    assert_eq!(firsts(&world.verify().await), [Some(36), None, None]);

    // one changed in its place: from where it vouches
    let mut changed = good.clone();
    let text = String::from_utf8(changed[2].payload.to_vec()).unwrap();
    changed[2].payload = text.replacen("\\\"upto\\\":20", "\\\"upto\\\":21", 1).into();
    assert_ne!(changed[2].payload, good[2].payload);
    rewrite(&mut root, "ANCHORS", &changed, &[]).await;
    assert_eq!(firsts(&world.verify().await), [Some(11), None, None]);

    // one taken out, and all but the first few
    rewrite(&mut root, "ANCHORS", &good, &[3]).await;
    assert_eq!(firsts(&world.verify().await), [None, Some(11), None]);
    rewrite(&mut root, "ANCHORS", &[], &[]).await;
    assert_eq!(firsts(&world.verify().await), [None, Some(1), None]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_changed_is_told_at_its_event() {
    let world = written().await;
    let sql = async |text: &str| {
        world.postgres.sql("portreeve", text).await.unwrap();
        world.verify().await
    };
    let report = sql("UPDATE quota_claims SET cpu_milli = 1 WHERE seq = 19").await;
    assert_eq!(firsts(&report), [None, None, Some(19)], "{report:#?}");
    let one = &report.fidelity.differences[0];
    assert_eq!((one.table.as_str(), one.sequence), ("quota_claims", 19));
    let cpu = |row: &Option<Value>| row.as_ref().and_then(|row| row["cpu_milli"].as_u64());
    assert_eq!((cpu(&one.live), cpu(&one.log)), (Some(1), Some(19)));
    let report = sql("DELETE FROM audit_log WHERE seq = 4").await;
    assert_eq!(firsts(&report), [None, None, Some(4)], "{report:#?}");
    let report = sql("INSERT INTO quotas VALUES ('ghost', 'ghost', NULL, 2, 2)").await;
    assert_eq!(firsts(&report), [None, None, Some(2)], "{report:#?}");
    assert_eq!(report.fidelity.differences.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_somebody_forged_is_told_at_its_event() {
    let world = written().await;
    let log = world.api.log();
    let fleet = TimeTravel::new(log.clone(), world.projections.clone()).fleet(EVENTS.into()).await.unwrap();
    world.projections.keep_snapshot(&fleet).await.unwrap();
    world.holds().await;
    let (mut forged, mut chunk) = (Fleet::default(), Chunk::after(0));
    for seq in 1..=EVENTS.into() {
        let mut event = log.event_at(seq).await.unwrap().unwrap();
        if let Event::Quota(QuotaEvent::QuotaClaimed(claimed)) = &mut event.event
            && seq == 19
        {
            claimed.resources.gpu += 1;
        }
        chunk.push(event).unwrap();
    }
    forged.take(&chunk).unwrap();
    world.projections.keep_snapshot(&forged).await.unwrap();
    let report = world.verify().await;
    assert_eq!(firsts(&report), [None, None, Some(19)], "{report:#?}");
    // a cache: without it everything holds
    world.projections.forget_snapshots(None).await.unwrap();
    world.holds().await;
}
