//! Do the commands for people do what they say, for a person and for a program?

use std::process::Output;

use harness::{EngineDouble, Installation, Setup, free_ports};
use serde_json::Value;

const PORTS: u16 = 4;

struct Terminal(Installation);

impl Terminal {
    fn run(&self, words: &[&str]) -> Output {
        self.0.client_command(words).unwrap().output().unwrap()
    }

    /// What a command that succeeds prints.
    fn prints(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.prints(&words)).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[tokio::test]
async fn an_environment_from_create_to_delete() {
    let engine = EngineDouble::start().await.unwrap();
    let setup = Setup::new(Some(engine.url()), free_ports::range(PORTS).unwrap());
    let installation = Installation::new(setup).unwrap();
    let _up = installation.up().await.unwrap();
    let terminal = Terminal(installation);

    let created = terminal.json(&["env", "create", "one", "--wait"]);
    let id = created["env_id"].as_str().unwrap().to_owned();
    assert_eq!(created["status"], "running");
    assert!(created["ssh_password"].as_str().is_some_and(|password| password.len() >= 12));
    let table = terminal.prints(&["env", "list"]);
    assert!(table.starts_with("ENVIRONMENT") && table.contains(&id) && table.contains("running"), "{table}");
    let by_name = terminal.json(&["env", "show", "one"]);
    assert_eq!(by_name["env_id"], id.as_str());
    let access = terminal.json(&["env", "ssh", &id]);
    assert_eq!(access["ssh_username"], "developer");

    let reset = terminal.json(&["env", "reset-password", &id]);
    assert_ne!(reset["ssh_password"], created["ssh_password"]);
    terminal.prints(&["env", "allow-list", &id, "10.0.0.0/8"]);
    assert!(terminal.prints(&["env", "stop", "one", "--wait"]).contains("is stopped"));
    terminal.prints(&["env", "start", "one", "--wait"]);
    terminal.prints(&["env", "sessions", &id]);
    terminal.prints(&["env", "logins", &id]);
    terminal.prints(&["env", "delete", &id, "--wait"]);
    assert!(terminal.prints(&["env", "list"]).contains("none"));

    let missing = terminal.refused(&["env", "show", "env-aaaaaaaaaaaa"]);
    assert!(missing.contains("not_found, 404") && missing.contains("correlation_id: "), "{missing}");
    assert!(terminal.refused(&["env", "show", "two"]).contains("\"two\""));
}

#[tokio::test]
async fn what_an_administrator_asks_for() {
    let engine = EngineDouble::start().await.unwrap();
    let setup = Setup::new(Some(engine.url()), free_ports::range(PORTS).unwrap());
    let installation = Installation::new(setup).unwrap();
    let _up = installation.up().await.unwrap();
    let terminal = Terminal(installation);

    assert_eq!(terminal.json(&["tenant", "create", "Team Blue"])["tenant_id"], "team-blue");
    terminal.prints(&["tenant", "quota", "team-blue", "--environments", "2"]);
    assert!(terminal.refused(&["tenant", "create", "Team Blue"]).contains("tenant_exists, 409"));
    let token = terminal.json(&["token", "create", "ci", "--tenant", "team-blue", "--role", "developer"]);
    let mut as_developer = terminal.0.client_command(&["tenant", "create", "x"]).unwrap();
    as_developer.env("PORTREEVE_TOKEN", token["token"].as_str().unwrap());
    let refused = as_developer.output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("forbidden, 403"));
    terminal.prints(&["token", "revoke", token["token_id"].as_str().unwrap()]);

    let tapped =
        terminal.prints(&["events", "tap", "--from", "1", "--type", "TenantRegistered", "--count", "2"]);
    assert!(tapped.lines().count() == 2 && tapped.contains("team-blue"), "{tapped}");
    let line = terminal.prints(&["events", "tap", "--from", "1", "--count", "1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["specversion"], "1.0");
    let audit = terminal.json(&["audit", "list", "--type", "QuotaSet"]);
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "{audit}");
    let projections = terminal.json(&["projections", "status"]);
    assert!(projections["items"].as_array().unwrap().iter().any(|row| row["name"] == "environments"));
    terminal.prints(&["projections", "rebuild", "quotas"]);
    assert!(terminal.refused(&["projections", "rebuild", "nothing"]).contains("404"));
}

#[tokio::test]
async fn a_report_that_was_kept_is_held_against_the_log() {
    let engine = EngineDouble::start().await.unwrap();
    let setup = Setup::new(Some(engine.url()), free_ports::range(PORTS).unwrap());
    let installation = Installation::new(setup).unwrap();
    let _up = installation.up().await.unwrap();
    let terminal = Terminal(installation);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let status = |path: &str| {
        let output = terminal.run(&["audit", "report", "--check", path]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };

    terminal.prints(&["tenant", "create", "Team Blue"]);
    let (json, csv) = (file("privileged.json"), file("privileged.csv"));
    terminal.prints(&["audit", "report", "privileged", "--to", "3", "--out", &json]);
    terminal.prints(&["audit", "report", "privileged", "--to", "3", "--csv", "--out", &csv]);
    let again = terminal.run(&["audit", "report", "access", "--out", &json]);
    assert_eq!(again.status.code(), Some(64), "nothing is overwritten");
    assert!(terminal.prints(&["audit", "report", "privileged"]).contains("TenantRegistered"));
    assert_eq!(terminal.json(&["audit", "report", "access"])["report"], "access");
    for path in [&json, &csv] {
        let (code, said) = status(path);
        assert_eq!(code, Some(0), "{said}");
        // somebody else's name in it
        let text = std::fs::read_to_string(path).unwrap();
        let changed = text.replacen("TenantRegistered", "TenantForgotten", 1);
        assert_ne!(changed, text);
        std::fs::write(path, changed).unwrap();
        let (code, said) = status(path);
        assert!(code == Some(1) && said.contains("file  CHANGED"), "{code:?} {said}");
    }
    let manifest = format!("{csv}.manifest.json");
    let head: Value = serde_json::from_str(&std::fs::read_to_string(&manifest).unwrap()).unwrap();
    let beyond = head.to_string().replacen("\"to_sequence\":3", "\"to_sequence\":99999", 1);
    std::fs::write(&manifest, beyond).unwrap();
    let (code, said) = status(&csv);
    assert!(code == Some(1) && said.contains("log   DIFFERS"), "{code:?} {said}");
    std::fs::write(&json, "{}").unwrap();
    for path in [json, file("none")] {
        let (code, said) = status(&path);
        assert!(code == Some(2), "{code:?} {said}");
    }
}
