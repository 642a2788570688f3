//! What stands in the store and in the log after a terminal was used?

use std::time::{Duration, Instant};

use harness::eventually;
use recorder::playback::PlaybackError;

use crate::world::{SOON, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_recorded_with_its_sizes_and_the_log_vouches_for_it() {
    let world = world().await;
    let recorder = world.recorders.start(world.terminal(1));
    recorder.output("h\u{e9}".as_bytes().split_at(2).0);
    recorder.output("h\u{e9}llo \x1b[31mred\r\n".as_bytes().split_at(2).1);
    recorder.resized(120, 40);
    recorder.output(b"\xff.");
    recorder.finish().await;
    let cast = world.cast(1).await;
    assert_eq!(cast.header["version"], 2);
    assert_eq!((&cast.header["width"], &cast.header["height"]), (&100.into(), &30.into()));
    assert_eq!(
        (&cast.header["title"], &cast.header["env"]["TERM"]),
        (&"a test".into(), &"xterm-256color".into())
    );
    assert!(cast.header["timestamp"].is_u64());
    assert_eq!(cast.of("o"), "h\u{e9}llo \x1b[31mred\r\n\u{fffd}.");
    assert_eq!(cast.of("r"), "120x40");
    let told = world.told(1).await.unwrap();
    assert!(told.end.is_some_and(|end| end.complete));
    let checked = world.check(1).await.unwrap();
    assert_eq!((checked.chunks, checked.bytes), (told.chunks, told.bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_is_whole_and_two_recordings_do_not_mix() {
    let world = world().await;
    let (one, two) = (world.recorders.start(world.terminal(1)), world.recorders.start(world.terminal(2)));
    // escaped, this is much longer: several chunks
    let line = format!("{}\r\n", "\x1b[1m\u{1f6a2}".repeat(500));
    let mut expected = String::new();
    for _ in 0..200 {
        one.output(line.as_bytes());
        two.output(b"other ");
        expected.push_str(&line);
    }
    one.finish().await;
    two.finish().await;
    assert!(world.cast(1).await.of("o") == expected, "the whole output");
    assert_eq!(world.cast(2).await.of("o"), "other ".repeat(200));
    let checked = world.check(1).await.unwrap();
    assert!(checked.chunks > 3, "{checked:?}");
    world.check(2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_while_the_store_is_away_is_stored_when_it_is_back() {
    let mut world = world().await;
    let recorder = world.recorders.start(world.terminal(1));
    recorder.output(b"before ");
    eventually("it is told that it began", SOON, async || world.told(1).await.map(drop).ok_or("nothing"))
        .await
        .unwrap();
    world.nats.kill();
    let began = Instant::now();
    for _ in 0..100 {
        recorder.output(b"meanwhile ");
    }
    // more than fits one chunk, less than what may wait
    recorder.output(&vec![b'x'; 2 << 20]);
    assert!(began.elapsed() < Duration::from_secs(1), "the terminal waited {:?}", began.elapsed());
    let finishing = tokio::spawn(recorder.finish());
    world.nats.restart().await.unwrap();
    tokio::time::timeout(SOON, finishing).await.expect("it is stored").unwrap();
    assert!(world.told(1).await.unwrap().end.unwrap().complete);
    world.check(1).await.unwrap();
    let shown = world.cast(1).await.of("o");
    assert!(shown.starts_with("before meanwhile meanwhile ") && shown.ends_with("xxx"));
    assert_eq!(shown.len(), 7 + 100 * 10 + (2 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_place_is_marked_where_it_is_missing_and_the_recording_says_so() {
    let mut world = world().await;
    let recorder = world.recorders.start(world.terminal(1));
    recorder.output(b"before");
    eventually("it is told that it began", SOON, async || world.told(1).await.map(drop).ok_or("nothing"))
        .await
        .unwrap();
    world.nats.kill();
    for _ in 0..12 {
        recorder.output(&vec![b'x'; 1 << 20]);
    }
    world.nats.restart().await.unwrap();
    // what comes once there is room again is there
    eventually("there is room again", SOON, async || {
        recorder.output(b".");
        let told = world.store.read(&world.id(1)).next().await.map_err(|error| error.to_string())?;
        told.map(drop).ok_or_else(|| "nothing is stored".to_owned())
    })
    .await
    .unwrap();
    eventually("the queue is empty", SOON, async || {
        let mut reading = world.store.read(&world.id(1));
        let mut chunks = 0;
        while reading.next().await.map_err(|error| error.to_string())?.is_some() {
            chunks += 1;
        }
        if chunks > 25 { Ok(()) } else { Err(format!("{chunks} chunks")) }
    })
    .await
    .unwrap();
    recorder.output(b"after");
    recorder.finish().await;
    let cast = world.cast(1).await;
    let mark = cast.events.iter().position(|event| event.1 == "m").expect("a mark");
    assert!(cast.events[mark].2.ends_with("bytes of output are missing here"), "{:?}", cast.events[mark]);
    assert!(mark > 1 && mark < cast.events.len() - 1, "in its place");
    assert!(cast.of("o").starts_with("before") && cast.of("o").ends_with("after"));
    assert!(!world.told(1).await.unwrap().end.unwrap().complete);
    world.check(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_is_killed_leaves_a_beginning_that_is_verified() {
    let world = world().await;
    // a runtime of its own, which ends with everything in it
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let inside = runtime.enter();
    let recorder = world.recorders.start(world.terminal(1));
    drop(inside);
    recorder.output(b"stored");
    eventually("a chunk is vouched for", SOON, async || {
        let told = world.told(1).await.ok_or_else(|| "nothing".to_owned())?;
        if told.chunks > 0 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await
    .unwrap();
    runtime.shutdown_background();
    recorder.output(b"never stored");
    drop(recorder);
    assert_eq!(world.cast(1).await.of("o"), "stored");
    assert!(world.told(1).await.unwrap().end.is_none());
    assert_eq!(world.check(1).await.unwrap().chunks, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_or_removed_is_not_shown_as_whole() {
    let world = world().await;
    let recorder = world.recorders.start(world.terminal(1));
    recorder.output(b"shown");
    recorder.finish().await;
    let mut told = world.told(1).await.unwrap();
    let check = async |told: &events::session::Recording, id| {
        recorder::playback::check(&world.store, &id, told, chrono::Utc::now()).await
    };
    check(&told, world.id(1)).await.unwrap();
    // another recording's facts, and one of which nothing is stored
    let digest = std::mem::replace(&mut told.sha256, "00".repeat(32));
    assert!(matches!(check(&told, world.id(1)).await, Err(PlaybackError::Damaged(_))));
    told.sha256 = digest;
    told.chunks += 1;
    assert!(matches!(check(&told, world.id(1)).await, Err(PlaybackError::Damaged(_))), "one is missing");
    assert!(matches!(check(&told, world.id(2)).await, Err(PlaybackError::Gone)));
    told.chunks -= 1;
    // somebody adds one after the end
    world.store.keep(&world.store.seal(&world.id(1), 2, b"[9.0,\"o\",\"forged\"]\n").unwrap()).await.unwrap();
    assert!(matches!(check(&told, world.id(1)).await, Err(PlaybackError::Damaged(_))));
    told.started_at -= chrono::TimeDelta::days(91);
    assert!(matches!(check(&told, world.id(1)).await, Err(PlaybackError::Gone)), "too old");
}
