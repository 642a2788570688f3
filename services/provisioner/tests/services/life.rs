//! Does an environment live as its events say, from asked for to gone, whatever comes between?

use std::time::Duration;

use std::net::TcpListener;

use chrono::Utc;
use events::env::{PortPurpose, RequestCause, Status, delete, observe, start, stop};
use events::login::Login;
use harness::real_engine::{podman, volumes_of};
use harness::{Proof, Ssh};
use provisioner::containers::container_name;
use secrecy::ExposeSecret;

use crate::stand::{AT_ONCE, SOON, Stand, acme, eventually_true, true_within};

fn ssh(port: u16, password: &str) -> Ssh {
    let proof = Proof::Password(password.to_owned());
    Ssh { user: "developer".into(), host: "127.0.0.1".into(), port, proof, from: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_lives_from_asked_for_to_gone() {
    let stand = Stand::new(4).await;
    let env = stand.request(|_| {}).await;
    let port = stand.running(&env).await;
    assert_eq!(stand.port(port).await.holder.unwrap().env, env);
    let password = stand.password(&env).await;
    let said =
        ssh(port, password.expose_secret()).run("echo kept > /gemini/code/file; hostname").await.unwrap();
    assert_eq!(said.expect_success().unwrap().trim(), env.as_str());
    eventually_true("password 1 is in force", || async { stand.credential(&env).await.number_applied == 1 })
        .await;

    // who checks it need not know it
    let hash = stand.vault.get(&stand.credential(&env).await.password.unwrap().argon2id()).await.unwrap();
    assert!(kit::password::is_of_hash(&password, &hash.expect("a hash beside the password")));

    // another password: the old one is void, and its secret goes with its hash
    let old = stand.credential(&env).await.password.unwrap();
    assert_eq!(stand.reset_password(&env).await, 2);
    true_within(AT_ONCE, "password 2 is in force", || async {
        stand.credential(&env).await.number_applied == 2
    })
    .await;
    let hash = stand.vault.get(&stand.credential(&env).await.password.unwrap().argon2id()).await.unwrap();
    assert!(hash.is_some(), "a password that came without a hash has one before it is in force");
    let refused = ssh(port, password.expose_secret()).run("true").await.unwrap();
    assert!(!refused.success && refused.stderr.contains("Permission denied"), "{refused:?}");
    let password = stand.password(&env).await;
    ssh(port, password.expose_secret()).run("true").await.unwrap().expect_success().unwrap();
    eventually_true("the old secret is gone", || async {
        let (secret, hash) = (stand.vault.get(&old).await.unwrap(), stand.vault.get(&old.argon2id()).await);
        secret.is_none() && hash.unwrap().is_none()
    })
    .await;
    eventually_true("logins and sessions are in the log", || async {
        let events = stand.events().await;
        let count = |name| events.iter().filter(|event| event.event.event_type() == name).count();
        count("LoginSucceeded") == 2 && count("LoginFailed") == 1 && count("SessionClosed") == 2
    })
    .await;

    // stopped it keeps port and files
    stand.ask(&env, |state| stop::request_stop(state, RequestCause::Asked, Utc::now())).await;
    stand.until(&env, Status::Stopped).await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    stand.ask(&env, |state| start::request_start(state, Utc::now())).await;
    assert_eq!(stand.running(&env).await, port);
    let said = ssh(port, password.expose_secret()).run("cat /gemini/code/file").await.unwrap();
    assert_eq!(said.expect_success().unwrap().trim(), "kept");

    // deleted it leaves nothing, though somebody is connected
    let mut stays = ssh(port, password.expose_secret()).stay("sleep 1000").unwrap();
    eventually_true("a session is open", || async {
        let story = stand.events().await;
        let count = |name| story.iter().filter(|event| event.event.event_type() == name).count();
        count("SessionOpened") == count("SessionClosed") + 1
    })
    .await;
    stand.ask(&env, |state| delete::request_delete(state, RequestCause::Asked, Utc::now())).await;
    stand.until(&env, Status::Deleted).await;
    tokio::time::timeout(SOON, stays.wait()).await.expect("the connection stays").unwrap();
    assert!(stand.port(port).await.holder.is_none());
    assert!(stand.quota().await.claims.is_empty());
    assert!(!stand.vault.owners().await.unwrap().contains(env.as_str()));
    assert!(volumes_of(&stand.instance).unwrap().is_empty());
    assert!(!podman(&["container", "exists", &container_name(&env)]).unwrap().status.success());
    let events = stand.events().await;
    let count = |name| events.iter().filter(|event| event.event.event_type() == name).count();
    assert_eq!(count("SessionOpened"), count("SessionClosed"), "no session is left open");
    assert_eq!(
        stand.story(env.as_str()).await.iter().filter(|name| name.starts_with("Env")).collect::<Vec<_>>(),
        [
            "EnvRequested",
            "EnvStopRequested",
            "EnvStopped",
            "EnvStartRequested",
            "EnvDeleteRequested",
            "EnvDeleted"
        ]
        .iter()
        .collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_killed_or_removed_from_outside_comes_back() {
    // the engine's own word is enough: no sweep comes by
    let mut stand = Stand::with_sweep(4, 3600).await;
    let env = stand.request(|_| {}).await;
    let port = stand.running(&env).await;
    for (number, arguments) in [vec!["kill"], vec!["rm", "-f", "-t", "0"]].into_iter().enumerate() {
        let mut arguments = arguments;
        let name = container_name(&env);
        arguments.push(&name);
        assert!(podman(&arguments).unwrap().status.success());
        eventually_true("it was lost", || async { stand.env(&env).await.losses.len() == number + 1 }).await;
        assert_eq!(stand.running(&env).await, port);
        let password = stand.password(&env).await;
        ssh(port, password.expose_secret()).run("true").await.unwrap().expect_success().unwrap();
    }
    // while we were away: the sweep at the start finds it
    stand.stop().await;
    assert!(podman(&["kill", &container_name(&env)]).unwrap().status.success());
    stand.start().await;
    eventually_true("it was lost", || async { stand.env(&env).await.losses.len() == 3 }).await;
    stand.running(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_say_what_to_do_and_ports_taken_outside_are_left_alone() {
    let stand = Stand::new(3).await;
    let missing = stand.request(|asked| asked.image = "portreeve/no-such:image".into()).await;
    let failure = stand.until(&missing, Status::Failed).await.failure.unwrap();
    assert_eq!((failure.phase.name(), failure.code.as_str()), ("image", "image_missing"));
    assert!(failure.reason.contains("portreeve/no-such:image"), "{}", failure.reason);

    // somebody else listens on the next port: it is left alone, and the one after is taken
    let second = stand.ports.start() + 1;
    let foreign = TcpListener::bind(("127.0.0.1", second)).unwrap();
    let env = stand.request(|_| {}).await;
    assert_eq!(stand.running(&env).await, second + 1);
    eventually_true("the port is blocked and released", || async {
        let port = stand.port(second).await;
        port.holder.is_none() && port.blocked_until.is_some()
    })
    .await;
    drop(foreign);

    // nothing is left for a third, which deletes itself and keeps nothing
    let third = stand.request(|_| {}).await;
    stand.until(&third, Status::Deleted).await;
    let story = stand.story(third.as_str()).await;
    let envs: Vec<_> = story.iter().filter(|name| name.starts_with("Env")).collect();
    assert_eq!(envs, [&"EnvRequested", &"EnvFailed", &"EnvDeleteRequested", &"EnvDeleted"]);
    assert!(!stand.quota().await.claims.contains_key(&third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_to_live_ends_and_many_ask_at_once() {
    let stand = Stand::new(12).await;
    let mut envs = Vec::new();
    for number in 0..6 {
        envs.push(stand.request(|asked| asked.ttl_s = (number == 0).then_some(1)).await);
    }
    let mut ports = std::collections::BTreeSet::new();
    for env in &envs[1..] {
        assert!(ports.insert(stand.running(env).await), "a port was given twice");
    }
    stand.until(&envs[0], Status::Deleted).await;
    for env in &envs[1..] {
        stand.ask(env, |state| delete::request_delete(state, RequestCause::Asked, Utc::now())).await;
    }
    for env in &envs {
        stand.until(env, Status::Deleted).await;
    }
    assert!(stand.quota().await.claims.is_empty());
    for port in stand.ports.clone() {
        assert!(stand.port(port).await.holder.is_none(), "port {port} is still held");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_closes_the_door_and_an_operator_opens_it() {
    let stand = Stand::new(2).await;
    let env = stand.request(|_| {}).await;
    let port = stand.running(&env).await;
    for _ in 0..5 {
        assert!(!ssh(port, "wrong").run("true").await.unwrap().success);
    }
    eventually_true("the address is locked", || async {
        let login = stand.log.load::<Login>(&acme(), env.as_str()).await.unwrap().state;
        login.locks.len() == 1
    })
    .await;
    let password = stand.password(&env).await;
    assert!(!ssh(port, password.expose_secret()).run("true").await.unwrap().success, "the right one neither");
    stand
        .log
        .decide::<Login, _>(&acme(), env.as_str(), &crate::stand::cause(), 0, |state| {
            events::login::unlock::unlock(state, None, Utc::now())
        })
        .await
        .unwrap();
    true_within(AT_ONCE, "the door is open", || async {
        ssh(port, password.expose_secret()).run("true").await.unwrap().success
    })
    .await;
    let ports = stand.env(&env).await.port(PortPurpose::Ssh);
    assert_eq!(ports, Some(port));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_could_not_be_sent_are_recorded_before_the_environment_goes() {
    let mut stand = Stand::new(2).await;
    let env = stand.request(|_| {}).await;
    let port = stand.running(&env).await;
    let password = stand.password(&env).await;
    let mut stays = ssh(port, password.expose_secret()).stay("sleep 1000").unwrap();
    eventually_true("a session is open", || async { has(&stand, "SessionOpened").await == 1 }).await;
    // we are away: somebody guesses, somebody comes, and then the sentry dies at a blow
    stand.stop().await;
    assert!(!ssh(port, "wrong").run("true").await.unwrap().success);
    ssh(port, password.expose_secret()).run("true").await.unwrap().expect_success().unwrap();
    assert!(podman(&["kill", &container_name(&env)]).unwrap().status.success());
    let _gone = stays.kill().await;
    stand.ask(&env, |state| delete::request_delete(state, RequestCause::Asked, Utc::now())).await;
    assert_eq!(has(&stand, "LoginFailed").await, 0, "nobody could have recorded it yet");

    stand.start().await;
    stand.until(&env, Status::Deleted).await;
    assert_eq!(has(&stand, "LoginFailed").await, 1);
    assert_eq!(has(&stand, "LoginSucceeded").await, 2);
    assert_eq!((has(&stand, "SessionOpened").await, has(&stand, "SessionClosed").await), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_first_process_ends_fails_soon_and_says_so() {
    let stand = Stand::new(2).await;
    let image = crate::engine::image_that_ends();
    let env = stand.request(|asked| asked.image = image.into()).await;
    let failure = stand.until(&env, Status::Failed).await.failure.unwrap();
    assert_eq!((failure.phase.name(), failure.code.as_str()), ("ready", "ended_early"), "{}", failure.reason);
    assert!(failure.reason.contains("exit code 7"), "{}", failure.reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_may_go_away_and_come_back() {
    // the bell that rang in vain comes again after `ack_wait`, or the sweep looks by itself
    const LATE: Duration = Duration::from_secs(120);
    let mut stand = Stand::new(3).await;
    let before = stand.request(|_| {}).await;
    stand.running(&before).await;
    stand.nats.kill();
    let killed = podman(&["kill", &container_name(&before)]).unwrap();
    assert!(killed.status.success());
    stand.nats.restart().await.unwrap();
    let after = stand.request(|_| {}).await;
    stand.running(&after).await;
    harness::eventually("the killed one is noticed", LATE, || async {
        let env = stand.env(&before).await;
        if env.losses.is_empty() { Err(format!("{:?}, no loss", env.status)) } else { Ok(()) }
    })
    .await
    .unwrap();
    stand.running(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_runs_already_gets_ready_without_a_new_policy() {
    let mut stand = Stand::new(2).await;
    let env = stand.request(|_| {}).await;
    stand.running(&env).await;
    // somebody thought that it was lost; its sentry has the policy in force and nothing to tell
    stand.ask(&env, |state| observe::lost(state, "a mistake", Utc::now())).await;
    stand.running(&env).await;
    // the same while we were away
    stand.stop().await;
    stand.ask(&env, |state| observe::lost(state, "a mistake", Utc::now())).await;
    stand.start().await;
    stand.running(&env).await;
    assert_eq!((has(&stand, "PodCreated").await, has(&stand, "PodReady").await), (1, 3), "one container");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_provisioners_one_works_and_the_other_takes_over() {
    let mut stand = Stand::new(10).await;
    stand.start_standby().await;
    let mut envs = Vec::new();
    for _ in 0..3 {
        envs.push(stand.request(|_| {}).await);
    }
    let mut ports = std::collections::BTreeSet::new();
    for env in &envs {
        assert!(ports.insert(stand.running(env).await), "a port was given twice");
    }
    stand.stop_first().await;
    // what the first one did not see, and what it never heard of
    assert!(podman(&["kill", &container_name(&envs[0])]).unwrap().status.success());
    envs.push(stand.request(|_| {}).await);
    eventually_true("it was lost", || async { stand.env(&envs[0]).await.losses.len() == 1 }).await;
    for env in &envs {
        stand.running(env).await;
        stand.ask(env, |state| delete::request_delete(state, RequestCause::Asked, Utc::now())).await;
    }
    for env in &envs {
        stand.until(env, Status::Deleted).await;
        let story = stand.story(env.as_str()).await;
        for name in ["PasswordIssued", "PodCreated", "EnvDeleted"] {
            assert_eq!(story.iter().filter(|other| **other == name).count(), 1, "{name} in {story:?}");
        }
    }
    assert_eq!(has(&stand, "PortAllocated").await, has(&stand, "PortReleased").await);
    assert!(stand.quota().await.claims.is_empty());
    assert!(volumes_of(&stand.instance).unwrap().is_empty());
}

/// How many events of this type the log has.
async fn has(stand: &Stand, name: &str) -> usize {
    stand.events().await.iter().filter(|event| event.event.event_type() == name).count()
}
