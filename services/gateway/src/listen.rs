//! How do connections come in? Each is served by a task of its own; a proxy says first for whom it connects.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kit::error::chain;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::connection::Gateway;
use crate::door::Place;
use crate::proxy_header::{self, HeaderError};

/// Connections the kernel holds for us.
const BACKLOG: u32 = 1024;
/// After an error of accept (no descriptors left): those that wait stay in the backlog.
const ACCEPT_ERROR_WAIT: Duration = Duration::from_millis(100);

pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Never ends by itself.
pub async fn accept(listener: TcpListener, gateway: Arc<Gateway>) {
    let mut failing = false;
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "cannot accept connections for now");
                }
                tokio::time::sleep(ACCEPT_ERROR_WAIT).await;
                continue;
            }
        };
        failing = false;
        let ip = peer.ip().to_canonical();
        let serving = Arc::clone(&gateway);
        if gateway.settings.borrow().is_proxy(ip) {
            if let Some(place) = entered(&gateway, gateway.door.enter_by_proxy(), ip) {
                gateway.sessions.spawn(proxied(serving, socket, ip, place));
            }
        } else if let Some(place) = entered(&gateway, gateway.door.enter(ip), ip) {
            gateway.sessions.spawn(serving.serve(socket, ip, place));
        }
    }
}

fn entered(gateway: &Gateway, place: Option<Place>, ip: IpAddr) -> Option<Place> {
    if place.is_none() {
        gateway.metrics.refused("too_many_strangers");
        tracing::debug!(%ip, "refused: too many that are not let in yet");
    }
    place
}

/// From here on the person is who the proxy says.
async fn proxied(gateway: Arc<Gateway>, mut socket: TcpStream, proxy: IpAddr, unnamed: Place) {
    let ip = match proxy_header::read(&mut socket).await {
        Ok(named) => named.unwrap_or(proxy),
        Err(HeaderError::Nothing) => {
            tracing::debug!(%proxy, "a proxy looked whether somebody listens");
            return;
        }
        Err(error) => {
            gateway.metrics.refused("proxy_header");
            tracing::warn!(%proxy, error = chain(&error), "refused: a proxy must begin with a PROXY header");
            return;
        }
    };
    drop(unnamed);
    if let Some(place) = entered(&gateway, gateway.door.enter(ip), ip) {
        gateway.serve(socket, ip, place).await;
    }
}
