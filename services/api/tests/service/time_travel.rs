//! Can somebody ask what was, what changed, and why, and is told nothing of others?

use harness::Api;
use serde_json::{Value, json};

use crate::world::{World, asked, problem, world};

/// The position of an answer, and the answer.
pub async fn get(api: &Api, path: &str) -> (u64, Value) {
    let answer = api.get(path).await.unwrap().expect(200).unwrap();
    (answer.position.unwrap(), answer.body)
}

/// Creates an environment and waits for it to run; answers its id and a sequence at which it did.
pub async fn running(world: &World, api: &Api, name: &str) -> (String, u64) {
    let made = api.post("/api/environments", &asked(name)).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap().to_owned();
    let path = format!("/api/environments/{id}");
    harness::eventually("it runs", std::time::Duration::from_secs(20), async || {
        let answer = api.get(&path).await.map_err(|error| error.to_string())?;
        if answer.body["status"] == "running" { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await
    .unwrap();
    (id, world.head().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_is_read_as_what_is() {
    let world = world().await;
    let admin = &world.admin;
    let before = world.head().await;
    let (id, then) = running(&world, admin, "one").await;
    let path = format!("/api/environments/{id}");
    let live = get(admin, &format!("{path}?after={then}")).await.1;
    let quota = get(admin, &format!("/api/tenants/default/quota?after={then}")).await.1;
    let time = chrono::Utc::now().to_rfc3339();
    admin.delete(&path).await.unwrap().expect(202).unwrap();
    let now = world.head().await;

    // by a sequence and by a time, one and in a list, in the same shape
    for at in [then.to_string(), time.replace('+', "%2B")] {
        let (position, was) = get(admin, &format!("{path}?as_of={at}")).await;
        assert_eq!((position, &was), (then, &live), "at {at}");
        let (position, list) = get(admin, &format!("/api/environments?as_of={at}")).await;
        assert_eq!((position, &list["items"]), (then, &json!([live])), "at {at}");
        let (_, was) = get(admin, &format!("/api/tenants/default/quota?as_of={at}")).await;
        assert_eq!(was, quota, "at {at}");
    }
    problem(&admin.get(&format!("{path}?as_of={before}")).await.unwrap(), 404, "not_found");
    assert_eq!(get(admin, &format!("/api/environments?as_of={before}")).await.1["items"], json!([]));
    assert_eq!(get(admin, "/api/environments?as_of=0").await.0, 0);
    let (_, deleting) = get(admin, &format!("{path}?as_of={now}")).await;
    assert_eq!(deleting["status"], "deleting");

    // what cannot be asked
    for (query, code) in [
        (format!("as_of={}", now + 1_000), "in_future"),
        ("as_of=2999-01-01T00:00:00Z".to_owned(), "in_future"),
        ("as_of=yesterday".to_owned(), "malformed"),
    ] {
        for path in [
            path.as_str(),
            "/api/environments",
            "/api/servers",
            "/api/ports",
            "/api/tenants",
            "/api/commands/cmd_1_abcdefghijkl",
            "/api/batches",
            "/api/batches/bat-abcdefghijkl",
            "/api/batches/bat-abcdefghijkl/commands",
            "/api/relays",
            "/api/relays/rel-abcdefghijkl",
            "/api/schedules",
            "/api/schedules/sch-abcdefghijkl",
        ] {
            let answer = admin.get(&format!("{path}?{query}")).await.unwrap();
            problem(&answer, 400, "parameter_invalid");
            let error = &answer.body["errors"][0];
            assert_eq!((&error["field"], &error["code"]), (&json!("as_of"), &json!(code)), "{}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_held_a_port_is_one_call() {
    let world = world().await;
    let admin = &world.admin;
    let (id, _) = running(&world, admin, "holder").await;
    let (port, held) = hold_port(&world, &id).await;
    release_port(&world, &id, port).await;
    let now = world.head().await;
    let (position, then) = get(admin, &format!("/api/audit/replay?at={held}&port={port}")).await;
    assert_eq!((position, &then["position"]), (held, &json!(held)));
    assert_eq!(then["ports"]["items"][0]["env_id"], json!(id));
    assert_eq!(then["environments"]["items"][0]["name"], "holder");
    let (_, then) = get(admin, &format!("/api/audit/replay?at={now}&port={port}")).await;
    assert_eq!((&then["ports"]["items"], &then["environments"]["items"]), (&json!([]), &json!([])));
    let (_, ports) = get(admin, &format!("/api/ports?port={port}&held=true&as_of={held}")).await;
    assert_eq!(ports["items"][0]["env_id"], json!(id));
    let (_, ports) = get(admin, &format!("/api/ports?port={port}&after={now}")).await;
    assert!(!ports["items"][0]["released_at"].is_null(), "{ports}");
    let (_, whole) = get(admin, &format!("/api/audit/replay?at={held}")).await;
    assert_eq!(whole["environments"]["items"].as_array().unwrap().len(), 1);
    assert!(whole["time"].is_string() && !whole["quotas"]["items"].as_array().unwrap().is_empty(), "{whole}");
    problem(&admin.get("/api/audit/replay").await.unwrap(), 400, "parameter_invalid");
}

async fn hold_port(world: &World, id: &str) -> (u16, u64) {
    use events::ports::{Port, PortAllocated, allocate::allocate, port_id};
    let (log, pool) = (world.provisioner_log().await, "main".parse().unwrap());
    let asked = PortAllocated {
        env: id.parse().unwrap(),
        tenant: "default".parse().unwrap(),
        purpose: events::env::PortPurpose::Ssh,
    };
    let cause = events::Cause::new(uuid::Uuid::now_v7(), "service:provisioner");
    let rule = |state: &Port| allocate(state, asked.clone(), chrono::TimeDelta::zero(), chrono::Utc::now());
    let id = port_id(&pool, 31_000);
    let decided = log.decide(&events::ids::TenantId::system(), &id, &cause, 0, rule).await.unwrap();
    (31_000, decided.seq)
}

async fn release_port(world: &World, env: &str, port: u16) {
    use events::ports::{Port, port_id, release::release};
    let (log, pool) = (world.provisioner_log().await, "main".parse().unwrap());
    let env = env.parse().unwrap();
    let cause = events::Cause::new(uuid::Uuid::now_v7(), "service:provisioner");
    let rule = |state: &Port| release(state, &env);
    log.decide(&events::ids::TenantId::system(), &port_id(&pool, port), &cause, 0, rule).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_has_both_states_of_what_is_not_the_same() {
    let world = world().await;
    let admin = &world.admin;
    let (id, first) = running(&world, admin, "changed").await;
    let stop = admin.post(&format!("/api/environments/{id}/stop"), &json!({})).await.unwrap();
    stop.expect(202).unwrap();
    running(&world, admin, "new").await;
    let (_, found) = get(admin, &format!("/api/audit/diff?from={first}")).await;
    let items = found["items"].as_array().unwrap();
    let of = |name: &str| {
        let item = items.iter().find(|item| item["after"]["name"] == *name).unwrap();
        (item["change"].clone(), item["before"]["status"].clone(), item["after"]["status"].clone())
    };
    assert_eq!(of("changed"), (json!("changed"), json!("running"), json!("stopped")));
    assert_eq!(of("new"), (json!("came"), Value::Null, json!("running")));
    let changed = items.iter().find(|item| item["id"] == json!(id)).unwrap();
    assert!(changed["fields"].as_array().unwrap().contains(&json!("status")), "{changed}");
    assert!(items.iter().any(|item| item["what"] == "quota"), "{items:?}");
    // page by page it is the same
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let (from, to) = (&found["from"], &found["to"]);
        let path = format!("/api/audit/diff?from={from}&to={to}&limit=1{cursor}");
        let (_, page) = get(admin, &path).await;
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(&paged, items);
    problem(
        &admin.get(&format!("/api/audit/diff?from={first}&to=1")).await.unwrap(),
        400,
        "parameter_invalid",
    );
    problem(&admin.get("/api/audit/diff").await.unwrap(), 400, "parameter_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_explained_back_to_the_request_and_forward() {
    let world = world().await;
    let admin = &world.admin;
    let (id, head) = running(&world, admin, "explained").await;
    let path = format!("/api/audit?kind=env&id={id}&after={head}");
    let listed = admin.list(&path).await.unwrap();
    let of = |kind: &str| listed.iter().find(|event| event["type"] == *kind).unwrap().clone();
    let (asked, bound) = (of("EnvRequested"), of("PortBound"));
    let (_, said) = get(admin, &format!("/api/audit/explain/{}", bound["event_id"].as_str().unwrap())).await;
    assert_eq!(said["event"]["seq"], bound["seq"]);
    assert_eq!(said["causes"][0]["event_id"], asked["event_id"], "{said}");
    assert_eq!(
        (&said["rule"]["file"], &said["rule"]["again"]["outcome"]),
        (&json!("env/bind_port.rs"), &json!("same"))
    );
    assert_eq!(said["rule"]["state"]["events"], 1, "{said}");
    assert!(said["rule"]["state"]["shown"].as_str().unwrap().contains("Creating"), "{said}");
    let (_, said) = get(admin, &format!("/api/audit/explain/{}", asked["seq"])).await;
    let kinds: Vec<&str> =
        said["consequences"].as_array().unwrap().iter().filter_map(|event| event["type"].as_str()).collect();
    assert!(kinds.contains(&"PortBound") && kinds.contains(&"PasswordIssued"), "{kinds:?}");
    let request = said["request"].as_array().unwrap();
    assert!(request.iter().any(|event| event["type"] == "QuotaClaimed"), "{request:?}");
    assert_eq!(said["causes"], json!([]));
    for unknown in ["nonsense", "999999", "00000000-0000-0000-0000-000000000000"] {
        problem(&admin.get(&format!("/api/audit/explain/{unknown}")).await.unwrap(), 404, "not_found");
    }
    // every event so far would be decided so again
    for event in admin.list(&format!("/api/audit?after={head}")).await.unwrap() {
        let (_, said) = get(admin, &format!("/api/audit/explain/{}", event["seq"])).await;
        assert_eq!(said["rule"]["again"]["outcome"], "same", "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_timeline_has_everything_about_one_thing() {
    let world = world().await;
    let admin = &world.admin;
    let (id, _) = running(&world, admin, "followed").await;
    hold_port(&world, &id).await;
    world.lock_out(&"default".parse().unwrap(), &id, "203.0.113.9").await;
    running(&world, admin, "another").await;
    let head = world.head().await;
    let kinds = async |of: String| -> Vec<String> {
        let items = admin.list(&format!("/api/audit/timeline?{of}&after={head}")).await.unwrap();
        items.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect()
    };
    let env = kinds(format!("env={id}")).await;
    for kind in
        ["QuotaClaimed", "EnvRequested", "PortAllocated", "PasswordIssued", "LoginFailed", "LoginLocked"]
    {
        assert!(env.iter().any(|found| found == kind), "{kind} is not in {env:?}");
    }
    assert_eq!(env.iter().filter(|kind| *kind == "EnvRequested").count(), 1, "nothing of another");
    let address = kinds("address=203.0.113.9".to_owned()).await;
    assert_eq!(address.len(), 6, "five failures and a lock: {address:?}");
    let body = json!({"username": "carol", "password": "a-good-long-password", "tenant_id": "default", "role": "operator"});
    admin.post("/api/users", &body).await.unwrap().expect(201).unwrap();
    let head = world.head().await;
    let user = admin.list(&format!("/api/audit/timeline?user=carol&after={head}")).await.unwrap();
    assert_eq!(user[0]["type"], "UserRegistered", "{user:?}");
    for wrong in ["", "?env=nonsense", "?address=nonsense", "?user=alice&address=::1"] {
        let answer = admin.get(&format!("/api/audit/timeline{wrong}")).await.unwrap();
        problem(&answer, 400, "parameter_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_another_tenant_does_not_exist() {
    let world = world().await;
    world.tenant("Blue").await;
    world.tenant("Red").await;
    let alice = world.caller("blue", "developer").await;
    let (id, then) = running(&world, &alice, "mine").await;
    let (path, at) = (format!("/api/environments/{id}"), format!("as_of={then}"));
    assert_eq!(get(&alice, &format!("{path}?{at}")).await.1["name"], "mine");
    let others = [
        world.caller("blue", "developer").await,
        world.caller("red", "operator").await,
        world.caller("red", "auditor").await,
    ];
    for other in &others {
        problem(&other.get(&format!("{path}?{at}")).await.unwrap(), 404, "not_found");
        assert_eq!(get(other, &format!("/api/environments?{at}")).await.1["items"], json!([]));
    }
    let explained = world.admin.list(&format!("/api/audit?kind=env&id={id}")).await.unwrap();
    for other in &others[1..] {
        let (_, then) = get(other, &format!("/api/audit/replay?at={then}")).await;
        assert_eq!(then["environments"]["items"], json!([]));
        assert!(then["quotas"]["items"].as_array().unwrap().iter().all(|quota| quota["tenant_id"] == "red"));
        let (_, found) = get(other, "/api/audit/diff?from=0").await;
        assert!(found["items"].as_array().unwrap().iter().all(|item| item["tenant_id"] == "red"), "{found}");
        assert_eq!(other.list(&format!("/api/audit/timeline?env={id}")).await.unwrap(), Vec::<Value>::new());
        let event = explained[0]["event_id"].as_str().unwrap();
        problem(&other.get(&format!("/api/audit/explain/{event}")).await.unwrap(), 404, "not_found");
        let (_, quotas) = get(other, &format!("/api/tenants?{at}")).await;
        assert_eq!(quotas["items"].as_array().unwrap().len(), 1, "{quotas}");
    }
    for path in
        ["/api/ports", "/api/audit/replay?at=1", "/api/audit/diff?from=1", "/api/audit/timeline?user=alice"]
    {
        problem(&alice.get(path).await.unwrap(), 403, "forbidden");
    }
    let auditor = world.caller("blue", "auditor").await;
    let (_, then) = get(&auditor, &format!("/api/audit/replay?at={then}")).await;
    assert_eq!(then["environments"]["items"][0]["name"], "mine");
}
