//! Does one bad event stop nothing but its own subject?

use events::Subject;
use events::env::{EnvEvent, EnvFailed, Phase, PodReady};
use events::ids::EnvId;
use projections::{ProjectionStatus, Projections, environments};
use uuid::Uuid;

use crate::story::{Story, env, requested, tenant};
use crate::{assert_rows_follow, feed_all, fresh};

async fn status(projections: &Projections, name: &str) -> ProjectionStatus {
    projections.status().await.unwrap().into_iter().find(|status| status.name == name).unwrap()
}

/// An ordinary story, in its middle an event with text that PostgreSQL cannot hold.
fn poisoned() -> (Story, EnvId) {
    let mut story =
        Story::play((0..=255).flat_map(|n: u8| [(n, n.wrapping_mul(7)), (n.wrapping_mul(13), n)]));
    let bad = EnvId::from_seed(&Uuid::from_u128(99));
    let now = story.now();
    story.append(&tenant(0), bad.as_str(), requested(0, now));
    let reason = "a NUL \0 in the text".to_owned();
    let failed = EnvFailed { phase: Phase::Image, code: "image_missing".into(), reason };
    story.append(&tenant(0), bad.as_str(), EnvEvent::from(failed));
    story.append(&tenant(0), bad.as_str(), EnvEvent::from(PodReady::default()));
    let now = story.now();
    story.append(&tenant(0), EnvId::from_seed(&Uuid::from_u128(98)).as_str(), requested(2, now));
    (story, bad)
}

#[tokio::test]
async fn a_row_that_cannot_be_written_parks_its_subject_alone() {
    let (_postgres, projections) = fresh().await;
    let (mut story, bad) = poisoned();
    let before = story.log.len();
    feed_all(&projections, &story.log, 500).await;
    for name in ["environments", "audit_log"] {
        let status = status(&projections, name).await;
        assert_eq!(status.parked_subjects, 1, "{status:?}");
        let parked = &status.parked[0];
        let subject = Subject::new(tenant(0), events::Kind::Env, bad.as_str());
        assert_eq!((parked.subject.as_str(), parked.seq), (subject.to_string().as_str(), before as u64 - 2));
        assert_eq!(parked.skipped, 1, "{parked:?}");
    }
    assert_eq!(status(&projections, "sessions").await.parked_subjects, 0);
    let row = environments::get(&projections, None, &bad).await.unwrap().value.unwrap();
    assert_eq!(row.status, "creating", "as it was before the event");
    let after = EnvId::from_seed(&Uuid::from_u128(98));
    assert!(environments::get(&projections, None, &after).await.unwrap().value.is_some());

    story.append(&tenant(0), bad.as_str(), EnvEvent::from(PodReady::default()));
    story.append(&tenant(0), env(0).as_str(), EnvEvent::from(PodReady::default()));
    feed_all(&projections, &story.log, 500).await;
    assert_eq!(status(&projections, "environments").await.parked[0].skipped, 2);
    assert_rows_follow(&projections, &story.log).await;
}

#[tokio::test]
async fn an_event_that_fits_no_row_is_parked() {
    let (_postgres, projections) = fresh().await;
    let mut story = Story::default();
    story.append(&tenant(0), env(0).as_str(), EnvEvent::from(PodReady::default()));
    let now = story.now();
    story.append(&tenant(1), env(1).as_str(), requested(1, now));
    feed_all(&projections, &story.log, 500).await;
    let status = status(&projections, "environments").await;
    assert!(status.parked[0].reason.contains("has no row"), "{status:?}");
    assert!(environments::get(&projections, None, &env(1)).await.unwrap().value.is_some());
}
