//! Does an environment's life read the same in every answer?

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use harness::{Answer, Api};
use serde_json::json;

use crate::world::{asked, problem, world, world_with};

async fn until(api: &Api, path: &str, status: &str) -> Answer {
    harness::eventually(&format!("{path} is {status}"), Duration::from_secs(30), async || {
        let answer = api.get(path).await.map_err(|error| error.to_string())?;
        if answer.body["status"] == status { Ok(answer) } else { Err(answer.body.to_string()) }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_from_the_asking_to_the_end() {
    let world = world().await;
    let api = &world.admin;
    let body = json!({"name": "one", "resources": {"cpu": 0.5, "memory": 1, "storage": 2},
        "jupyter": true, "ttl_s": 3600, "allow_list": ["10.1.2.3/8", "192.0.2.1"]});
    let made = api.post("/api/environments", &body).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap().to_owned();
    let port = made.body["ssh_port"].as_u64().unwrap();
    assert_eq!(made.body["ssh_password"], format!("first-{id}"));
    assert_eq!(made.body["ssh_command"], format!("ssh developer@ssh.example.org -p {port}"));
    let url = format!("http://ssh.example.org:{}/jupyter/{id}/lab?token=jupyter-token", port + 1);
    assert_eq!(made.body["jupyter_url"], url);
    assert_eq!(made.body["status"], "creating");
    assert_eq!(made.body["ssh_username"], "developer");
    assert_eq!(made.body["position"].as_u64(), made.position);
    assert_eq!(world.count("PasswordRevealed", &id).await, 1);

    let path = format!("/api/environments/{id}");
    let position = made.position.unwrap();
    let seen = api.get(&format!("{path}?after={position}")).await.unwrap().expect(200).unwrap();
    assert!(seen.position.unwrap() >= position);
    assert_eq!(seen.body["ssh_port"], port);
    assert_eq!(seen.body["allow_list"], json!(["10.0.0.0/8", "192.0.2.1/32"]));
    assert_eq!(seen.body["image"], "portreeve/env:dev");
    assert_eq!(seen.body["resources"], json!({"cpu": 0.5, "memory": 1, "gpu": 0, "storage": 2}));
    assert_eq!(seen.body["owner"], "admin");
    until(api, &path, "running").await;

    let ssh = api.get(&format!("{path}/ssh")).await.unwrap().expect(200).unwrap();
    assert_eq!(ssh.body["ssh_password"], format!("first-{id}"));
    assert_eq!(ssh.body["gateway_command"], format!("ssh {id}@ssh.example.org -p 2222"));
    assert_eq!(ssh.body["sftp_url"], format!("sftp://developer@ssh.example.org:{port}"));
    assert!(ssh.text("vscode_config").unwrap().contains(&format!("Port {port}\n")));
    assert_eq!(world.count("PasswordRevealed", &id).await, 2);

    let set = api.put(&format!("{path}/allow-list"), &json!({"ranges": ["10.0.0.0/8"]})).await.unwrap();
    assert_eq!(set.expect(200).unwrap().body, json!({"ranges": ["10.0.0.0/8"]}));

    let stopping = api.post(&format!("{path}/stop"), &json!({})).await.unwrap().expect(202).unwrap();
    assert_eq!(stopping.body["env_id"], id);
    until(api, &path, "stopped").await;
    api.post(&format!("{path}/start"), &json!({})).await.unwrap().expect(202).unwrap();
    until(api, &path, "running").await;

    let deleting = api.delete(&path).await.unwrap().expect(202).unwrap();
    assert_eq!(deleting.body["status"], "deleting");
    let after = deleting.position.unwrap();
    assert_eq!(api.get(&format!("{path}?after={after}")).await.unwrap().body["status"], "deleting");
    for (way, name) in [("stop", "environment_deleting"), ("reset-password", "environment_deleting")] {
        problem(&api.post(&format!("{path}/{way}"), &json!({})).await.unwrap(), 409, name);
    }
    api.delete(&path).await.unwrap().expect(202).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_answers_when_the_environment_enforces_it() {
    let world = world().await;
    let api = &world.admin;
    let made = api.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let path = format!("/api/environments/{}", made.text("env_id").unwrap());
    until(api, &path, "running").await;
    let reset = api.post(&format!("{path}/reset-password"), &json!({})).await.unwrap().expect(200).unwrap();
    let password = reset.text("ssh_password").unwrap().to_owned();
    assert_ne!(password, made.text("ssh_password").unwrap());
    assert_eq!(password.len(), 20);
    let ssh = api.get(&format!("{path}/ssh")).await.unwrap();
    assert_eq!(ssh.body["ssh_password"], password);

    world.provisioner.deaf.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let late = api.post_once(&format!("{path}/reset-password"), &json!({}), "k").await.unwrap();
    problem(&late, 504, "reset_not_confirmed");
    assert!((9..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // it is recorded: the same request again goes on waiting for the same password
    api.post(&format!("{path}/stop"), &json!({})).await.unwrap().expect(202).unwrap();
    until(api, &path, "stopped").await;
    let again = api.post_once(&format!("{path}/reset-password"), &json!({}), "k").await.unwrap();
    let recorded = again.expect(200).unwrap().body["ssh_password"].clone();
    assert_eq!(api.get(&format!("{path}/ssh")).await.unwrap().body["ssh_password"], recorded);
    assert_ne!(recorded, password);
    // a later one wins over a repeat of an earlier one
    api.post(&format!("{path}/reset-password"), &json!({})).await.unwrap().expect(200).unwrap();
    let void = api.post_once(&format!("{path}/reset-password"), &json!({}), "k").await.unwrap();
    problem(&void, 409, "password_superseded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_start_is_answered_with_what_is_known() {
    let world = world_with(|api| api.wait_s = 2).await;
    world.provisioner.away.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let made = world.admin.post("/api/environments", &asked("slow")).await.unwrap().expect(202).unwrap();
    assert!((1900..10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    for field in ["ssh_port", "ssh_password", "ssh_command", "jupyter_url"] {
        assert!(made.body[field].is_null(), "{field}");
    }
    let id = made.text("env_id").unwrap();
    let ssh = world.admin.get(&format!("/api/environments/{id}/ssh")).await.unwrap().expect(200).unwrap();
    assert!(ssh.body["ssh_port"].is_null() && ssh.body["ssh_password"].is_null());
    assert_eq!(world.count("PasswordRevealed", id).await, 0);
    problem(
        &world.admin.post(&format!("/api/environments/{id}/reset-password"), &json!({})).await.unwrap(),
        409,
        "password_not_issued",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_port_the_environment_goes_again_by_itself() {
    let world = world().await;
    world.provisioner.exhausted.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = world.admin.post_once("/api/environments", &asked("none"), "k").await.unwrap();
        problem(&answer, 503, "port_pool_exhausted");
    }
    let events = world.everything().await;
    let asked: Vec<_> = events.iter().filter(|e| e.event.event_type() == "EnvDeleteRequested").collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].event.to_json()["cause"], "never_started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_address_is_let_in_again() {
    let world = world().await;
    let made = world.admin.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap();
    let path = format!("/api/environments/{id}/unlock");
    problem(&world.admin.post(&path, &json!({})).await.unwrap(), 409, "not_locked");
    let tenant = events::ids::TenantId::parse("default").unwrap();
    world.lock_out(&tenant, id, "192.0.2.7").await;
    problem(&world.admin.post(&path, &json!({"ip": "192.0.2.8"})).await.unwrap(), 409, "not_locked");
    let open = world.admin.post(&path, &json!({"ip": "192.0.2.7"})).await.unwrap().expect(200).unwrap();
    let after = open.position.unwrap();
    let logins = world.admin.list(&format!("/api/environments/{id}/logins?after={after}")).await.unwrap();
    let kinds: Vec<_> = logins.iter().map(|login| login["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["unlocked", "locked", "failed", "failed", "failed", "failed", "failed"]);
}
