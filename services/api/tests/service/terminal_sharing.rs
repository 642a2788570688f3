//! Who may look on, who may type, and is each coming and going on record?

use harness::terminal::Opening;
use harness::{Api, Terminal};
use serde_json::{Value, json};

use crate::terminal_place::{Place, place};
use crate::world::problem;

fn shares(session: &str) -> String {
    format!("/api/terminals/{session}/shares")
}

async fn share(api: &Api, session: &str, body: &Value) -> String {
    let made = api.post(&shares(session), body).await.unwrap().expect(201).unwrap();
    assert!(made.position.is_some());
    assert_eq!(made.body["mode"], body["mode"]);
    made.text("share_id").unwrap().to_owned()
}

async fn guest(api: &Api, share: &str) -> Terminal {
    Opening::of_share(api, share).await.unwrap().ready(api).await.unwrap()
}

async fn until_there(terminal: &mut Terminal, expected: &Value) {
    let there =
        |terminal: &Terminal| terminal.newest("people").is_some_and(|said| said["people"] == *expected);
    terminal.until(&format!("{expected} are there"), there).await.unwrap();
}

fn name(api: &Api) -> String {
    // a token that an administrator makes for another role acts in its own name
    let token = api.token().unwrap();
    format!("tok-{}", token.split('_').nth(1).unwrap())
}

async fn counts(place: &Place, session: &str) -> [usize; 4] {
    let mut counts = [0; 4];
    for (at, name) in
        ["SessionShared", "SessionUnshared", "SessionJoined", "SessionLeft"].into_iter().enumerate()
    {
        counts[at] = place.world.count(name, session).await;
    }
    counts
}

async fn until_counted(place: &Place, session: &str, expected: [usize; 4]) {
    harness::eventually("all is on record", std::time::Duration::from_secs(20), async || {
        let seen = counts(place, session).await;
        if seen == expected { Ok(()) } else { Err(format!("{seen:?} instead of {expected:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_types_only_when_allowed_and_goes_when_the_owner_says_so() {
    let place = place().await;
    let mut owner = place.binary().await;
    owner.resize(101, 31).await.unwrap();
    owner.runs("echo before anybody came").await.unwrap();
    let session = owner.session.clone().unwrap();
    let (viewer, writer) =
        (place.world.caller("default", "developer").await, place.world.caller("default", "operator").await);
    // nobody but the owner shares it
    problem(&viewer.post(&shares(&session), &json!({"mode": "view"})).await.unwrap(), 404, "not_found");
    let view = share(place.admin(), &session, &json!({"mode": "view"})).await;
    let write = share(place.admin(), &session, &json!({"mode": "write", "expires_in_s": 60})).await;

    let mut looks = guest(&viewer, &view).await;
    looks.until("what was shown is replayed", |terminal| terminal.replayed).await.unwrap();
    assert!(looks.text().contains("before anybody came\r\n"), "{}", looks.text());
    let size = |terminal: &Terminal| terminal.newest("size").is_some_and(|said| said["cols"] == 101);
    looks.until("it knows how large the owner's is", size).await.unwrap();
    looks.types("echo from a viewer\r").await.unwrap();
    looks.until("typing is refused", |terminal| terminal.newest("error").is_some()).await.unwrap();
    assert_eq!(looks.newest("error").unwrap()["code"], "view_only");
    let me = |name: &str, mode: &str| json!({"user": name, "mode": mode});
    until_there(&mut owner, &json!([me("admin", "owner"), me(&name(&viewer), "view")])).await;

    let mut types = guest(&writer, &write).await;
    types.until("what was shown is replayed", |terminal| terminal.replayed).await.unwrap();
    let all = json!([me("admin", "owner"), me(&name(&viewer), "view"), me(&name(&writer), "write")]);
    for terminal in [&mut owner, &mut looks, &mut types] {
        until_there(terminal, &all).await;
    }
    assert_eq!(types.runs("echo from a guest").await.unwrap(), "from a guest\n");
    for terminal in [&mut owner, &mut looks] {
        terminal.until_shows("from a guest\r\n").await.unwrap();
        assert!(!terminal.text().contains("from a viewer"), "{}", terminal.text());
    }
    // a guest's window says nothing
    types.resize(20, 5).await.unwrap();
    assert_eq!(owner.runs("stty size").await.unwrap(), "31 101\n");
    let listed = place.admin().list(&shares(&session)).await.unwrap();
    let people = |id: &str| listed.iter().find(|item| item["share_id"] == id).unwrap()["people"].clone();
    assert_eq!((people(&view), people(&write)), (json!([name(&viewer)]), json!([name(&writer)])));
    until_counted(&place, &session, [2, 0, 2, 0]).await;

    place.admin().delete(&format!("{}/{view}", shares(&session))).await.unwrap().expect(200).unwrap();
    looks.fails("share_ended", 4410).await.unwrap();
    until_there(&mut owner, &json!([me("admin", "owner"), me(&name(&writer), "write")])).await;
    let again = Opening::of_share(&viewer, &view).await.unwrap();
    again.open(&viewer).await.unwrap().fails("share_ended", 4410).await.unwrap();
    until_counted(&place, &session, [2, 1, 2, 1]).await;
    types.leave().await.unwrap();
    until_there(&mut owner, &json!([me("admin", "owner")])).await;
    until_counted(&place, &session, [2, 1, 2, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_for_the_tenant_ends_by_itself_and_with_its_shell() {
    let place = place().await;
    let mut owner = place.binary().await;
    let session = owner.session.clone().unwrap();
    let api = place.admin();
    let short = share(api, &session, &json!({"mode": "view", "expires_in_s": 2})).await;
    let long = share(api, &session, &json!({"mode": "view"})).await;
    let writing = share(api, &session, &json!({"mode": "write"})).await;
    let (auditor, developer) =
        (place.world.caller("default", "auditor").await, place.world.caller("default", "developer").await);
    // an auditor changes nothing, so looks on at most
    let opening = Opening::of_share(&auditor, &writing).await.unwrap();
    opening.open(&auditor).await.unwrap().fails("forbidden", 4403).await.unwrap();
    let mut looks = guest(&auditor, &long).await;
    place.world.tenant("elsewhere").await;
    let stranger = place.world.caller("elsewhere", "operator").await;
    let opening = Opening::of_share(&stranger, &long).await.unwrap();
    opening.open(&stranger).await.unwrap().fails("share_ended", 4410).await.unwrap();
    let mut soon_out = guest(&developer, &short).await;
    soon_out.fails("share_ended", 4410).await.unwrap();
    until_counted(&place, &session, [3, 1, 2, 1]).await;
    owner.types("exit 5\r").await.unwrap();
    looks.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();
    assert_eq!(looks.newest("exit"), Some(&json!({"type": "exit", "code": 5})));
}
