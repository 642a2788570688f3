//! What does an idle session cost the gateway in memory? At 1,000 and at 10,000 sessions, beside what OpenSSH's
//! sshd takes for one. The environment is played: 10,000 real ones would need sshd's memory too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::Utc;
use events::credential::{PasswordIssued, SecretRef};
use events::env::{EnvEvent, InnerDoor, PodCreated, PodReady, PortBound, PortPurpose};
use events::ids::{EnvId, PoolName, TenantId};
use events::{Event, Kind, Subject};
use futures_util::{StreamExt, TryStreamExt, stream};
use harness::child::{Child, descendants};
use harness::nats::{NatsServer, password_of};
use harness::{Sshd, descriptors, eventually, free_ports, sshd};
use russh::Channel;
use russh::client::{self, Handle};
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, key::safe_rng};
use russh::server::{self, Auth, ChannelOpenHandle};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::Effort;
use crate::alone::{self, MASTER_KEY, READY_AT_MOST};
use crate::append::asked;
use crate::fill::{hasty_conf, publish};
use crate::report::{Better, Report, Run};
use crate::stand::connect;

const SESSIONS: usize = 1_000;
const MANY_SESSIONS: usize = 10_000;
/// A session of ours is one more pair of sockets in one process, one of theirs is two processes.
const GOAL: f64 = 0.5;
const ROUNDS_MAX: usize = 3;
/// Logins under way at once.
const AT_ONCE: usize = 16;
/// Descriptors of the gateway that are no session's; a session takes two.
const OTHER_DESCRIPTORS: usize = 200;
/// What a login left behind is given back by then.
const SETTLED_AT_MOST: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOKS_ALIKE: usize = 4;

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let key = Arc::new(PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?);
    let few = effort.of(SESSIONS);
    descriptors::raise_to((2 * few + OTHER_DESCRIPTORS) as u64)?;
    let mut runs = Vec::new();
    for _ in 0..effort.rounds.min(ROUNDS_MAX) {
        let ours = ours(&key, few).await?.kib;
        runs.push(Run { ours, theirs: theirs(&key, few).await? });
    }
    let needed = 2 * effort.of(MANY_SESSIONS) + OTHER_DESCRIPTORS;
    let had = usize::try_from(descriptors::raise_to(needed as u64)?)?;
    let many = effort.of(MANY_SESSIONS).min(had.saturating_sub(OTHER_DESCRIPTORS) / 2);
    let of_many = ours(&key, many).await?;
    let report = Report::new(
        "gateway_memory",
        "KiB a session",
        "OpenSSH's sshd, both its processes of an idle session",
        (Better::Lower, GOAL),
        runs,
    );
    Ok(report
        .with("sessions", few)
        .with("sessions_many", many)
        .with("ours_many", of_many.kib)
        .with("ours_many_logins_per_s", of_many.logins_per_s))
}

struct Cost {
    kib: f64,
    logins_per_s: f64,
}

async fn ours(key: &Arc<PrivateKey>, count: usize) -> anyhow::Result<Cost> {
    let folder = tempfile::tempdir()?;
    let nats = NatsServer::start_with_users(&hasty_conf()).await?;
    connect(&nats, "setup").await?.setup(1).await?;
    let (_upstream, inner) = played_environment(folder.path()).await?;
    let env = EnvId::from_seed(&Uuid::nil());
    facts(&nats, &env, inner, key.public_key().to_openssh()?).await?;
    let (gateway, place) = gateway(&nats, folder.path()).await?;
    // what is needed once is there
    drop(sessions(place, env.as_str(), key, AT_ONCE).await.with_context(|| gateway.log_tail())?);
    let before = settled(|| pss_kib(gateway.pid())).await?;
    let began = Instant::now();
    let held = sessions(place, env.as_str(), key, count).await.with_context(|| gateway.log_tail())?;
    let logins_per_s = count as f64 / began.elapsed().as_secs_f64();
    let after = settled(|| pss_kib(gateway.pid())).await?;
    ensure!(held.iter().all(|(handle, _)| !handle.is_closed()), "sessions ended: {}", gateway.log_tail());
    Ok(Cost { kib: (after - before) / count as f64, logins_per_s })
}

async fn theirs(key: &Arc<PrivateKey>, count: usize) -> anyhow::Result<f64> {
    let more = "AuthorizedKeysFile {folder}/keys\nMaxStartups 500";
    let server = Sshd::start("unused-Password-1", more).await?;
    std::fs::write(server.folder().join("keys"), key.public_key().to_openssh()?)?;
    let all = || {
        let family = descendants(server.pid());
        Ok(family.into_iter().chain([server.pid()]).filter_map(|pid| pss_kib(pid).ok()).sum())
    };
    let before: f64 = settled(all).await?;
    let place = SocketAddr::from(([127, 0, 0, 1], server.port));
    let held = sessions(place, sshd::USER, key, count).await.with_context(|| server.log())?;
    let after: f64 = settled(all).await?;
    ensure!(held.iter().all(|(handle, _)| !handle.is_closed()), "sessions ended: {}", server.log());
    Ok((after - before) / count as f64)
}

/// Memory of a process, shared pages by their share.
fn pss_kib(pid: u32) -> anyhow::Result<f64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The figure once it stays.
async fn settled(look: impl Fn() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let (began, mut seen) = (Instant::now(), vec![look()?]);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        seen.push(look()?);
        let last = seen.get(seen.len().saturating_sub(LOOKS_ALIKE)..).unwrap_or_default();
        let (low, high) =
            last.iter().fold((f64::MAX, 0.0_f64), |(low, high), kib| (low.min(*kib), high.max(*kib)));
        if (last.len() == LOOKS_ALIKE && high - low < high / 200.0) || began.elapsed() > SETTLED_AT_MOST {
            return Ok(high);
        }
    }
}

async fn facts(nats: &NatsServer, env: &EnvId, inner: InnerDoor, key: String) -> anyhow::Result<()> {
    let connection = connect(nats, "provisioner").await?;
    let vault = connection.vault(nats::MasterKeys::parse(MASTER_KEY)?);
    let authority = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
    let authority = authority.to_openssh(russh::keys::ssh_key::LineEnding::LF)?.to_string();
    vault.put(&SecretRef::user_ca(), &authority.into()).await?;
    let options = async_nats::ConnectOptions::with_user_and_password(
        "provisioner".to_owned(),
        password_of("provisioner"),
    );
    let client = async_nats::jetstream::new(options.connect(nats.url()).await?);
    let asked = events::env::EnvRequested { ssh_public_keys: vec![key], ..asked()? };
    let secret_ref = SecretRef { owner: env.to_string(), name: "password".to_owned(), version: Uuid::nil() };
    let port = PortBound { pool: PoolName::parse("main")?, port: 30_000, purpose: PortPurpose::Ssh };
    let of =
        |kind| Subject::new(TenantId::parse("bench").unwrap_or_else(|_| unreachable!()), kind, env.as_str());
    let on_env = |event: EnvEvent| (of(Kind::Env), Event::from(event));
    let facts = [
        on_env(asked.into()),
        on_env(port.into()),
        (of(Kind::Credential), Event::Credential(PasswordIssued { secret_ref }.into())),
        on_env(PodCreated { engine_ref: "played".to_owned() }.into()),
        on_env(PodReady { inner: Some(inner) }.into()),
    ];
    for (index, (subject, event)) in facts.into_iter().enumerate() {
        publish(&client, &subject, &event, Utc::now(), u32::try_from(index)?).await?;
    }
    Ok(())
}

async fn gateway(nats: &NatsServer, folder: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let place = SocketAddr::from(([127, 0, 0, 1], free_ports::one()?));
    let told = [("PORTREEVE_SSH_LISTEN", place.to_string())];
    let process = alone::start(folder, &nats.url(), "gateway", &told)?;
    eventually("the gateway listens", READY_AT_MOST, || async {
        let connected = tokio::net::TcpStream::connect(place).await;
        connected.map(drop).map_err(|error| format!("{error}: {}", process.log_tail()))
    })
    .await?;
    Ok((process, place))
}

type Held = (Handle<Anyone>, Channel<client::Msg>);

/// Logged in, with a session that nobody uses.
async fn sessions(
    place: SocketAddr,
    user: &str,
    key: &Arc<PrivateKey>,
    count: usize,
) -> anyhow::Result<Vec<Held>> {
    let config = Arc::new(client::Config::default());
    stream::iter(0..count)
        .map(|_| {
            let (config, key) = (Arc::clone(&config), PrivateKeyWithHashAlg::new(Arc::clone(key), None));
            async move {
                let mut handle = client::connect(config, place, Anyone).await?;
                ensure!(handle.authenticate_publickey(user, key).await?.success(), "not let in");
                let channel = handle.channel_open_session().await?;
                anyhow::Ok((handle, channel))
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

struct Anyone;

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// A process that plays the inner door of an environment, and where it is.
async fn played_environment(folder: &Path) -> anyhow::Result<(Child, InnerDoor)> {
    let log = folder.join("played.log");
    let process = Child::start(std::env::current_exe()?, &log, |command| {
        command.arg("--play-an-environment");
    })?;
    let line = eventually("the played environment listens", READY_AT_MOST, || async {
        let said = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        if said.ends_with('\n') { Ok(said) } else { Err(said) }
    })
    .await?;
    let (addr, host_key) = line.trim().split_once(' ').context(line.clone())?;
    Ok((process, InnerDoor { addr: addr.parse()?, host_key: host_key.to_owned() }))
}

/// The other end of [`played_environment`]: lets everybody in, and does nothing.
pub async fn play() -> anyhow::Result<()> {
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{} {}", listener.local_addr()?, key.public_key().to_openssh()?);
    let config =
        Arc::new(server::Config { keys: vec![key], inactivity_timeout: None, ..server::Config::default() });
    loop {
        let (socket, _) = listener.accept().await?;
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            if let Ok(running) = server::run_stream(config, socket, Anybody).await {
                running.await.ok();
            }
        });
    }
}

struct Anybody;

impl server::Handler for Anybody {
    type Error = russh::Error;

    async fn auth_openssh_certificate(
        &mut self,
        _: &str,
        _: &russh::keys::Certificate,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }
}
