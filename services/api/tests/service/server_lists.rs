//! Do lists of servers come in whole or not at all, and go out so that they can come in again?

use harness::Api;
use serde_json::{Value, json};

use crate::world::{World, problem, world};

const CSV: &str = "name,host,port,username,password,zone,groups,labels\n\
    web one,10.0.0.1,22,deploy,Right-Pass-1,dmz,web,env=prod tier=1\n\
    web two,10.0.0.2,2222,deploy,Right-Pass-1,,web db,\n";

async fn import(api: &Api, format: &str, text: &str) -> harness::Answer {
    import_with(api, format, text, json!({})).await
}

async fn import_with(api: &Api, format: &str, text: &str, more: Value) -> harness::Answer {
    let mut body = json!({"format": format, "text": text});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.post("/api/servers/import", &body).await.unwrap()
}

fn counts(answer: &Value) -> (u64, u64, u64) {
    let count = |field: &str| answer[field].as_u64().unwrap();
    (count("created"), count("changed"), count("unchanged"))
}

async fn servers(world: &World, after: u64) -> Vec<Value> {
    let listed = world.admin.get(&format!("/api/servers?after={after}")).await.unwrap().expect(200).unwrap();
    listed.body["items"].as_array().unwrap().clone()
}

async fn export(world: &World, format: &str, after: u64) -> String {
    let url = format!("/api/servers/export?format={format}&after={after}");
    let answer = world.admin.get(&url).await.unwrap().expect(200).unwrap();
    answer.body.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_and_the_same_again_changes_nothing() {
    let world = world().await;
    let api = &world.admin;
    let tried = import_with(api, "csv", CSV, json!({"dry_run": true})).await.expect(200).unwrap();
    assert_eq!((counts(&tried.body), servers(&world, 0).await.len()), ((2, 0, 0), 0));
    let first = import(api, "csv", CSV).await.expect(200).unwrap();
    assert_eq!(counts(&first.body), (2, 0, 0));
    assert_eq!(first.body["servers"], tried.body["servers"]);
    let position = first.position.unwrap();
    let shown = servers(&world, position).await;
    let one = shown.iter().find(|server| server["name"] == "web one").unwrap();
    assert_eq!(
        (&one["host"], &one["zone"], &one["labels"]["tier"], &one["method"]),
        (&json!("10.0.0.1"), &json!("dmz"), &json!("1"), &json!("password"))
    );

    let before = world.everything().await.len();
    let again = import(api, "csv", CSV).await.expect(200).unwrap();
    assert_eq!(counts(&again.body), (0, 0, 2));
    assert_eq!(world.everything().await.len(), before, "the log did not grow");

    let other = CSV.replace("2222", "2223").replace("env=prod tier=1", "env=test");
    let changed = import(api, "csv", &other).await.expect(200).unwrap();
    assert_eq!(counts(&changed.body), (0, 2, 0));
    let position = changed.position.unwrap();
    let two = servers(&world, position).await.into_iter().find(|server| server["name"] == "web two").unwrap();
    assert_eq!(two["port"], 2223);
    // a new password alone is a change, and the old one is gone
    let secret =
        import(api, "csv", &other.replace("Right-Pass-1", "Other-Pass-2")).await.expect(200).unwrap();
    assert_eq!(counts(&secret.body), (0, 2, 0));
    let log = format!("{:?}", world.everything().await);
    assert!(!log.contains("Right-Pass-1") && !log.contains("Other-Pass-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_line_and_nothing_comes_in() {
    let world = world().await;
    let api = &world.admin;
    let before = world.everything().await.len();
    let text = "name,host,port,username,password,zone\n\
        a,10.0.0.1,22,deploy,x,\n\
        b,not a host,70000,deploy,x,no zone\n\
        a,10.0.0.3,22,deploy,x,\n\
        c,10.0.0.4,22,deploy,,\n";
    let refused = import(api, "csv", text).await;
    problem(&refused, 422, "validation_failed");
    let errors = refused.body["errors"].as_array().unwrap().iter();
    let mut named: Vec<_> = errors.map(|error| error["field"].as_str().unwrap()).collect();
    named.sort_unstable();
    let expected = ["line[3].host", "line[3].port", "line[3].zone", "line[4].name", "line[5].password"];
    assert_eq!(named, expected);
    let colour = import(api, "csv", "name,colour\na,red\n").await;
    assert_eq!(colour.body["errors"][0]["field"], "line[1].colour");
    let missing = import(api, "csv", "name,host,username\nc,10.0.0.4,deploy\n").await;
    assert_eq!(missing.body["errors"][0]["field"], "line[2].password");
    let broken = import(api, "yaml", "servers:\n  - name: [\n").await;
    problem(&broken, 422, "validation_failed");
    let format = import(api, "xml", "x").await;
    assert_eq!(format.body["errors"][0]["field"], "format");
    let default = import_with(api, "csv", CSV, json!({"defaults": {"zone": "a b", "name": "x"}})).await;
    let named: Vec<_> =
        default.body["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
    assert_eq!(named, [json!("defaults.zone"), json!("defaults.name")]);
    assert_eq!(world.everything().await.len(), before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_out_comes_in_again() {
    let world = world().await;
    let api = &world.admin;
    let position = import(api, "csv", CSV).await.expect(200).unwrap().position.unwrap();
    for format in ["csv", "yaml"] {
        let text = export(&world, format, position).await;
        assert!(!text.contains("Right-Pass-1"), "{text}");
        let again = import(api, format, &text).await.expect(200).unwrap();
        assert_eq!(counts(&again.body), (0, 0, 2), "{text}");
    }
    // a name may change when the id says which server is meant
    let text = export(&world, "csv", position).await.replace("web one", "web eins");
    let renamed = import(api, "csv", &text).await.expect(200).unwrap();
    assert_eq!(counts(&renamed.body), (0, 1, 1));
    // another host for a stored password is refused before anything is written
    let moved = export(&world, "csv", renamed.position.unwrap()).await.replace("10.0.0.2", "10.0.0.9");
    let refused = import(api, "csv", &moved.replace("web eins", "web drei")).await;
    assert_eq!(refused.body["errors"][0]["code"], "credential_needed");
    let names: Vec<_> = servers(&world, 0).await.into_iter().map(|server| server["name"].clone()).collect();
    assert!(names.contains(&json!("web eins")), "{names:?}");
    // removed, it is made anew
    let id = renamed.body["servers"][0]["server_id"].as_str().unwrap();
    api.delete(&format!("/api/servers/{id}")).await.unwrap().expect(200).unwrap();
    let back = import(api, "csv", CSV).await.expect(200).unwrap();
    assert_eq!(counts(&back.body), (1, 0, 1));
    let again = import(api, "csv", CSV).await.expect(200).unwrap();
    assert_eq!(counts(&again.body), (0, 0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_registered_by_itself_is_known_by_its_name() {
    let world = world().await;
    let api = &world.admin;
    let body = json!({"name": "web one", "host": "10.0.0.1", "username": "deploy", "password": "Right-Pass-1", "test": false});
    let made = api.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    let imported = import(api, "csv", CSV).await.expect(200).unwrap();
    assert_eq!(counts(&imported.body), (1, 1, 0));
    assert_eq!(imported.body["servers"][0]["server_id"], made.body["server_id"]);
    api.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    let unclear = import(api, "csv", CSV).await;
    assert_eq!(
        (&unclear.body["errors"][0]["field"], &unclear.body["errors"][0]["code"]),
        (&json!("line[2].name"), &json!("ambiguous"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_others_come_in_with_the_keys_they_name() {
    let world = world().await;
    let api = &world.admin;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "open sesame", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let key = std::fs::read_to_string(&path).unwrap();
    let text = "Host web\n  HostName 10.0.0.1\n  IdentityFile ~/.ssh/web\nHost jump\n  ProxyJump web\nHost *\n  User deploy\n  IdentityFile ~/.ssh/web\n";
    let without = import(api, "ssh_config", text).await;
    assert_eq!(without.body["errors"][0]["field"], "line[3].private_key_file");
    let with = json!({"keys": {"~/.ssh/web": key}, "defaults": {"passphrase": "open sesame", "zone": "lab"}});
    let imported = import_with(api, "ssh_config", text, with.clone()).await.expect(200).unwrap();
    assert_eq!((counts(&imported.body), &imported.body["notes"][0]["line"]), ((2, 0, 0), &json!(5)));
    let again = import_with(api, "ssh_config", text, with).await.expect(200).unwrap();
    assert_eq!(counts(&again.body), (0, 0, 2), "the same key is no change");
    let without = import_with(api, "ssh_config", text, json!({"defaults": {"zone": "lab"}})).await;
    assert_eq!(counts(&without.expect(200).unwrap().body), (0, 0, 2), "it has its key");
    let ansible = "[site]\nweb ansible_host=10.0.0.1 ansible_user=deploy\nnew ansible_user=deploy\n";
    let ansible = import_with(api, "ansible_ini", ansible, json!({"defaults": {"certificate": true}})).await;
    assert_eq!(counts(&ansible.expect(200).unwrap().body), (1, 1, 0));
    let yaml = "all:\n  hosts:\n    third: {ansible_user: deploy, ansible_port: 0}\n";
    let wrong = import_with(api, "ansible_yaml", yaml, json!({"defaults": {"certificate": true}})).await;
    assert_eq!(wrong.body["errors"][0]["field"], "line[3].port");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_import_is_told_the_same() {
    let world = world().await;
    let api = &world.admin;
    let body = json!({"format": "csv", "text": CSV});
    let first = api.post_once("/api/servers/import", &body, "one").await.unwrap().expect(200).unwrap();
    let again = api.post_once("/api/servers/import", &body, "one").await.unwrap().expect(200).unwrap();
    assert_eq!(first.body, again.body);
}
