//! Are a batch's commands given out page by page, and does a relay say how many it has?

use chrono::{TimeDelta, Utc};
use events::aggregate::Refusal;
use events::command::{Command, CommandCompleted, CommandRequested, Output, Via, answer, dispatch, request};
use events::ids::{BatchId, HubId, RelayId, ServerId, TenantId};
use events::{Aggregate, Cause, Decision};
use harness::Api;
use nats::Log;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, config, problem, world};

/// What a hub says of the commands of one batch, one after the other.
pub struct Hub {
    log: Log,
    pub batch: BatchId,
    pub commands: Vec<(String, ServerId)>,
}

impl Hub {
    pub async fn decide<R: Refusal>(
        &self,
        which: usize,
        rule: impl Fn(&Command) -> Decision<<Command as Aggregate>::Event, R>,
    ) {
        let (tenant, cause) = (TenantId::parse("default").unwrap(), Cause::new(Uuid::now_v7(), "relay"));
        self.log.decide::<Command, _>(&tenant, &self.commands[which].0, &cause, 0, rule).await.unwrap();
    }

    pub async fn request(&self, which: usize) {
        let asked = CommandRequested {
            batch: self.batch.clone(),
            server: self.commands[which].1.clone(),
            timeout_ms: 60_000,
            idempotent: false,
            start_by: Utc::now() + TimeDelta::minutes(1),
        };
        self.decide(which, |state| request::request(state, asked.clone())).await;
    }

    pub async fn dispatch(&self, which: usize, via: &Via) {
        self.request(which).await;
        let place = dispatch::Place { host: "10.0.0.1".into(), port: 22, username: "deploy".into() };
        self.decide(which, |state| dispatch::dispatch(state, via, &place, Utc::now())).await;
    }

    pub async fn complete(&self, which: usize, via: &Via, exit_code: i32) {
        self.answer(which, via, exit_code, b"").await;
    }

    pub async fn answer(&self, which: usize, via: &Via, exit_code: i32, said: &[u8]) {
        let stdout = Output::of(said, said.len() as u64);
        let completed = CommandCompleted { exit_code, stdout, stderr: Output::default() };
        self.decide(which, |state| answer::answer(state, via, &completed, Utc::now())).await;
    }
}

pub async fn begun(world: &World, servers: usize) -> Hub {
    let mut ids = Vec::new();
    for number in 0..servers {
        let body = json!({"name": format!("web {number}"), "host": "127.0.0.1", "port": 22, "username": "deploy",
            "password": "Right-Pass-1", "test": false});
        let made = world.admin.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
        ids.push(made.text("server_id").unwrap().to_owned());
    }
    let body = json!({"command": "true", "servers": ids});
    let begun = world.admin.post("/api/commands", &body).await.unwrap().expect(202).unwrap();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
    let named = |one: &Value| (text(one, "command_id"), ServerId::parse(text(one, "server_id")).unwrap());
    Hub {
        log: nats::connect(&config(&world.nats, "relay")).await.unwrap().log(),
        batch: BatchId::parse(begun.text("batch_id").unwrap()).unwrap(),
        commands: begun.body["commands"].as_array().unwrap().iter().map(named).collect(),
    }
}

async fn shown(api: &Api, world: &World, path: &str) -> Value {
    let sign = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{sign}after={}", world.head().await);
    api.get(&path).await.unwrap().expect(200).unwrap().body
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page.get("items").or(page.get("commands")).and_then(Value::as_array).unwrap();
    items.iter().map(|command| command["command_id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_shown_page_by_page_and_sifted() {
    let world = world().await;
    let admin = &world.admin;
    let hub = begun(&world, 5).await;
    let all: Vec<&str> = hub.commands.iter().map(|(id, _)| id.as_str()).collect();
    let path = format!("/api/batches/{}", hub.batch);
    let whole = shown(admin, &world, &path).await;
    assert_eq!((ids(&whole), &whole["next_cursor"]), (all.clone(), &Value::Null));

    // the batch's own cursor leads on in the list
    let first = shown(admin, &world, &format!("{path}?limit=2")).await;
    assert_eq!((ids(&first), &first["counts"]["queued"]), (all[..2].to_vec(), &json!(5)));
    let (mut seen, mut cursor) = (2, first["next_cursor"].as_str().map(str::to_owned));
    while let Some(from) = cursor {
        let page = shown(admin, &world, &format!("{path}/commands?limit=2&cursor={from}")).await;
        assert_eq!(ids(&page), all[seen..all.len().min(seen + 2)]);
        seen += ids(&page).len();
        cursor = page["next_cursor"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, 5);

    let direct = Via::Direct { hub: HubId::from_seed(&Uuid::nil()) };
    for (which, exit_code) in [(1, 0), (3, 7)] {
        hub.dispatch(which, &direct).await;
        hub.complete(which, &direct, exit_code).await;
    }
    hub.dispatch(4, &direct).await;
    for (sifted, expected) in [
        ("status=queued", vec![all[0], all[2]]),
        ("status=dispatched", vec![all[4]]),
        ("status=completed", vec![all[1], all[3]]),
        ("status=completed&ok=true", vec![all[1]]),
        ("ok=false", vec![all[3]]),
        ("status=lost", vec![]),
    ] {
        assert_eq!(
            ids(&shown(admin, &world, &format!("{path}/commands?{sifted}")).await),
            expected,
            "{sifted}"
        );
    }
    let wrong = admin.get(&format!("{path}/commands?status=done")).await.unwrap();
    problem(&wrong, 400, "parameter_invalid");
    let developer = world.caller("default", "developer").await;
    problem(&developer.get(&format!("{path}/commands")).await.unwrap(), 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_says_how_many_commands_it_has() {
    let world = world().await;
    let made = world.admin.post("/api/relays", &json!({"name": "one"})).await.unwrap().expect(201).unwrap();
    let id = made.text("relay_id").unwrap();
    let hub = begun(&world, 4).await;
    let by = |relay: &str| Via::Relay { relay: RelayId::parse(relay).unwrap(), epoch: 1 };
    for (which, via) in [
        (0, by(id)),
        (1, by(id)),
        (2, by("rel-abcdefghijkl")),
        (3, Via::Direct { hub: HubId::from_seed(&Uuid::nil()) }),
    ] {
        hub.dispatch(which, &via).await;
    }
    let path = format!("/api/relays/{id}");
    assert_eq!(shown(&world.admin, &world, &path).await["in_flight"], 2);
    hub.complete(0, &by(id), 1).await;
    assert_eq!(shown(&world.admin, &world, &path).await["in_flight"], 1);
    let listed = shown(&world.admin, &world, "/api/relays").await;
    assert_eq!(listed["items"][0]["in_flight"], 1, "{listed}");
}
