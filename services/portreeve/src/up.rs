//! How does everything start on one machine, in which order, and how does it end?

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::select_all;
use kit::health::Health;
use projections::Projections;
use provisioner::kube_requests::VersionError;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use crate::children::Child;
use crate::data_dir::{DataDir, DataDirError};
use crate::engine::{self, EngineError};
use crate::kept::{Kept, KeptError, Ports};
use crate::nats_server::{self, NatsServerError};
use crate::postgres::{self, PostgresError};
use crate::serving::{DRAIN_WITHIN, Services, ServingError};
use crate::taps_args::WebsocketListener;
use crate::up_settings::{Engine, NATS_USERS, Nats, UpSettings};

/// How long the services may take to say that they are ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("nats-server")]
    NatsServer(#[from] NatsServerError),
    #[error("PostgreSQL")]
    Postgres(#[from] PostgresError),
    #[error("container engine")]
    Engine(#[from] EngineError),
    #[error("kubernetes")]
    Kubernetes(#[from] VersionError),
    #[error("cannot stand by {child}")]
    Keep {
        child: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    GivenUp(String),
    #[error("cannot reach the log as {user}")]
    Connect {
        user: &'static str,
        #[source]
        source: nats::ConnectError,
    },
    #[error("the log is not set up as needed")]
    Topology(#[from] nats::TopologyError),
    #[error("cannot reach PostgreSQL")]
    Database(#[from] projections::ConnectError),
    #[error("the tables cannot be brought up to date")]
    Migrate(#[from] projections::MigrateError),
    #[error("the first administrator cannot be made")]
    Bootstrap(#[from] api::BootstrapError),
    #[error(transparent)]
    Serving(#[from] ServingError),
    #[error("not ready within {} s: {failing}", READY_WITHIN.as_secs())]
    NotReady { failing: String },
}

/// Runs until `shutdown`; then drains the services and stops every child, in the order in which
/// they need each other. Containers of environments go on running.
pub async fn run(settings: UpSettings, shutdown: CancellationToken) -> Result<(), UpError> {
    let data = DataDir::open(&settings.data_dir)?;
    let mut start = Start { settings: &settings, data: &data, began: Instant::now(), children: Vec::new() };
    let started = tokio::select! {
        () = shutdown.cancelled() => None,
        started = start.everything() => Some(started),
    };
    let children = start.children;
    let ended = match started {
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(services)) => serve(services, &children, &shutdown).await,
    };
    for child in children.into_iter().rev() {
        child.stop().await;
    }
    if ended.is_ok() {
        say("Stopped. Environments go on running.");
    }
    ended
}

async fn serve(
    mut services: Services,
    children: &[Child],
    shutdown: &CancellationToken,
) -> Result<(), UpError> {
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = services.first_end() => Err(UpError::Serving(ended)),
        reason = any_given_up(children) => Err(UpError::GivenUp(reason)),
    };
    if ended.is_ok() {
        say("Ending: finishing what is under way.");
    }
    let drained = services.drain(DRAIN_WITHIN).await;
    ended.and(drained.map_err(UpError::Serving))
}

/// Resolves, with the reason, when a child cannot be kept running.
async fn any_given_up(children: &[Child]) -> String {
    if children.is_empty() {
        return std::future::pending().await;
    }
    select_all(children.iter().map(|child| child.given_up().boxed())).await.0
}

/// A person reads this. A terminal that is gone does not end us.
fn say(line: &str) {
    let _nobody_reads = writeln!(std::io::stdout(), "{line}");
}

/// Everything a start needs, and the children it has started.
struct Start<'a> {
    settings: &'a UpSettings,
    data: &'a DataDir,
    began: Instant,
    /// In the order in which they were started; stopped in the other.
    children: Vec<Child>,
}

/// Where the parts of this installation are.
struct Reached {
    nats_url: String,
    nats_passwords: Vec<(&'static str, SecretString)>,
    database_url: SecretString,
    /// `None`: the engine is a cluster.
    container_host: Option<String>,
}

impl Start<'_> {
    async fn everything(&mut self) -> Result<Services, UpError> {
        let kept = Kept::load(self.data)?;
        nats_server::end_leftover(self.data).await;
        postgres::end_leftover(self.data).await;
        engine::end_leftover(self.data).await;
        let reached = self.children(&kept).await?;
        let master_keys = self.settings.master_keys.clone().unwrap_or_else(|| kept.master_keys.clone());

        self.topology(&reached).await?;
        self.tables(&reached).await?;
        self.engine(&reached).await?;
        self.administrator(&reached, &master_keys).await?;

        let health = Health::default();
        let mut services = self.services(&reached, &kept, &master_keys, &health);
        self.wait_ready(&mut services, &health).await?;
        let token = self.data.admin_token();
        let scheme = if self.settings.http.tls.is_some() { "https" } else { "http" };
        say(&format!("\nPortreeve is at {scheme}://{}", self.settings.listen));
        say(&format!("The administrator's token is in {}", token.display()));
        Ok(services)
    }

    /// Starts all children at once; each is waited for where it is needed.
    async fn children(&mut self, kept: &Kept) -> Result<Reached, UpError> {
        let ports = Ports::choose(self.data)?;
        let (nats_url, nats_passwords) = match &self.settings.nats {
            Nats::External { url, passwords } => (url.clone(), passwords.clone()),
            Nats::Embedded => {
                let websocket = self.settings.nats_websocket.as_ref();
                let spec = nats_server::prepare(self.data, kept, ports.nats, websocket)?;
                self.keep(spec)?;
                let password = |user| Some((user, kept.nats_password(user)?));
                let passwords = NATS_USERS.into_iter().filter_map(password).collect();
                (format!("nats://127.0.0.1:{}", ports.nats), passwords)
            }
        };
        let container_host = match &self.settings.engine {
            Engine::Kubernetes { .. } => None,
            Engine::Named(host) => Some(host.clone()),
            Engine::ToBeFound => match engine::find().await {
                Some(host) => Some(host),
                None => {
                    let (spec, host) = engine::prepare(self.data)?;
                    self.keep(spec)?;
                    Some(host)
                }
            },
        };
        let database_url = match &self.settings.database_url {
            Some(url) => url.clone(),
            None => {
                let making = postgres::prepare(self.data, kept, ports.postgres);
                let spec = self.unless_given_up(async { Ok(making.await?) }).await?;
                self.keep(spec)?;
                SecretString::from(postgres::url(kept, ports.postgres))
            }
        };
        Ok(Reached { nats_url, nats_passwords, database_url, container_host })
    }

    fn keep(&mut self, spec: crate::children::Spec) -> Result<(), UpError> {
        let child = spec.name;
        self.children.push(Child::keep(spec).map_err(|source| UpError::Keep { child, source })?);
        Ok(())
    }

    /// A step of the start, unless a child it may wait for cannot be kept running.
    async fn unless_given_up<T>(&self, step: impl Future<Output = Result<T, UpError>>) -> Result<T, UpError> {
        tokio::select! {
            done = step => done,
            reason = any_given_up(&self.children) => Err(UpError::GivenUp(reason)),
        }
    }

    fn ready(&self, what: &str, where_: &str) {
        say(&format!("{what:<16} ready after {:>5} ms  {where_}", self.began.elapsed().as_millis()));
    }

    fn nats_config(&self, reached: &Reached, user: &'static str) -> nats::Config {
        let password = reached.nats_passwords.iter().find(|(name, _)| *name == user);
        nats::Config {
            url: reached.nats_url.clone(),
            user: user.to_owned(),
            // A user without a password is refused by the server, by name.
            password: password.map(|(_, password)| password.clone()).unwrap_or_default(),
            name: user.to_owned(),
        }
    }

    async fn connect(&self, reached: &Reached, user: &'static str) -> Result<nats::Connection, UpError> {
        let config = self.nats_config(reached, user);
        let connecting =
            nats::connect(&config).map(|done| done.map_err(|source| UpError::Connect { user, source }));
        self.unless_given_up(connecting).await
    }

    async fn topology(&self, reached: &Reached) -> Result<(), UpError> {
        let connection = self.connect(reached, "setup").await?;
        self.ready("nats", &reached.nats_url);
        connection.setup(self.settings.nats_replicas).await?;
        self.ready("log", "");
        Ok(())
    }

    async fn tables(&self, reached: &Reached) -> Result<(), UpError> {
        let connecting = Projections::connect(reached.database_url.expose_secret());
        let projections = self.unless_given_up(async { Ok(connecting.await?) }).await?;
        let shown = if self.settings.database_url.is_some() { "external" } else { "embedded" };
        self.ready("postgresql", shown);
        projections.migrate().await?;
        self.ready("tables", "");
        Ok(())
    }

    /// Waits until the engine answers; a cluster that does not answer at the start ends it.
    async fn engine(&self, reached: &Reached) -> Result<(), UpError> {
        match (&self.settings.engine, &reached.container_host) {
            (Engine::Kubernetes { cluster, .. }, _) => {
                let version = provisioner::kube_requests::version(cluster).await?;
                let server = cluster.access.server().unwrap_or_default();
                self.ready("kubernetes", &format!("{server} {version}"));
            }
            (Engine::Named(_) | Engine::ToBeFound, Some(host)) => {
                self.unless_given_up(async { Ok(engine::ready(host).await?) }).await?;
                self.ready("container engine", host);
            }
            (Engine::Named(_) | Engine::ToBeFound, None) => {}
        }
        Ok(())
    }

    async fn administrator(&self, reached: &Reached, master_keys: &nats::MasterKeys) -> Result<(), UpError> {
        let connection = self.connect(reached, "api").await?;
        let path = self.data.admin_token();
        match api::bootstrap(&connection, master_keys).await? {
            Some(token) => self.data.write("admin.token", &format!("{}\n", token.expose_secret()))?,
            None => say(&format!(
                "note: the first administrator's token was revoked, or made with another master key; \
                 {} is left as it is",
                path.display()
            )),
        }
        Ok(())
    }

    fn services(
        &self,
        reached: &Reached,
        kept: &Kept,
        master_keys: &nats::MasterKeys,
        health: &Health,
    ) -> Services {
        let mut services = Services::new();
        // relays knock where HTTP is served
        let relays = relay::Door::new();
        let projector = projector::Config {
            nats: self.nats_config(reached, "projector"),
            database_url: reached.database_url.expose_secret().to_owned(),
        };
        services.start("projector", |drain| projector::run(projector, health.clone(), drain));
        let provisioner = self.provisioner(reached, kept, master_keys);
        services.start("provisioner", |drain| provisioner::run(provisioner, health.clone(), drain));
        let api = api::Config {
            nats: self.nats_config(reached, "api"),
            master_keys: master_keys.clone(),
            database_url: reached.database_url.expose_secret().to_owned(),
            listen: self.settings.listen,
            ssh_host: self.settings.ssh_host.clone(),
            gateway_port: self.settings.ssh_listen.port(),
            gateway_only: self.settings.gateway_only,
            default_image: self.settings.image.clone(),
            wait_s: self.settings.wait_s,
            tls: self.settings.http.tls.clone(),
            trusted_proxies: self.settings.http.trusted_proxies.clone(),
            rates: api::Rates::default(),
            jupyter: self.settings.http.jupyter.clone(),
            nats_taps: self.taps_at(reached),
            webhooks: self.settings.http.webhooks.clone(),
            beside: relays.routes(),
        };
        services.start("api", |drain| api::run(api, health.clone(), drain));
        let gateway = gateway::Config {
            nats: self.nats_config(reached, "gateway"),
            master_keys: master_keys.clone(),
            listen: self.settings.ssh_listen,
            settings: self.settings.ssh.at_start.clone(),
            settings_file: self.settings.ssh.file.clone(),
        };
        services.start("gateway", |drain| gateway::run(gateway, health.clone(), drain));
        let audit = audit::Config {
            nats: self.nats_config(reached, "audit"),
            master_keys: master_keys.clone(),
            pace: self.settings.pace.clone(),
            file: Some(self.data.join("audit/anchors.ndjson")),
        };
        let relay = relay::Config {
            nats: self.nats_config(reached, "relay"),
            master_keys: master_keys.clone(),
            listen: None,
            trusted_proxies: self.settings.http.trusted_proxies.clone(),
            tunnels: relay::TUNNELS_LISTEN,
            tunnels_at: None,
        };
        services.start("relay", |drain| relay::run(relay, relays, health.clone(), drain));
        services.start("audit", |drain| audit::run(audit, health.clone(), drain));
        let taps = taps::Config { nats: self.nats_config(reached, "taps") };
        services.start("taps", |drain| taps::run(taps, health.clone(), drain));
        services
    }

    /// As this process reaches the server, unless people are told otherwise.
    fn taps_at(&self, reached: &Reached) -> api::NatsTapsAt {
        let mut at = self.settings.taps.at(&reached.nats_url);
        let own = self.settings.nats_websocket.as_ref();
        at.websocket_url = at.websocket_url.or_else(|| own.map(WebsocketListener::url));
        at
    }

    fn provisioner(
        &self,
        reached: &Reached,
        kept: &Kept,
        master_keys: &nats::MasterKeys,
    ) -> provisioner::Config {
        let (kubernetes, sentry_listen) = match &self.settings.engine {
            Engine::Kubernetes { cluster, sentry_listen } => {
                let mut cluster = (**cluster).clone();
                cluster.instance.clone_from(&kept.instance);
                (Some(cluster), Some(*sentry_listen))
            }
            Engine::Named(_) | Engine::ToBeFound => (None, None),
        };
        provisioner::Config {
            nats: self.nats_config(reached, "provisioner"),
            master_keys: master_keys.clone(),
            container_host: reached.container_host.clone(),
            ports: self.settings.ports.0.clone(),
            port_quarantine_s: self.settings.port_quarantine_s,
            bind_host: self.settings.bind_host,
            image: self.settings.image.clone(),
            image_jupyter: self.settings.image_jupyter.clone(),
            sentry_socket_dir: kubernetes.is_none().then(|| self.data.sentry_socket_dir()),
            sentry_listen,
            kubernetes,
            instance: kept.instance.clone(),
            sweep_interval_s: self.settings.sweep_interval_s,
        }
    }

    async fn wait_ready(&self, services: &mut Services, health: &Health) -> Result<(), UpError> {
        let http = async {
            // The address itself, not the parts' own words: somebody else may hold it.
            while tokio::net::TcpStream::connect(self.settings.listen).await.is_err()
                || !health.failing().is_empty()
            {
                if self.began.elapsed() > READY_WITHIN {
                    let failing = format!("{:?}", health.failing());
                    return Err(UpError::NotReady { failing });
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        tokio::select! {
            ended = services.first_end() => return Err(ended.into()),
            ready = self.unless_given_up(http) => ready?,
        }
        self.ready("services", "projector, provisioner, api, gateway, relay, audit, taps");
        Ok(())
    }
}
