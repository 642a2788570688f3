//! Is each decision made once, on the state that counts, whoever races and whatever breaks?

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use events::quota::release::release;
use events::quota::set::set;
use events::quota::{Quota, QuotaRefusal};
use events::{Cause, Decision, Limits, Subject};
use futures_util::future::join_all;
use nats::{AppendError, DecideError, Log, LogError};

use crate::stand::*;

async fn limit(log: &Log, aggregate: &str, environments: u32) {
    let limits = Limits { environments: Some(environments), ..Limits::default() };
    let cause = Cause::new(uuid::Uuid::new_v4(), "service:test");
    log.decide(&tenant(), aggregate, &cause, 0, |state: &Quota| set(state, limits)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_deciders_exactly_as_many_win_as_the_rule_allows() {
    let server = server().await;
    let mut logs = Vec::new();
    for _ in 0..8 {
        logs.push(user(&server, "api").await.log());
    }
    limit(&logs[0], "race", 10).await;
    let race = (0..64u32).map(|number| {
        let log = logs[number as usize % logs.len()].clone();
        tokio::spawn(async move { claim_for(&log, "race", number).await })
    });
    let outcomes: Vec<_> = join_all(race).await.into_iter().map(Result::unwrap).collect();
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(DecideError::Refused(QuotaRefusal::Exceeded { .. }))))
        .count();
    assert_eq!((won, refused), (10, 54));
    assert_eq!(everything(&logs[0]).await.len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_finds_what_it_did() {
    let server = server().await;
    let (one, other) = (user(&server, "api").await.log(), user(&server, "api").await.log());
    let first = blind_claim_for(&one, "again", 1).await.unwrap().appended.unwrap();
    for number in 2..20 {
        blind_claim_for(&one, "again", number).await.unwrap();
    }
    // In the same process, in another one that knows nothing, and there once more.
    for log in [&one, &other, &other] {
        let decided = blind_claim_for(log, "again", 1).await.unwrap();
        assert_eq!(decided.appended, Some(first.clone()));
        assert_eq!((decided.seq, decided.state.claims.len()), (19, 19));
    }
    assert_eq!(everything(&one).await.len(), 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_id_on_two_aggregates_is_an_error() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    blind_claim_for(&log, "a", 1).await.unwrap();
    let error = blind_claim_for(&log, "b", 1).await.unwrap_err();
    assert!(matches!(error, DecideError::Log(LogError::IdTaken { seq: 1, .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_never_given_on_an_old_state() {
    let server = server().await;
    let (api, provisioner) = (user(&server, "api").await.log(), user(&server, "provisioner").await.log());
    limit(&api, "stale", 1).await;
    claim_for(&api, "stale", 1).await.unwrap();
    assert!(matches!(claim_for(&api, "stale", 2).await, Err(DecideError::Refused(_))));
    let released = |state: &Quota| -> Decision<_, QuotaRefusal> { release(state, &env(1)) };
    provisioner.decide(&tenant(), "stale", &cause(100), 0, released).await.unwrap();
    let loaded = api.load::<Quota>(&tenant(), "stale").await.unwrap();
    assert_eq!((loaded.seq, loaded.state.claims.len()), (3, 0));
    let decided = claim_for(&api, "stale", 2).await.unwrap();
    assert_eq!(decided.seq, 4);
    // And the other one, whose memory is of before, decides on the newest state too.
    let decided = claim_for(&provisioner, "stale", 2).await.unwrap();
    assert_eq!((decided.seq, decided.appended.map(|recorded| recorded.seq)), (4, Some(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_a_subject_that_moved_on_is_lost() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    let done = claim_for(&log, "moved", 1).await.unwrap().appended.unwrap();
    let subject = Subject::new(tenant(), done.subject.kind, "moved");
    for expected in [0, 7] {
        let meta = cause(9).meta(0, chrono::Utc::now());
        let lost = log.append(&subject, expected, &meta, &done.event).await;
        assert!(matches!(lost, Err(AppendError::Lost { .. })), "{lost:?}");
    }
    let duplicate = log.append(&subject, 1, &done.meta, &done.event).await;
    assert!(matches!(duplicate, Err(AppendError::Duplicate { seq: 1 })), "{duplicate:?}");
}

/// `kill -9` of the server while 32 deciders are at work, three times: what was acknowledged is
/// there, and everything is there once.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_happens_twice() {
    let mut server = server().await;
    let logs = [user(&server, "api").await.log(), user(&server, "api").await.log()];
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let deciders = (0..32u32).map(|decider| {
        let (log, stop) = (logs[decider as usize % 2].clone(), Arc::clone(&stop));
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            let mut acknowledged = HashMap::new();
            for number in (decider..).step_by(32) {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // Eight aggregates: some races, and some appends side by side. A decision that
                // failed comes again, as a client's command would.
                let aggregate = format!("crash-{}", number % 8);
                for _ in 0..10 {
                    match blind_claim_for(&log, &aggregate, number).await {
                        Ok(decided) => {
                            let recorded = decided.appended.unwrap();
                            acknowledged.insert(recorded.meta.id, recorded.seq);
                            done.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        Err(error) => eprintln!("{number}: {error:?}"),
                    }
                }
            }
            acknowledged
        })
    });
    let deciders: Vec<_> = deciders.collect();
    for kills in 0..4 {
        // in the middle of the work, however fast the machine is
        let enough = (kills + 1) * 60;
        harness::eventually("decisions are made", Duration::from_secs(60), async || {
            let made = done.load(Ordering::SeqCst);
            if made >= enough { Ok(()) } else { Err(format!("{made} of {enough}")) }
        })
        .await
        .unwrap();
        if kills < 3 {
            server.kill();
            server.restart().await.unwrap();
        }
    }
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = HashMap::new();
    for decider in deciders {
        acknowledged.extend(decider.await.unwrap());
    }
    let stored = everything(&user(&server, "audit").await.log()).await;
    let places: HashMap<_, _> = stored.iter().map(|recorded| (recorded.meta.id, recorded.seq)).collect();
    let ids: HashSet<_> = stored.iter().map(|recorded| recorded.meta.id).collect();
    assert_eq!(ids.len(), stored.len(), "an event stands in the log twice");
    assert!(acknowledged.len() > 200, "only {} decisions: the test proves little", acknowledged.len());
    for (id, seq) in acknowledged {
        assert_eq!(places.get(&id), Some(&seq), "an acknowledged event is missing");
    }
}
