//! Does `up` survive what happens to a process and its children, and leave nothing behind?

use std::path::Path;
use std::time::Duration;

use harness::child::{Process, processes};
use harness::{EngineDouble, Installation, Portreeve, Setup, eventually, free_ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

const PORTS: u16 = 4;
const BACK_AT_MOST: Duration = Duration::from_secs(30);
const GONE_AT_MOST: Duration = Duration::from_secs(20);
/// The second start is ready in seconds; this leaves room for a busy machine.
const SECOND_START_AT_MOST: Duration = Duration::from_secs(20);

async fn installation() -> (EngineDouble, Installation) {
    let engine = EngineDouble::start().await.unwrap();
    let setup = Setup::new(Some(engine.url()), free_ports::range(PORTS).unwrap());
    let installation = Installation::new(setup).unwrap();
    (engine, installation)
}

/// Processes whose command line names this data directory, `up` itself left out.
fn children_of(data_dir: &Path) -> Vec<Process> {
    let mark = data_dir.display().to_string();
    let is_child = |process: &Process| process.command.contains(&mark) && !process.command.contains(" up ");
    processes().into_iter().filter(is_child).collect()
}

async fn nothing_left(data_dir: &Path) {
    eventually("no child is left", GONE_AT_MOST, || {
        let left = children_of(data_dir);
        std::future::ready(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .await
    .unwrap();
}

/// A write that needs the log, and a read that needs the tables.
async fn works(up: &Portreeve, tenant: &str) {
    eventually("a tenant is registered", BACK_AT_MOST, || async {
        let made =
            up.admin().post("/api/tenants", &json!({ "name": tenant })).await.map_err(|e| e.to_string())?;
        if made.status != 201 && made.status != 409 {
            return Err(format!("{} {}", made.status, made.body));
        }
        Ok(())
    })
    .await
    .unwrap();
    still_knows(up, tenant).await;
}

/// The tables may be away for a moment after their server died.
async fn still_knows(up: &Portreeve, tenant: &str) {
    eventually("the tenant is listed", BACK_AT_MOST, || async {
        let listed = up.admin().get("/api/tenants").await.map_err(|e| e.to_string())?;
        if listed.status == 200 && listed.body.to_string().contains(tenant) {
            return Ok(());
        }
        Err(format!("{} {}", listed.status, listed.body))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_killed_child_comes_back_with_its_data() {
    let (_engine, installation) = installation().await;
    let up = installation.up().await.unwrap();
    works(&up, "before").await;
    for program in ["nats-server", "postgres"] {
        let killed = up.child(program).expect(program);
        up.kill_child(program).unwrap();
        eventually("another process runs", BACK_AT_MOST, || {
            let now = up.child(program).filter(|now| now.pid != killed.pid);
            std::future::ready(now.ok_or("none"))
        })
        .await
        .unwrap();
        works(&up, &format!("after-{program}")).await;
    }
    still_knows(&up, "before").await;
}

#[tokio::test]
async fn ctrl_c_leaves_no_child_and_the_next_start_goes_on() {
    // No engine is named, so that Podman is a child too where no other engine answers.
    let setup = Setup::new(None, free_ports::range(PORTS).unwrap());
    let installation = Installation::new(setup).unwrap();
    let data_dir = installation.data_dir();
    let up = installation.up().await.unwrap();
    works(&up, "kept").await;
    assert!(children_of(&data_dir).len() >= 2, "{:?}", children_of(&data_dir));
    let (ports, token) = (installation.kept("ports.json").unwrap(), installation.admin_token().unwrap());
    assert!(up.stop().await.unwrap().success());
    assert_eq!(children_of(&data_dir).len(), 0, "all ended before `up` did: {:?}", children_of(&data_dir));

    let up = installation.up().await.unwrap();
    assert!(up.ready_after() < SECOND_START_AT_MOST, "{:?}", up.ready_after());
    still_knows(&up, "kept").await;
    assert_eq!(installation.kept("ports.json").unwrap(), ports);
    assert_eq!(installation.admin_token().unwrap(), token);
    assert!(up.stop().await.unwrap().success());
}

#[tokio::test]
async fn a_killed_up_takes_its_children_along_and_the_next_start_goes_on() {
    let (_engine, installation) = installation().await;
    let mut up = installation.spawn().unwrap();
    let token = installation.data_dir().join("admin.token");
    eventually("the first start is far enough", BACK_AT_MOST, || {
        std::future::ready(if token.exists() { Ok(()) } else { Err(up.log_tail()) })
    })
    .await
    .unwrap();
    up.signal(Signal::SIGKILL).unwrap();
    // At once: the new one meets the old one's children.
    let again = installation.up().await.unwrap();
    assert!(up.ended().is_some());
    works(&again, "again").await;
    // Alone: its children hear of it from the kernel.
    kill(Pid::from_raw(i32::try_from(again.pid()).unwrap()), Signal::SIGKILL).unwrap();
    nothing_left(&installation.data_dir()).await;
}

#[tokio::test]
async fn a_lock_file_that_names_a_stranger_stops_nothing() {
    let (_engine, installation) = installation().await;
    let up = installation.up().await.unwrap();
    up.kill_everything();
    let lock = installation.data_dir().join("postgres/postmaster.pid");
    let text = std::fs::read_to_string(&lock).expect("a killed server leaves its lock");
    let rest = text.split_once('\n').expect("more than one line").1;
    // As after a reboot: the number is somebody's, and it is us.
    std::fs::write(&lock, format!("{}\n{rest}", std::process::id())).unwrap();
    let up = installation.up().await.unwrap();
    works(&up, "after").await;
}

#[tokio::test]
async fn a_second_up_on_the_same_data_is_refused() {
    let (_engine, installation) = installation().await;
    let up = installation.up().await.unwrap();
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_portreeve"));
    second.arg("up").arg("--data-dir").arg(installation.data_dir());
    let refused = second.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&up.pid().to_string()) && said.contains("another `portreeve up`"), "{said}");
    works(&up, "undisturbed").await;
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let (_engine, installation) = installation().await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.arg("up").arg("--data-dir").arg(installation.data_dir());
    command.arg("--listen").arg(address.to_string());
    command.arg("--container-host").arg(installation.setup().container_host.as_ref().unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("api ended with an error: cannot listen on {address}")), "{said}");
    assert_eq!(children_of(&installation.data_dir()).len(), 0);
}
