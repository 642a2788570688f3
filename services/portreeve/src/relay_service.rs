//! How does a relay hub run alone?

use std::net::{IpAddr, SocketAddr};

use kit::health::Health;
use tokio_util::sync::CancellationToken;

use crate::serving::DRAIN_WITHIN;
use crate::settings::{self, BadSetting};
use crate::standalone::{CommonArgs, Standalone, StandaloneError, alone, needed_master_keys};

/// Let relays connect, and give commands away
#[derive(Debug, clap::Args)]
pub struct RelayServiceArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Where relays connect: Socket.IO at /socket.io/, namespace /proxy
    #[arg(long, env = "PORTREEVE_RELAY_LISTEN", default_value = "127.0.0.1:8084", value_parser = settings::listen_address)]
    relay_listen: SocketAddr,
    /// Ranges of the proxies in front, whose X-Forwarded-For is believed; several after commas
    #[arg(long, env = "PORTREEVE_TRUSTED_PROXIES", value_name = "RANGES", value_delimiter = ',', value_parser = settings::range)]
    trusted_proxies: Vec<ipnet::IpNet>,
    /// Where the API asks for tunnels through relays: this machine's alone if nothing is said
    #[arg(long, env = "PORTREEVE_TUNNEL_LISTEN", value_parser = settings::listen_address)]
    tunnel_listen: Option<SocketAddr>,
    /// The address by which the API reaches it, where it listens at all of them
    #[arg(long, env = "PORTREEVE_TUNNEL_ADDRESS")]
    tunnel_address: Option<IpAddr>,
}

impl RelayServiceArgs {
    pub fn check(self) -> Result<Standalone<relay::Config>, BadSetting> {
        let tunnels = self.tunnel_listen.unwrap_or(relay::TUNNELS_LISTEN);
        if tunnels.ip().is_unspecified() && self.tunnel_address.is_none() {
            let why = "is needed where tunnels are asked for at all addresses";
            return Err(BadSetting::new("--tunnel-address (PORTREEVE_TUNNEL_ADDRESS)", why));
        }
        let config = relay::Config {
            nats: self.common.nats_config("relay")?,
            master_keys: needed_master_keys()?,
            listen: Some(self.relay_listen),
            trusted_proxies: self.trusted_proxies,
            tunnels,
            tunnels_at: self.tunnel_address,
        };
        Ok(Standalone { config, health_listen: self.common.health_listen })
    }
}

impl Standalone<relay::Config> {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StandaloneError> {
        let (config, health) = (self.config, Health::default());
        let served = health.clone();
        let run = |drain| relay::run(config, relay::Door::new(), health, drain);
        alone("relay", self.health_listen, served, shutdown, DRAIN_WITHIN, run).await
    }
}
