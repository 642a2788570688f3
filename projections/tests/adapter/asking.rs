//! Are rows given out by tenant, filter and page?

use events::Kind;
use events::access::Scope;
use events::access::may::{Visible, scopes_of};
use events::ids::TenantId;
use events::server::{ServerEvent, ServerRegistered};
use projections::{QueryError, audit_log, environments, servers, tokens, users};

use crate::server_story::{server, settings, tag};
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
async fn servers_are_found_by_what_they_are_labelled_with() {
    let (_postgres, projections) = fresh().await;
    let mut story = Story::default();
    for which in 0..12 {
        let settings = settings(which, &server(which));
        let registered = ServerEvent::from(ServerRegistered { settings });
        story.append(&tenant(which), server(which).as_str(), registered);
    }
    feed_all(&projections, &story.log, 5).await;
    let list = async |filter: servers::Filter| {
        let page = servers::list(&projections, &filter, None, 500).await.unwrap();
        page.items.into_iter().map(|row| row.server_id).collect::<Vec<_>>()
    };
    let of = |numbers: &[u8]| numbers.iter().rev().map(|which| server(*which)).collect::<Vec<_>>();
    let all = servers::Filter::default;
    assert_eq!(list(servers::Filter { zone: Some(tag("dmz")), ..all() }).await, of(&[0, 2, 4, 6, 8, 10]));
    assert_eq!(list(servers::Filter { group: Some(tag("web")), ..all() }).await, of(&[0, 3, 6, 9]));
    let label = Some((tag("env"), tag("prod")));
    assert_eq!(list(servers::Filter { label, ..all() }).await, of(&[0, 2, 4, 6, 8, 10]));
    let label = Some((tag("prod"), tag("env")));
    assert_eq!(list(servers::Filter { label, ..all() }).await, []);
    assert_eq!(list(servers::Filter { name: Some("server 'quoted\" 3".into()), ..all() }).await, of(&[3]));
    assert_eq!(list(servers::Filter { ok: Some(true), ..all() }).await, []);
    let seen = |scopes: &[Scope]| Some(Visible::In(scopes.iter().cloned().collect()));
    assert_eq!(list(servers::Filter { visible: seen(&[]), ..all() }).await, []);
    let label = Scope::Label { key: tag("env"), value: tag("prod") };
    for scope in [Scope::Server(server(7)), Scope::Zone(tag("dmz")), Scope::Group(tag("web")), label] {
        let is_in =
            |which: &u8| scopes_of(&server(*which), &settings(*which, &server(*which))).contains(&scope);
        let expected: Vec<u8> = (0..12).filter(is_in).collect();
        assert!(!expected.is_empty());
        let filter = servers::Filter { visible: seen(std::slice::from_ref(&scope)), ..all() };
        assert_eq!(list(filter).await, of(&expected), "{scope:?}");
    }
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
