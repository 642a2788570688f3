//! Is bad configuration refused before anything is opened, by name, with status 64?

use std::process::{Command, Output};

const USAGE: i32 = 64;

fn portreeve(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.args(words).envs(variables.iter().copied()).output().unwrap()
}

fn refused(words: &[&str], variables: &[(&str, &str)], named: &str) {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut variables = variables.to_vec();
    variables.push(("PORTREEVE_DATA_DIR", data_dir.to_str().unwrap()));
    let output = portreeve(words, &variables);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(USAGE), "{words:?}: {said}");
    assert!(said.contains(named), "{words:?} does not name {named}: {said}");
    assert!(!data_dir.exists(), "{words:?}: nothing is opened");
}

#[test]
fn up_names_the_flag_that_is_wrong() {
    refused(&["up", "--listen", "8080"], &[], "--listen");
    refused(&["up", "--ports", "32767-30000"], &[], "--ports");
    refused(&["up", "--compute", "kubernetes"], &[], "--kubeconfig");
    refused(&["up", "--compute", "kubernetes", "--kubeconfig", "/dev/null"], &[], "--kubeconfig");
    refused(&["up", "--kube-exposure", "public"], &[], "--kube-exposure");
    refused(&["up", "--sentry-url", "host"], &[], "--sentry-url");
    refused(&["up", "--container-host", "/run/docker.sock"], &[], "--container-host");
    refused(&["up", "--database-url", "localhost"], &[], "--database-url");
    refused(&["up", "--no-such-flag"], &[], "--no-such-flag");
}

#[test]
fn up_names_the_variable_that_is_wrong() {
    refused(&["up"], &[("PORTREEVE_LISTEN", "nowhere")], "--listen");
    refused(&["up"], &[("PORTREEVE_PORTS", "1-")], "--ports");
    refused(&["up"], &[("DOCKER_HOST", "ssh://somewhere")], "DOCKER_HOST");
    refused(&["up"], &[("PORTREEVE_MASTER_KEY", "abc")], "PORTREEVE_MASTER_KEY");
    refused(&["up"], &[("PORTREEVE_MASTER_KEY_FILE", "/no/such/file")], "PORTREEVE_MASTER_KEY_FILE");
    refused(&["up", "--nats", "nats://127.0.0.1:4222"], &[], "PORTREEVE_NATS_PASSWORD_SETUP");
}

#[test]
fn a_service_alone_names_what_is_missing() {
    let nats = ("PORTREEVE_NATS_URL", "nats://127.0.0.1:4222");
    let password = ("PORTREEVE_NATS_PASSWORD", "p");
    let database = ("PORTREEVE_DATABASE_URL", "postgres://u:p@127.0.0.1/d");
    refused(&["projector"], &[database], "--nats");
    refused(&["projector"], &[nats, database], "PORTREEVE_NATS_PASSWORD");
    refused(&["projector"], &[nats, password], "--database-url");
    refused(&["api"], &[nats, password, database], "PORTREEVE_MASTER_KEY");
    refused(&["audit"], &[nats, password], "PORTREEVE_MASTER_KEY");
    refused(&["relay"], &[nats, password], "PORTREEVE_MASTER_KEY");
    let agent = ["agent", "--url", "http://a", "--proxy-id", "rel-a"];
    refused(&agent, &[], "PORTREEVE_API_KEY");
    refused(&["agent", "--url", "a", "--proxy-id", "rel-a"], &[], "--url");
    refused(&["audit", "--audit-every-s", "0"], &[nats, password], "--audit-every-s");
    refused(&["provisioner"], &[nats, password], "--instance");
    let kubernetes = [nats, password, ("PORTREEVE_COMPUTE", "kubernetes")];
    refused(&["provisioner", "--instance", "a"], &kubernetes, "--sentry-listen");
    let listen = ["provisioner", "--instance", "a", "--sentry-listen", "0.0.0.0:8082"];
    refused(&listen, &kubernetes, "--kubeconfig");
    refused(&["setup"], &[nats, database], "PORTREEVE_NATS_PASSWORD_SETUP");
    refused(&["taps"], &[nats], "PORTREEVE_NATS_PASSWORD");
    refused(&["nats-issuer"], &[], "PORTREEVE_NATS_PASSWORD_TAPS");
    refused(&["sentry"], &[], "--env-id");
}

#[test]
fn a_secret_is_not_repeated_in_the_message() {
    let key = ("PORTREEVE_MASTER_KEY", "k1:hunter2hunter2");
    let output = portreeve(&["up"], &[key]);
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    let output = portreeve(&["up", "--help"], &[("PORTREEVE_DATABASE_URL", "postgres://u:hunter2@h/d")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hunter2"));
}

#[test]
fn a_client_command_says_what_it_lacks() {
    refused(&["env"], &[], "create");
    refused(&["env", "list", "--url", "https://portreeve.example"], &[], "--url");
    let output = portreeve(&["env", "list"], &[("PORTREEVE_DATA_DIR", "/no/such/dir")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PORTREEVE_TOKEN"));
    let nobody = [("PORTREEVE_TOKEN", "t"), ("PORTREEVE_URL", "http://127.0.0.1:1")];
    let output = portreeve(&["env", "list"], &nobody);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach http://127.0.0.1:1"));
}

#[test]
fn what_events_look_like_is_said_without_asking_anybody() {
    let printed = |words: &[&str]| -> serde_json::Value {
        let output = portreeve(words, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let one = printed(&["events", "schema", "EnvRequested"]);
    assert_eq!(one["title"], "EnvRequested");
    assert_eq!(printed(&["events", "schema"])["EnvRequested.v1"], one);
    assert_eq!(printed(&["events", "asyncapi"])["asyncapi"], "3.0.0");
    refused(&["events", "schema", "EnvPainted"], &[], "EnvPainted");
}
