//! Does the API say what is away, soon, and come back by itself?

use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{asked, problem, world};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_everything_says_so_and_comes_back() {
    let mut world = world().await;
    let api = world.admin.clone();
    world.nats.kill();
    let began = Instant::now();
    // the first ones find out for themselves, later ones are told
    for path in ["/api/me", "/api/environments"] {
        problem(&api.get(path).await.unwrap(), 503, "log_unavailable");
    }
    problem(&api.post("/api/environments", &asked("one")).await.unwrap(), 503, "log_unavailable");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let ready = api.get("/readyz").await.unwrap();
    assert_eq!((ready.status, ready.body["failing"]["nats"].is_string()), (503, true), "{}", ready.body);
    assert_eq!(api.get("/healthz").await.unwrap().status, 200);
    world.nats.restart().await.unwrap();
    harness::eventually("a create is taken again", Duration::from_secs(60), async || {
        let answer = api.post("/api/environments", &asked("one")).await.map_err(|error| error.to_string())?;
        if answer.status == 202 && answer.body["ssh_port"].is_u64() {
            Ok(())
        } else {
            Err(answer.body.to_string())
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_read_model_decisions_go_on() {
    let mut world = world().await;
    let api = world.admin.clone();
    world.postgres.kill().unwrap();
    let began = Instant::now();
    problem(&api.get("/api/environments").await.unwrap(), 503, "read_model_unavailable");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let made = api.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let path = format!("/api/environments/{}", made.text("env_id").unwrap());
    api.get(&format!("{path}/ssh")).await.unwrap().expect(200).unwrap();
    api.post(&format!("{path}/stop"), &json!({})).await.unwrap().expect(202).unwrap();
    world.postgres.start_again().await.unwrap();
    harness::eventually("the read model is there again", Duration::from_secs(30), async || {
        let answer = api.get(&path).await.map_err(|error| error.to_string())?;
        if answer.body["status"] == "stopped" { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await
    .unwrap();
}
