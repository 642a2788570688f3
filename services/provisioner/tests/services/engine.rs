//! Do containers behave as `compute.rs` says? Asked of a real Podman service of our own.
//!
//! Needs podman, runc and busybox-static: `apt-get install podman runc busybox-static`.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use events::env::PortPurpose;
use events::ids::{EnvId, TenantId};
use futures_util::StreamExt;
use harness::child::Child;
use provisioner::compute::{Compute, ComputeError, Listed, Published, Seen, Spec};
use provisioner::containers::{Containers, Settings, container_name};
use provisioner::machine_limits::MachineLimits;
use uuid::Uuid;

/// A tiny image whose first process ends at SIGTERM, as a sentry does.
const IMAGE: &str = "portreeve/provisioner-test:dev";
const SCRIPT: &str = "#!/bin/busybox sh
mkdir -p /var/lib/portreeve/spool
echo '{}' > /var/lib/portreeve/spool/acknowledged.json
trap 'exit 0' TERM
while :; do /bin/busybox nc -l -p 22 </dev/null & wait $!; done
";
const WAIT: Duration = Duration::from_secs(20);

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dev/containers.conf").canonicalize().unwrap()
}

fn podman() -> Command {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", conf());
    command
}

fn image() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| import(IMAGE, SCRIPT));
    IMAGE
}

/// An image that is no environment: its first process ends at once, with exit code 7.
pub fn image_that_ends() -> &'static str {
    const NAME: &str = "portreeve/provisioner-test-ends:dev";
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| import(NAME, "#!/bin/busybox sh\nexit 7\n"));
    NAME
}

fn import(name: &str, script: &str) {
    let busybox = std::fs::read("/bin/busybox").expect("apt-get install busybox-static");
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(dir.path().join("image.tar")).unwrap();
    let mut tar = tar::Builder::new(file);
    let files = [("bin/busybox", busybox.as_slice()), ("bin/sh", &busybox), ("first", script.as_bytes())];
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    for path in ["proc", "sys", "dev", "etc", "tmp", "run", "var", "usr", "gemini"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap();
    let mut import = podman();
    import.args(["import", "-q", "--change", "ENTRYPOINT=[\"/first\"]"]);
    import.arg(dir.path().join("image.tar")).arg(name);
    let imported = import.output().expect("apt-get install podman runc");
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

/// A podman service, ended with the test, also when the test is killed.
struct Service {
    child: Child,
    dir: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = format!("unix://{}", dir.path().join("podman.sock").display());
        let child = Child::start("podman", &dir.path().join("log"), |command| {
            command.args(["system", "service", "-t", "0", &socket]).env("CONTAINERS_CONF", conf());
        });
        let service = Self { child: child.expect("apt-get install podman util-linux"), dir };
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(service.dir.path().join("podman.sock")).is_err() {
            assert!(began.elapsed() < WAIT, "no socket within {WAIT:?}: {}", service.child.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }

    fn containers(&self, instance: &str) -> Containers {
        Containers::new(Settings {
            host: Some(format!("unix://{}", self.dir.path().join("podman.sock").display())),
            instance: instance.to_owned(),
            bind_host: "127.0.0.1".parse().unwrap(),
            sentry_socket_dir: self.dir.path().to_owned(),
            machine_limits: MachineLimits::of_this_process(),
        })
    }
}

/// An environment of its own, removed at the end.
struct Env {
    spec: Spec,
    instance: String,
}

impl Env {
    fn new() -> Self {
        let seed = Uuid::new_v4();
        let spec = Spec {
            env: EnvId::from_seed(&seed),
            tenant: TenantId::parse("acme").unwrap(),
            image: image().to_owned(),
            resources: serde_json::from_value(serde_json::json!({"cpu": 0.5, "memory": 0.25})).unwrap(),
            datasets: vec![],
            ports: vec![Published { purpose: PortPurpose::Ssh, port: free_port() }],
            token: "token".into(),
        };
        Self { spec, instance: format!("test-{seed}") }
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        let _gone = podman().args(["rm", "-f", "-t", "0", &container_name(&self.spec.env)]).output();
        for kind in ["code", "state"] {
            let volume = format!("portreeve-{}-{kind}", self.spec.env);
            let _gone = podman().args(["volume", "rm", "-f", &volume]).output();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until the port answers as expected.
fn until_open(port: u16) {
    let began = Instant::now();
    while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
        assert!(began.elapsed() < WAIT, "port {port} is not open after {WAIT:?}: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn an_environment_is_made_once_runs_stops_and_leaves_nothing() {
    let (service, env) = (Service::start(), Env::new());
    let (engine, spec) = (service.containers(&env.instance), &env.spec);
    assert_eq!(engine.observe(&spec.env).await.unwrap(), Seen::Missing);

    engine.ensure_storage(&spec.tenant, &spec.env, &spec.resources).await.unwrap();
    engine.ensure_storage(&spec.tenant, &spec.env, &spec.resources).await.unwrap();
    let made = engine.ensure(spec).await.unwrap();
    assert_eq!(engine.ensure(spec).await.unwrap(), made, "made once");
    assert!(matches!(engine.observe(&spec.env).await.unwrap(), Seen::Down(_)));
    engine.start(spec).await.unwrap();
    engine.start(spec).await.unwrap();
    until_open(spec.ports[0].port);
    assert_eq!(engine.observe(&spec.env).await.unwrap(), Seen::Up);
    let (env, tenant) = (spec.env.clone(), spec.tenant.clone());
    let listed = Listed { env, tenant, up: true, storage_only: false };
    assert_eq!(engine.list().await.unwrap(), [listed]);
    assert_eq!(service.containers("another").list().await.unwrap(), [], "another installation's");

    engine.stop(&spec.env, Duration::from_secs(10)).await.unwrap();
    engine.stop(&spec.env, Duration::from_secs(10)).await.unwrap();
    let Seen::Down(reason) = engine.observe(&spec.env).await.unwrap() else { panic!("still up") };
    assert!(reason.contains("exit code 0"), "it was asked to end, not killed: {reason}");
    let files = engine.read_folder(&spec.env, "/var/lib/portreeve/spool").await.unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["acknowledged.json"], "also of a stopped one");
    assert_eq!(engine.read_folder(&spec.env, "/var/lib/portreeve/nothing").await.unwrap(), []);

    engine.remove(&spec.env).await.unwrap();
    engine.remove(&spec.env).await.unwrap();
    engine.remove_storage(&spec.env).await.unwrap();
    engine.remove_storage(&spec.env).await.unwrap();
    assert_eq!(engine.observe(&spec.env).await.unwrap(), Seen::Missing);
    assert_eq!(engine.read_folder(&spec.env, "/var/lib/portreeve/spool").await.unwrap(), []);
    let volumes = podman().args(["volume", "ls", "-q"]).output().unwrap().stdout;
    assert!(!String::from_utf8(volumes).unwrap().contains(spec.env.as_str()), "no volume is left");
}

#[tokio::test]
async fn limits_reach_the_container_and_the_token_no_label() {
    let (service, env) = (Service::start(), Env::new());
    let engine = service.containers(&env.instance);
    engine.ensure(&env.spec).await.unwrap();
    let inspect = podman().args(["inspect", &container_name(&env.spec.env)]).output().unwrap().stdout;
    let inspect: serde_json::Value = serde_json::from_slice(&inspect).unwrap();
    let host = &inspect[0]["HostConfig"];
    assert_eq!(host["Memory"], 256 << 20, "{host}");
    assert_eq!(host["NanoCpus"], 500_000_000_u64, "{host}");
    assert!(host["PidsLimit"].as_i64().is_some_and(|pids| pids > 0), "{host}");
    let effective = inspect[0]["EffectiveCaps"].to_string();
    assert!(!effective.contains("CAP_NET_RAW") && effective.contains("CAP_SYS_CHROOT"), "{effective}");
    assert!(!inspect[0]["Config"]["Labels"].to_string().contains("token"));
}

#[tokio::test]
async fn a_missing_image_is_named() {
    let (service, mut env) = (Service::start(), Env::new());
    env.spec.image = "portreeve/there-is-no-such:image".into();
    let error = service.containers(&env.instance).ensure(&env.spec).await.unwrap_err();
    assert!(matches!(&error, ComputeError::ImageMissing(image) if *image == env.spec.image), "{error:?}");
}

#[tokio::test]
async fn a_taken_port_is_named_and_another_port_makes_another_container() {
    let (service, mut env) = (Service::start(), Env::new());
    let engine = service.containers(&env.instance);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    env.spec.ports = vec![Published { purpose: PortPurpose::Ssh, port }];
    let first = engine.ensure(&env.spec).await.unwrap();
    let error = engine.start(&env.spec).await.unwrap_err();
    assert!(matches!(&error, ComputeError::PortsTaken { ports, .. } if *ports == [port]), "{error:?}");
    env.spec.ports = vec![Published { purpose: PortPurpose::Ssh, port: free_port() }];
    let second = engine.ensure(&env.spec).await.unwrap();
    assert_ne!(first, second);
    engine.start(&env.spec).await.unwrap();
    until_open(env.spec.ports[0].port);
}

#[tokio::test]
async fn a_container_killed_from_outside_is_announced() {
    let (service, env) = (Service::start(), Env::new());
    let engine = service.containers(&env.instance);
    engine.ensure(&env.spec).await.unwrap();
    engine.start(&env.spec).await.unwrap();
    let announced = async {
        let mut endings = engine.endings();
        loop {
            let ending = tokio::time::timeout(WAIT, endings.next()).await.expect("nothing was announced");
            if ending.expect("the events ended").unwrap().env == env.spec.env {
                return;
            }
        }
    };
    let killed = async {
        // the events have no beginning that can be waited for: kill until it is announced
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let name = container_name(&env.spec.env);
            tokio::task::spawn_blocking(move || podman().args(["kill", &name]).output())
                .await
                .unwrap()
                .unwrap();
            engine.start(&env.spec).await.unwrap();
        }
    };
    tokio::select! { () = announced => {}, () = killed => {} }
}

#[tokio::test]
async fn an_engine_that_is_not_there_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Containers::new(Settings {
        host: Some(format!("unix://{}", dir.path().join("nobody.sock").display())),
        instance: "nobody".into(),
        bind_host: "127.0.0.1".parse().unwrap(),
        sentry_socket_dir: dir.path().to_owned(),
        machine_limits: MachineLimits::of_this_process(),
    });
    let env = EnvId::from_seed(&Uuid::nil());
    assert!(matches!(engine.observe(&env).await, Err(ComputeError::Unreachable(_))));
}
