//! What was `portreeve up` asked for? Flags and variables, checked whole before anything is opened.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use nats::MasterKeys;
use provisioner::kube_settings;
use secrecy::{ExposeSecret, SecretString};

use crate::http_args::{HttpArgs, HttpSettings};
use crate::kube_args::{Compute, KubeArgs, KubeExposure};
use crate::settings::{self, BadSetting, LogArgs, PortRange};
use crate::ssh_args::{SshArgs, SshSettings};
use crate::standalone::AnchorArgs;
use crate::taps_args::{TapsArgs, WebsocketListener};

/// The services of `up` that have a NATS user of their own, and who makes the streams.
pub const NATS_USERS: [&str; 8] =
    ["setup", "api", "provisioner", "projector", "gateway", "relay", "audit", "taps"];

/// Services end together, within [`crate::serving::DRAIN_WITHIN`].
const SSH_DRAIN_MAX_S: u64 = 10;

/// Run everything on this machine: NATS, PostgreSQL, all services, the containers engine
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Where everything is kept; one `up` at a time
    #[arg(long, env = "PORTREEVE_DATA_DIR", default_value = ".portreeve")]
    data_dir: PathBuf,
    /// Where HTTP is served
    #[arg(long, env = "PORTREEVE_LISTEN", default_value = "127.0.0.1:8080", value_parser = settings::listen_address)]
    listen: SocketAddr,
    /// Where the SSH gateway listens
    #[arg(long, env = "PORTREEVE_SSH_LISTEN", default_value = "127.0.0.1:2222", value_parser = settings::listen_address)]
    ssh_listen: SocketAddr,
    /// Seconds that sessions of the SSH gateway may go on after Ctrl-C
    #[arg(long, env = "PORTREEVE_SSH_DRAIN_S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=SSH_DRAIN_MAX_S))]
    ssh_drain_s: u64,
    #[command(flatten)]
    ssh: SshArgs,
    /// The name of this machine that users are shown
    #[arg(long, env = "PORTREEVE_SSH_HOST", default_value = "127.0.0.1", value_parser = settings::host_name)]
    ssh_host: String,
    /// The address on which the ports of environments are published
    #[arg(long, env = "PORTREEVE_BIND_HOST", default_value = "127.0.0.1")]
    bind_host: IpAddr,
    /// The ports of environments, both ends included
    #[arg(long, env = "PORTREEVE_PORTS", default_value = "30000-32767")]
    ports: PortRange,
    /// Seconds a released port stays unused
    #[arg(long, env = "PORTREEVE_PORT_QUARANTINE_S", default_value_t = 60)]
    port_quarantine_s: u64,
    /// What runs the environments
    #[arg(long, env = "PORTREEVE_COMPUTE", value_enum, default_value = "containers")]
    compute: Compute,
    /// API of the container engine: unix:///path or tcp://host:port; found if not given
    #[arg(long, env = "PORTREEVE_CONTAINER_HOST", value_parser = settings::container_host)]
    container_host: Option<String>,
    #[command(flatten)]
    kube: KubeArgs,
    /// Where sentries of environments on Kubernetes reach this machine
    #[arg(long, env = "PORTREEVE_SENTRY_LISTEN", default_value = "0.0.0.0:8082", value_parser = settings::listen_address)]
    sentry_listen: SocketAddr,
    /// An external NATS instead of the embedded one; passwords in PORTREEVE_NATS_PASSWORD_<USER>
    #[arg(long, env = "PORTREEVE_NATS_URL", value_parser = settings::nats_url)]
    nats: Option<String>,
    /// Where the embedded NATS serves WebSockets to those who follow the events; nowhere if not given
    #[arg(long, env = "PORTREEVE_NATS_WEBSOCKET_LISTEN", value_name = "ADDRESS", value_parser = settings::listen_address)]
    nats_websocket_listen: Option<SocketAddr>,
    #[command(flatten)]
    taps: TapsArgs,
    /// Copies of each stream: 3 on a cluster
    #[arg(long, env = "PORTREEVE_NATS_REPLICAS", default_value_t = 1, value_parser = replicas)]
    nats_replicas: usize,
    /// An external PostgreSQL instead of the embedded one
    #[arg(long, env = "PORTREEVE_DATABASE_URL", hide_env_values = true, value_parser = settings::database_url)]
    database_url: Option<String>,
    /// The image of environments
    #[arg(long, env = "PORTREEVE_IMAGE", default_value = "portreeve/env:dev", value_parser = image)]
    image: String,
    /// The image of environments with JupyterLab
    #[arg(long, env = "PORTREEVE_IMAGE_JUPYTER", default_value = "portreeve/env-jupyter:dev", value_parser = image)]
    image_jupyter: String,
    /// Seconds between two comparisons of what should be with what is
    #[arg(long, env = "PORTREEVE_SWEEP_INTERVAL_S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    sweep_interval_s: u64,
    /// Seconds a create waits for port and password
    #[arg(long, env = "PORTREEVE_WAIT_S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    wait_s: u64,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where the log is.
#[derive(Debug)]
pub enum Nats {
    Embedded,
    /// With the password of each of [`NATS_USERS`].
    External {
        url: String,
        passwords: Vec<(&'static str, SecretString)>,
    },
}

/// Where the engine is asked for.
#[derive(Debug)]
pub enum Engine {
    Named(String),
    /// Docker's or Podman's socket if one answers, our own Podman otherwise.
    ToBeFound,
    /// No engine of this machine: a cluster, whose sentries dial in here. The installation's name is
    /// not known yet.
    Kubernetes {
        cluster: Box<kube_settings::Settings>,
        sentry_listen: SocketAddr,
    },
}

/// A configuration that can be meant.
#[derive(Debug)]
pub struct UpSettings {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub ssh_listen: SocketAddr,
    pub ssh: SshSettings,
    pub gateway_only: bool,
    pub ssh_host: String,
    pub bind_host: IpAddr,
    pub ports: PortRange,
    pub port_quarantine_s: u64,
    pub engine: Engine,
    pub nats: Nats,
    pub nats_websocket: Option<WebsocketListener>,
    pub taps: TapsArgs,
    pub nats_replicas: usize,
    pub database_url: Option<SecretString>,
    pub master_keys: Option<MasterKeys>,
    pub image: String,
    pub image_jupyter: String,
    pub sweep_interval_s: u64,
    pub wait_s: u64,
    pub pace: audit::Pace,
    pub http: HttpSettings,
}

impl UpArgs {
    /// What no single value shows.
    pub fn check(self) -> Result<UpSettings, BadSetting> {
        if self.listen == self.ssh_listen {
            let why = format!("{} is --listen already", self.listen);
            return Err(BadSetting::new("--ssh-listen (PORTREEVE_SSH_LISTEN)", why));
        }
        let http = self.http.check()?;
        let taken = [self.listen, self.ssh_listen];
        if let Some(listen) = http.jupyter.listen.filter(|listen| taken.contains(listen)) {
            let why = format!("{listen} is --listen or --ssh-listen already");
            return Err(BadSetting::new("--jupyter-listen (PORTREEVE_JUPYTER_LISTEN)", why));
        }
        if self.nats.is_none() && self.nats_replicas != 1 {
            let why = "the embedded server is one; name a cluster with --nats";
            return Err(BadSetting::new("--nats-replicas (PORTREEVE_NATS_REPLICAS)", why));
        }
        let nats_websocket = websocket(self.nats_websocket_listen, self.nats.is_some(), &taken, &http)?;
        let exposure = self.kube.exposure.kube_exposure;
        let (engine, gateway_only) = match self.compute {
            Compute::Containers => (engine(self.container_host)?, false),
            Compute::Kubernetes => {
                if self.sentry_listen.port() == self.listen.port() {
                    let why = format!("{} is the port of --listen already", self.listen.port());
                    return Err(BadSetting::new("--sentry-listen (PORTREEVE_SENTRY_LISTEN)", why));
                }
                let cluster = Box::new(self.kube.check("", Some(self.sentry_listen))?);
                let sentry_listen = self.sentry_listen;
                (Engine::Kubernetes { cluster, sentry_listen }, exposure == KubeExposure::GatewayOnly)
            }
        };
        Ok(UpSettings {
            engine,
            gateway_only,
            nats: nats(self.nats)?,
            nats_websocket,
            taps: self.taps,
            master_keys: master_keys()?,
            data_dir: self.data_dir,
            listen: self.listen,
            ssh_listen: self.ssh_listen,
            ssh: self.ssh.check(self.ssh_drain_s, SSH_DRAIN_MAX_S)?,
            ssh_host: self.ssh_host,
            bind_host: self.bind_host,
            ports: self.ports,
            port_quarantine_s: self.port_quarantine_s,
            nats_replicas: self.nats_replicas,
            database_url: self.database_url.map(SecretString::from),
            image: self.image,
            image_jupyter: self.image_jupyter,
            sweep_interval_s: self.sweep_interval_s,
            wait_s: self.wait_s,
            pace: self.anchors.pace(),
            http,
        })
    }
}

fn engine(named: Option<String>) -> Result<Engine, BadSetting> {
    if let Some(host) = named {
        return Ok(Engine::Named(host));
    }
    match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => settings::container_host(&host)
            .map(Engine::Named)
            .map_err(|why| BadSetting::new("DOCKER_HOST", format!("{host:?}: {why}"))),
        Ok(_) | Err(_) => Ok(Engine::ToBeFound),
    }
}

/// The WebSockets of a server of somebody else are theirs.
fn websocket(
    listen: Option<SocketAddr>,
    external: bool,
    taken: &[SocketAddr],
    http: &HttpSettings,
) -> Result<Option<WebsocketListener>, BadSetting> {
    let Some(address) = listen else { return Ok(None) };
    let why = if external {
        "that is for the embedded server; configure your own, and say --nats-taps-websocket-url".to_owned()
    } else if taken.contains(&address) || http.jupyter.listen == Some(address) {
        format!("{address} is another listener's already")
    } else {
        return Ok(Some(WebsocketListener { address, tls: http.tls.clone() }));
    };
    Err(BadSetting::new("--nats-websocket-listen (PORTREEVE_NATS_WEBSOCKET_LISTEN)", why))
}

fn nats(url: Option<String>) -> Result<Nats, BadSetting> {
    let Some(url) = url else { return Ok(Nats::Embedded) };
    let passwords = NATS_USERS
        .iter()
        .map(|user| {
            let name = format!("PORTREEVE_NATS_PASSWORD_{}", user.to_ascii_uppercase());
            Ok((*user, settings::needed_secret(&name)?))
        })
        .collect::<Result<_, BadSetting>>()?;
    Ok(Nats::External { url, passwords })
}

/// From PORTREEVE_MASTER_KEY or the file that PORTREEVE_MASTER_KEY_FILE names.
pub fn master_keys() -> Result<Option<MasterKeys>, BadSetting> {
    let Some(text) = settings::secret("PORTREEVE_MASTER_KEY")? else { return Ok(None) };
    MasterKeys::parse(text.expose_secret())
        .map(Some)
        .map_err(|why| BadSetting::new("PORTREEVE_MASTER_KEY", why))
}

pub fn replicas(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("1, 3 or 5 copies can agree".to_owned()),
    }
}

pub fn image(text: &str) -> Result<String, String> {
    let printable = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if printable { Ok(text.to_owned()) } else { Err("this is no image reference".to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    fn check(words: &[&str]) -> Result<UpSettings, String> {
        let line = Line::try_parse_from([&["up"], words].concat()).map_err(|error| error.to_string())?;
        line.up.check().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_can_be_meant() {
        let settings = check(&[]).unwrap();
        assert_eq!(settings.ports, PortRange(30000..=32767));
        assert_eq!(settings.ssh_listen.port(), 2222);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (words, named) in [
            (vec!["--listen", "8080"], "--listen"),
            (vec!["--listen", "127.0.0.1:0"], "--listen"),
            (vec!["--ssh-listen", "127.0.0.1:8080"], "--ssh-listen"),
            (vec!["--jupyter-listen", "127.0.0.1:8080"], "--jupyter-listen"),
            (vec!["--jupyter-url", "https://example.org/jupyter"], "--jupyter-url"),
            (vec!["--ports", "9-1"], "--ports"),
            (vec!["--compute", "kubernetes", "--kubeconfig", "/no/such/file"], "--kubeconfig"),
            (vec!["--kube-namespace", "Envs"], "--kube-namespace"),
            (vec!["--kube-exposure", "public"], "--kube-exposure"),
            (vec!["--kube-storage-gib", "10"], "--kube-storage-gib"),
            (vec!["--kube-storage-class", "a b"], "--kube-storage-class"),
            (vec!["--kube-node-selector", "a"], "--kube-node-selector"),
            (vec!["--kube-pod-cidrs", "10.0.0.0"], "--kube-pod-cidrs"),
            (vec!["--kube-priority-class", "-"], "--kube-priority-class"),
            (vec!["--kube-image-pull-secret", "A"], "--kube-image-pull-secret"),
            (vec!["--kube-load-balancer-annotations", "x"], "--kube-load-balancer-annotations"),
            (vec!["--sentry-url", "https://x:1"], "--sentry-url"),
            (vec!["--sentry-listen", "8082"], "--sentry-listen"),
            (vec!["--compute", "cloud"], "--compute"),
            (vec!["--container-host", "ssh://x"], "--container-host"),
            (vec!["--nats", "http://x"], "--nats"),
            (vec!["--nats", "nats://127.0.0.1:1"], "PORTREEVE_NATS_PASSWORD_SETUP"),
            (vec!["--nats-websocket-listen", "127.0.0.1:8080"], "--nats-websocket-listen"),
            (vec!["--nats-taps-url", "http://x"], "--nats-taps-url"),
            (vec!["--nats-taps-websocket-url", "http://x"], "--nats-taps-websocket-url"),
            (vec!["--nats-replicas", "3"], "--nats-replicas"),
            (vec!["--database-url", "mysql://x"], "--database-url"),
            (vec!["--sweep-interval-s", "0"], "--sweep-interval-s"),
            (vec!["--ssh-host=-x"], "--ssh-host"),
            (vec!["--ssh-proxy-protocol-from", "everywhere"], "--ssh-proxy-protocol-from"),
            (vec!["--ssh-config", "/no/such/file"], "--ssh-config"),
            (vec!["--ssh-drain-s", "11"], "--ssh-drain-s"),
        ] {
            let why = check(&words).unwrap_err();
            assert!(why.contains(named), "{words:?}: {why}");
        }
    }
}
