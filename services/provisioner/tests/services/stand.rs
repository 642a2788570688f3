//! What does a test of the whole provisioner stand on? NATS, Podman, the environment image, and a
//! provisioner that runs; the test plays the api.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use events::credential::{Credential, CredentialRefusal, SecretRef, reset};
use events::env::{Env, EnvEvent, EnvRefusal, EnvRequested, PortPurpose, Status, deadlines, request};
use events::envelope::Cause;
use events::ids::{EnvId, TenantId, UserName};
use events::ports::{Port, port_id};
use events::quota::claim::claim;
use events::quota::{Quota, QuotaRefusal};
use events::{Decision, Recorded};
use harness::nats::{NatsServer, password_of};
use harness::{RealEngine, eventually};
use kit::health::Health;
use nats::{Connection, Log, MasterKeys, Start, Tailed, Vault};
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The longest anything here may take.
pub const SOON: Duration = Duration::from_secs(40);

pub struct Stand {
    pub nats: NatsServer,
    pub engine: RealEngine,
    pub log: Log,
    pub vault: Vault,
    pub keys: MasterKeys,
    pub ports: RangeInclusive<u16>,
    pub folder: tempfile::TempDir,
    pub instance: String,
    sweep_interval_s: u64,
    running: Vec<(CancellationToken, JoinHandle<()>)>,
}

pub fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn cause() -> Cause {
    Cause::new(Uuid::new_v4(), "user:alice")
}

pub async fn user(server: &NatsServer, name: &str) -> Connection {
    nats::connect(&config(server, name)).await.unwrap()
}

fn config(server: &NatsServer, name: &str) -> nats::Config {
    nats::Config {
        url: server.url(),
        user: name.into(),
        password: password_of(name).into(),
        name: name.into(),
    }
}

impl Stand {
    pub async fn new(ports: u16) -> Self {
        Self::with_sweep(ports, 2).await
    }

    /// A sweep is also made at each start.
    pub async fn with_sweep(ports: u16, sweep_interval_s: u64) -> Self {
        let nats = NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap();
        user(&nats, "setup").await.setup(1).await.unwrap();
        let engine = RealEngine::start().await.unwrap();
        let (keys, _) = MasterKeys::generate().unwrap();
        let api = user(&nats, "api").await;
        let mut stand = Self {
            log: api.log(),
            vault: api.vault(keys.clone()),
            nats,
            engine,
            keys,
            ports: harness::free_ports::range(ports).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            instance: format!("test-{}", Uuid::new_v4()),
            sweep_interval_s,
            running: Vec::new(),
        };
        stand.start().await;
        stand
    }

    /// Starts a provisioner and waits until it is ready.
    pub async fn start(&mut self) {
        let health = self.spawn();
        eventually("the provisioner is ready", SOON, || {
            let failing = health.failing();
            let socket = self.folder.path().join("sentry").join(provisioner::SOCKET_NAME).exists();
            async move { if failing.is_empty() && socket { Ok(()) } else { Err(format!("{failing:?}")) } }
        })
        .await
        .unwrap();
    }

    /// Starts another one, and waits until it stands by.
    pub async fn start_standby(&mut self) {
        let health = self.spawn();
        eventually("the provisioner stands by", SOON, || {
            let failing = health.failing();
            let stands_by = failing.values().any(|why| why == provisioner::STANDING_BY);
            async move { if stands_by { Ok(()) } else { Err(format!("{failing:?}")) } }
        })
        .await
        .unwrap();
    }

    fn spawn(&mut self) -> Health {
        let config = provisioner::Config {
            nats: config(&self.nats, "provisioner"),
            master_keys: self.keys.clone(),
            container_host: Some(self.engine.url()),
            kubernetes: None,
            ports: self.ports.clone(),
            port_quarantine_s: 60,
            bind_host: "127.0.0.1".parse().unwrap(),
            image: "portreeve/env:dev".into(),
            image_jupyter: "portreeve/env-jupyter:dev".into(),
            sentry_socket_dir: Some(self.folder.path().join("sentry")),
            sentry_listen: None,
            instance: self.instance.clone(),
            sweep_interval_s: self.sweep_interval_s,
        };
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let (run_health, run_shutdown) = (health.clone(), shutdown.clone());
        let task =
            tokio::spawn(async move { provisioner::run(config, run_health, run_shutdown).await.unwrap() });
        self.running.push((shutdown, task));
        health
    }

    /// Ends the one that was started first.
    pub async fn stop_first(&mut self) {
        let (shutdown, task) = self.running.remove(0);
        shutdown.cancel();
        tokio::time::timeout(SOON, task).await.expect("the provisioner does not end").unwrap();
    }

    /// Ends the provisioners as a signal would.
    pub async fn stop(&mut self) {
        for (shutdown, task) in std::mem::take(&mut self.running) {
            shutdown.cancel();
            tokio::time::timeout(SOON, task).await.expect("the provisioner does not end").unwrap();
        }
    }

    pub async fn ask(&self, env: &EnvId, rule: impl Fn(&Env) -> Decision<EnvEvent, EnvRefusal>) {
        self.log.decide::<Env, _>(&acme(), env.as_str(), &cause(), 0, rule).await.unwrap();
    }

    /// An environment is asked for as the api does it.
    pub async fn request(&self, change: impl FnOnce(&mut EnvRequested)) -> EnvId {
        let env = EnvId::from_seed(&Uuid::new_v4());
        let mut asked = EnvRequested {
            name: "one".into(),
            owner: UserName::parse("alice").unwrap(),
            image: String::new(),
            resources: serde_json::from_value(serde_json::json!({"cpu": 1, "memory": 0.5})).unwrap(),
            ssh_public_keys: vec![],
            jupyter: false,
            ttl_s: None,
            idle_s: None,
            allow_list: vec![],
            datasets: vec![],
            gateway_only: false,
            deadline: deadlines::create(chrono::Utc::now()),
        };
        change(&mut asked);
        self.log
            .decide::<Quota, QuotaRefusal>(&acme(), "acme", &cause(), 0, |state| {
                claim(state, &env, asked.resources)
            })
            .await
            .unwrap();
        self.ask(&env, |state| request::request(state, asked.clone())).await;
        env
    }

    pub async fn env(&self, env: &EnvId) -> Env {
        self.log.load::<Env>(&acme(), env.as_str()).await.unwrap().state
    }

    pub async fn credential(&self, env: &EnvId) -> Credential {
        self.log.load::<Credential>(&acme(), env.as_str()).await.unwrap().state
    }

    pub async fn until(&self, env: &EnvId, status: Status) -> Env {
        let what = format!("the environment is {}", status.name());
        eventually(&what, SOON, || async {
            let state = self.env(env).await;
            if state.status == status {
                Ok(state)
            } else {
                Err(format!("{} {:?}", state.status.name(), state.failure))
            }
        })
        .await
        .unwrap()
    }

    pub async fn running(&self, env: &EnvId) -> u16 {
        self.until(env, Status::Running).await.port(PortPurpose::Ssh).unwrap()
    }

    pub async fn password(&self, env: &EnvId) -> SecretString {
        let secret_ref = self.credential(env).await.password.unwrap();
        self.vault.get(&secret_ref).await.unwrap().unwrap()
    }

    /// Another password, as the api does it; answers its number.
    pub async fn reset_password(&self, env: &EnvId) -> u64 {
        let secret_ref =
            SecretRef { owner: env.to_string(), name: "password".into(), version: Uuid::new_v4() };
        self.vault.put(&secret_ref, &SecretString::from("An0ther-Password".to_owned())).await.unwrap();
        let decided = self
            .log
            .decide::<Credential, CredentialRefusal>(&acme(), env.as_str(), &cause(), 0, |state| {
                reset::reset(state, secret_ref.clone(), "asked")
            })
            .await;
        decided.unwrap().state.number
    }

    pub async fn port(&self, port: u16) -> Port {
        let id = port_id(&"main".parse().unwrap(), port);
        self.log.load::<Port>(&TenantId::system(), &id).await.unwrap().state
    }

    pub async fn quota(&self) -> Quota {
        self.log.load::<Quota>(&acme(), "acme").await.unwrap().state
    }

    /// The whole log.
    pub async fn events(&self) -> Vec<Recorded> {
        let head = self.log.head().await.unwrap();
        let mut tail = self.log.tail(Start::Sequence(1), Vec::new());
        let mut all = Vec::new();
        while tail.position() <= head {
            for tailed in tail.next_chunk(10_000, SOON).await.unwrap() {
                match tailed {
                    Tailed::Event(recorded) => all.push(*recorded),
                    Tailed::Unreadable { seq, why, .. } => panic!("{seq}: {why}"),
                }
            }
        }
        all
    }

    /// The types of the events of one aggregate, in order.
    pub async fn story(&self, id: &str) -> Vec<&'static str> {
        let events = self.events().await;
        events.iter().filter(|event| event.subject.id == id).map(|event| event.event.event_type()).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for (shutdown, task) in std::mem::take(&mut self.running) {
            shutdown.cancel();
            task.abort();
        }
        harness::real_engine::remove_leftovers(&self.instance);
    }
}

/// A change of policy is in force within this: much sooner than a policy request ends by itself.
pub const AT_ONCE: Duration = Duration::from_secs(8);

/// Someone who waits for the answer to be `true`.
pub async fn eventually_true<F: Future<Output = bool>>(what: &str, look: impl Fn() -> F) {
    true_within(SOON, what, look).await;
}

pub async fn true_within<F: Future<Output = bool>>(at_most: Duration, what: &str, look: impl Fn() -> F) {
    let look = Arc::new(look);
    eventually(what, at_most, || {
        let look = Arc::clone(&look);
        async move { if look().await { Ok(()) } else { Err("no") } }
    })
    .await
    .unwrap();
}
