//! Is the fleet of an instant what the read models showed then, whichever snapshot it is folded from?

use std::sync::Arc;

use events::env::{EnvEvent, PodReady};
use events::ids::{EnvId, ServerId, TenantId};
use events::{Kind, Recorded};
use harness::postgres::Postgres;
use projections::fleet::Fleet;
use projections::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sqlx::PgPool;

use crate::story::{Story, env, tenant};
use crate::work_then::assert_same_work;
use crate::{Reader, feed_all, fresh};

/// Histories tried.
const CASES: u32 = 24;

/// The fleet after so many events, folded from the first, in chunks of `size`.
pub async fn folded(log: &[Recorded], at: u64, size: usize) -> Fleet {
    let mut fleet = Fleet::default();
    let mut from = 0;
    for part in log[..usize::try_from(at).unwrap()].chunks(size) {
        let mut chunk = Chunk::after(from);
        part.iter().for_each(|event| chunk.push(event.clone()).unwrap());
        fleet.take(&chunk).unwrap();
        from = chunk.to;
    }
    fleet
}

fn run_cases<F: Future<Output = ()>>(case: impl Fn(String, Vec<Recorded>, Vec<u64>) -> F) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let postgres = runtime.block_on(Postgres::start()).unwrap();
    let number = std::cell::Cell::new(0);
    let steps = prop::collection::vec((any::<u8>(), any::<u8>()), 0..400);
    let instants = prop::collection::vec(any::<prop::sample::Index>(), 1..6);
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(steps, instants), |(steps, instants)| {
            number.set(number.get() + 1);
            let log = Story::play(steps).log;
            let mut instants: Vec<u64> =
                instants.iter().map(|instant| instant.index(log.len() + 1) as u64).collect();
            instants.sort_unstable();
            let name = format!("case{}", number.get());
            let url = runtime.block_on(postgres.create_database(&name)).unwrap();
            runtime.block_on(case(url, log, instants));
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_fleet_of_an_instant_answers_as_the_rows_did() {
    run_cases(async |url, log, instants| {
        let projections = Projections::connect(&url).await.unwrap();
        projections.migrate().await.unwrap();
        for at in instants {
            feed_all(&projections, &log[..usize::try_from(at).unwrap()], 7).await;
            assert_same_answers(&projections, &folded(&log, at, 11).await, &log).await;
        }
    });
}

#[test]
fn an_answer_is_the_same_whichever_snapshot_it_starts_from() {
    run_cases(async |url, log, instants| {
        let projections = Projections::connect(&url).await.unwrap();
        projections.migrate().await.unwrap();
        let bare = PgPool::connect(&url).await.unwrap();
        let read = |after| Reader::after(&log, after);
        let head = log.len() as u64;
        for at in &instants {
            projections.keep_snapshot(&folded(&log, *at, 13).await).await.unwrap();
        }
        let mut kept = projections.snapshots().await.unwrap();
        let mut known: Vec<Arc<Fleet>> = Vec::new();
        // with all of them, then with one after the other gone, at last with none
        loop {
            for at in instants.iter().copied().chain([head, head / 2]) {
                let expected = folded(&log, at, 500).await;
                let cold = projections.fleet_at(at, &[], read).await.unwrap();
                assert!(cold == expected, "at {at} with snapshots {kept:?}");
                let warm = projections.fleet_at(at, &known, read).await.unwrap();
                assert!(warm == expected, "at {at} with snapshots {kept:?} and fleets in memory");
                known.push(Arc::new(warm));
                if known.len() > 3 {
                    known.remove(0);
                }
            }
            let Some(gone) = kept.pop() else { break };
            if kept.len().is_multiple_of(2) {
                projections.forget_snapshots(Some(&[gone])).await.unwrap();
            } else {
                // whole or not: one that is damaged counts as none
                damage(&bare, gone).await;
            }
        }
    });
}

/// A page of the snapshot is lost, or says something else.
async fn damage(bare: &PgPool, at: u64) {
    for statement in [
        "DELETE FROM fleet_pages WHERE name = (SELECT pages[1] FROM fleet_snapshots WHERE seq = $1)",
        "UPDATE fleet_pages SET bytes = set_byte(bytes, 5, 0) WHERE name = \
         (SELECT pages[2] FROM fleet_snapshots WHERE seq = $1)",
    ] {
        sqlx::query(statement).bind(i64::try_from(at).unwrap()).execute(bare).await.unwrap();
    }
}

#[tokio::test]
async fn snapshots_are_kept_when_they_are_due_and_share_what_did_not_change() {
    let (postgres, projections) = fresh().await;
    let log = Story::long(45_000);
    let read = |after| Reader::after(&log, after);
    projections.keep_snapshots(45_000, read).await.unwrap();
    assert_eq!(projections.snapshots().await.unwrap(), [20_000, 40_000]);
    let fleet = projections.fleet_at(44_000, &[], read).await.unwrap();
    assert!(fleet == folded(&log, 44_000, 2_000).await);
    // the newest one is all that is read
    projections
        .fleet_at(44_000, &[], |after| Reader::after(&log[..44_000], after.max(40_000)))
        .await
        .unwrap();
    let bare = PgPool::connect(&postgres.url()).await.unwrap();
    let (pages, listed): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM fleet_pages), (SELECT sum(cardinality(pages)) FROM fleet_snapshots)::bigint",
    )
    .fetch_one(&bare)
    .await
    .unwrap();
    assert!(pages < listed, "{pages} pages of {listed} are apart");
    projections.forget_snapshots(None).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM fleet_pages").fetch_one(&bare).await.unwrap();
    assert_eq!((left, projections.snapshots().await.unwrap()), (0, vec![]));
}

#[tokio::test]
async fn what_is_parked_in_the_rows_is_parked_in_the_fleet() {
    let (_postgres, projections) = fresh().await;
    let mut story = Story::default();
    let now = story.now();
    story.append(&tenant(0), env(0).as_str(), EnvEvent::from(PodReady::default()));
    story.append(&tenant(0), env(0).as_str(), crate::story::requested(0, now));
    story.append(&tenant(1), env(1).as_str(), crate::story::requested(1, now));
    feed_all(&projections, &story.log, 2).await;
    let fleet = folded(&story.log, 3, 2).await;
    assert_eq!(fleet.environments(&environments::Filter::default(), None, 10).unwrap().items.len(), 1);
    assert_same_answers(&projections, &fleet, &story.log).await;
    projections.keep_snapshot(&folded(&story.log, 1, 1).await).await.unwrap();
    let read = |after| Reader::after(&story.log, after);
    assert!(projections.fleet_at(3, &[], read).await.unwrap() == fleet, "parked stays parked");
}

#[tokio::test]
async fn a_difference_says_what_came_changed_and_went() {
    let log = Story::long(3_000);
    let (before, after) = (folded(&log, 1_000, 100).await, folded(&log, 2_000, 100).await);
    let found = before.differences(&after, None);
    assert!(!found.environments.is_empty() && !found.ports.is_empty() && !found.quotas.is_empty());
    for both in &found.environments {
        let row = both.after.as_ref().expect("rows of environments stay");
        assert!(row.seq > 1_000 && both.before != both.after, "{both:?}");
        let of = |fleet: &Fleet| fleet.environment(None, &row.env_id);
        assert_eq!((of(&before), of(&after)), (both.before.clone(), both.after.clone()));
    }
    // and nothing else: what is not told is the same in both
    let told: Vec<&EnvId> =
        found.environments.iter().filter_map(|both| Some(&both.after.as_ref()?.env_id)).collect();
    for subject in Story::subjects(&log[..2_000], Kind::Env) {
        let id = EnvId::parse(subject.id.as_str()).unwrap();
        if !told.contains(&&id) {
            assert_eq!(before.environment(None, &id), after.environment(None, &id));
        }
    }
    let one = TenantId::parse(tenant(0).as_str()).unwrap();
    let own = before.differences(&after, Some(&one));
    assert!(own.environments.iter().all(|both| both.after.as_ref().is_some_and(|row| row.tenant == one)));
    assert!(own.environments.len() < found.environments.len());
    assert_eq!(after.differences(&after.clone(), None), fleet::Differences::default());
}

/// Every list under some filters, page by page, and every single read.
async fn assert_same_answers(projections: &Projections, fleet: &Fleet, log: &[Recorded]) {
    assert_eq!(fleet.position(), projections.position().await.unwrap());
    assert_same_work(projections, fleet, log).await;
    let tenants = [None, Some(tenant(0)), Some(tenant(1))];
    for tenant in &tenants {
        for status in [None, Some("running"), Some("deleted")] {
            let filter = environments::Filter {
                tenant: tenant.clone(),
                status: status.map(str::to_owned),
                ..Default::default()
            };
            let mut cursor: Option<String> = None;
            loop {
                let live = environments::list(projections, &filter, cursor.as_deref(), 3).await.unwrap();
                assert_eq!(fleet.environments(&filter, cursor.as_deref(), 3).unwrap(), live);
                cursor = live.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        for flag in [false, true] {
            let filter = port_mappings::Filter { tenant: tenant.clone(), held: flag, ..Default::default() };
            let live = port_mappings::list(projections, &filter, None, 500).await.unwrap();
            assert_eq!(fleet.ports(&filter, None, 500).unwrap(), live);
            let filter = sessions::Filter { tenant: tenant.clone(), open: flag, ..Default::default() };
            let live = sessions::list(projections, &filter, None, 500).await.unwrap();
            assert_eq!(fleet.sessions(&filter, None, 500).unwrap(), live);
            let filter =
                servers::Filter { tenant: tenant.clone(), ok: flag.then_some(true), ..Default::default() };
            let live = servers::list(projections, &filter, None, 500).await.unwrap();
            assert_eq!(fleet.servers(&filter, None, 500).unwrap(), live);
        }
        let live = quotas::list(projections, tenant.as_ref(), None, 500).await.unwrap();
        assert_eq!(fleet.quotas(tenant.as_ref(), None, 500).unwrap(), live);
        if let Some(tenant) = tenant {
            assert_eq!(fleet.quota(tenant), quotas::get(projections, tenant).await.unwrap().value);
        }
    }
    for subject in Story::subjects(log, Kind::Env) {
        let id = EnvId::parse(subject.id.as_str()).unwrap();
        let live = environments::get(projections, Some(&subject.tenant), &id).await.unwrap();
        assert_eq!(fleet.environment(Some(&subject.tenant), &id), live.value);
        assert_eq!(fleet.environment(Some(&TenantId::parse("stranger").unwrap()), &id), None);
    }
    for subject in Story::subjects(log, Kind::Server) {
        let id = ServerId::parse(subject.id.as_str()).unwrap();
        let live = servers::get(projections, None, &id).await.unwrap();
        assert_eq!(fleet.server(None, &id), live.value);
    }
}
