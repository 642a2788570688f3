//! What does the log say of somebody who keeps coming to a closed door? How often, once a minute.

use std::time::Duration;

use events::Event;
use events::login::{Entrance, LoginEvent, LoginsRefused};
use harness::terminal::Opening;
use serde_json::json;

use crate::terminal_place::place;
use crate::world::{World, problem};

const TERMINALS: u64 = 60;
const LINKS: u64 = 40;
/// A minute may end in between.
const SUMMARIES_MAX: usize = 6;

async fn told(world: &World) -> Vec<LoginsRefused> {
    let refused = |event| {
        let Event::Login(LoginEvent::LoginsRefused(refused)) = event else { return None };
        Some(refused)
    };
    world.everything().await.into_iter().filter_map(|recorded| refused(recorded.event)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_a_closed_door_does_not_grow_the_log_and_is_told_by_entrance() {
    let place = place().await;
    let (api, world) = (place.admin(), &place.world);
    world.lock_out(&place.tenant, &place.env, "127.0.0.1").await;
    let before = world.head().await;
    let token = api.token().unwrap();
    for _ in 0..TERMINALS {
        let path = format!("/ws/terminal/environments/{}", place.env);
        let opening =
            Opening { path, ..Opening::default() }.with("authorization", &format!("Bearer {token}"));
        opening.open(api).await.unwrap().fails("address_locked", 4423).await.unwrap();
    }
    for _ in 0..LINKS {
        let path = format!("/api/environments/{}/jupyter-links", place.env);
        problem(&api.post(&path, &json!({})).await.unwrap(), 403, "address_locked");
    }
    // who comes from elsewhere is not counted
    let path = format!("/ws/terminal/environments/{}", place.env);
    let elsewhere = Opening { path, from: "127.0.0.2".parse().ok(), ..Opening::default() };
    elsewhere.with("authorization", &format!("Bearer {token}")).ready(api).await.unwrap();
    // the end of a process says what was not said yet
    world.end_api();
    let count = |told: &[LoginsRefused], entrance| {
        let of = told.iter().filter(|refused| refused.entrance == entrance);
        of.map(|refused| refused.count).sum::<u64>()
    };
    let told = harness::eventually("all of them are told", Duration::from_secs(30), async || {
        let told = told(world).await;
        let counts = (count(&told, Entrance::WebTerminal), count(&told, Entrance::Jupyter));
        if counts == (TERMINALS, LINKS) { Ok(told) } else { Err(format!("{counts:?}")) }
    })
    .await
    .unwrap();
    assert!(told.len() <= SUMMARIES_MAX, "{} summaries", told.len());
    assert!(told.iter().all(|refused| refused.ip.to_string() == "127.0.0.1" && refused.from <= refused.to));
    let events = world.everything().await;
    let grown = events.iter().filter(|event| event.seq > before);
    let of_flood = grown.filter(|event| !matches!(event.event, Event::Session(_))).count();
    assert!(of_flood <= SUMMARIES_MAX + 1, "{of_flood} events, the one who came in among them");
}
