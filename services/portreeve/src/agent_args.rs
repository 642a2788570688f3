//! How does our relay agent run on the intranet side? Alone, with an address, its name and its key.

use std::net::SocketAddr;
use std::path::PathBuf;

use kit::health::Health;
use tokio_util::sync::CancellationToken;

use crate::serving::DRAIN_WITHIN;
use crate::settings::{self, BadSetting, LogArgs};
use crate::standalone::{StandaloneError, alone};

/// Run commands on servers of this network for Portreeve: a relay that dials out. Its key comes from
/// PORTREEVE_API_KEY or a file that PORTREEVE_API_KEY_FILE names. Without a proxyId it registers itself by the token
/// of PORTREEVE_ENROLL_TOKEN or PORTREEVE_ENROLL_TOKEN_FILE, keeps its key in the spool, and waits to be accepted
#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// Where Portreeve answers: https://portreeve.example.org
    #[arg(long, env = "PORTREEVE_URL", value_parser = url)]
    url: String,
    /// proxyId of its registration
    #[arg(long, env = "PORTREEVE_PROXY_ID")]
    proxy_id: Option<String>,
    /// Of one that registers itself: its name
    #[arg(long, env = "PORTREEVE_NAME", conflicts_with = "proxy_id")]
    name: Option<String>,
    /// Of one that registers itself: it serves the servers of this zone
    #[arg(long, env = "PORTREEVE_ZONE", conflicts_with = "proxy_id")]
    zone: Option<String>,
    /// Where results lie until they are acknowledged
    #[arg(long, env = "PORTREEVE_SPOOL", default_value = "/var/lib/portreeve-agent")]
    spool: PathBuf,
    /// Commands at once
    #[arg(long, env = "PORTREEVE_COMMANDS_MAX", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    commands_max: u32,
    /// SHA-256 of the only certificate that is believed (openssl x509 -fingerprint -sha256)
    #[arg(long, env = "PORTREEVE_TLS_PIN")]
    tls_pin: Option<agent::Pin>,
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "PORTREEVE_HEALTH_LISTEN", default_value = "127.0.0.1:8085", value_parser = settings::listen_address)]
    health_listen: SocketAddr,
    #[command(flatten)]
    pub log: LogArgs,
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("write it as https://host or http://host:port".to_owned()),
    }
}

/// Without a token there must be a key from before.
fn enrollment(name: Option<String>, zone: Option<String>) -> Result<Option<agent::Enrollment>, BadSetting> {
    let Some(token) = settings::secret("PORTREEVE_ENROLL_TOKEN")? else { return Ok(None) };
    let name = name.ok_or_else(|| BadSetting::new("--name", "is needed by one that registers itself"))?;
    Ok(Some(agent::Enrollment { token, name, zone }))
}

/// An agent whose configuration can be meant, about to run.
pub struct Agent {
    config: agent::Config,
    health_listen: SocketAddr,
}

impl AgentArgs {
    pub fn check(self) -> Result<Agent, BadSetting> {
        let who = match self.proxy_id {
            Some(proxy_id) => {
                let api_key = settings::needed_secret("PORTREEVE_API_KEY")?;
                agent::Who::Registered(agent::Identity { proxy_id, api_key })
            }
            None => agent::Who::Enrolled(enrollment(self.name, self.zone)?),
        };
        let config = agent::Config {
            url: self.url,
            who,
            spool: self.spool,
            commands_max: usize::try_from(self.commands_max).unwrap_or(usize::MAX),
            pin: self.tls_pin,
        };
        Ok(Agent { config, health_listen: self.health_listen })
    }
}

impl Agent {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| agent::run(config, health, drain);
        alone("agent", self.health_listen, served, shutdown, DRAIN_WITHIN, run).await
    }
}
