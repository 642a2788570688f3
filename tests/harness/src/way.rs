//! How does a test cut somebody's way to a server? A forwarder between the two that falls silent: what was
//! connected stays so and says nothing ever again, as when a router forgets it. And how does somebody come from
//! elsewhere?

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Ends with everything that goes through it when dropped.
pub struct Way {
    port: u16,
    /// How often it was cut, and whether it is.
    state: watch::Sender<(u64, bool)>,
    serving: JoinHandle<()>,
}

impl Way {
    /// From a port of 127.0.0.1 to `server`.
    pub async fn to(server: SocketAddr) -> anyhow::Result<Self> {
        Self::between(Ipv4Addr::UNSPECIFIED, server).await
    }

    /// Likewise; the server sees that address, one of this machine's: all of 127.0.0.0/8 are.
    pub async fn from(source: Ipv4Addr, server: SocketAddr) -> anyhow::Result<Self> {
        Self::between(source, server).await
    }

    async fn between(source: Ipv4Addr, server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let state = watch::Sender::new((0, false));
        let seen = state.subscribe();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, source, server, seen.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, state, serving })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing goes through from now on, and what goes through now never will again.
    pub fn cut(&self) {
        self.state.send_modify(|(cuts, is_cut)| (*cuts, *is_cut) = (*cuts + 1, true));
    }

    /// Whoever comes now gets through.
    pub fn mend(&self) {
        self.state.send_modify(|(_, is_cut)| *is_cut = false);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Both ends stay open while nothing goes through.
async fn carry(
    mut client: TcpStream,
    source: Ipv4Addr,
    server: SocketAddr,
    mut state: watch::Receiver<(u64, bool)>,
) {
    let (cuts, is_cut) = *state.borrow_and_update();
    if !is_cut {
        let Ok(mut server) = connect(source, server).await else { return };
        tokio::select! {
            _ended = copy_bidirectional(&mut client, &mut server) => return,
            _cut = state.wait_for(|(now, _)| *now != cuts) => {}
        }
        std::future::pending::<()>().await;
        drop(server);
    }
    std::future::pending::<()>().await;
    drop(client);
}

async fn connect(source: Ipv4Addr, server: SocketAddr) -> io::Result<TcpStream> {
    if source.is_unspecified() {
        return TcpStream::connect(server).await;
    }
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(server).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn echoes(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        stream.write_all(b"x").await.unwrap();
        tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut byte)).await.is_ok()
    }

    #[tokio::test]
    async fn what_was_cut_is_silent_and_what_comes_later_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ended = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let way = Way::to(server).await.unwrap();
        let come = || TcpStream::connect(("127.0.0.1", way.port()));
        let mut old = come().await.unwrap();
        assert!(echoes(&mut old).await);
        way.cut();
        let mut meanwhile = come().await.unwrap();
        assert!(!echoes(&mut old).await && !echoes(&mut meanwhile).await);
        way.mend();
        assert!(!echoes(&mut old).await && echoes(&mut come().await.unwrap()).await);
    }

    #[tokio::test]
    async fn a_server_sees_from_where_somebody_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = Ipv4Addr::new(127, 0, 0, 2);
        let way = Way::from(source, listener.local_addr().unwrap()).await.unwrap();
        let _client = TcpStream::connect(("127.0.0.1", way.port())).await.unwrap();
        let (_, seen) = listener.accept().await.unwrap();
        assert_eq!(seen.ip(), source);
    }
}
