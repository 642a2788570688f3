//! Is there exactly one chain, whoever writes it and whatever is killed?

use std::time::Duration;

use audit::export::Range;
use audit::wishes;
use nats::{MasterKeys, Vault};

use crate::world::*;

async fn vault(world: &World) -> Vault {
    connect(&world.nats, "audit").await.vault(world.keys.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_chained_from_its_first_event_and_anchored_soon() {
    let mut world = World::start().await;
    // before anybody chained it
    world.append(25).await;
    let writing = world.write();
    ready(&writing).await;
    harness::eventually("everything is anchored", SOON, || async {
        let report = world.verify().await;
        if report.anchored_upto == 25 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .await
    .unwrap();
    world.append(1).await;
    world.anchored().await;
    let report = world.holds().await;
    assert_eq!((report.first_sequence, report.last_sequence, report.events), (1, 26, 26));
    assert!(report.records >= 5, "a key, and an anchor each ten events: {report:?}");
    assert_eq!(report.fidelity.projections.len(), projections::NAMES.len());
    let written = audit::written_out(&world.file()).unwrap();
    let stored = world.api.anchors().read(1).await.unwrap();
    assert_eq!(written, stored, "what is stored is written out");
    writing.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_when_there_is_one_chain() {
    let mut world = World::start().await;
    let mut records = 0;
    for round in 0..40 {
        let writing = world.write();
        world.append(7).await;
        // in the middle of whatever it is at
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        writing.kill();
        let last = world.api.anchors().last().await.unwrap();
        assert!(last >= records);
        records = last;
    }
    let writing = world.write();
    world.anchored().await;
    let report = world.holds().await;
    assert_eq!(report.anchored_upto, 280);
    assert_eq!(report.keys.len(), 1);
    writing.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_writers_write_one_chain() {
    let mut world = World::start().await;
    let files = ["one", "two", "three"].map(|name| world.folder.path().join(name));
    let writing: Vec<_> = files.iter().map(|file| world.write_with(PACE, Some(file.clone()))).collect();
    for _ in 0..10 {
        world.append(15).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    world.anchored().await;
    let report = world.holds().await;
    assert_eq!(report.anchored_upto, 150);
    let stored = world.api.anchors().read(1).await.unwrap();
    for writing in writing {
        writing.end().await;
    }
    for file in files {
        let written = audit::written_out(&file).unwrap();
        assert!(stored.starts_with(&written), "what is written out is what is stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_have_their_time_and_those_before_are_gone() {
    let mut world = World::start().await;
    let writing = world.write();
    ready(&writing).await;
    let anchors = world.api.anchors();
    for expected in 2..=4 {
        world.append(12).await;
        let evidence = wishes::rotate(&anchors, None).await.unwrap();
        assert_eq!(evidence.current_key(), expected);
        let again = wishes::rotate(&anchors, Some(expected - 1)).await.unwrap();
        assert_eq!(again.current_key(), expected, "once");
    }
    world.append(5).await;
    world.anchored().await;
    let report = world.holds().await;
    let times: Vec<_> = report.keys.iter().map(|key| (key.key, key.until.is_some())).collect();
    assert_eq!(times, [(1, true), (2, true), (3, true), (4, false)]);
    assert!(report.keys.windows(2).all(|pair| pair[0].until == Some(pair[1].from)));
    let vault = vault(&world).await;
    for number in 1..=4 {
        let there = vault.get(&events::credential::SecretRef::audit_key(number)).await.unwrap().is_some();
        assert_eq!(there, number == 4, "key {number}");
    }
    writing.end().await;
    // the next writer goes on with the last of them
    let writing = world.write();
    world.append(1).await;
    world.anchored().await;
    world.holds().await;
    writing.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_key_nobody_vouches() {
    let mut world = World::start().await;
    let writing = world.write();
    world.append(3).await;
    world.anchored().await;
    writing.end().await;
    // another master key: the vault does not open
    (world.keys, _) = MasterKeys::generate().unwrap();
    let writing = world.write();
    let failing = harness::eventually("it says why", SOON, || {
        let why = writing.health.failing().remove("audit").unwrap_or_default();
        async move { if why.contains("cannot be signed") { Ok(why) } else { Err(why) } }
    });
    let why = failing.await.unwrap();
    assert!(why.contains("not among the master keys"), "{why}");
    writing.end().await;
}

/// Restarts, rebuilds, rotations: nobody cries wolf.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_honest_raises_no_alarm() {
    let mut world = World::start().await;
    for round in 0..3 {
        let writing = world.write();
        world.append(13).await;
        world.anchored().await;
        // the log goes away and comes back, in the middle of it
        world.nats.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.nats.restart().await.unwrap();
        world.append(4).await;
        if round == 1 {
            wishes::rotate(&world.api.anchors(), None).await.unwrap();
            world.fed().await;
            world.projections.request_rebuild("quotas").await.unwrap();
            let rebuild = world.projections.next_rebuild().await.unwrap().unwrap();
            let mut source = Whole::of(&world);
            rebuild.run(&mut source).await.unwrap();
        }
        world.holds().await;
        let bundle = world.export(Range::default()).await;
        let report = offline(&bundle).unwrap();
        assert!(report.ok, "{report:#?}");
        writing.end().await;
        // nobody writes for a while; it is not late yet
        world.holds().await;
    }
}

/// The whole log, for a rebuild.
struct Whole {
    tail: nats::Tail,
    position: u64,
}

impl Whole {
    fn of(world: &World) -> Self {
        Self { tail: world.api.log().tail(nats::Start::Sequence(1), vec![]), position: 0 }
    }
}

impl projections::rebuild::Source for Whole {
    async fn next(
        &mut self,
        max: usize,
    ) -> Result<projections::Chunk, Box<dyn std::error::Error + Send + Sync>> {
        let mut chunk = projections::Chunk::after(self.position);
        for tailed in self.tail.next_chunk(max, Duration::from_millis(100)).await? {
            match tailed {
                nats::Tailed::Event(event) => chunk.push(*event)?,
                nats::Tailed::Unreadable { seq, subject, why, .. } => {
                    chunk.push_unreadable(projections::Unreadable { seq, subject, reason: why })?;
                }
            }
        }
        self.position = chunk.to;
        Ok(chunk)
    }
}
