//! How does a relay answer that has nothing to do? It connects as relays do, and each command has ended well as soon as
//! it arrives.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::batch::stage::Relay;

const NAMESPACE: &str = "/proxy";
/// As long as `uptime` says.
const SAID: &str = " 12:00:00 up 30 days,  1:02,  0 users,  load average: 0.00, 0.00, 0.00\n";
/// Nothing comes of what has not ended by then.
const RECORDED_AT_MOST: Duration = Duration::from_secs(120);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Ended when dropped.
pub struct QuickRelay {
    serving: JoinHandle<()>,
    /// Results that are on record, or why there will be no more.
    recorded: watch::Receiver<Result<usize, String>>,
}

impl QuickRelay {
    /// Connected, and let in.
    pub async fn connect(url: &str, relay: &Relay) -> anyhow::Result<Self> {
        let base = url.replacen("http", "ws", 1);
        let (socket, _) = connect_async(format!("{base}/socket.io/?EIO=4&transport=websocket")).await?;
        let mut line = Line { socket };
        let open = line.packet().await?;
        ensure!(open.starts_with('0'), "no Engine.IO: {open}");
        let who = json!({"proxyId": relay.id, "apiKey": relay.key});
        line.send(format!("40{NAMESPACE},{who}")).await?;
        let welcome = line.packet().await?;
        ensure!(welcome.starts_with(&format!("40{NAMESPACE},")), "not let in: {welcome}");
        let (told, recorded) = watch::channel(Ok(0));
        let serving = tokio::spawn(async move {
            if let Err(error) = line.serve(&told).await {
                told.send_modify(|recorded| *recorded = Err(format!("{error:#}")));
            }
        });
        Ok(Self { serving, recorded })
    }

    pub fn recorded(&self) -> anyhow::Result<usize> {
        self.recorded.borrow().clone().map_err(anyhow::Error::msg)
    }

    /// Waits until so many results are on record.
    pub async fn has_recorded(&mut self, count: usize) -> anyhow::Result<()> {
        let enough = self.recorded.wait_for(|recorded| recorded.as_ref().map_or(true, |some| *some >= count));
        let reached = timeout(RECORDED_AT_MOST, enough).await.map(|reached| reached.map(drop));
        let recorded = self.recorded()?;
        match reached {
            Ok(reached) => Ok(reached?),
            Err(_elapsed) => bail!("{recorded} of {count} results are on record"),
        }
    }
}

impl Drop for QuickRelay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Line {
    socket: Socket,
}

impl Line {
    async fn serve(&mut self, told: &watch::Sender<Result<usize, String>>) -> anyhow::Result<()> {
        let mut recorded = 0;
        let prefix = format!("42{NAMESPACE},");
        loop {
            let packet = self.packet().await?;
            let Some(event) = packet.strip_prefix(&prefix) else { bail!("it says {packet}") };
            let (name, data): (String, Value) = serde_json::from_str(event)?;
            match name.as_str() {
                "execute_command" => {
                    let result = json!({"stdout": SAID, "stderr": "", "exitCode": 0});
                    let answer =
                        json!(["command_result", {"commandId": data["commandId"], "result": result}]);
                    self.send(format!("42{NAMESPACE},{answer}")).await?;
                }
                "command_result_received" => {
                    ensure!(data["success"] == true, "a result is not taken: {data}");
                    recorded += 1;
                    told.send_modify(|known| *known = Ok(recorded));
                }
                other => bail!("nobody knows what {other} means"),
            }
        }
    }

    /// The next that is not about keeping the connection.
    async fn packet(&mut self) -> anyhow::Result<String> {
        loop {
            match self.socket.next().await.context("the hub hung up")?? {
                Message::Text(text) if text.as_str() == "2" => self.send("3".to_owned()).await?,
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(_) => bail!("the hub closed the connection"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn send(&mut self, packet: String) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::Text(packet.into())).await?)
    }
}
