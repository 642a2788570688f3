//! What stands in the log of who signed in, out, or was turned away?

use std::num::NonZeroU32;
use std::time::Duration;

use events::Event;
use events::ids::TenantId;
use events::sign_in::{Proof, RefusalClass, Side, SignInEvent, SignInsRefused};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::browser::{PASSWORD, code, sign_in, signed_in, unauthorized, with_role};
use crate::world::{World, world, world_with};

const WRONG: u64 = 30;
const UNKNOWN: u64 = 20;
const TOKENS: u64 = 40;
/// Typed where a name belongs.
const TYPED: &str = "my-password-in-the-wrong-field";
/// Of each class the first, and a summary; a minute may end in between.
const TOLD_MAX: usize = 12;

async fn sign_ins(world: &World) -> Vec<(TenantId, String, SignInEvent)> {
    let of = |event| if let Event::SignIn(event) = event { Some(event) } else { None };
    let events = world.everything().await.into_iter();
    events.filter_map(|e| Some((e.subject.tenant, e.meta.actor, of(e.event)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_and_out_is_on_record_without_any_secret() {
    let world = world().await;
    let base = world.admin.base();
    with_role(&world, "alice", "developer").await;
    let proof = json!({"username": "alice", "password": PASSWORD});
    let alice = signed_in(base, &proof).await;
    let program = Client::new().post(format!("{base}/api/auth/login")).header("user-agent", "robot/1");
    let answer = program.json(&proof).send().await.unwrap();
    assert!(answer.headers().contains_key("portreeve-position"));
    let login = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let by_token = signed_in(base, &json!({"token": world.admin.token().unwrap()})).await;
    let left = alice.call(Method::DELETE, "/api/session", Some(&alice.word), None).await;
    let position = left.headers()["portreeve-position"].to_str().unwrap().to_owned();
    // also as a program, and not a second time
    let program = world.admin.as_caller(&login);
    program.delete("/api/session").await.unwrap().expect(200).unwrap();
    assert_eq!(program.get("/api/me").await.unwrap().status, 401);
    assert_eq!(program.delete("/api/session").await.unwrap().status, 401);
    // an API token is no sign-in
    world.admin.delete("/api/session").await.unwrap().expect(200).unwrap();
    world.admin.get("/api/me").await.unwrap().expect(200).unwrap();

    let seen = sign_ins(&world).await;
    let begun: Vec<_> = seen
        .iter()
        .filter_map(|(tenant, actor, event)| match event {
            SignInEvent::SignedIn(fact) => Some((tenant.as_str(), actor.as_str(), fact)),
            SignInEvent::SignedOut(_) | SignInEvent::SignInsRefused(_) => None,
        })
        .collect();
    let shapes: Vec<_> = begun.iter().map(|(_, _, fact)| (fact.side, fact.proof)).collect();
    let (browser, program) = (Side::Browser, Side::Program);
    assert_eq!(
        shapes,
        [(browser, Proof::Password), (program, Proof::Password), (browser, Proof::Token)],
        "{seen:#?}"
    );
    let (tenant, actor, fact) = begun[1];
    assert_eq!((tenant, actor, fact.user.as_str()), ("default", "user:alice", "alice"));
    assert_eq!((fact.ip.to_string().as_str(), fact.client.as_deref()), ("127.0.0.1", Some("robot/1")));
    let ended = seen.iter().filter(|(.., event)| matches!(event, SignInEvent::SignedOut(_))).count();
    assert_eq!(ended, 2, "{seen:#?}");

    // whoever audits the tenant reads it
    let auditor = world.caller("default", "auditor").await;
    for (kind, count) in [("SignedIn", 2), ("SignedOut", 2)] {
        let path = format!("/api/audit?type={kind}&actor=user:alice&after={position}");
        let rows = auditor.list(&path).await.unwrap();
        assert_eq!(rows.len(), count, "{rows:#?}");
        assert_eq!((&rows[0]["kind"], &rows[0]["data"]["user"]), (&json!("sign_in"), &json!("alice")));
    }
    let log = format!("{:?}", world.everything().await);
    let cookies = [&alice.cookie, &by_token.cookie].map(|cookie| cookie.split_once('=').unwrap().1);
    for secret in [PASSWORD, &login, &alice.word, cookies[0], cookies[1], world.admin.token().unwrap()] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_at_one_process_holds_at_all() {
    let world = world().await;
    with_role(&world, "alice", "developer").await;
    let other = world.another_api().await;
    let proof = json!({"username": "alice", "password": PASSWORD});
    let mut alice = signed_in(world.admin.base(), &proof).await;
    alice.base = other.base().to_owned();
    assert_eq!(alice.get("/api/me").await.status(), 200);
    let mut stream = alice.get("/api/events").await;
    assert_eq!(stream.status(), 200);
    alice.base = world.admin.base().to_owned();
    let left = alice.call(Method::DELETE, "/api/session", Some(&alice.word), None).await;
    assert_eq!(left.status(), 200);
    alice.base = other.base().to_owned();
    assert_eq!(code(alice.get("/api/me").await).await, unauthorized());
    // what it followed there ends, with its reason
    let mut said = String::new();
    let rest = async {
        while let Some(chunk) = stream.chunk().await.unwrap() {
            said.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), rest).await.expect("the stream goes on");
    assert!(said.contains("event: end") && said.contains("unauthorized"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_sign_ins_does_not_grow_the_log() {
    let many =
        api::Rate { at_once: NonZeroU32::new(10_000).unwrap(), one_more_after: Duration::from_secs(1) };
    let world = world_with(|config| {
        config.rates.sign_in_address = many;
        config.rates.sign_in_user = many;
    })
    .await;
    let base = world.admin.base();
    with_role(&world, "alice", "developer").await;
    with_role(&world, "bob", "developer").await;
    world.admin.delete("/api/users/bob").await.unwrap().expect(200).unwrap();
    let before = world.head().await;
    for _ in 0..WRONG {
        let wrong = sign_in(base, &json!({"username": "alice", "password": "wrong"})).await;
        assert_eq!(code(wrong).await, (401, "login_failed".to_owned()));
    }
    // the first of them is there at once, alone
    let first = told(&world).await;
    assert_eq!((first[0].1.count, first[0].1.class), (1, RefusalClass::WrongPassword), "{first:#?}");
    for _ in 0..UNKNOWN {
        sign_in(base, &json!({"username": TYPED, "password": "wrong"})).await;
    }
    for _ in 0..TOKENS {
        sign_in(base, &json!({"token": "ptr_nonsense"})).await;
    }
    sign_in(base, &json!({"username": "bob", "password": PASSWORD})).await;
    assert!(world.head().await - before <= TOLD_MAX as u64, "{} events", world.head().await - before);
    world.end_api();
    let wanted = [
        (RefusalClass::WrongPassword, WRONG),
        (RefusalClass::UnknownUser, UNKNOWN),
        (RefusalClass::TokenRefused, TOKENS),
        (RefusalClass::UserDisabled, 1),
    ];
    let told = harness::eventually("all of them are told", Duration::from_secs(30), async || {
        let told = told(&world).await;
        let count = |class| {
            let of = told.iter().filter(|(_, refused)| refused.class == class);
            of.map(|(_, refused)| refused.count).sum::<u64>()
        };
        let all = wanted.iter().all(|(class, wanted)| count(*class) == *wanted);
        if all { Ok(told) } else { Err(format!("{told:#?}")) }
    })
    .await
    .unwrap();
    assert!(told.len() <= TOLD_MAX, "{} events", told.len());
    for (tenant, refused) in &told {
        let (user, known) = (refused.user.as_ref().map(|user| user.as_str()), refused.user.is_some());
        let wanted = match refused.class {
            RefusalClass::WrongPassword => Some("alice"),
            RefusalClass::UserDisabled => Some("bob"),
            RefusalClass::UnknownUser | RefusalClass::TokenRefused | RefusalClass::TooManyAttempts => None,
        };
        assert_eq!((user, tenant.as_str()), (wanted, if known { "default" } else { "_sys" }));
    }
    let log = format!("{:?}", world.everything().await);
    assert!(!log.contains(TYPED), "what nobody's name is may be a password");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_beyond_the_limit_are_told_as_such() {
    let few = api::Rate { at_once: NonZeroU32::new(3).unwrap(), one_more_after: Duration::from_secs(3600) };
    let world = world_with(|config| config.rates.sign_in_user = few).await;
    for _ in 0..5 {
        sign_in(world.admin.base(), &json!({"username": "alice", "password": "wrong"})).await;
    }
    let classes: Vec<_> = told(&world).await.into_iter().map(|(_, refused)| refused.class).collect();
    assert_eq!(classes, [RefusalClass::UnknownUser, RefusalClass::TooManyAttempts]);
}

async fn told(world: &World) -> Vec<(TenantId, SignInsRefused)> {
    let seen = sign_ins(world).await.into_iter();
    let of = |(tenant, actor, event): (TenantId, String, SignInEvent)| match event {
        SignInEvent::SignInsRefused(refused) => {
            assert_eq!(actor, "service:api");
            Some((tenant, refused))
        }
        SignInEvent::SignedIn(_) | SignInEvent::SignedOut(_) => None,
    };
    seen.filter_map(of).collect()
}
