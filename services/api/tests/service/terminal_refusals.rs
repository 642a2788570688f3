//! Who gets no terminal, and how are they told? By a typed error, then a close code of ours; never by 1006.

use std::time::Duration;

use harness::Api;
use harness::terminal::{Opening, ticket};
use serde_json::{Value, json};

use crate::terminal_place::{Place, place};
use crate::world::problem;

async fn refused(api: &Api, opening: Opening, code: &str, close: u16) -> Value {
    opening.open(api).await.unwrap().fails(code, close).await.unwrap()
}

fn at(place: &Place, query: &str) -> Opening {
    Opening { path: format!("/ws/terminal/environments/{}{query}", place.env), ..Opening::default() }
}

async fn good(place: &Place) -> Opening {
    Opening::of(place.admin(), &place.env, "").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_once_and_one_thing() {
    let place = place().await;
    let api = place.admin();
    let opening = good(&place).await;
    let text = opening.path.split_once("ticket=").unwrap().1.to_owned();
    opening.clone().ready(api).await.unwrap();
    refused(api, opening, "ticket_invalid", 4401).await;
    refused(api, at(&place, "?ticket=mfrggzdf"), "ticket_invalid", 4401).await;
    refused(api, at(&place, ""), "ticket_invalid", 4401).await;
    let other = ticket(api, &json!({"share": "shr-abcdefghijkl"})).await.unwrap();
    refused(api, at(&place, &format!("?ticket={other}")), "ticket_invalid", 4401).await;
    // what lives longer than a ticket is no part of an address
    let token = api.token().unwrap();
    refused(api, at(&place, &format!("?token={token}")), "parameter_invalid", 4400).await;
    refused(api, at(&place, &format!("?ticket={token}")), "ticket_invalid", 4401).await;
    // programs may say who they are in a header
    let by_header = at(&place, "").with("authorization", &format!("Bearer {token}"));
    by_header.ready(api).await.unwrap();
    let wrong = at(&place, "").with("authorization", "Bearer ptr_wrong");
    refused(api, wrong, "unauthorized", 4401).await;
    assert!(!text.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_own_pages_and_known_protocols_get_a_terminal() {
    let place = place().await;
    let api = place.admin();
    let host = api.base().trim_start_matches("http://").to_owned();
    for foreign in ["https://evil.example", "http://127.0.0.1:1", "null"] {
        let error = refused(api, good(&place).await.with("origin", foreign), "origin_refused", 4403).await;
        assert_eq!(error["retryable"], false);
    }
    good(&place).await.with("origin", &format!("http://{host}")).ready(api).await.unwrap();
    let unknown = Opening { subprotocol: Some("tty".to_owned()), ..good(&place).await };
    refused(api, unknown, "subprotocol_unknown", 4400).await;
    for query in ["&cols=0", "&rows=99999", "&offset=x", "&colour=red"] {
        let opening = Opening::of(api, &place.env, query).await.unwrap();
        refused(api, opening, "parameter_invalid", 4400).await;
    }
    let mut terminal = place.json().await;
    terminal.send(tokio_tungstenite::tungstenite::Message::text("{\"type\":\"sing\"}")).await.unwrap();
    terminal.fails("message_invalid", 4400).await.unwrap();
    let mut terminal = place.binary().await;
    let large = tokio_tungstenite::tungstenite::Message::binary(vec![0_u8; (1 << 20) + 2]);
    terminal.send(large).await.unwrap();
    terminal.fails("input_too_large", 4413).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_tenants_and_states_hold_here_too() {
    let place = place().await;
    let api = place.admin();
    let (auditor, developer) =
        (place.world.caller("default", "auditor").await, place.world.caller("default", "developer").await);
    let body = json!({"environment": place.env});
    problem(&auditor.post("/api/terminal-tickets", &body).await.unwrap(), 403, "forbidden");
    problem(&developer.post("/api/terminal-tickets", &body).await.unwrap(), 404, "not_found");
    problem(&api.post("/api/terminal-tickets", &json!({})).await.unwrap(), 422, "validation_failed");
    let bearer =
        |api: &Api| at(&place, "").with("authorization", &format!("Bearer {}", api.token().unwrap()));
    refused(api, bearer(&auditor), "forbidden", 4403).await;
    refused(api, bearer(&developer), "not_found", 4404).await;
    let back = Opening::of(api, &place.env, "&session=ses-abcdefghijkl&offset=0").await.unwrap();
    refused(api, back, "session_unknown", 4404).await;
    let stop = format!("/api/environments/{}/stop", place.env);
    api.post(&stop, &json!({})).await.unwrap().expect(202).unwrap();
    let error = refused(api, good(&place).await, "environment_not_running", 4409).await;
    assert!(error["reason"].as_str().unwrap().contains("stop"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lockout_and_allow_lists_close_this_entrance_too() {
    let place = place().await;
    let api = place.admin();
    let from = |address: &str| {
        let from = Some(address.parse().unwrap());
        let place = &place;
        async move { Opening { from, ..good(place).await } }
    };
    place.world.lock_out(&place.tenant, &place.env, "127.0.0.2").await;
    let error = refused(api, from("127.0.0.2").await, "address_locked", 4423).await;
    assert!(error["reason"].as_str().unwrap().contains("closed for another 30 minutes"), "{error}");
    let mut here = from("127.0.0.1").await.ready(api).await.unwrap();
    let mut there = from("127.0.0.3").await.ready(api).await.unwrap();
    let unlock = format!("/api/environments/{}/unlock", place.env);
    api.post(&unlock, &json!({})).await.unwrap().expect(200).unwrap();
    from("127.0.0.2").await.ready(api).await.unwrap();
    // a list holds from its answer on, and for who is in
    let list = format!("/api/environments/{}/allow-list", place.env);
    api.put(&list, &json!({"ranges": ["127.0.0.3/32"]})).await.unwrap().expect(200).unwrap();
    refused(api, from("127.0.0.1").await, "address_not_allowed", 4403).await;
    here.fails("address_not_allowed", 4403).await.unwrap();
    assert_eq!(there.runs("echo stays").await.unwrap(), "stays\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_goes_takes_its_terminals_along_and_says_so() {
    let place = place().await;
    let mut told = place.binary().await;
    place.is_lost().await;
    let error = told.fails("environment_stopped", 4410).await.unwrap();
    assert_eq!(error["retryable"], false);
    let place = self::place().await;
    let mut cut = place.json().await;
    let Place { sshd, world, env, .. } = place;
    cut.types("echo before; cat\r").await.unwrap();
    cut.until_shows("before").await.unwrap();
    drop(sshd);
    cut.fails("environment_lost", 4502).await.unwrap();
    let opening = Opening::of(&world.admin, &env, "").await.unwrap();
    let error = opening.open(&world.admin).await.unwrap().fails("connection_refused", 4502).await.unwrap();
    assert_eq!(error["retryable"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_a_shell_goes_on_and_nobody_new_comes_in() {
    let mut place = place().await;
    let mut terminal = place.binary().await;
    terminal.runs("true").await.unwrap();
    let (waiting, token) = (good(&place).await, place.admin().token().unwrap().to_owned());
    place.world.nats.kill();
    let api = place.admin().clone();
    refused(&api, waiting, "log_unavailable", 4503).await;
    let by_header = at(&place, "").with("authorization", &format!("Bearer {token}"));
    let error = refused(&api, by_header, "log_unavailable", 4503).await;
    assert_eq!(error["retryable"], true);
    assert_eq!(terminal.runs("echo goes on").await.unwrap(), "goes on\n");
    place.world.nats.restart().await.unwrap();
    assert_eq!(terminal.runs("echo and on").await.unwrap(), "and on\n");
    harness::eventually("somebody new comes in again", Duration::from_secs(60), async || {
        let opening = Opening::of(&api, &place.env, "").await.map_err(|error| format!("{error:#}"))?;
        opening.ready(&api).await.map(drop).map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_token_is_revoked_is_out() {
    let place = place().await;
    let body = json!({"name": "mine", "role": "admin"});
    let made = place.admin().post("/api/tokens", &body).await.unwrap().expect(201).unwrap();
    let own = place.admin().as_caller(made.text("token").unwrap());
    let mut terminal = Opening::of(&own, &place.env, "").await.unwrap().ready(&own).await.unwrap();
    terminal.runs("true").await.unwrap();
    let id = made.text("token_id").unwrap();
    place.admin().delete(&format!("/api/tokens/{id}")).await.unwrap().expect(200).unwrap();
    terminal.fails("unauthorized", 4401).await.unwrap();
}
