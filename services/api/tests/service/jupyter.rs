//! Who gets a link to JupyterLab, and how often does it open? What lies behind it is a story of `system`.

use std::time::Duration;

use events::ids::TenantId;
use harness::Api;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, LOCATION, SET_COOKIE};
use serde_json::json;

use crate::world::{World, asked, problem, world};

const DONE_AT_MOST: Duration = Duration::from_secs(30);

async fn running(api: &Api, name: &str, jupyter: bool) -> String {
    let mut body = asked(name);
    body["jupyter"] = json!(jupyter);
    let made = api.post("/api/environments", &body).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap().to_owned();
    harness::eventually("it runs", DONE_AT_MOST, async || {
        let shown = api.get(&format!("/api/environments/{id}")).await.map_err(|error| error.to_string())?;
        if shown.body["status"] == "running" { Ok(()) } else { Err(shown.body.to_string()) }
    })
    .await
    .unwrap();
    id
}

fn browser() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

async fn links(api: &Api, id: &str) -> harness::http::Answer {
    api.post(&format!("/api/environments/{id}/jupyter-links"), &json!({})).await.unwrap()
}

pub async fn notebook(world: &World) -> String {
    running(&world.admin, "notebook", true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_counts_once_for_all_processes() {
    let world = world().await;
    let (id, other) = (notebook(&world).await, world.another_api().await);
    let here = links(&world.admin, &id).await.expect(201).unwrap().text("url").unwrap().to_owned();
    let there = links(&other, &id).await.expect(201).unwrap().text("url").unwrap().to_owned();
    let (here_at, ticket) = here.split_once('?').unwrap();
    let there_at = there.split_once('?').unwrap().0;
    assert_ne!(here_at, there_at, "two processes listen at two ports");
    let tries = (0..20).map(|n| {
        let url = format!("{}?{ticket}", if n % 2 == 0 { here_at } else { there_at });
        tokio::spawn(browser().get(url).send())
    });
    let mut opened = 0;
    for tried in tries.collect::<Vec<_>>() {
        let answer = tried.await.unwrap().unwrap();
        match answer.status() {
            StatusCode::SEE_OTHER => {
                opened += 1;
                assert_eq!(answer.headers()[LOCATION], format!("/jupyter/{id}/lab"));
                let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
                assert!(
                    cookie.contains(&format!("; Path=/jupyter/{id}/; HttpOnly; SameSite=Lax")),
                    "{cookie}"
                );
            }
            status => assert_eq!(status, StatusCode::UNAUTHORIZED),
        }
    }
    assert_eq!(opened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_for_whom_the_environment_is_open() {
    let world = world().await;
    let (id, plain) = (notebook(&world).await, running(&world.admin, "plain", false).await);
    problem(&links(&world.admin, &plain).await, 409, "jupyter_missing");
    problem(&links(&world.admin, "env-aaaaaaaaaaaa").await, 404, "not_found");
    problem(&links(&world.caller("default", "auditor").await, &id).await, 403, "forbidden");
    let list = format!("/api/environments/{id}/allow-list");
    world.admin.put(&list, &json!({"ranges": ["192.0.2.0/24"]})).await.unwrap().expect(200).unwrap();
    problem(&links(&world.admin, &id).await, 403, "address_not_allowed");
    world.admin.put(&list, &json!({"ranges": []})).await.unwrap().expect(200).unwrap();
    world.lock_out(&TenantId::parse("default").unwrap(), &id, "127.0.0.1").await;
    problem(&links(&world.admin, &id).await, 403, "address_locked");
    let unlocked = world.admin.post(&format!("/api/environments/{id}/unlock"), &json!({})).await.unwrap();
    unlocked.expect(200).unwrap();
    let url = links(&world.admin, &id).await.expect(201).unwrap().text("url").unwrap().to_owned();

    // the address was locked between link and use: the ticket is used up and opens nothing
    world.lock_out(&TenantId::parse("default").unwrap(), &id, "127.0.0.1").await;
    let refused = browser().get(&url).header(ACCEPT, "text/html").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.headers().get(SET_COOKIE).is_none());
    let policy = refused.headers().get_all("content-security-policy").iter().next().unwrap().clone();
    assert_eq!(policy, "default-src 'none'");
    let page = refused.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<code>address_locked</code>"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_without_a_way_in_says_so_and_nothing_else_is_served() {
    let world = world().await;
    let id = notebook(&world).await;
    let url = links(&world.admin, &id).await.expect(201).unwrap().text("url").unwrap().to_owned();
    let opened = browser().get(&url).send().await.unwrap();
    let cookie = opened.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let origin = url.split("/jupyter/").next().unwrap();
    let asked =
        browser().get(format!("{origin}/jupyter/{id}/lab")).header("cookie", cookie).send().await.unwrap();
    let (status, text) = (asked.status(), asked.text().await.unwrap());
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(text.contains("environment_unreachable") && text.contains("inner door"), "{text}");
    for elsewhere in ["/", "/api/environments", "/healthz", "/openapi.json"] {
        let answer = browser().get(format!("{origin}{elsewhere}")).bearer_auth(world.admin.token().unwrap());
        assert_eq!(answer.send().await.unwrap().status(), StatusCode::NOT_FOUND, "{elsewhere}");
    }
}
