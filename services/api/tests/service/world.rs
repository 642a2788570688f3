//! What does a test of the API stand on? A nats-server, a PostgreSQL, the API, and small doubles of
//! the projector and the provisioner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use events::credential::{Credential, SecretRef, applied::password_applied, issue::issue};
use events::env::{
    Env, EnvFailed, EnvRequested, Phase, PortBound, PortPurpose,
    bind_port::bind_port,
    fail::fail,
    give_up::{PORT_POOL_EXHAUSTED, give_up},
    observe,
    stop::stopped,
};
use events::ids::{PoolName, TenantId};
use events::{Cause, Event, Recorded};
use harness::nats::{NatsServer, password_of};
use harness::postgres::Postgres;
use harness::{Answer, Api};
use kit::health::Health;
use nats::{Connection, Log, MasterKeys, Start, Tailed, Vault};
use projections::{Chunk, Projections, Unreadable};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// How the double of the provisioner behaves.
#[derive(Default)]
pub struct Provisioner {
    /// Nothing reacts.
    pub away: AtomicBool,
    /// No port is free.
    pub exhausted: AtomicBool,
    /// The environments do not confirm passwords.
    pub deaf: AtomicBool,
}

pub struct World {
    pub nats: NatsServer,
    pub postgres: Postgres,
    pub connection: Connection,
    pub log: Log,
    pub keys: MasterKeys,
    /// As the administrator.
    pub admin: Api,
    pub provisioner: Arc<Provisioner>,
    /// What the API was started with.
    pub config: api::Config,
    ends: CancellationToken,
    /// Of the API alone.
    api_ends: CancellationToken,
    _ends: DropGuard,
}

pub fn config(server: &NatsServer, user: &str) -> nats::Config {
    nats::Config {
        url: server.url(),
        user: user.to_owned(),
        password: SecretString::from(password_of(user)),
        name: user.to_owned(),
    }
}

/// On a busy machine a create is still answered with port and password.
const CREATE_WAIT_S: u64 = 10;

pub async fn world() -> World {
    world_with(|_| {}).await
}

/// A world whose API is set up otherwise.
pub async fn world_with(change: impl FnOnce(&mut api::Config)) -> World {
    let nats = NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap();
    let postgres = Postgres::start().await.unwrap();
    nats::connect(&config(&nats, "setup")).await.unwrap().setup(1).await.unwrap();
    let connection = nats::connect(&config(&nats, "api")).await.unwrap();
    let (keys, _) = MasterKeys::generate().unwrap();
    let token = api::bootstrap(&connection, &keys).await.unwrap().unwrap();
    let ends = CancellationToken::new();
    let projections = Projections::connect(&postgres.url()).await.unwrap();
    projections.migrate().await.unwrap();
    let feeder = nats::connect(&config(&nats, "projector")).await.unwrap();
    tokio::spawn(stop_at(ends.clone(), feed(feeder.log(), projections)));
    let provisioner = Arc::new(Provisioner::default());
    let worker = nats::connect(&config(&nats, "provisioner")).await.unwrap();
    let vault = worker.vault(keys.clone());
    tokio::spawn(stop_at(ends.clone(), provision(Arc::clone(&provisioner), worker.log(), vault)));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = listener.local_addr().unwrap();
    let health = Health::default();
    let mut api = api::Config {
        nats: config(&nats, "api"),
        master_keys: keys.clone(),
        database_url: postgres.url(),
        listen,
        ssh_host: "ssh.example.org".to_owned(),
        gateway_port: 2222,
        gateway_only: false,
        default_image: "portreeve/env:dev".to_owned(),
        wait_s: CREATE_WAIT_S,
        tls: None,
        trusted_proxies: Vec::new(),
        rates: api::Rates::default(),
        // any port
        jupyter: api::JupyterSettings { listen: Some(([127, 0, 0, 1], 0).into()), url: None },
        nats_taps: api::NatsTapsAt { url: nats.url(), websocket_url: None },
        webhooks: api::WebhookSettings::default(),
        beside: axum::Router::new(),
    };
    change(&mut api);
    let (secure, started_with) = (api.tls.is_some(), api.clone());
    let api_ends = ends.child_token();
    let serving = api::serve(api, listener, health.clone(), api_ends.clone());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            eprintln!("the API ended: {error:?}");
        }
    });
    let admin = Api::new(format!("http://{listen}"), Some(token.expose_secret().to_owned())).unwrap();
    let world = World {
        log: connection.log(),
        keys,
        connection,
        nats,
        postgres,
        admin,
        provisioner,
        config: started_with,
        ends: ends.clone(),
        api_ends,
        _ends: ends.drop_guard(),
    };
    if secure {
        // its test looks for itself
        return world;
    }
    harness::eventually("the API is ready", Duration::from_secs(20), async || {
        let answer = world.admin.get("/readyz").await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await
    .unwrap();
    world
}

async fn stop_at(ends: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = ends.cancelled() => {}
    }
}

async fn feed(log: Log, projections: Projections) {
    loop {
        if let Err(error) = feed_some(&log, &projections).await {
            eprintln!("feeding again: {error:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn feed_some(log: &Log, projections: &Projections) -> anyhow::Result<()> {
    let mut position = projections.position().await?;
    let mut tail = log.tail(Start::Sequence(position + 1), Vec::new());
    loop {
        let mut chunk = Chunk::after(position);
        for tailed in tail.next_chunk(500, Duration::from_secs(1)).await? {
            match tailed {
                Tailed::Event(event) => chunk.push(*event)?,
                Tailed::Unreadable { seq, subject, why, .. } => {
                    chunk.push_unreadable(Unreadable { seq, subject, reason: why })?;
                }
            }
        }
        if !chunk.is_empty() {
            projections.feed_chunk(&chunk).await?;
            position = chunk.to;
        }
    }
}

async fn provision(behaviour: Arc<Provisioner>, log: Log, vault: Vault) {
    let mut tail = log.tail(Start::New, Vec::new());
    let mut port = 30_000;
    loop {
        let Ok(tailed) = tail.next().await else { continue };
        let Tailed::Event(event) = tailed else { continue };
        if behaviour.away.load(Ordering::SeqCst) {
            continue;
        }
        port += 2;
        if let Err(error) = react(&behaviour, &log, &vault, &event, port).await {
            eprintln!("the double of the provisioner: {error:#}");
        }
    }
}

async fn react(
    behaviour: &Provisioner,
    log: &Log,
    vault: &Vault,
    event: &Recorded,
    port: u16,
) -> anyhow::Result<()> {
    use events::credential::CredentialEvent::PasswordReset;
    use events::env::EnvEvent::{EnvRequested, EnvStartRequested, EnvStopRequested};
    let (tenant, id) = (&event.subject.tenant, event.subject.id.as_str());
    let cause = |step: &str| Cause::reaction("provisioner", event, step);
    #[allow(clippy::wildcard_enum_match_arm)] // a double reacts to what the tests need
    match &event.event {
        Event::Env(EnvRequested(_)) if behaviour.exhausted.load(Ordering::SeqCst) => {
            let failed = EnvFailed {
                phase: Phase::Port,
                code: PORT_POOL_EXHAUSTED.to_owned(),
                reason: "every port is taken".to_owned(),
            };
            log.decide(tenant, id, &cause("fail"), 0, |env: &Env| fail(env, failed.clone())).await?;
            log.decide(tenant, id, &cause("give up"), 0, |env: &Env| give_up(env, Utc::now())).await?;
        }
        Event::Env(EnvRequested(asked)) => provide(log, vault, event, asked, port).await?,
        Event::Env(EnvStopRequested(_)) => {
            log.decide(tenant, id, &cause("stopped"), 0, stopped).await?;
        }
        Event::Env(EnvStartRequested(_)) => {
            log.decide(tenant, id, &cause("ready"), 0, |state| observe::ready(state, None)).await?;
        }
        Event::Credential(PasswordReset(_)) if !behaviour.deaf.load(Ordering::SeqCst) => {
            let number = log.load::<Credential>(tenant, id).await?.state.number;
            let rule = |state: &Credential| password_applied(state, number);
            log.decide(tenant, id, &cause("applied"), 0, rule).await?;
        }
        _ => {}
    }
    Ok(())
}

async fn provide(
    log: &Log,
    vault: &Vault,
    event: &Recorded,
    asked: &EnvRequested,
    port: u16,
) -> anyhow::Result<()> {
    let (tenant, id) = (&event.subject.tenant, event.subject.id.as_str());
    let cause = |step: &str| Cause::reaction("provisioner", event, step);
    let mut purposes = vec![PortPurpose::Ssh];
    if asked.jupyter {
        purposes.push(PortPurpose::Jupyter);
        let name = SecretRef { owner: id.to_owned(), name: "jupyter".to_owned(), version: Uuid::nil() };
        vault.put(&name, &SecretString::from("jupyter-token".to_owned())).await?;
    }
    for (offset, purpose) in (0..).zip(purposes) {
        let bound = PortBound { pool: PoolName::parse("main")?, port: port + offset, purpose };
        log.decide(tenant, id, &cause(purpose.name()), 0, |env: &Env| bind_port(env, bound.clone())).await?;
    }
    let name = SecretRef { owner: id.to_owned(), name: "password".to_owned(), version: Uuid::now_v7() };
    vault.put(&name, &SecretString::from(format!("first-{id}"))).await?;
    log.decide(tenant, id, &cause("issue"), 0, |state: &Credential| issue(state, name.clone())).await?;
    log.decide(tenant, id, &cause("applied"), 0, |state: &Credential| password_applied(state, 1)).await?;
    log.decide(tenant, id, &cause("ready"), 0, |state| observe::ready(state, None)).await?;
    Ok(())
}

/// A request that is right.
pub fn asked(name: &str) -> Value {
    json!({"name": name, "resources": {"cpu": 0.5, "memory": 0.5}})
}

impl World {
    pub async fn tenant(&self, name: &str) -> TenantId {
        let answer = self.admin.post("/api/tenants", &json!({"name": name})).await.unwrap();
        let made = answer.expect(201).unwrap();
        TenantId::parse(made.text("tenant_id").unwrap()).unwrap()
    }

    /// A caller of its own in this tenant and role.
    pub async fn caller(&self, tenant: &str, role: &str) -> Api {
        let body = json!({"name": format!("{role} of {tenant}"), "tenant_id": tenant, "role": role});
        let made = self.admin.post("/api/tokens", &body).await.unwrap().expect(201).unwrap();
        self.admin.as_caller(made.text("token").unwrap())
    }

    /// The API sees the log as far as it goes now; answers the head.
    pub async fn head(&self) -> u64 {
        self.log.head().await.unwrap()
    }

    /// The API drains and ends; the log stays, and so do other processes of the API.
    pub fn end_api(&self) {
        self.api_ends.cancel();
    }

    /// All events so far.
    pub async fn everything(&self) -> Vec<Recorded> {
        let head = self.head().await;
        let mut tail = self.log.tail(Start::Sequence(1), Vec::new());
        let mut events = Vec::new();
        while tail.position() <= head {
            for tailed in tail.next_chunk(500, Duration::from_secs(5)).await.unwrap() {
                if let Tailed::Event(event) = tailed {
                    events.push(*event);
                }
            }
        }
        events.retain(|event| event.seq <= head);
        events
    }

    /// How often this type stands in the log for this aggregate.
    pub async fn count(&self, event_type: &str, id: &str) -> usize {
        let events = self.everything().await;
        events.iter().filter(|e| e.event.event_type() == event_type && e.subject.id == id).count()
    }

    /// The log as the provisioner appends to it.
    pub async fn provisioner_log(&self) -> Log {
        nats::connect(&config(&self.nats, "provisioner")).await.unwrap().log()
    }

    /// Somebody failed five times.
    pub async fn lock_out(&self, tenant: &TenantId, id: &str, ip: &str) {
        use events::login::{Entrance, Login, LoginFailed, lockout::lock, record::failed};
        let log = self.provisioner_log().await;
        let ip = ip.parse().unwrap();
        for _ in 0..5 {
            let login = LoginFailed {
                ip,
                user: "developer".to_owned(),
                method: "password".to_owned(),
                class: "wrong_password".to_owned(),
                entrance: Entrance::DirectPort,
                at: Utc::now(),
                reported: None,
            };
            let cause = Cause::new(Uuid::now_v7(), "sentry:test");
            log.decide(tenant, id, &cause, 0, |state: &Login| failed(state, login.clone())).await.unwrap();
        }
        let cause = Cause::new(Uuid::now_v7(), "sentry:test");
        log.decide(tenant, id, &cause, 0, |state: &Login| lock(state, ip, Utc::now())).await.unwrap();
    }
}

impl World {
    /// One more API process on the same log, as the administrator.
    pub async fn another_api(&self) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let serving = api::serve(self.config.clone(), listener, Health::default(), self.ends.child_token());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                eprintln!("the other API ended: {error:?}");
            }
        });
        let api = Api::new(format!("http://{listen}"), self.admin.token().map(str::to_owned)).unwrap();
        harness::eventually("the other API is ready", Duration::from_secs(20), async || {
            let answer = api.get("/readyz").await.map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.body.to_string()) }
        })
        .await
        .unwrap();
        api
    }
}

/// Problem details, whole.
pub fn problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!(answer.body["status"], status);
    assert_eq!(answer.body["type"], format!("/docs/errors#{code}"));
    assert!(answer.body["title"].as_str().is_some_and(|title| !title.is_empty()));
    assert!(answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    let id = answer.body["correlation_id"].as_str().unwrap();
    assert!(Uuid::parse_str(id).is_ok(), "{id}");
}
