//! What ends when somebody signs out, or may not be signed in any more? What that sign-in opened, and nothing else.

use harness::terminal::Opening;
use harness::{Api, Terminal};
use reqwest::{Client, Method, StatusCode, redirect};
use serde_json::{Value, json};

use crate::browser::{Browser, PASSWORD, signed_in, with_role};
use crate::jupyter::notebook;
use crate::terminal_place::{Place, place};
use crate::world::world;

/// Somebody who sees the environment, signed in.
async fn operator(place: &Place, name: &str) -> Browser {
    with_role(&place.world, name, "operator").await;
    signed_in_again(place, name).await
}

async fn signed_in_again(place: &Place, name: &str) -> Browser {
    signed_in(place.admin().base(), &json!({"username": name, "password": PASSWORD})).await
}

async fn opening(browser: &Browser, body: &Value, path: &str) -> Opening {
    let made = browser.call(Method::POST, "/api/terminal-tickets", Some(&browser.word), Some(body)).await;
    let ticket = made.json::<Value>().await.unwrap()["ticket"].as_str().unwrap().to_owned();
    let mark = if path.contains('?') { '&' } else { '?' };
    Opening { path: format!("{path}{mark}ticket={ticket}"), ..Opening::default() }
}

async fn shell(place: &Place, browser: &Browser, more: &str) -> Opening {
    let path = format!("/ws/terminal/environments/{}{more}", place.env);
    opening(browser, &json!({"environment": place.env}), &path).await
}

async fn opened(place: &Place, browser: &Browser) -> Terminal {
    let api = Api::new(browser.base.clone(), None).unwrap();
    shell(place, browser, "").await.ready(&api).await.unwrap()
}

async fn sign_out(browser: &Browser) {
    let left = browser.call(Method::DELETE, "/api/session", Some(&browser.word), None).await;
    assert_eq!(left.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_of_a_sign_in_end_with_it_in_every_process() {
    let place = place().await;
    let other = place.world.another_api().await;
    let mut alice = operator(&place, "alice").await;
    let mut here = opened(&place, &alice).await;
    let again = signed_in_again(&place, "alice").await;
    let mut stays = opened(&place, &again).await;
    alice.base = other.base().to_owned();
    let mut there = opened(&place, &alice).await;
    alice.base = place.admin().base().to_owned();
    let unused = shell(&place, &alice, "").await;
    here.runs("true").await.unwrap();
    sign_out(&alice).await;
    for ended in [&mut here, &mut there] {
        let error = ended.fails("signed_out", 4401).await.unwrap();
        assert_eq!(error["retryable"], false);
    }
    unused.open(place.admin()).await.unwrap().fails("signed_out", 4401).await.unwrap();
    assert_eq!(stays.runs("echo stays").await.unwrap(), "stays\n");
    place
        .sessions("why both ended is on record", |items| {
            items.iter().filter(|session| session["reason"] == "signed_out").count() == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_was_taken_over_belongs_to_the_newer_sign_in() {
    let place = place().await;
    let first = operator(&place, "alice").await;
    let mut before = opened(&place, &first).await;
    before.runs("true").await.unwrap();
    let second = signed_in_again(&place, "alice").await;
    let more = format!("?session={}&offset=0", before.session.clone().unwrap());
    let mut after = shell(&place, &second, &more).await.ready(place.admin()).await.unwrap();
    before.fails("taken_over", 4409).await.unwrap();
    sign_out(&first).await;
    after.types("echo goes $((1+1)) on\r").await.unwrap();
    after.until_shows("goes 2 on").await.unwrap();
    sign_out(&second).await;
    after.fails("signed_out", 4401).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_leaves_with_their_own_sign_in_and_the_shell_stays() {
    let place = place().await;
    let owner = operator(&place, "alice").await;
    let mut shell = opened(&place, &owner).await;
    shell.runs("true").await.unwrap();
    let shares = format!("/api/terminals/{}/shares", shell.session.clone().unwrap());
    let body = json!({"mode": "view"});
    let made = owner.call(Method::POST, &shares, Some(&owner.word), Some(&body)).await;
    let made: Value = made.json().await.unwrap();
    let share = made["share_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let guest = operator(&place, "bob").await;
    let path = format!("/ws/terminal/shares/{share}");
    let mut looks =
        opening(&guest, &json!({"share": share}), &path).await.ready(place.admin()).await.unwrap();
    sign_out(&guest).await;
    looks.fails("signed_out", 4401).await.unwrap();
    assert_eq!(shell.runs("echo stays").await.unwrap(), "stays\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shut_out_is_out_of_their_terminals() {
    let place = place().await;
    let alice = operator(&place, "alice").await;
    let mut terminal = opened(&place, &alice).await;
    let unused = shell(&place, &alice, "").await;
    terminal.runs("true").await.unwrap();
    place.admin().delete("/api/users/alice").await.unwrap().expect(200).unwrap();
    terminal.fails("unauthorized", 4401).await.unwrap();
    unused.open(place.admin()).await.unwrap().fails("unauthorized", 4401).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_link_nor_cookie_of_jupyterlab_outlives_its_sign_in() {
    let world = world().await;
    let id = notebook(&world).await;
    let base = world.admin.base();
    let http = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let browser = signed_in(base, &json!({"token": world.admin.token().unwrap()})).await;
    let again = signed_in(base, &json!({"token": world.admin.token().unwrap()})).await;
    let link = async |browser: &Browser| {
        let path = format!("/api/environments/{id}/jupyter-links");
        let made = browser.call(Method::POST, &path, Some(&browser.word), Some(&json!({}))).await;
        made.json::<Value>().await.unwrap()["url"].as_str().unwrap().to_owned()
    };
    let cookie = async |url: &str| {
        let opened = http.get(url).send().await.unwrap();
        let cookie = opened.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let (url, other) = (link(&browser).await, link(&again).await);
    let (mine, theirs) = (cookie(&url).await, cookie(&other).await);
    let unused = link(&browser).await;
    let lab = format!("{}/jupyter/{id}/lab", url.split("/jupyter/").next().unwrap());
    let open = async |cookie: &str| {
        let answer = http.get(&lab).header("cookie", cookie).send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    // no JupyterLab is there: whoever is let in gets that far
    let inside = (StatusCode::BAD_GATEWAY, "environment_unreachable".to_owned());
    assert_eq!(open(&mine).await, inside);
    sign_out(&browser).await;
    let outside = (StatusCode::UNAUTHORIZED, "signed_out".to_owned());
    assert_eq!(open(&mine).await, outside);
    assert_eq!(open(&theirs).await, inside, "another sign-in of the same person");
    let late = http.get(&unused).send().await.unwrap();
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
    assert!(late.headers().get("set-cookie").is_none());
    // the token itself is revoked: its sign-ins open nothing, and their cookies neither
    let body = json!({"name": "passing", "role": "admin"});
    let made = world.admin.post("/api/tokens", &body).await.unwrap().expect(201).unwrap();
    let by_token = signed_in(base, &json!({"token": made.text("token").unwrap()})).await;
    let passing = cookie(&link(&by_token).await).await;
    assert_eq!(open(&passing).await, inside);
    let path = format!("/api/tokens/{}", made.text("token_id").unwrap());
    world.admin.delete(&path).await.unwrap().expect(200).unwrap();
    assert_eq!(open(&passing).await, (StatusCode::UNAUTHORIZED, "unauthorized".to_owned()));
}
