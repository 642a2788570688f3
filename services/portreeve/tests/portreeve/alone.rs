//! Does each service run alone, against a log and tables that somebody else runs?

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::child::Child;
use harness::{Api, EngineDouble, Installation, Setup, eventually, free_ports};
use nix::sys::signal::Signal;

const PORTS: u16 = 4;
const READY_AT_MOST: Duration = Duration::from_secs(30);
const ENDS_AT_MOST: Duration = Duration::from_secs(30);

/// What a service is told by its environment.
fn told(installation: &Installation, user: &str, command: &mut Command) {
    command.env("PORTREEVE_NATS_URL", installation.nats_url().unwrap());
    command.env("PORTREEVE_NATS_PASSWORD", installation.nats_password(user).unwrap());
    command.env("PORTREEVE_DATABASE_URL", installation.database_url().unwrap());
    command.env("PORTREEVE_MASTER_KEY_FILE", installation.data_dir().join("master.key"));
}

/// Starts a service and waits until its health routes say that it is ready.
async fn ready(installation: &Installation, service: &str, log: &Path, more: &[(&str, String)]) -> Child {
    let health = free_ports::one().unwrap();
    let child = Child::start(env!("CARGO_BIN_EXE_portreeve"), log, |command| {
        command.arg(service).env("PORTREEVE_HEALTH_LISTEN", format!("127.0.0.1:{health}"));
        told(installation, service, command);
        command.envs(more.iter().map(|(name, value)| (name, value)));
    })
    .unwrap();
    let api = Api::new(format!("http://127.0.0.1:{health}"), None).unwrap();
    eventually("the service is ready", READY_AT_MOST, || async {
        let answer = api.get("/readyz").await.map_err(|error| format!("{error:#}: {}", child.log_tail()))?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await
    .unwrap();
    child
}

async fn ends_well(mut child: Child) {
    child.signal(Signal::SIGTERM).unwrap();
    let status = eventually("the service ends", ENDS_AT_MOST, || {
        std::future::ready(child.ended().ok_or_else(|| child.log_tail()))
    })
    .await
    .unwrap();
    assert!(status.success(), "{status}: {}", child.log_tail());
}

/// What `setup` says on standard output.
fn set_up(installation: &Installation, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.arg("setup").args(more);
    told(installation, "setup", &mut command);
    for user in ["setup", "api"] {
        let name = format!("PORTREEVE_NATS_PASSWORD_{}", user.to_uppercase());
        command.env(name, installation.nats_password(user).unwrap());
    }
    said(command)
}

fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn services_beside_an_installation_share_its_work() {
    let engine = EngineDouble::start().await.unwrap();
    let setup = Setup::new(Some(engine.url()), free_ports::range(PORTS).unwrap());
    let installation = Installation::new(setup).unwrap();
    let up = installation.up().await.unwrap();

    let token = set_up(&installation, &[]);
    assert_eq!(token, installation.admin_token().unwrap(), "what is there is left as it is");
    assert_eq!(set_up(&installation, &["--no-token"]), "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.arg("admin-token").env("PORTREEVE_MASTER_KEY_FILE", installation.data_dir().join("master.key"));
    assert_eq!(said(command), token, "the master key alone tells it");

    let logs = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_ports::one().unwrap());
    let told = [("PORTREEVE_LISTEN", listen.clone())];
    let api = ready(&installation, "api", &logs.path().join("api"), &told).await;
    let projector = ready(&installation, "projector", &logs.path().join("projector"), &[]).await;
    let audit = ready(&installation, "audit", &logs.path().join("audit"), &[]).await;
    let taps = ready(&installation, "taps", &logs.path().join("taps"), &[]).await;
    let relays = [("PORTREEVE_RELAY_LISTEN", format!("127.0.0.1:{}", free_ports::one().unwrap()))];
    let relay = ready(&installation, "relay", &logs.path().join("relay"), &relays).await;
    let sockets = tempfile::tempdir().unwrap();
    let told = [
        ("PORTREEVE_CONTAINER_HOST", engine.url()),
        ("PORTREEVE_INSTANCE", "beside".to_owned()),
        ("PORTREEVE_SENTRY_SOCKET_DIR", sockets.path().display().to_string()),
        ("PORTREEVE_PORTS", {
            let ports = &installation.setup().ports;
            format!("{}-{}", ports.start(), ports.end())
        }),
    ];
    let provisioner = ready(&installation, "provisioner", &logs.path().join("provisioner"), &told).await;
    let beside = Api::new(format!("http://{listen}"), Some(token)).unwrap();
    let made = beside.post("/api/tenants", &serde_json::json!({ "name": "beside" })).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.body);
    let position = made.position.unwrap();
    let seen = up.admin().get(&format!("/api/tenants?after={position}")).await.unwrap();
    assert!(seen.body.to_string().contains("beside"), "{}", seen.body);
    for child in [provisioner, projector, audit, taps, relay, api] {
        ends_well(child).await;
    }
}
