//! What do grants let through, who answers for what is dangerous, and what is shown while it waits? No hub is there:
//! nothing runs.

use harness::Api;
use serde_json::{Value, json};

use crate::server_grants::{grant, person};
use crate::world::{World, problem, world};

async fn server(world: &World) -> String {
    let body = json!({
        "name": "web", "host": "127.0.0.1", "port": 22, "username": "developer", "password": "Right-Pass-1",
        "zone": "dmz", "test": false,
    });
    let made = world.admin.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    made.text("server_id").unwrap().to_owned()
}

async fn with_role(world: &World, name: &str, role: &str, tenant: &str) -> Api {
    let password = "a long sentence";
    let user = json!({"username": name, "password": password, "tenant_id": tenant, "role": role});
    world.admin.post("/api/users", &user).await.unwrap().expect(201).unwrap();
    let login = json!({"username": name, "password": password});
    let signed = world.admin.post("/api/auth/login", &login).await.unwrap().expect(200).unwrap();
    world.admin.as_caller(signed.text("token").unwrap())
}

/// Alice may say hello, not secret things, and reboot when somebody approves.
fn grants() -> Value {
    let commands = json!({"allow": ["echo *", "reboot *"], "deny": ["*secret*"], "dangerous": ["reboot*"]});
    json!({"grants": [{"user": "alice", "may": ["command"], "commands": commands}]})
}

async fn granted(world: &World) -> (String, String) {
    let server = server(world).await;
    let path = format!("/api/servers/{server}/grants");
    grant(world, &path, grants()).await;
    (server, path)
}

/// The id of a batch that waits.
async fn waiting(who: &Api, server: &str) -> String {
    let asked = json!({"command": "reboot now", "servers": [server]});
    let begun = who.post("/api/commands", &asked).await.unwrap().expect(202).unwrap();
    assert_eq!(begun.body["status"], "awaiting_approval", "{begun:?}");
    begun.text("batch_id").unwrap().to_owned()
}

async fn answer(who: &Api, batch: &str, what: &str, body: Value) -> harness::Answer {
    who.post(&format!("/api/batches/{batch}/{what}"), &body).await.unwrap()
}

async fn shown(world: &World, batch: &str) -> Value {
    let path = format!("/api/batches/{batch}?after={}", world.head().await);
    world.admin.get(&path).await.unwrap().expect(200).unwrap().body
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_say_which_commands_are_let_through() {
    let world = world().await;
    let (server, path) = granted(&world).await;
    let alice = person(&world, "alice").await;
    let run = async |who: &Api, command: &str| {
        who.post("/api/commands", &json!({"command": command, "servers": [server]})).await.unwrap()
    };
    let said = run(&alice, "echo hello").await.expect(202).unwrap().body;
    assert_eq!((&said["status"], &said["approval"]), (&json!("running"), &Value::Null), "{said}");
    for (command, code) in
        [("echo hello; id", "not_allowed"), ("id", "not_allowed"), ("echo secret", "denied")]
    {
        let refused = run(&alice, command).await;
        problem(&refused, 403, "command_refused");
        assert_eq!(refused.body["errors"][0]["code"], code, "{command}: {refused:?}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("web ({server}): ")), "{detail}");
    }
    // a selector's servers are asked for as well
    let selected = json!({"command": "id", "selector": {"zone": "dmz"}});
    problem(&alice.post("/api/commands", &selected).await.unwrap(), 403, "command_refused");
    assert_eq!(run(&world.admin, "id").await.status, 202, "no grant names the admin");
    let commands = json!({"deny": ["id"]});
    let admins = json!({"grants": [{"role": "admin", "may": ["command"], "commands": commands}]});
    grant(&world, &path, admins.clone()).await;
    problem(&run(&world.admin, "id").await, 403, "command_refused");
    let there = format!("{path}?after={}", world.head().await);
    assert_eq!(world.admin.get(&there).await.unwrap().expect(200).unwrap().body["grants"], admins["grants"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dangerous_waits_for_a_second_person() {
    let world = world().await;
    let (server, _) = granted(&world).await;
    let (alice, bob) = (person(&world, "alice").await, person(&world, "bob").await);
    let olga = with_role(&world, "olga", "operator", "default").await;
    let otto = with_role(&world, "otto", "auditor", "default").await;
    let other =
        world.admin.post("/api/tenants", &json!({"name": "other"})).await.unwrap().expect(201).unwrap();
    let stranger = with_role(&world, "stranger", "operator", other.text("tenant_id").unwrap()).await;

    let asked = json!({"command": "reboot now", "servers": [server], "approve_within_s": 3600});
    let once =
        async || alice.post_once("/api/commands", &asked, "key").await.unwrap().expect(202).unwrap().body;
    let begun = once().await;
    assert_eq!(begun["status"], "awaiting_approval", "{begun}");
    assert_eq!(begun["approval"]["patterns"], json!(["reboot*"]), "{begun}");
    let batch = begun["batch_id"].as_str().unwrap().to_owned();
    let whole = shown(&world, &batch).await;
    assert_eq!(whole["status"], "awaiting_approval", "{whole}");
    assert_eq!(whole["counts"]["awaiting_approval"], 1, "{whole}");
    assert_eq!(whole["commands"][0]["status"], "awaiting_approval", "{whole}");
    assert_eq!(
        (&whole["approval"]["answer"], &whole["approval"]["until"]),
        (&Value::Null, &begun["approval"]["until"])
    );
    let listed = olga.list("/api/batches?status=awaiting_approval").await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert!(stranger.list("/api/batches?status=awaiting_approval").await.unwrap().is_empty());
    problem(&olga.get("/api/batches?status=running").await.unwrap(), 400, "parameter_invalid");

    for what in ["approve", "reject"] {
        problem(&answer(&alice, &batch, what, json!({})).await, 403, "own_request");
        problem(&answer(&bob, &batch, what, json!({})).await, 404, "not_found");
        problem(&answer(&stranger, &batch, what, json!({})).await, 404, "not_found");
        problem(&answer(&otto, &batch, what, json!({})).await, 403, "forbidden");
    }
    let wrong = answer(&olga, &batch, "reject", json!({"reason": 7})).await;
    problem(&wrong, 422, "validation_failed");
    for _ in 0..2 {
        answer(&olga, &batch, "approve", json!({})).await.expect(200).unwrap();
    }
    let whole = shown(&world, &batch).await;
    assert_eq!((&whole["status"], &whole["commands"][0]["status"]), (&json!("running"), &json!("queued")));
    assert_eq!(
        (&whole["approval"]["answer"], &whole["approval"]["by"]),
        (&json!("approved"), &json!("olga"))
    );
    problem(&answer(&olga, &batch, "reject", json!({})).await, 409, "not_awaiting");
    assert_eq!(once().await["approval"], begun["approval"], "repeating the key repeats the answer");
    assert!(olga.list("/api/batches?status=awaiting_approval").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_called_off_or_granted_no_more_never_begins() {
    let world = world().await;
    let (server, path) = granted(&world).await;
    let alice = person(&world, "alice").await;
    let olga = with_role(&world, "olga", "operator", "default").await;

    let rejected = waiting(&alice, &server).await;
    answer(&olga, &rejected, "reject", json!({"reason": "not on a Friday"})).await.expect(200).unwrap();
    let whole = shown(&world, &rejected).await;
    assert_eq!((&whole["status"], &whole["counts"]["cancelled"]), (&json!("ended"), &json!(1)), "{whole}");
    let answered = &whole["approval"];
    assert_eq!((&answered["answer"], &answered["reason"]), (&json!("rejected"), &json!("not on a Friday")));
    assert_eq!(whole["commands"][0]["reason"], "rejected by olga: not on a Friday", "{whole}");
    problem(&answer(&olga, &rejected, "approve", json!({})).await, 409, "not_awaiting");

    let called_off = waiting(&alice, &server).await;
    answer(&alice, &called_off, "cancel", json!({})).await.expect(202).unwrap();
    let whole = shown(&world, &called_off).await;
    assert_eq!((&whole["status"], &whole["commands"][0]["status"]), (&json!("ended"), &json!("cancelled")));
    assert!(whole["cancelled_at"].is_string() && whole["approval"]["answer"].is_null(), "{whole}");
    problem(&answer(&olga, &called_off, "approve", json!({})).await, 409, "not_awaiting");

    // who asked may not any more: it is refused, and goes on waiting
    let late = waiting(&alice, &server).await;
    grant(&world, &path, json!({"grants": []})).await;
    let refused = answer(&olga, &late, "approve", json!({})).await;
    problem(&refused, 403, "command_refused");
    assert_eq!(refused.body["errors"][0]["code"], "no_grant", "{refused:?}");
    assert_eq!(shown(&world, &late).await["status"], "awaiting_approval");
    grant(&world, &path, grants()).await;
    world.admin.delete("/api/users/alice").await.unwrap().expect(200).unwrap();
    problem(&answer(&olga, &late, "approve", json!({})).await, 403, "command_refused");
    answer(&olga, &late, "reject", json!({})).await.expect(200).unwrap();

    // operators as well, where a grant names them; an admin answers
    let commands = json!({"dangerous": ["reboot*"]});
    grant(&world, &path, json!({"grants": [{"role": "operator", "may": ["command"], "commands": commands}]}))
        .await;
    let own = waiting(&olga, &server).await;
    problem(&answer(&olga, &own, "approve", json!({})).await, 403, "own_request");
    answer(&world.admin, &own, "approve", json!({})).await.expect(200).unwrap();
    assert_eq!(shown(&world, &own).await["approval"]["by"], "admin");
}
