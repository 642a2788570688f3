//! How does one service run alone, against NATS and PostgreSQL that somebody else runs?

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use kit::health::Health;
use nats::MasterKeys;
use tokio_util::sync::CancellationToken;

use crate::http_args::HttpArgs;
use crate::kube_args::{Compute, ExposureArgs, KubeArgs, KubeExposure};
use crate::serving::{DRAIN_WITHIN, Services, ServingError};
use crate::settings::{self, BadSetting, LogArgs, PortRange};
use crate::ssh_args::SshArgs;
use crate::taps_args::TapsArgs;
use crate::up_settings::{image, master_keys};

/// A gateway that is alone waits for nobody but its people.
const GATEWAY_DRAIN_MAX_S: u64 = 86_400;

#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    #[error("cannot serve health on {address}")]
    Health {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Serving(#[from] ServingError),
}

/// What every service needs. Passwords come from variables: PORTREEVE_NATS_PASSWORD or a file that
/// PORTREEVE_NATS_PASSWORD_FILE names.
#[derive(Debug, clap::Args)]
pub struct CommonArgs {
    /// Where the log is: nats://host:port, more servers after commas
    #[arg(long, env = "PORTREEVE_NATS_URL", value_parser = settings::nats_url)]
    nats: String,
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "PORTREEVE_HEALTH_LISTEN", default_value = "127.0.0.1:8081", value_parser = settings::listen_address)]
    pub health_listen: SocketAddr,
    #[command(flatten)]
    pub log: LogArgs,
}

impl CommonArgs {
    pub fn nats_config(&self, service: &str) -> Result<nats::Config, BadSetting> {
        Ok(nats::Config {
            url: self.nats.clone(),
            user: service.to_owned(),
            password: settings::needed_secret("PORTREEVE_NATS_PASSWORD")?,
            name: service.to_owned(),
        })
    }
}

pub fn needed_master_keys() -> Result<MasterKeys, BadSetting> {
    let absent = "is not set, nor is PORTREEVE_MASTER_KEY_FILE";
    master_keys()?.ok_or_else(|| BadSetting::new("PORTREEVE_MASTER_KEY", absent))
}

#[derive(Debug, clap::Args)]
pub struct DatabaseArgs {
    /// postgres://user:password@host:port/database
    #[arg(long, env = "PORTREEVE_DATABASE_URL", hide_env_values = true, value_parser = settings::database_url)]
    database_url: String,
}

impl DatabaseArgs {
    /// With its password.
    pub fn url(&self) -> String {
        self.database_url.clone()
    }
}

/// Serve HTTP
#[derive(Debug, clap::Args)]
pub struct ApiArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Where HTTP is served
    #[arg(long, env = "PORTREEVE_LISTEN", default_value = "127.0.0.1:8080", value_parser = settings::listen_address)]
    listen: SocketAddr,
    /// The name of the machine of environments that users are shown
    #[arg(long, env = "PORTREEVE_SSH_HOST", default_value = "127.0.0.1", value_parser = settings::host_name)]
    ssh_host: String,
    /// The port of the SSH gateway that users are shown
    #[arg(long, env = "PORTREEVE_GATEWAY_PORT", default_value_t = 2222)]
    gateway_port: u16,
    #[command(flatten)]
    exposure: ExposureArgs,
    /// The image shown for environments that asked for none
    #[arg(long, env = "PORTREEVE_IMAGE", default_value = "portreeve/env:dev", value_parser = image)]
    image: String,
    /// Seconds a create waits for port and password
    #[arg(long, env = "PORTREEVE_WAIT_S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    wait_s: u64,
    #[command(flatten)]
    taps: TapsArgs,
    #[command(flatten)]
    http: HttpArgs,
}

/// A service whose configuration can be meant, about to run.
pub struct Standalone<C> {
    pub config: C,
    pub health_listen: SocketAddr,
}

impl ApiArgs {
    pub fn check(self) -> Result<Standalone<api::Config>, BadSetting> {
        let http = self.http.check()?;
        let config = api::Config {
            nats: self.common.nats_config("api")?,
            master_keys: needed_master_keys()?,
            database_url: self.database.url(),
            listen: self.listen,
            ssh_host: self.ssh_host,
            gateway_port: self.gateway_port,
            gateway_only: self.exposure.kube_exposure == KubeExposure::GatewayOnly,
            default_image: self.image,
            wait_s: self.wait_s,
            tls: http.tls,
            trusted_proxies: http.trusted_proxies,
            rates: api::Rates::default(),
            jupyter: http.jupyter,
            nats_taps: self.taps.at(&self.common.nats),
            webhooks: http.webhooks,
            beside: axum::Router::new(),
        };
        Ok(Standalone { config, health_listen: self.common.health_listen })
    }
}

impl Standalone<api::Config> {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| api::run(config, health, drain);
        alone("api", self.health_listen, served, shutdown, DRAIN_WITHIN, run).await
    }
}

/// Write what vouches for the log
#[derive(Debug, clap::Args)]
pub struct AuditServiceArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    anchors: AnchorArgs,
    /// The file that anchors are written out to: on another disk than the log's it tells what the log has lost
    #[arg(long, env = "PORTREEVE_AUDIT_FILE")]
    audit_file: Option<PathBuf>,
}

impl AuditServiceArgs {
    pub fn check(self) -> Result<Standalone<audit::Config>, BadSetting> {
        let config = audit::Config {
            nats: self.common.nats_config("audit")?,
            master_keys: needed_master_keys()?,
            pace: self.anchors.pace(),
            file: self.audit_file,
        };
        Ok(Standalone { config, health_listen: self.common.health_listen })
    }
}

impl Standalone<audit::Config> {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| audit::run(config, health, drain);
        alone("audit", self.health_listen, served, shutdown, DRAIN_WITHIN, run).await
    }
}

/// Let in those who follow the events by NATS
#[derive(Debug, clap::Args)]
pub struct TapsServiceArgs {
    #[command(flatten)]
    pub common: CommonArgs,
}

impl TapsServiceArgs {
    pub fn check(self) -> Result<Standalone<taps::Config>, BadSetting> {
        let config = taps::Config { nats: self.common.nats_config("taps")? };
        Ok(Standalone { config, health_listen: self.common.health_listen })
    }
}

impl Standalone<taps::Config> {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| taps::run(config, health, drain);
        alone("taps", self.health_listen, served, shutdown, DRAIN_WITHIN, run).await
    }
}

/// How often the log is anchored.
#[derive(Debug, clap::Args)]
pub struct AnchorArgs {
    /// Events after which there is an anchor at the latest
    #[arg(long, env = "PORTREEVE_AUDIT_EVERY_EVENTS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    audit_every_events: u64,
    /// Seconds after an event until it is anchored at the latest
    #[arg(long, env = "PORTREEVE_AUDIT_EVERY_S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    audit_every_s: u32,
}

impl AnchorArgs {
    pub fn pace(&self) -> audit::Pace {
        audit::Pace { every_events: self.audit_every_events, every_s: self.audit_every_s }
    }
}

/// Feed events into the read models
#[derive(Debug, clap::Args)]
pub struct ProjectorArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl ProjectorArgs {
    pub fn check(self) -> Result<Standalone<projector::Config>, BadSetting> {
        let config = projector::Config {
            nats: self.common.nats_config("projector")?,
            database_url: self.database.url(),
        };
        Ok(Standalone { config, health_listen: self.common.health_listen })
    }
}

impl Standalone<projector::Config> {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| projector::run(config, health, drain);
        alone("projector", self.health_listen, served, shutdown, DRAIN_WITHIN, run).await
    }
}

/// Lead SSH connections into environments
#[derive(Debug, clap::Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Where people connect
    #[arg(long, env = "PORTREEVE_SSH_LISTEN", default_value = "127.0.0.1:2222", value_parser = settings::listen_address)]
    ssh_listen: SocketAddr,
    /// Seconds that sessions may go on after a signal to end
    #[arg(long, env = "PORTREEVE_SSH_DRAIN_S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=GATEWAY_DRAIN_MAX_S))]
    ssh_drain_s: u64,
    #[command(flatten)]
    ssh: SshArgs,
}

impl GatewayArgs {
    pub fn check(self) -> Result<Standalone<gateway::Config>, BadSetting> {
        let ssh = self.ssh.check(self.ssh_drain_s, GATEWAY_DRAIN_MAX_S)?;
        let config = gateway::Config {
            nats: self.common.nats_config("gateway")?,
            master_keys: needed_master_keys()?,
            listen: self.ssh_listen,
            settings: ssh.at_start,
            settings_file: ssh.file,
        };
        Ok(Standalone { config, health_listen: self.common.health_listen })
    }
}

impl Standalone<gateway::Config> {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| gateway::run(config, health, drain);
        // it has a limit of its own, which its file may change
        let drain_within = DRAIN_WITHIN + Duration::from_secs(GATEWAY_DRAIN_MAX_S);
        alone("gateway", self.health_listen, served, shutdown, drain_within, run).await
    }
}

/// Turn requests into ports, passwords and containers
#[derive(Debug, clap::Args)]
pub struct ProvisionerArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// What runs the environments
    #[arg(long, env = "PORTREEVE_COMPUTE", value_enum, default_value = "containers")]
    compute: Compute,
    #[command(flatten)]
    kube: KubeArgs,
    /// API of the container engine: unix:///path or tcp://host:port
    #[arg(long, env = "PORTREEVE_CONTAINER_HOST", value_parser = settings::container_host)]
    container_host: Option<String>,
    /// The ports of environments, both ends included
    #[arg(long, env = "PORTREEVE_PORTS", default_value = "30000-32767")]
    ports: PortRange,
    /// Seconds a released port stays unused
    #[arg(long, env = "PORTREEVE_PORT_QUARANTINE_S", default_value_t = 60)]
    port_quarantine_s: u64,
    /// The address on which the ports of environments are published
    #[arg(long, env = "PORTREEVE_BIND_HOST", default_value = "0.0.0.0")]
    bind_host: IpAddr,
    /// The image of environments
    #[arg(long, env = "PORTREEVE_IMAGE", default_value = "portreeve/env:dev", value_parser = image)]
    image: String,
    /// The image of environments with JupyterLab
    #[arg(long, env = "PORTREEVE_IMAGE_JUPYTER", default_value = "portreeve/env-jupyter:dev", value_parser = image)]
    image_jupyter: String,
    /// The engine's folder that environments see as /run/portreeve
    #[arg(long, env = "PORTREEVE_SENTRY_SOCKET_DIR", default_value = "/run/portreeve/sentry")]
    sentry_socket_dir: PathBuf,
    /// Where sentries of other machines reach this service
    #[arg(long, env = "PORTREEVE_SENTRY_LISTEN", value_parser = settings::listen_address)]
    sentry_listen: Option<SocketAddr>,
    /// Tells this installation's containers from those of others on the same engine
    #[arg(long, env = "PORTREEVE_INSTANCE", value_parser = instance)]
    instance: String,
    /// Seconds between two comparisons of what should be with what is
    #[arg(long, env = "PORTREEVE_SWEEP_INTERVAL_S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    sweep_interval_s: u64,
}

fn instance(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=40).contains(&text.len()) && text.chars().all(allowed);
    if good { Ok(text.to_owned()) } else { Err("1 to 40 characters of a-z, 0-9 and '-'".to_owned()) }
}

impl ProvisionerArgs {
    pub fn check(self) -> Result<Standalone<provisioner::Config>, BadSetting> {
        let kubernetes = match self.compute {
            Compute::Containers => None,
            Compute::Kubernetes if self.sentry_listen.is_none() => {
                let why = "is needed with --compute kubernetes";
                return Err(BadSetting::new("--sentry-listen (PORTREEVE_SENTRY_LISTEN)", why));
            }
            Compute::Kubernetes => Some(self.kube.check(&self.instance, None)?),
        };
        let config = provisioner::Config {
            nats: self.common.nats_config("provisioner")?,
            master_keys: needed_master_keys()?,
            container_host: self.container_host,
            ports: self.ports.0,
            port_quarantine_s: self.port_quarantine_s,
            bind_host: self.bind_host,
            image: self.image,
            image_jupyter: self.image_jupyter,
            sentry_socket_dir: kubernetes.is_none().then_some(self.sentry_socket_dir),
            kubernetes,
            sentry_listen: self.sentry_listen,
            instance: self.instance,
            sweep_interval_s: self.sweep_interval_s,
        };
        Ok(Standalone { config, health_listen: self.common.health_listen })
    }
}

impl Standalone<provisioner::Config> {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| provisioner::run(config, health, drain);
        alone("provisioner", self.health_listen, served, shutdown, DRAIN_WITHIN, run).await
    }
}

/// The service beside its health routes, until `shutdown`.
pub async fn alone<E, F>(
    service: &'static str,
    address: SocketAddr,
    health: Health,
    shutdown: CancellationToken,
    drain_within: Duration,
    run: impl FnOnce(CancellationToken) -> F,
) -> Result<(), StandaloneError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| StandaloneError::Health { address, source })?;
    let mut services = Services::new();
    services.start("health", |drain| {
        let routes = health.routes();
        async move { axum::serve(listener, routes).with_graceful_shutdown(drain.cancelled_owned()).await }
    });
    services.start(service, run);
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = services.first_end() => Err(ended),
    };
    let drained = services.drain(drain_within).await;
    Ok(ended.and(drained)?)
}
