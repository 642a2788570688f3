//! How do relays reach us, and how do commands reach servers? The Socket.IO namespace `/proxy`, and who gives
//! commands away.
//!
//! Several of these processes may run side by side, with relays connected to any of them. They meet in the log: a
//! `CommandDispatched` names the relay's connection or the hub, and whoever that is sends it when it reads so.
//! Nothing is sent that is not on record, and nothing that is on record is sent twice. `desk` folds the log,
//! `plan` says what to do next, `steps` appends it; `socket` and `lines` are the relays' side, `send` and
//! `direct` what happens to a command that is given away, `tunnels` how others get through a relay. Knows nothing of SQL, and not whether somebody may.

mod desk;
mod direct;
mod dispatcher;
mod keep;
mod lines;
mod metrics;
mod plan;
mod send;
mod socket;
mod steps;
#[cfg(test)]
mod testing;
mod tunnels;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use events::ids::HubId;
use ipnet::IpNet;
use kit::health::Health;
use kit::tally::Tally;
use kit::tunnel::TunnelKey;
use nats::{Log, MasterKeys, Outputs, Vault};
use reach::Reach;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::lines::Lines;
use crate::metrics::Metrics;
pub use crate::socket::Door;
use crate::tunnels::Tunnels;

/// What the hub needs to run.
#[derive(Clone)]
pub struct Config {
    pub nats: nats::Config,
    pub master_keys: MasterKeys,
    /// Where Socket.IO is served; `None` where the routes of its [`Door`] are served by somebody else.
    pub listen: Option<SocketAddr>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where tunnels through relays are asked for, by the other services.
    pub tunnels: SocketAddr,
    /// By which address they find it, where that is another one.
    pub tunnels_at: Option<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("the log is not reachable")]
    Connect(#[from] nats::ConnectError),
    #[error("the log is not set up as it must be")]
    Topology(#[from] nats::TopologyError),
    #[error(transparent)]
    Presence(#[from] nats::PresenceError),
    #[error("Socket.IO cannot be served")]
    Serve(#[source] std::io::Error),
}

/// What all parts share.
pub(crate) struct Hub {
    pub id: HubId,
    pub log: Log,
    pub vault: Vault,
    pub outputs: Outputs,
    pub reach: Reach,
    pub lines: Lines,
    pub tunnels: Tunnels,
    /// Where they are asked for.
    pub tunnels_at: SocketAddr,
    pub metrics: Metrics,
    pub trusted_proxies: Vec<IpNet>,
    /// How often relays were turned away, by address and reason: a flood costs a line a minute.
    pub turned_away: Tally<(Option<IpAddr>, &'static str)>,
}

/// Of so many addresses and reasons lines are written, and of each the first few by themselves.
const TURNED_AWAY_MAX: usize = 1_000;
const TURNED_AWAY_TOLD_MAX: u64 = 3;
const SUMMARY_EVERY: Duration = Duration::from_secs(60);

/// Where tunnels are asked for if nothing else is said: any free port of this machine.
pub const TUNNELS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Part of the health.
const NATS: &str = "relay log";

/// Serves until shutdown; `door` is where relays knock.
pub async fn run(
    config: Config,
    door: Door,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    health.not_ready(NATS, "connecting");
    let listener = match config.listen {
        Some(listen) => {
            Some(TcpListener::bind(listen).await.map_err(|error| RunError::Listen(listen, error))?)
        }
        None => None,
    };
    let at = |error| RunError::Listen(config.tunnels, error);
    let tunnels = TcpListener::bind(config.tunnels).await.map_err(at)?;
    let tunnels_at = tunnels.local_addr().map_err(at)?;
    let connection = nats::connect(&config.nats).await?;
    connection.check().await?;
    let outputs = connection.outputs(config.master_keys.clone());
    let keys = config.master_keys;
    let (log, vault) = (connection.log(), connection.vault(keys.clone()));
    let hub = Arc::new(Hub {
        id: HubId::from_seed(&uuid::Uuid::new_v4()),
        reach: Reach::new(log.clone(), vault.clone(), &keys),
        log,
        vault,
        outputs,
        lines: Lines::default(),
        tunnels: Tunnels::new(TunnelKey::new(keys.derive(TunnelKey::LABEL))),
        tunnels_at: SocketAddr::new(config.tunnels_at.unwrap_or(tunnels_at.ip()), tunnels_at.port()),
        metrics: Metrics::new(&health),
        trusted_proxies: config.trusted_proxies,
        turned_away: Tally::new(TURNED_AWAY_MAX, TURNED_AWAY_TOLD_MAX),
    });
    let presence = connection.presence(&hub.id).await?;
    // others take over what is to be given away as soon as this one ends
    let saying = tokio::spawn(presence.keep_saying(shutdown.clone()));
    let summing_up = tokio::spawn(sum_up(Arc::clone(&hub)));
    let tunnelling = tokio::spawn(tunnels::serve(Arc::clone(&hub), tunnels));
    let all_left = CancellationToken::new();
    let serving = serve(listener, door.routes(), all_left.clone());
    let serving = tokio::spawn(serving);
    tracing::info!(hub.id = %hub.id, "relays may connect");
    dispatcher::run(&hub, presence, &door, &health, shutdown).await;
    door.close().await;
    all_left.cancel();
    tunnelling.abort();
    summing_up.abort();
    saying.await.ok();
    serving.await.unwrap_or(Ok(()))
}

/// Who was turned away more often than was told.
async fn sum_up(hub: Arc<Hub>) {
    loop {
        tokio::time::sleep(SUMMARY_EVERY).await;
        for ((address, code), counted) in hub.turned_away.take() {
            let address = address.map(|address| address.to_string());
            tracing::warn!(address, code, count = counted.count, "relays were turned away");
        }
    }
}

async fn serve(
    listener: Option<TcpListener>,
    routes: Router,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let Some(listener) = listener else {
        shutdown.cancelled().await;
        return Ok(());
    };
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    served.map_err(RunError::Serve)
}
