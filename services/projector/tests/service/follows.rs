//! Following, two at once, servers that are killed, rebuilds asked for.

use std::time::Duration;

use harness::eventually;
use projections::State;

use crate::world::{CAUGHT_UP_AT_MOST, World, append_environments};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_follow_and_a_rebuild_asked_for_is_done() {
    let world = World::start().await;
    append_environments(&world.api, 0..40).await;
    let projector = world.projector();
    let projections = world.projections().await;
    append_environments(&world.api, 40..60).await;
    world.assert_followed(&projections).await;
    assert_eq!(projector.health.failing(), Default::default());

    world.postgres.sql("portreeve", "DELETE FROM environments").await.unwrap();
    projections.request_rebuild("environments").await.unwrap();
    eventually("the rebuild is done", CAUGHT_UP_AT_MOST, || async {
        let status = projections.status().await.unwrap();
        if status.iter().all(|status| status.state == State::Live) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await
    .unwrap();
    world.assert_followed(&projections).await;
    projector.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_projectors_and_killed_servers_leave_no_trace() {
    let mut world = World::start().await;
    let (one, two) = (world.projector(), world.projector());
    let projections = world.projections().await;
    let api = world.api.clone();
    let writer = tokio::spawn(async move { append_environments(&api, 0..250).await });

    projections.wait_for(60, CAUGHT_UP_AT_MOST).await.unwrap();
    world.postgres.kill().unwrap();
    let failing = eventually("somebody notices", Duration::from_secs(30), || async {
        let failing = one.health.failing();
        if failing.is_empty() { Err("nobody did") } else { Ok(failing) }
    });
    assert!(failing.await.unwrap().contains_key("projector"));
    world.postgres.start_again().await.unwrap();

    projections.wait_for(200, CAUGHT_UP_AT_MOST).await.unwrap();
    world.nats.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.nats.restart().await.unwrap();

    writer.await.unwrap();
    world.assert_followed(&projections).await;
    eventually("both are ready again", Duration::from_secs(30), || async {
        let failing = (one.health.failing(), two.health.failing());
        if failing.0.is_empty() && failing.1.is_empty() { Ok(()) } else { Err(format!("{failing:?}")) }
    })
    .await
    .unwrap();
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_shorter_than_the_rows_is_an_alarm() {
    let world = World::start().await;
    append_environments(&world.api, 0..2).await;
    let projections = world.projections().await;
    world.postgres.sql("portreeve", "UPDATE checkpoint SET seq = 1000").await.unwrap();
    let projector = world.projector();
    let failing = eventually("the alarm is raised", Duration::from_secs(30), || async {
        match projector.health.failing().remove("projector") {
            Some(why) if why.contains("it is not the log") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    failing.await.unwrap();
    assert_eq!(projections.position().await.unwrap(), 1_000);
    projector.end().await;
}
