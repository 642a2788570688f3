//! Is each due time begun once, by the rights of then, or on record as skipped, whoever looks and whoever is killed?

use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Timelike, Utc};
use events::Cause;
use events::batch::Batch;
use events::command::{Command, CommandFailed, CommandRequested, fail::fail, request::request};
use events::ids::{BatchId, CommandId, ScheduleId, ServerId, TenantId};
use events::schedule::fire::fire;
use events::schedule::remove::remove;
use events::schedule::set::set;
use events::schedule::{Run, Schedule, ScheduleFired, ScheduleSet, When, Which};
use harness::Api;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server_grants::{grant, person};
use crate::world::{World, config, problem, world};

const SOON: Duration = Duration::from_secs(20);

pub async fn server(world: &World) -> String {
    let body = json!({"name": "web", "host": "127.0.0.1", "port": 22, "username": "developer",
        "password": "Right-Pass-1", "test": false});
    let made = world.admin.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    made.text("server_id").unwrap().to_owned()
}

pub fn in_ms(ms: i64) -> Value {
    json!((Utc::now() + TimeDelta::milliseconds(ms)).to_rfc3339())
}

fn run_on(servers: &[&str]) -> Value {
    json!({"command": "uptime", "servers": servers})
}

pub async fn add(api: &Api, name: &str, at: Value, servers: &[&str]) -> String {
    let body = json!({"name": name, "at": at, "run": run_on(servers)});
    let made = api.post("/api/schedules", &body).await.unwrap().expect(201).unwrap();
    made.text("schedule_id").unwrap().to_owned()
}

/// So many runs are shown, newest first.
pub async fn runs(api: &Api, id: &str, count: usize) -> Vec<Value> {
    harness::eventually("its due times are on record", SOON, async || {
        let shown = api.get(&format!("/api/schedules/{id}")).await.map_err(|error| error.to_string())?.body;
        let runs = shown["runs"].as_array().cloned().unwrap_or_default();
        if runs.len() >= count { Ok(runs) } else { Err(shown.to_string()) }
    })
    .await
    .unwrap()
}

fn default() -> TenantId {
    TenantId::parse("default").unwrap()
}

/// As if it had been set at that time; by the administrator's token.
async fn set_since(world: &World, when: When, since: DateTime<Utc>, servers: Vec<ServerId>) -> ScheduleId {
    let me = world.admin.get("/api/me").await.unwrap().expect(200).unwrap();
    let asked = ScheduleSet {
        name: "old".into(),
        run: Run {
            command: "uptime".into(),
            which: Which::Servers(servers),
            timeout_ms: 60_000,
            idempotent: false,
            concurrency: 10,
            stop_after_failures: None,
        },
        when,
        late_s_max: 600,
        by: me.text("owner").unwrap().parse().unwrap(),
        actor: me.text("actor").unwrap().to_owned(),
        since: since.trunc_subsecs(3),
    };
    let id = ScheduleId::from_seed(&Uuid::new_v4());
    let rule = |schedule: &Schedule| set(schedule, asked.clone());
    let cause = Cause::new(Uuid::new_v4(), "user:somebody");
    world.log.decide::<Schedule, _>(&default(), id.as_str(), &cause, 0, rule).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_processes_one_begins_each_due_time() {
    let world = world().await;
    let _others = [world.another_api().await, world.another_api().await];
    let server = server(&world).await;
    let at = in_ms(3_000);
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(add(&world.admin, &format!("number {number}"), at.clone(), &[&server]).await);
    }
    let listed = world.admin.list(&format!("/api/schedules?after={}", world.head().await)).await.unwrap();
    assert_eq!(listed.len(), 20);
    assert!(listed.iter().all(|it| it["status"] == "active" && it["next_due"].is_string()), "{listed:?}");
    for id in &ids {
        let begun = runs(&world.admin, id, 1).await;
        assert_eq!(
            (begun.len(), &begun[0]["outcome"], &begun[0]["servers"]),
            (1, &json!("running"), &json!(1))
        );
        let batch = begun[0]["batch_id"].as_str().unwrap();
        let due_at = begun[0]["due_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(batch, BatchId::of_schedule(&id.parse().unwrap(), due_at).as_str());
        let shown =
            world.admin.get(&format!("/api/batches/{batch}")).await.unwrap().expect(200).unwrap().body;
        assert_eq!((&shown["command"], &shown["servers"]), (&json!("uptime"), &json!(1)), "{shown}");
    }
    let events = world.everything().await;
    let count = |kind: &str| events.iter().filter(|event| event.event.event_type() == kind).count();
    assert_eq!((count("ScheduleFired"), count("ScheduleSkipped"), count("BatchRequested")), (20, 0, 20));
    let ended = world.admin.list(&format!("/api/schedules?after={}", world.head().await)).await.unwrap();
    assert!(ended.iter().all(|it| it["status"] == "ended" && it["next_due"].is_null()), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_was_missed_the_latest_is_begun_if_it_is_not_too_late() {
    let world = world().await;
    let server: ServerId = server(&world).await.parse().unwrap();
    let cron = |fields: String| When::Cron { fields, time_zone: "UTC".into() };
    let now = Utc::now();
    let since = now - TimeDelta::hours(3);
    let each_minute = set_since(&world, cron("* * * * *".into()), since, vec![server.clone()]).await;
    let long_ago = cron(format!("{} * * * *", (now.minute() + 30) % 60));
    let hourly = set_since(&world, long_ago, since, vec![server]).await;
    let both = runs(&world.admin, each_minute.as_str(), 2).await;
    let (begun, missed) = (&both[both.len() - 2], &both[both.len() - 1]);
    assert_eq!((&missed["outcome"], &missed["why"]), (&json!("skipped"), &json!("missed")), "{missed}");
    let count = missed["count"].as_u64().unwrap();
    assert!((178..=180).contains(&count), "{missed}");
    let time = |run: &Value, field: &str| run[field].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let span = time(missed, "last_due_at") - time(missed, "due_at");
    assert_eq!(span.num_minutes(), i64::try_from(count).unwrap() - 1, "none between is left out");
    assert_eq!(time(begun, "due_at") - time(missed, "last_due_at"), TimeDelta::minutes(1));
    assert!(begun["batch_id"].is_string(), "{begun}");
    let late = runs(&world.admin, hourly.as_str(), 1).await;
    assert_eq!(
        (late.len(), &late[0]["why"], &late[0]["count"]),
        (1, &json!("missed"), &json!(3)),
        "{late:?}"
    );
    assert_eq!(world.count("ScheduleFired", hourly.as_str()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_run_before_goes_on_the_next_is_left_out() {
    let world = world().await;
    let (api, server) = (&world.admin, server(&world).await);
    let body = json!({"name": "one", "at": in_ms(1_500), "run": run_on(&[&server])});
    let set = api.post_once("/api/schedules", &body, "one").await.unwrap().expect(201).unwrap();
    let id = set.text("schedule_id").unwrap().to_owned();
    let path = format!("/api/schedules/{id}");
    let first = runs(api, &id, 1).await[0].clone();
    let repeated = api.post_once("/api/schedules", &body, "one").await.unwrap().expect(201).unwrap();
    assert_eq!(repeated.body["schedule_id"], json!(id), "also when its time is past");
    let again = async || {
        api.call(Method::PATCH, &path, Some(&json!({"at": in_ms(1_500)})), None)
            .await
            .unwrap()
            .expect(200)
            .unwrap();
    };
    again().await;
    let second = runs(api, &id, 2).await[0].clone();
    assert_eq!(
        (&second["outcome"], &second["why"]),
        (&json!("skipped"), &json!("still_running")),
        "{second}"
    );
    let batch = BatchId::parse(first["batch_id"].as_str().unwrap()).unwrap();
    assert!(second["reason"].as_str().unwrap().contains(batch.as_str()), "{second}");
    end(&world, &batch).await;
    again().await;
    let third = runs(api, &id, 3).await;
    assert!(third[0]["batch_id"].is_string(), "{third:?}");
    assert_eq!(third[2]["outcome"], "failed", "{third:?}");
}

/// All its commands fail, as a hub would say.
pub async fn end(world: &World, batch: &BatchId) {
    let asked = world.log.load::<Batch>(&default(), batch.as_str()).await.unwrap().state.requested.unwrap();
    let log = nats::connect(&config(&world.nats, "relay")).await.unwrap().log();
    for server in asked.servers {
        let id = CommandId::of(batch, &server, asked.at);
        let requested = CommandRequested {
            batch: batch.clone(),
            server,
            timeout_ms: asked.timeout_ms,
            idempotent: false,
            start_by: Utc::now() + TimeDelta::minutes(1),
        };
        let cause = Cause::new(Uuid::new_v4(), "service:relay");
        let rule = |command: &Command| request(command, requested.clone());
        log.decide::<Command, _>(&default(), id.as_str(), &cause, 0, rule).await.unwrap();
        let failed = CommandFailed { class: "auth_failed".into(), reason: "no".into(), suggestion: None };
        let rule = |command: &Command| fail(command, None, &failed);
        log.decide::<Command, _>(&default(), id.as_str(), &cause, 1, rule).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_runs_by_the_rights_of_that_moment() {
    let world = world().await;
    let (one, two) = (server(&world).await, server(&world).await);
    let alice = person(&world, "alice").await;
    let grants = |server: &str| format!("/api/servers/{server}/grants");
    let may = json!({"grants": [{"user": "alice", "may": ["command"]}]});
    grant(&world, &grants(&one), may.clone()).await;
    let refused = json!({"name": "x", "at": in_ms(60_000), "run": run_on(&[&one, &two])});
    let refused = alice.post("/api/schedules", &refused).await.unwrap();
    problem(&refused, 422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["field"], "run.servers[1]");
    grant(&world, &grants(&two), may).await;
    let fewer = add(&alice, "fewer", in_ms(2_000), &[&one, &two]).await;
    grant(&world, &grants(&two), json!({"grants": []})).await;
    let left = runs(&alice, &fewer, 1).await[0].clone();
    assert_eq!((&left["servers"], &left["left_out"]), (&json!(1), &json!(1)), "{left}");
    let batch = left["batch_id"].as_str().unwrap();
    let batch = alice.get(&format!("/api/batches/{batch}")).await.unwrap().expect(200).unwrap().body;
    assert_eq!((&batch["by"], &batch["commands"][0]["server_id"]), (&json!("alice"), &json!(one)));

    let none = add(&alice, "none", in_ms(2_000), &[&one]).await;
    world.admin.delete(&format!("/api/servers/{one}")).await.unwrap().expect(200).unwrap();
    let gone = runs(&alice, &none, 1).await[0].clone();
    assert_eq!((&gone["why"], &gone["batch_id"]), (&json!("no_servers"), &Value::Null), "{gone}");

    grant(&world, &grants(&two), json!({"grants": [{"user": "alice", "may": ["command"]}]})).await;
    let never = add(&alice, "never", in_ms(2_000), &[&two]).await;
    world.admin.delete("/api/users/alice").await.unwrap().expect(200).unwrap();
    let shut_out = runs(&world.admin, &never, 1).await[0].clone();
    assert_eq!(
        (&shut_out["why"], &shut_out["outcome"]),
        (&json!("not_allowed"), &json!("skipped")),
        "{shut_out}"
    );
    assert!(shut_out["reason"].as_str().unwrap().contains("user:alice"), "{shut_out}");
}

/// Between the two appends of whoever began it; also when the schedule is gone by then.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_began_gets_its_batch_from_another() {
    let world = world().await;
    let server: ServerId = server(&world).await.parse().unwrap();
    let due_at = (Utc::now() - TimeDelta::days(1)).trunc_subsecs(0);
    for removed in [false, true] {
        let since = due_at - TimeDelta::seconds(1);
        let id = set_long_ago(&world, due_at, since, vec![server.clone()]).await;
        if removed {
            let cause = Cause::new(Uuid::new_v4(), "user:somebody");
            world.log.decide::<Schedule, _>(&default(), id.as_str(), &cause, 0, remove).await.unwrap();
        }
        let batch = BatchId::of_schedule(&id, due_at);
        harness::eventually("its batch is there", SOON, async || {
            let shown = world.admin.get(&format!("/api/batches/{batch}")).await;
            let shown = shown.map_err(|error| error.to_string())?;
            if shown.status == 200 { Ok(()) } else { Err(shown.body.to_string()) }
        })
        .await
        .unwrap();
        assert_eq!(world.count("BatchRequested", batch.as_str()).await, 1);
        assert_eq!(world.count("ScheduleFired", id.as_str()).await, 1);
    }
}

/// Set, and begun a second after it was due; both long ago, so that nobody else finds it due.
async fn set_long_ago(
    world: &World,
    due_at: DateTime<Utc>,
    since: DateTime<Utc>,
    servers: Vec<ServerId>,
) -> ScheduleId {
    let far = due_at + TimeDelta::days(30);
    let id = set_since(world, When::At(far), since, servers.clone()).await;
    let batch_id = BatchId::of_schedule(&id, due_at);
    let fired = ScheduleFired {
        due_at,
        batch_id,
        servers,
        left_out: 0,
        approval: None,
        at: due_at + TimeDelta::seconds(1),
    };
    // as the rule says of the schedule that it was before its time was another one
    let cause = Cause::new(Uuid::new_v4(), "service:api");
    let rule = |state: &Schedule| {
        let mut before = state.clone();
        if let Some(set) = &mut before.set {
            set.when = When::At(due_at);
        }
        fire(&before, fired.clone())
    };
    world.log.decide::<Schedule, _>(&default(), id.as_str(), &cause, 1, rule).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_it_is_changes_it_and_strangers_find_nothing() {
    let world = world().await;
    world.tenant("Red").await;
    let server = server(&world).await;
    let alice = person(&world, "alice").await;
    grant(
        &world,
        &format!("/api/servers/{server}/grants"),
        json!({"grants": [{"user": "alice", "may": ["command"]}]}),
    )
    .await;
    let body = json!({"name": "nightly", "cron": " 0  3 * * *", "time_zone": "Europe/Berlin", "run": run_on(&[&server])});
    let made = alice.post_once("/api/schedules", &body, "one").await.unwrap().expect(201).unwrap();
    let again = alice.post_once("/api/schedules", &body, "one").await.unwrap().expect(201).unwrap();
    assert_eq!(
        (made.body["schedule_id"].clone(), made.position),
        (again.body["schedule_id"].clone(), again.position)
    );
    let id = made.text("schedule_id").unwrap();
    let path = format!("/api/schedules/{id}");
    let shown = alice
        .get(&format!("{path}?after={}", made.position.unwrap()))
        .await
        .unwrap()
        .expect(200)
        .unwrap()
        .body;
    assert_eq!(
        (&shown["cron"], &shown["by"], &shown["status"]),
        (&json!("0 3 * * *"), &json!("alice"), &json!("active"))
    );
    assert_eq!(
        (&shown["run"]["servers"], &shown["last"], &shown["runs"]),
        (&json!([server]), &Value::Null, &json!([]))
    );

    let patch =
        async |api: &Api, body: Value| api.call(Method::PATCH, &path, Some(&body), None).await.unwrap();
    let strangers = [
        world.caller("red", "operator").await,
        world.caller("red", "developer").await,
        world.caller("default", "developer").await,
    ];
    let head = world.head().await;
    for stranger in &strangers {
        problem(&stranger.get(&path).await.unwrap(), 404, "not_found");
        problem(&patch(stranger, json!({"paused": true})).await, 404, "not_found");
        problem(&stranger.delete(&path).await.unwrap(), 404, "not_found");
        assert!(stranger.list("/api/schedules").await.unwrap().is_empty());
    }
    let auditor = world.caller("default", "auditor").await;
    auditor.get(&path).await.unwrap().expect(200).unwrap();
    problem(&patch(&auditor, json!({"paused": true})).await, 403, "forbidden");
    let events = world.everything().await;
    assert!(
        events.iter().filter(|event| event.seq > head).all(|event| event.event.event_type() == "TokenIssued")
    );

    // it runs in her name: others stop it and change nothing of it
    let operator = world.caller("default", "operator").await;
    problem(&patch(&operator, json!({"run": run_on(&[&server])})).await, 403, "forbidden");
    let paused = patch(&operator, json!({"paused": true})).await.expect(200).unwrap();
    assert_eq!(paused.body["next_due"], Value::Null);
    let changed = patch(&alice, json!({"paused": false, "name": "daily", "cron": "0 4 * * *"}))
        .await
        .expect(200)
        .unwrap();
    assert!(
        changed.body["next_due"].as_str().unwrap().ends_with("T04:00:00Z"),
        "UTC when nothing is said: {changed:?}"
    );
    let wrong = patch(&alice, json!({"cron": "0 4 * *", "color": "red"})).await;
    problem(&wrong, 422, "validation_failed");
    let fields: Vec<_> =
        wrong.body["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, [&json!("cron"), &json!("color")]);
    operator.delete(&path).await.unwrap().expect(200).unwrap();
    operator.delete(&path).await.unwrap().expect(200).unwrap();
    problem(&patch(&alice, json!({"paused": true})).await, 404, "not_found");
    let after = world.head().await;
    assert!(alice.list(&format!("/api/schedules?after={after}")).await.unwrap().is_empty());
    let removed = alice.get(&path).await.unwrap().expect(200).unwrap().body;
    assert_eq!((&removed["status"], &removed["name"]), (&json!("removed"), &json!("daily")));
}
