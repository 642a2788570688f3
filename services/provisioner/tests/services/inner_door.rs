//! Can an entrance get in by what the log and the vault say, and what becomes of it when it is killed?
//! The test plays the gateway, with the gateway's own rights.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use chrono::Utc;
use events::credential::SecretRef;
use events::env::{Env, InnerDoor};
use events::ids::{EnvId, SessionId};
use events::login::{Entrance, Login, LoginFailed, LoginRefusal, lockout, record};
use events::session::{Session, SessionClosed, SessionEvent, SessionOpened, SessionRefusal, open};
use harness::real_engine::podman;
use harness::{Proof, Ssh, eventually};
use nats::Log;
use provisioner::containers::container_name;
use secrecy::ExposeSecret;
use tokio::process::Command;
use uuid::Uuid;

use crate::stand::{AT_ONCE, SOON, Stand, acme, cause, eventually_true, true_within, user};

/// The sentry gives an entrance 20 seconds to say itself how a session ended.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

/// A gateway that knows what the log and the vault tell it.
struct Gateway {
    log: Log,
    folder: tempfile::TempDir,
}

impl Gateway {
    async fn new(stand: &Stand) -> Self {
        let connection = user(&stand.nats, "gateway").await;
        let folder = tempfile::tempdir().unwrap();
        let vault = connection.vault(stand.keys.clone());
        let ca = vault.get(&SecretRef::user_ca()).await.unwrap().expect("the provisioner made a CA");
        write_secret(&folder.path().join("ca"), ca.expose_secret());
        Self { log: connection.log(), folder }
    }

    async fn door(&self, env: &EnvId) -> InnerDoor {
        let loaded = self.log.load::<Env>(&acme(), env.as_str()).await.unwrap();
        loaded.state.inner.expect("a running environment has an inner door")
    }

    /// `ssh` by that door, as a gateway does it: a certificate for this session, a pinned host key.
    async fn ssh(&self, env: &EnvId, session: &SessionId) -> Command {
        self.ssh_to(env, env, session).await
    }

    async fn ssh_to(&self, there: &EnvId, env: &EnvId, session: &SessionId) -> Command {
        let door = self.door(there).await;
        let key = self.folder.path().join(session.as_str());
        let known_hosts = self.folder.path().join("known_hosts");
        let host = format!("[{}]:{} {}", door.addr.ip(), door.addr.port(), door.host_key);
        std::fs::write(&known_hosts, host).unwrap();
        keygen(&["-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]).await;
        let (ca, public) = (self.folder.path().join("ca"), key.with_extension("pub"));
        let key_id = format!("{session}/developer");
        let ca = ca.to_str().unwrap();
        keygen(&["-s", ca, "-I", &key_id, "-n", env.as_str(), "-V", "-1m:+3m", public.to_str().unwrap()])
            .await;
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i"]).arg(key);
        ssh.args(["-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", known_hosts.display()));
        ssh.args(["-p", &door.addr.port().to_string(), &format!("developer@{}", door.addr.ip())]);
        ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        ssh
    }

    async fn open(&self, env: &EnvId, session: &SessionId) {
        let opened = SessionOpened {
            place: env.clone().into(),
            ip: "203.0.113.9".parse().unwrap(),
            entrance: Entrance::Gateway,
            user: "developer".into(),
            method: "password".into(),
            client: Some("SSH-2.0-OpenSSH_9.2p1".into()),
            at: Utc::now(),
        };
        let rule = |state: &Session| open::open(state, opened.clone());
        let id = session.as_str();
        self.log.decide::<Session, SessionRefusal>(&acme(), id, &cause(), 0, rule).await.unwrap();
    }

    /// A wrong password; what comes of it is decided as the gateway decides it.
    async fn failed(&self, env: &EnvId, ip: &str) {
        let failed = LoginFailed {
            ip: ip.parse().unwrap(),
            user: "developer".into(),
            method: "password".into(),
            class: "wrong_password".into(),
            entrance: Entrance::Gateway,
            at: Utc::now(),
            reported: None,
        };
        let (cause, id) = (cause(), env.as_str());
        let fail = |state: &Login| record::failed(state, failed.clone());
        self.log.decide::<Login, LoginRefusal>(&acme(), id, &cause, 0, fail).await.unwrap();
        let lock = |state: &Login| lockout::lock(state, failed.ip, Utc::now());
        self.log.decide::<Login, LoginRefusal>(&acme(), id, &cause, 1, lock).await.unwrap();
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn keygen(arguments: &[&str]) {
    let made = Command::new("ssh-keygen").arg("-q").args(arguments).output().await.unwrap();
    assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
}

fn new_session() -> SessionId {
    SessionId::from_seed(&Uuid::new_v4())
}

async fn closed(stand: &Stand, session: &SessionId) -> Option<SessionClosed> {
    stand.events().await.into_iter().find_map(|recorded| match recorded.event {
        events::Event::Session(SessionEvent::SessionClosed(closed))
            if recorded.subject.id == session.as_str() =>
        {
            Some(closed)
        }
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_opens_the_door_that_the_log_names_also_after_it_moved() {
    let stand = Stand::with_sweep(4, 3600).await;
    let env = stand.request(|_| {}).await;
    stand.running(&env).await;
    let gateway = Gateway::new(&stand).await;
    let hostname = async || {
        let said = gateway.ssh(&env, &new_session()).await.arg("hostname").output().await.unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(hostname().await, env.as_str());
    let first = gateway.door(&env).await;

    // another environment takes the address that this one had, and this one gets another
    assert!(podman(&["rm", "-f", "-t", "0", &container_name(&env)]).unwrap().status.success());
    eventually_true("it was lost", || async { stand.env(&env).await.losses.len() == 1 }).await;
    assert_eq!(stand.env(&env).await.inner, None, "nobody is sent to where it was");
    stand.running(&env).await;
    let second = gateway.door(&env).await;
    assert_eq!(hostname().await, env.as_str());
    assert_eq!(first.host_key, second.host_key, "the same host, wherever it is");

    // a certificate for one environment opens no other
    let other = stand.request(|_| {}).await;
    stand.running(&other).await;
    let mut ssh = gateway.ssh_to(&other, &env, &new_session()).await;
    let seen = ssh.arg("true").output().await.unwrap();
    assert!(String::from_utf8_lossy(&seen.stderr).contains("Permission denied"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_a_killed_gateway_left_open_is_closed_with_its_bytes() {
    let stand = Stand::with_sweep(4, 3600).await;
    let env = stand.request(|_| {}).await;
    stand.running(&env).await;
    let gateway = Gateway::new(&stand).await;
    let session = new_session();
    let mut ssh =
        gateway.ssh(&env, &session).await.arg("head -c 300000 /dev/zero; sleep 1000").spawn().unwrap();
    let mut out = ssh.stdout.take().unwrap();
    let read = async { tokio::io::AsyncReadExt::read_exact(&mut out, &mut vec![0; 300_000]).await };
    tokio::time::timeout(SOON, read).await.expect("within time").unwrap();
    gateway.open(&env, &session).await;
    assert_eq!(closed(&stand, &session).await, None);
    ssh.kill().await.unwrap();
    let closed = eventually("it is closed", CLOSED_WITHIN, || async {
        closed(&stand, &session).await.ok_or("it is open")
    })
    .await
    .unwrap();
    assert_eq!(closed.reason, "interrupted");
    assert!(closed.bytes_out > 300_000 && closed.bytes_in > 1_000, "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_the_gateway_count_at_the_port() {
    let stand = Stand::new(2).await;
    let env = stand.request(|_| {}).await;
    let port = stand.running(&env).await;
    let gateway = Gateway::new(&stand).await;
    let password = stand.password(&env).await;
    let ssh = |password: &str| {
        let proof = Proof::Password(password.to_owned());
        Ssh { user: "developer".into(), host: "127.0.0.1".into(), port, proof, from: None }
    };
    // through a published port the sentry sees who comes: ask the log who that is
    assert!(!ssh("wrong").run("true").await.unwrap().success);
    let ip = eventually("the failure is in the log", SOON, || async {
        let events = stand.events().await;
        let failed = events.iter().find_map(|recorded| match &recorded.event {
            events::Event::Login(events::login::LoginEvent::LoginFailed(failed)) => Some(failed.ip),
            _ => None,
        });
        failed.ok_or("no failure")
    })
    .await
    .unwrap();
    for _ in 0..3 {
        gateway.failed(&env, &ip.to_string()).await;
    }
    ssh(password.expose_secret()).run("true").await.unwrap().expect_success().unwrap();
    // the fifth, at the gateway: the port is closed too
    gateway.failed(&env, &ip.to_string()).await;
    true_within(AT_ONCE, "the port is closed", || async {
        !ssh(password.expose_secret()).run("true").await.unwrap().success
    })
    .await;
}
