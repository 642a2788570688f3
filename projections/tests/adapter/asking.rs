//! Are rows given out by tenant, filter and page?

use events::Kind;
use events::ids::TenantId;
use projections::{QueryError, audit_log, environments, tokens, users};

use crate::story::{Story, env, instant, tenant};
use crate::{feed_all, fresh};

#[tokio::test]
async fn pages_join_to_the_whole_and_tenants_are_apart() {
    let (_postgres, projections) = fresh().await;
    let mut story = Story::default();
    for which in 0..12 {
        let now = story.now();
        story.append(&tenant(which), env(which).as_str(), crate::story::requested(which, now));
    }
    feed_all(&projections, &story.log, 5).await;
    let acme = environments::Filter { tenant: Some(tenant(0)), ..Default::default() };
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = environments::list(&projections, &acme, cursor.as_deref(), 4).await.unwrap();
        assert_eq!(page.position, 12);
        seen.extend(page.items.iter().map(|row| row.created_seq));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [11, 9, 7, 5, 3, 1]);
    let one = environments::Filter { owner: Some("user1".parse().unwrap()), ..acme.clone() };
    let page = environments::list(&projections, &one, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|row| row.owner.as_str()).collect::<Vec<_>>(), ["user1"]);
    let deleted = environments::Filter { status: Some("deleted".into()), ..acme };
    assert!(environments::list(&projections, &deleted, None, 10).await.unwrap().items.is_empty());
    let wrong = users::list(&projections, None, Some("bm9uc2Vuc2U"), 10).await;
    assert!(matches!(wrong, Err(QueryError::CursorInvalid)), "{wrong:?}");
}

#[tokio::test]
async fn the_audit_log_is_filtered() {
    let (_postgres, projections) = fresh().await;
    let log = Story::long(800);
    feed_all(&projections, &log, 500).await;
    let ready = log
        .iter()
        .find(|event| event.event.event_type() == "PodReady" && event.meta.time >= instant(100))
        .unwrap();
    let filter = audit_log::Filter {
        tenant: Some(ready.subject.tenant.clone()),
        kind: Some(Kind::Env),
        event_type: Some("PodReady".into()),
        actor: Some("user:alice".into()),
        aggregate_id: Some(ready.subject.id.clone()),
        from: Some(instant(100)),
        to: Some(instant(700)),
        correlation_id: None,
    };
    let found = audit_log::list(&projections, &filter, None, 500).await.unwrap().items;
    let expected: Vec<u64> = log
        .iter()
        .rev()
        .filter(|event| event.subject == ready.subject && event.event.event_type() == "PodReady")
        .filter(|event| event.meta.time >= instant(100) && event.meta.time < instant(700))
        .map(|event| event.seq)
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(found.iter().map(|row| row.seq).collect::<Vec<_>>(), expected);
    let stranger = audit_log::Filter { tenant: Some(TenantId::parse("x").unwrap()), ..Default::default() };
    assert!(audit_log::list(&projections, &stranger, None, 500).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn no_digest_of_a_token_is_shown() {
    let (_postgres, projections) = fresh().await;
    let log = Story::long(800);
    feed_all(&projections, &log, 500).await;
    let shown =
        tokens::list(&projections, &tokens::Filter { revoked: true, ..Default::default() }, None, 100).await;
    let shown = serde_json::to_value(shown.unwrap()).unwrap();
    assert!(
        shown["items"][0]["token_id"].is_string() && shown["items"][0]["tenant_id"].is_string(),
        "{shown}"
    );
    assert!(!shown.to_string().contains("digest"), "{shown}");
}
