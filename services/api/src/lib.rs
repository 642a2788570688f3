//! What does HTTP offer? Environments, keys, tenants, users, tokens, events, audit, projections.
//!
//! Reads ask the read model; decisions ask the log. Knows nothing of containers.

mod access;
mod app;
mod auth;
mod bootstrap;
mod browser_session;
mod client_address;
mod command;
mod command_fields;
mod command_patterns;
mod command_policy;
mod correlation;
mod due_schedules;
mod environment;
mod event_audience;
mod event_pages;
mod event_reader;
mod failures;
mod fields;
mod hashing;
mod html;
mod idempotency;
mod incoming;
mod jupyter;
mod limits;
mod live;
mod login_keys;
mod metrics;
mod nats_taps;
mod openapi;
mod overdue_accounts;
mod pages;
mod params;
mod position;
mod problem;
mod rate_limits;
mod readers;
mod reading;
mod relay_courier;
mod relay_fields;
mod routes;
mod safe_headers;
mod schedule;
mod schedule_fields;
mod scope;
mod selection;
mod server;
mod server_fields;
mod server_import;
mod server_way;
mod serving;
mod sign_ins;
mod subscriptions;
mod tap;
mod terminal;
mod tls;
mod user_agent;
mod watch;
mod webhooks;
mod what_if_fields;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use audit::time_travel::TimeTravel;
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use entrance::refusals::Refusals;
use entrance::visit::{CLOSE_WITHIN, Visits};
use entrance::way_in::WayIn;
use events::ids::ApiId;
use ipnet::IpNet;
use kit::health::Health;
use nats::MasterKeys;
use projections::Projections;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::app::{App, Parts, Shown};
pub use crate::bootstrap::{BootstrapError, DEFAULT_TENANT, administrator_token, bootstrap};
use crate::jupyter::Jupyter;
pub use crate::jupyter::{JupyterSettings, JupyterUrl};
pub use crate::nats_taps::NatsTapsAt;
pub use crate::rate_limits::{Rate, Rates};
use crate::tls::Tls;
pub use crate::tls::TlsFiles;
pub use crate::webhooks::WebhookSettings;

/// What the API needs to run.
#[derive(Clone)]
pub struct Config {
    pub nats: nats::Config,
    pub master_keys: MasterKeys,
    /// `postgres://...`
    pub database_url: String,
    pub listen: SocketAddr,
    /// Host name or address of the SSH ports, as people are told.
    pub ssh_host: String,
    /// Port of the SSH gateway, as people are told.
    pub gateway_port: u16,
    /// New environments get no port of their own: they are entered through the gateway alone.
    pub gateway_only: bool,
    /// Shown for environments that asked for no image.
    pub default_image: String,
    /// The longest a create waits for port and password; the contract says 2 s.
    pub wait_s: u64,
    /// HTTPS with these files; `None` is HTTP.
    pub tls: Option<TlsFiles>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub rates: Rates,
    pub jupyter: JupyterSettings,
    /// What those are told who may follow by NATS.
    pub nats_taps: NatsTapsAt,
    pub webhooks: WebhookSettings,
    /// Served beside the API on the same address: Socket.IO for relays, where this process has it.
    pub beside: Router,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("the log is not reachable")]
    Connect(#[from] nats::ConnectError),
    #[error("the log is not set up as it must be")]
    Topology(#[from] nats::TopologyError),
    #[error("the log cannot be read")]
    Log(#[from] nats::LogError),
    #[error("the read model is not reachable")]
    ReadModel(#[from] projections::ConnectError),
    #[error("passwords cannot be hashed")]
    Hashing(#[from] hashing::HashingError),
    #[error("the other processes of the API cannot be heard")]
    Presence(#[from] nats::PresenceError),
    #[error("webhooks cannot be posted over TLS")]
    Webhooks(#[source] rustls::Error),
    #[error("HTTPS cannot be served")]
    Tls(#[from] tls::TlsError),
    #[error("the HTTP server ended")]
    Serve(#[source] std::io::Error),
}

/// Serves until shutdown.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    let listen = config.listen;
    let listener = TcpListener::bind(listen).await.map_err(|error| RunError::Listen(listen, error))?;
    serve(config, listener, health, shutdown).await
}

/// Serves on a socket that is open already, until shutdown.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    health.not_ready(watch::NATS, "connecting");
    health.not_ready(watch::POSTGRES, "connecting");
    let connection = nats::connect(&config.nats).await?;
    connection.check().await?;
    let projections = Projections::connect(&config.database_url).await?;
    let tls = Tls::load_if(config.tls.as_ref()).await?;
    let jupyter_tls = Tls::load_if(config.tls.as_ref()).await?;
    let jupyter_listener = jupyter::listen(config.jupyter.listen, config.listen.ip())
        .await
        .map_err(|(address, error)| RunError::Listen(address, error))?;
    let jupyter_port = jupyter_listener.local_addr().map_err(RunError::Serve)?.port();
    let log = connection.log();
    let vault = connection.vault(config.master_keys.clone());
    let recordings = connection.recordings(config.master_keys.clone());
    let outputs = connection.outputs(config.master_keys.clone());
    let anchors = connection.anchors();
    let presence = connection.presence(&ApiId::from_seed(&Uuid::now_v7())).await?;
    let app = App::new(Parts {
        live: live::Live::new(&log).await?,
        nats_taps: nats_taps::NatsTaps::new(&connection, config.nats_taps),
        way_in: WayIn::new(log.clone(), vault.clone()),
        visits: Visits::new(log.clone()),
        refusals: Arc::new(Refusals::new(log.clone(), "service:api")),
        sign_ins: Arc::new(sign_ins::SignIns::new(log.clone())),
        reach: reach::Reach::new(log.clone(), vault.clone(), &config.master_keys),
        jupyter: Jupyter::new(&config.master_keys, config.jupyter.url, jupyter_port, tls.is_some()),
        terminals: terminal::shells::Terminals::new(&log, &vault, &recordings),
        time_travel: TimeTravel::new(log.clone(), projections.clone()),
        log,
        vault,
        recordings,
        outputs,
        anchors,
        positions: connection.positions(),
        postman: webhooks::send::Postman::new(config.webhooks).map_err(RunError::Webhooks)?,
        projections: projections.clone(),
        health: health.clone(),
        metrics: metrics::Metrics::new(&health),
        login_keys: login_keys::LoginKeys::new(&config.master_keys),
        fingerprints: idempotency::Fingerprints::new(&config.master_keys),
        hashing: hashing::Hashing::new()?,
        rate_limits: rate_limits::RateLimits::new(config.rates),
        trusted_proxies: config.trusted_proxies,
        tls: tls.is_some(),
        shown: Shown {
            ssh_host: config.ssh_host,
            gateway_port: config.gateway_port,
            gateway_only: config.gateway_only,
            default_image: config.default_image,
        },
        create_wait: Duration::from_secs(config.wait_s),
        taps: Arc::new(Semaphore::new(tap::TAPS_MAX)),
        playbacks: Arc::new(Semaphore::new(routes::recordings::PLAYBACKS_MAX)),
        checks: Arc::new(Semaphore::new(routes::verify_log::CHECKS_MAX)),
        shutdown: shutdown.clone(),
    });
    let watching = tokio::spawn(watch::watch(connection, projections, health, shutdown.clone()));
    let following = {
        let (app, shutdown) = (app.clone(), shutdown.clone());
        tokio::spawn(async move { app.live.run(app.log.clone(), shutdown).await })
    };
    let forgetting = {
        let (app, shutdown) = (app.clone(), shutdown.clone());
        tokio::spawn(async move { app.rate_limits.forget(shutdown).await })
    };
    let checking = tokio::spawn(terminal::rights::keep_checking(app.clone(), shutdown.clone()));
    let ending = tokio::spawn(overdue_accounts::keep_ending(app.clone(), shutdown.clone()));
    let beginning = tokio::spawn(due_schedules::keep_beginning(app.clone(), shutdown.clone()));
    let saying = tokio::spawn(presence.keep_saying(shutdown.clone()));
    let posting = tokio::spawn(webhooks::keep_delivering(app.clone(), presence, shutdown.clone()));
    let all_left = CancellationToken::new();
    let refused = Arc::clone(&app.refusals).keep_recording(all_left.clone());
    let unsigned = Arc::clone(&app.sign_ins).keep_recording(all_left.clone());
    let telling = tokio::spawn(async { tokio::join!(refused, unsigned) });
    let served = tokio::try_join!(
        serving::serve(listener, router(&app, config.beside), tls, shutdown.clone()),
        serving::serve(jupyter_listener, jupyter::own_origin(&app), jupyter_tls, shutdown.clone()),
    );
    // also when one of the two broke
    shutdown.cancel();
    // the next process posts webhooks as soon as this one has said that it ends
    let said = tokio::time::timeout(CLOSE_WITHIN, saying);
    let _ended = tokio::join!(app.terminals.drain(), app.jupyter.ways.ended(CLOSE_WITHIN), said);
    all_left.cancel();
    if tokio::time::timeout(CLOSE_WITHIN, telling).await.is_err() {
        tracing::warn!("how often people were turned away was not recorded in time");
    }
    for task in [watching, following, forgetting, checking, ending, beginning, posting] {
        task.abort();
    }
    served.map(drop).map_err(RunError::Serve)
}

/// The description of all routes, without the events' schemas.
#[cfg(test)]
fn described_routes() -> utoipa::openapi::OpenApi {
    describe().merge(routes::sockets()).split_for_parts().1
}

fn describe() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Described::openapi()).merge(routes::all())
}

/// Everything that HTTP offers. The outermost layer comes last.
fn router(app: &App, beside: Router) -> Router {
    let (api, mut described) = describe().split_for_parts();
    let api = api.route_layer(from_fn_with_state(app.clone(), watch::needs_log));
    // these say themselves what is away, after the upgrade
    let (sockets, described_sockets) = routes::sockets().split_for_parts();
    described.merge(described_sockets);
    let health = app.health.routes().route_layer(from_fn(problem::keep_form));
    api.merge(sockets)
        .merge(openapi::routes(openapi::document(&described)))
        .merge(event_pages::routes())
        .merge(pages::routes())
        .with_state(app.clone())
        .merge(health)
        .layer(from_fn_with_state(app.clone(), limits::limit))
        // uploads may take their time
        .merge(jupyter::beside(app))
        .merge(beside)
        .layer(CatchPanicLayer::custom(problem::on_panic))
        .layer(from_fn_with_state(app.clone(), limits::count))
        .layer(from_fn(problem::finish))
        .layer(from_fn_with_state(app.tls, safe_headers::add))
}
