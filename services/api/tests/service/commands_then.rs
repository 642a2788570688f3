//! Are commands, batches, relays and schedules shown as they were, at each point of their lives, and to nobody else?

use chrono::{DateTime, TimeDelta, Utc};
use events::command::{Via, time_out};
use events::ids::{BatchId, HubId, RelayId};
use harness::Api;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::batches::{Hub, begun};
use crate::schedules::{add, end, in_ms, runs, server};
use crate::time_travel::get;
use crate::world::{World, problem, world};

/// What was read at a moment, live.
struct Moment {
    head: u64,
    time: DateTime<Utc>,
    /// By path.
    shown: Vec<(String, Value)>,
}

impl Moment {
    async fn of(world: &World, paths: &[String]) -> Self {
        let head = world.head().await;
        let mut shown = Vec::new();
        for path in paths {
            let body = get(&world.admin, &format!("{path}{}after={head}", sign(path))).await.1;
            shown.push((path.clone(), body));
        }
        Self { head, time: Utc::now(), shown }
    }

    fn body(&self, path: &str) -> &Value {
        &self.shown.iter().find(|(of, _)| of == path).unwrap().1
    }

    /// The same is read of then, by sequence and by time.
    async fn is_read_again(&self, api: &Api) {
        for (path, live) in &self.shown {
            for at in [self.head.to_string(), self.time.to_rfc3339().replace('+', "%2B")] {
                let (position, was) = get(api, &format!("{path}{}as_of={at}", sign(path))).await;
                assert_eq!((position, &was), (self.head, live), "{path} at {at}");
            }
        }
    }
}

fn sign(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

fn direct() -> Via {
    Via::Direct { hub: HubId::from_seed(&Uuid::nil()) }
}

async fn time_out_later(hub: &Hub, which: usize) {
    let later = Utc::now() + TimeDelta::hours(1);
    hub.decide(which, |state| time_out::time_out(state, later)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_and_its_batch_are_shown_as_they_were_at_each_point() {
    let world = world().await;
    let before = world.head().await;
    let hub = begun(&world, 3).await;
    let one = |which: usize| format!("/api/commands/{}", hub.commands[which].0);
    let whole = format!("/api/batches/{}", hub.batch);
    let paths = [
        one(0),
        one(1),
        one(2),
        whole.clone(),
        format!("{whole}?limit=1"),
        format!("{whole}/commands?status=completed"),
        format!("{whole}/commands?ok=false&limit=1"),
        "/api/batches".to_owned(),
    ];
    let mut moments = vec![Moment::of(&world, &paths).await];
    hub.request(0).await;
    moments.push(Moment::of(&world, &paths).await);
    hub.dispatch(0, &direct()).await;
    moments.push(Moment::of(&world, &paths).await);
    hub.answer(0, &direct(), 7, b"hello\n").await;
    moments.push(Moment::of(&world, &paths).await);
    hub.dispatch(1, &direct()).await;
    time_out_later(&hub, 1).await;
    moments.push(Moment::of(&world, &paths).await);
    hub.answer(1, &direct(), 0, &[0, 255]).await;
    moments.push(Moment::of(&world, &paths).await);
    world.admin.post(&format!("{whole}/cancel"), &json!({})).await.unwrap().expect(202).unwrap();
    moments.push(Moment::of(&world, &paths).await);

    // what was read then is what is meant
    let states = |which: usize| -> Vec<&str> {
        moments.iter().map(|moment| moment.body(&one(which))["status"].as_str().unwrap()).collect()
    };
    assert_eq!(states(0)[..4], ["queued", "queued", "dispatched", "completed"]);
    assert_eq!(states(1)[3..], ["queued", "timed_out", "timed_out", "timed_out"]);
    let (outcome, late) = (moments[4].body(&one(1)), moments[5].body(&one(1)));
    assert_eq!((&outcome["late"], &late["late"]["stdout_base64"]), (&Value::Null, &json!("AP8=")), "{late}");
    assert_eq!(moments[3].body(&one(0))["stdout"], "hello\n");
    let counts = |moment: &Moment, name: &str| moment.body(&whole)["counts"][name].as_u64().unwrap();
    let nonzero: Vec<u64> = moments.iter().map(|moment| counts(moment, "completed_nonzero")).collect();
    assert_eq!(nonzero, [0, 0, 0, 1, 1, 1, 1]);
    assert_eq!((counts(&moments[2], "dispatched"), counts(&moments[2], "queued")), (1, 2));

    for moment in &moments {
        moment.is_read_again(&world.admin).await;
    }
    for path in [one(0), whole.clone(), format!("{whole}/commands")] {
        problem(&world.admin.get(&format!("{path}?as_of={before}")).await.unwrap(), 404, "not_found");
    }
    for (at, position) in [(before.to_string(), before), ("2000-01-01T00:00:00Z".to_owned(), 0)] {
        let (found, page) = get(&world.admin, &format!("/api/batches?as_of={at}")).await;
        assert_eq!((found, &page["items"]), (position, &json!([])), "at {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_shown_with_what_it_had_then() {
    let world = world().await;
    let made = world.admin.post("/api/relays", &json!({"name": "one"})).await.unwrap().expect(201).unwrap();
    let id = made.text("relay_id").unwrap().to_owned();
    let hub = begun(&world, 2).await;
    let via = Via::Relay { relay: RelayId::parse(&*id).unwrap(), epoch: 1 };
    let one = format!("/api/relays/{id}");
    let paths = [one.clone(), "/api/relays".to_owned(), "/api/relays?connected=true".to_owned()];
    let mut moments = vec![Moment::of(&world, &paths).await];
    hub.dispatch(0, &via).await;
    hub.dispatch(1, &via).await;
    moments.push(Moment::of(&world, &paths).await);
    hub.complete(0, &via, 0).await;
    moments.push(Moment::of(&world, &paths).await);
    world.admin.delete(&one).await.unwrap().expect(200).unwrap();
    moments.push(Moment::of(&world, &paths).await);
    let in_flight: Vec<&Value> = moments.iter().map(|moment| &moment.body(&one)["in_flight"]).collect();
    assert_eq!(in_flight, [0, 2, 1, 1]);
    for moment in &moments {
        moment.is_read_again(&world.admin).await;
    }

    // the whole of then, and what changed since
    let (first, last) = (moments[0].head, moments[3].head);
    let (_, then) = get(&world.admin, &format!("/api/audit/replay?at={}", moments[1].head)).await;
    assert_eq!(then["relays"]["items"][0]["in_flight"], 2, "{then}");
    assert_eq!(then["batches"]["items"][0]["counts"]["dispatched"], 2, "{then}");
    assert_eq!(then["schedules"]["items"], json!([]));
    let (_, found) = get(&world.admin, &format!("/api/audit/diff?from={first}&to={last}")).await;
    let items = found["items"].as_array().unwrap();
    let of = |what: &str| items.iter().find(|item| item["what"] == *what).unwrap();
    assert_eq!((&of("relay")["id"], &of("relay")["change"]), (&json!(id), &json!("went")));
    let batch = of("batch");
    assert_eq!((&batch["id"], &batch["change"]), (&json!(hub.batch), &json!("changed")));
    assert_eq!(batch["fields"], json!(["counts"]), "{batch}");
    let (was, is) = (&batch["before"]["counts"], &batch["after"]["counts"]);
    assert_eq!((&was["queued"], &is["completed"]), (&json!(2), &json!(1)), "{batch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_shown_with_what_had_become_of_it_then() {
    let world = world().await;
    let server = server(&world).await;
    let id = add(&world.admin, "soon", in_ms(4_000), &[&server]).await;
    let one = format!("/api/schedules/{id}");
    let paths = [one.clone(), "/api/schedules".to_owned()];
    let mut moments = vec![Moment::of(&world, &paths).await];
    let begun = runs(&world.admin, &id, 1).await[0].clone();
    let batch = BatchId::parse(begun["batch_id"].as_str().unwrap()).unwrap();
    harness::eventually("its batch is there", std::time::Duration::from_secs(20), async || {
        let answer = world.admin.get(&format!("/api/batches/{batch}")).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await
    .unwrap();
    moments.push(Moment::of(&world, &paths).await);
    end(&world, &batch).await;
    moments.push(Moment::of(&world, &paths).await);
    let paused = json!({"paused": true});
    world.admin.call(Method::PATCH, &one, Some(&paused), None).await.unwrap().expect(200).unwrap();
    moments.push(Moment::of(&world, &paths).await);
    world.admin.delete(&one).await.unwrap().expect(200).unwrap();
    moments.push(Moment::of(&world, &paths).await);
    let said = |of: &str| -> Vec<String> {
        let said = |moment: &Moment| moment.body(&one).pointer(of).unwrap_or(&Value::Null).to_string();
        moments.iter().map(said).collect()
    };
    assert_eq!(said("/status"), [r#""active""#, r#""ended""#, r#""ended""#, r#""paused""#, r#""removed""#]);
    assert_eq!(said("/last/outcome")[..3], ["null", r#""running""#, r#""failed""#]);
    for moment in &moments {
        moment.is_read_again(&world.admin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_may_not_see_now_they_may_not_see_of_then() {
    let world = world().await;
    world.tenant("Red").await;
    let made = world.admin.post("/api/relays", &json!({"name": "one"})).await.unwrap().expect(201).unwrap();
    let hub = begun(&world, 1).await;
    let server = hub.commands[0].1.to_string();
    let schedule = add(&world.admin, "far", in_ms(3_600_000), &[&server]).await;
    hub.dispatch(0, &direct()).await;
    let then = world.head().await;
    let (relay, batch) = (made.text("relay_id").unwrap(), &hub.batch);
    let paths = [
        format!("/api/commands/{}", hub.commands[0].0),
        format!("/api/batches/{batch}"),
        format!("/api/batches/{batch}/commands"),
        format!("/api/relays/{relay}"),
        format!("/api/schedules/{schedule}"),
    ];
    let lists = ["/api/batches", "/api/schedules", "/api/relays"];
    for path in &paths {
        get(&world.admin, &format!("{path}?as_of={then}")).await;
    }
    let (stranger, developer) =
        (world.caller("red", "operator").await, world.caller("default", "developer").await);
    for api in [&stranger, &developer] {
        for path in &paths {
            problem(&api.get(&format!("{path}?as_of={then}")).await.unwrap(), 404, "not_found");
        }
        for path in &lists[..2] {
            assert_eq!(get(api, &format!("{path}?as_of={then}")).await.1["items"], json!([]), "{path}");
        }
    }
    let relays = format!("{}?as_of={then}", lists[2]);
    assert_eq!(get(&stranger, &relays).await.1["items"], json!([]));
    problem(&developer.get(&relays).await.unwrap(), 403, "forbidden");
    let auditor = world.caller("default", "auditor").await;
    for path in paths.iter().map(String::as_str).chain(lists) {
        get(&auditor, &format!("{path}?as_of={then}")).await;
    }
}
