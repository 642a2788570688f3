//! How do connections come in? Each is served by a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use crate::connection::Gateway;

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
        match gateway.door.enter(ip) {
            Some(place) => {
                let serving = Arc::clone(&gateway).serve(socket, ip, place);
                gateway.sessions.spawn(serving);
            }
            None => {
                gateway.metrics.refused("too_many_strangers");
                tracing::debug!(%ip, "refused: too many that are not let in yet");
            }
        }
    }
}
