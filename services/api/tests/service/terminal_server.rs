//! Does whoever is granted it get a shell on a server, on record, for as long as it is granted?

use std::time::Duration;

use harness::terminal::{Opening, ticket};
use harness::{Api, Sshd, Terminal};
use serde_json::{Value, json};

use crate::world::{World, problem, world};

const PASSWORD: &str = "Right-Pass-1";
const SOON: Duration = Duration::from_secs(60);

struct Place {
    world: World,
    sshd: Sshd,
    server: String,
}

async fn place() -> Place {
    let world = world().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let body = json!({
        "name": "web one", "host": "127.0.0.1", "port": sshd.port, "username": "developer", "password": PASSWORD,
    });
    let made = world.admin.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    assert_eq!(made.body["test"]["ok"], true, "{}", made.body);
    let server = made.text("server_id").unwrap().to_owned();
    Place { world, sshd, server }
}

impl Place {
    async fn shell(&self, api: &Api) -> Terminal {
        let opening = Opening::of_server(api, &self.server, "&cols=100&rows=40").await.unwrap();
        opening.binary().ready(api).await.unwrap()
    }

    async fn grant(&self, grants: Value) {
        let path = format!("/api/servers/{}/grants", self.server);
        self.world.admin.put(&path, &json!({ "grants": grants })).await.unwrap().expect(200).unwrap();
    }

    async fn listed(&self, below: &str, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let path = format!("/api/servers/{}/{below}", self.server);
        harness::eventually(what, SOON, async || {
            let items = self.world.admin.list(&path).await.map_err(|error| format!("{error:#}"))?;
            if holds(&items) { Ok(items) } else { Err(format!("{items:#?}")) }
        })
        .await
        .unwrap()
    }

    /// A developer of the tenant; answers the name to grant to.
    async fn developer(&self, name: &str) -> Api {
        let password = "a long sentence";
        let user =
            json!({"username": name, "password": password, "tenant_id": "default", "role": "developer"});
        self.world.admin.post("/api/users", &user).await.unwrap().expect(201).unwrap();
        let login = json!({"username": name, "password": password});
        let signed = self.world.admin.post("/api/auth/login", &login).await.unwrap().expect(200).unwrap();
        self.world.admin.as_caller(signed.text("token").unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_on_a_server_is_a_shell_and_is_on_record() {
    let place = place().await;
    let admin = &place.world.admin;
    let recording = json!({"enabled": true});
    admin.put("/api/tenants/default/recording", &recording).await.unwrap().expect(200).unwrap();
    let mut terminal = place.shell(admin).await;
    let lines = terminal.lines();
    assert_eq!(lines[0], "Connecting to web one (127.0.0.1)...");
    assert_eq!(lines[2], "Terminal ready");
    assert_eq!(terminal.runs("stty size").await.unwrap(), "40 100\n");
    assert_eq!(terminal.runs("id -un").await.unwrap(), "developer\n");
    let session = terminal.session.clone().unwrap();
    // a dropped connection comes back to the same shell
    terminal.runs("kept=yes").await.unwrap();
    let seen = terminal.offset;
    terminal.drop_connection().unwrap();
    let back = format!("&session={session}&offset={seen}");
    let opening = Opening::of_server(admin, &place.server, &back).await.unwrap();
    let mut terminal = opening.binary().ready(admin).await.unwrap();
    assert_eq!(terminal.runs("echo still-$kept").await.unwrap(), "still-yes\n");
    terminal.types("exit 7\r").await.unwrap();
    terminal.until("it ends", |terminal| terminal.closed.is_some()).await.unwrap();
    assert_eq!(terminal.newest("exit"), Some(&json!({"type": "exit", "code": 7})));

    let ended = |items: &[Value]| items.iter().any(|item| !item["closed_at"].is_null());
    let sessions = place.listed("sessions", "its end", ended).await;
    assert_eq!((&sessions[0]["session_id"], &sessions[0]["reason"]), (&json!(session), &json!("exited")));
    assert_eq!((&sessions[0]["server_id"], &sessions[0]["env_id"]), (&json!(place.server), &Value::Null));
    assert_eq!(sessions[0]["entrance"], "web_terminal");
    let ended = |items: &[Value]| items.iter().any(|item| !item["ended_at"].is_null());
    let recordings = place.listed("recordings", "its recording", ended).await;
    assert_eq!(recordings[0]["complete"], true, "{}", recordings[0]);
    let shown = format!("/api/recordings/{}", recordings[0]["recording_id"].as_str().unwrap());
    let shown = admin.get(&shown).await.unwrap().expect(200).unwrap();
    assert!(shown.body.as_str().unwrap().contains("still-yes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_ends_with_its_grant_and_with_its_server() {
    let place = place().await;
    let alice = place.developer("alice").await;
    let asked = json!({"server": place.server});
    let refused = alice.post("/api/terminal-tickets", &asked).await.unwrap();
    problem(&refused, 404, "not_found");
    place.grant(json!([{"user": "alice", "may": ["facts"]}])).await;
    let refused = alice.post("/api/terminal-tickets", &asked).await.unwrap();
    problem(&refused, 403, "forbidden");

    place.grant(json!([{"user": "alice", "may": ["terminal"]}])).await;
    let mut terminal = place.shell(&alice).await;
    assert_eq!(terminal.runs("echo in-$((40+2))").await.unwrap(), "in-42\n");
    let path = format!("/api/servers/{}/sessions", place.server);
    problem(&alice.get(&path).await.unwrap(), 403, "forbidden");
    place.grant(json!([])).await;
    terminal.fails("forbidden", 4403).await.unwrap();

    // a ticket that was issued before the grant ended opens nothing
    place.grant(json!([{"user": "alice", "may": ["terminal"]}])).await;
    let opening = Opening::of_server(&alice, &place.server, "").await.unwrap();
    place.grant(json!([])).await;
    let mut late = opening.binary().open(&alice).await.unwrap();
    late.fails("not_found", 4404).await.unwrap();

    let mut terminal = place.shell(&place.world.admin).await;
    terminal.runs("true").await.unwrap();
    let path = format!("/api/servers/{}", place.server);
    place.world.admin.delete(&path).await.unwrap().expect(200).unwrap();
    terminal.fails("server_removed", 4410).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_has_the_class_that_the_test_names() {
    let place = place().await;
    let admin = &place.world.admin;
    let path = format!("/api/servers/{}", place.server);
    let change = json!({"username": "Developer"});
    let changed = admin.call(reqwest::Method::PATCH, &path, Some(&change), None).await.unwrap();
    let class = changed.expect(200).unwrap().body["test"]["class"].clone();
    let opening = Opening::of_server(admin, &place.server, "").await.unwrap();
    let mut terminal = opening.binary().open(admin).await.unwrap();
    let said = terminal.fails("auth_failed", 4502).await.unwrap();
    assert_eq!(class, "auth_failed");
    assert!(said["suggestion"].as_str().unwrap().contains("\"developer\""), "{said}");

    // a ticket for a server opens no environment
    let ticket = ticket(admin, &json!({"server": place.server})).await.unwrap();
    let path = format!("/ws/terminal/environments/env-abcdefghijkl?ticket={ticket}");
    let mut other = Opening { path, ..Opening::default() }.binary().open(admin).await.unwrap();
    other.fails("ticket_invalid", 4401).await.unwrap();
    drop(place.sshd);
    let opening = Opening::of_server(admin, &place.server, "").await.unwrap();
    let mut terminal = opening.binary().open(admin).await.unwrap();
    terminal.fails("connection_refused", 4502).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_a_servers_shell_needs_the_grant_too() {
    let place = place().await;
    let (alice, bob) = (place.developer("alice").await, place.developer("bob").await);
    place.grant(json!([{"user": "alice", "may": ["terminal"]}])).await;
    let mut terminal = place.shell(&alice).await;
    terminal.runs("true").await.unwrap();
    let session = terminal.session.clone().unwrap();
    let shares = format!("/api/terminals/{session}/shares");
    let made = alice.post(&shares, &json!({"mode": "view"})).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.body);
    let share = made.text("share_id").unwrap().to_owned();
    let opening = Opening::of_share(&bob, &share).await.unwrap();
    let mut guest = opening.binary().open(&bob).await.unwrap();
    guest.fails("not_found", 4404).await.unwrap();
    let everybody = json!([{"role": "developer", "may": ["terminal"]}]);
    place.grant(everybody).await;
    let opening = Opening::of_share(&bob, &share).await.unwrap();
    let mut guest = opening.binary().open(&bob).await.unwrap();
    assert_eq!(terminal.runs("echo seen-$((40+2))").await.unwrap(), "seen-42\n");
    guest.until_shows("seen-42").await.unwrap();
    // the owner keeps it by name, the guest's grant ends
    place.grant(json!([{"user": "alice", "may": ["terminal"]}])).await;
    guest.fails("forbidden", 4403).await.unwrap();
    assert_eq!(terminal.runs("echo on-$((40+2))").await.unwrap(), "on-42\n");
}
