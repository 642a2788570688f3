//! How is an environment's JupyterLab reached through us? On an origin of its own, `/jupyter/{env_id}/`.
//!
//! What an environment serves is other people's code. On the origin of our own pages it could read the word
//! that makes a browser's cookie count, so browsers get it from a second listener, which serves nothing else
//! ([`own_origin`]). Beside the API ([`beside`]) only programs with a bearer token get through.
//!
//! A link carries a ticket (`pass`): one use, half a minute. Its answer is a cookie for that environment's
//! path. Each request is admitted anew on the log (`admission`), goes in through the inner door (`ways`) and
//! on to JupyterLab (`proxy`), which sees its own token and none of ours; nobody outside sees that token
//! (`head`, `hide_token`).

mod admission;
mod arrival;
mod cookie;
mod head;
mod hide_token;
mod origin;
mod page;
mod parting;
mod pass;
mod proxy;
mod way;
mod ways;

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::any;
use nats::MasterKeys;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::{limits, problem, watch};

pub use admission::{Guest, enter};
pub use origin::JupyterUrl;
pub use pass::Pass;

/// Where JupyterLab is served when nothing was said, if that port is free.
pub const PORT_USUAL: u16 = 8083;
const ALL: &str = "/jupyter/{env}/{*rest}";
const ROOT: &str = "/jupyter/{env}/";
const BARE: &str = "/jupyter/{env}";

/// Where browsers get JupyterLab.
#[derive(Debug, Clone, Default)]
pub struct JupyterSettings {
    /// `None`: the address of the API, at [`PORT_USUAL`] or, where that is taken, at any free port.
    pub listen: Option<SocketAddr>,
    /// How browsers see it; `None`: the host name they know us by, at the port that listens.
    pub url: Option<JupyterUrl>,
}

/// What links, cookies and connections are made with.
pub struct Jupyter {
    pub passes: pass::Passes,
    pub ways: ways::Ways,
    pub origin: origin::Origin,
}

impl Jupyter {
    /// `port` is where the second listener listens.
    pub fn new(keys: &MasterKeys, url: Option<JupyterUrl>, port: u16, tls: bool) -> Self {
        Self {
            passes: pass::Passes::new(keys),
            ways: ways::Ways::default(),
            origin: origin::Origin { url, port, tls },
        }
    }
}

/// All that the second listener serves. The outermost layer comes last.
pub fn own_origin(app: &App) -> Router {
    Router::new()
        .route(ALL, any(arrival::with_cookie))
        .route(ROOT, any(arrival::with_cookie))
        .route(BARE, any(arrival::bare))
        .route_layer(from_fn_with_state(app.clone(), watch::needs_log))
        .with_state(app.clone())
        .layer(CatchPanicLayer::custom(problem::on_panic))
        .layer(from_fn(page::for_people))
        .layer(from_fn_with_state(app.clone(), limits::count))
        .layer(from_fn(problem::finish))
        .layer(from_fn_with_state(app.tls, head::guard_own_origin))
}

/// The same paths beside the API, for programs.
pub fn beside(app: &App) -> Router {
    Router::new()
        .route(ALL, any(arrival::with_bearer))
        .route(ROOT, any(arrival::with_bearer))
        .route(BARE, any(arrival::with_bearer))
        .route_layer(from_fn_with_state(app.clone(), watch::needs_log))
        .with_state(app.clone())
}

/// The second listener. A named address must be free; the usual one may belong to another installation.
pub async fn listen(
    named: Option<SocketAddr>,
    ip: IpAddr,
) -> Result<TcpListener, (SocketAddr, std::io::Error)> {
    let address = named.unwrap_or((ip, PORT_USUAL).into());
    let bound = match TcpListener::bind(address).await {
        Err(_) if named.is_none() => TcpListener::bind((ip, 0)).await,
        bound => bound,
    };
    let listener = bound.map_err(|error| (address, error))?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "JupyterLab is served on an origin of its own");
    }
    Ok(listener)
}
