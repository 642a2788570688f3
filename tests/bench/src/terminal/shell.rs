//! How does a client speak with each terminal? What is typed goes out, what the terminal shows comes back as
//! bytes; what of it was taken is acknowledged where the server asks for that.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt};
use harness::Ssh;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

const COLS: u16 = 120;
const ROWS: u16 = 40;
/// As the page does.
const ACKNOWLEDGE_EVERY_BYTES: u64 = 64 * 1024;
const READ_BYTES: usize = 64 * 1024;
/// Of the end of what came: longer than what is looked for and a prompt after it.
const LOOKED_BACK_BYTES: usize = 1024;
const SUBPROTOCOL: &str = "portreeve.terminal.v1";
const OP_DATA: u8 = 0;
const OP_ACKNOWLEDGED: u8 = 2;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub enum Shell {
    Ours { socket: Box<Socket>, received: u64, acknowledged: u64 },
    Terminado { socket: Box<Socket> },
    Gotty { socket: Box<Socket> },
    Ssh { input: Box<ChildStdin>, output: Box<ChildStdout>, _child: Box<Child> },
}

impl Shell {
    /// `/ws/terminal/environments/{id}`, by the way that browsers use, as somebody with a token.
    pub async fn ours(api: &str, token: &str, env: &str) -> anyhow::Result<Self> {
        let base = api.replacen("http", "ws", 1);
        let address = format!("{base}/ws/terminal/environments/{env}?cols={COLS}&rows={ROWS}");
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("sec-websocket-protocol", SUBPROTOCOL.to_owned()),
        ];
        let socket = open(&address, &headers).await?;
        Ok(Self::Ours { socket, received: 0, acknowledged: 0 })
    }

    pub async fn terminado(port: u16) -> anyhow::Result<Self> {
        let mut socket = open(&format!("ws://127.0.0.1:{port}/websocket"), &[]).await?;
        socket.send(Message::text(json!(["set_size", ROWS, COLS, 0, 0]).to_string())).await?;
        Ok(Self::Terminado { socket })
    }

    pub async fn gotty(port: u16) -> anyhow::Result<Self> {
        let headers = [("sec-websocket-protocol", "webtty".to_owned())];
        let mut socket = open(&format!("ws://127.0.0.1:{port}/ws"), &headers).await?;
        socket.send(Message::text(json!({"Arguments": "", "AuthToken": ""}).to_string())).await?;
        socket.send(Message::text(format!("3{}", json!({"columns": COLS, "rows": ROWS})))).await?;
        Ok(Self::Gotty { socket })
    }

    pub fn ssh(way: &Ssh) -> anyhow::Result<Self> {
        let mut command = way.program("ssh");
        command.args(["-tt", &way.at()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let input = child.stdin.take().context("no stdin")?;
        let output = child.stdout.take().context("no stdout")?;
        Ok(Self::Ssh { input: Box::new(input), output: Box::new(output), _child: Box::new(child) })
    }

    pub async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Ours { socket, .. } => {
                let mut frame = BytesMut::with_capacity(1 + text.len());
                frame.put_u8(OP_DATA);
                frame.put_slice(text.as_bytes());
                socket.send(Message::Binary(frame.freeze())).await?;
            }
            Self::Terminado { socket } => {
                socket.send(Message::text(json!(["stdin", text]).to_string())).await?;
            }
            Self::Gotty { socket } => socket.send(Message::text(format!("1{text}"))).await?,
            Self::Ssh { input, .. } => {
                input.write_all(text.as_bytes()).await?;
                input.flush().await?;
            }
        }
        Ok(())
    }

    /// Takes what comes until `sought` was shown; the answer is how many bytes that took.
    pub async fn until(&mut self, sought: &[u8], at_most: Duration) -> anyhow::Result<usize> {
        let mut came = 0;
        let mut end = Vec::new();
        let all = async {
            loop {
                let shown = self.shown().await?;
                came += shown.len();
                end.extend_from_slice(
                    shown.get(shown.len().saturating_sub(LOOKED_BACK_BYTES)..).unwrap_or_default(),
                );
                if end.windows(sought.len()).any(|part| part == sought) {
                    return anyhow::Ok(());
                }
                end.drain(..end.len().saturating_sub(LOOKED_BACK_BYTES));
            }
        };
        match tokio::time::timeout(at_most, all).await {
            Ok(done) => done.map(|()| came),
            Err(_elapsed) => bail!(
                "{:?} was not shown within {} s; {came} bytes came, last {:?}",
                String::from_utf8_lossy(sought),
                at_most.as_secs(),
                String::from_utf8_lossy(&end)
            ),
        }
    }

    /// The next bytes of the terminal.
    async fn shown(&mut self) -> anyhow::Result<Bytes> {
        match self {
            Self::Ours { socket, received, acknowledged } => ours_shown(socket, received, acknowledged).await,
            Self::Terminado { socket } => loop {
                let said: Value = serde_json::from_str(next(socket).await?.to_text()?)?;
                match (said[0].as_str(), said[1].as_str()) {
                    (Some("stdout"), Some(text)) => return Ok(Bytes::copy_from_slice(text.as_bytes())),
                    (Some("disconnect"), _) => bail!("terminado's shell ended"),
                    _ => {}
                }
            },
            Self::Gotty { socket } => loop {
                let said = next(socket).await?;
                if let Some(text) = said.to_text()?.strip_prefix('1') {
                    return Ok(BASE64.decode(text.as_bytes())?.into());
                }
            },
            Self::Ssh { output, .. } => {
                let mut bytes = BytesMut::with_capacity(READ_BYTES);
                if output.read_buf(&mut bytes).await? == 0 {
                    bail!("ssh ended");
                }
                Ok(bytes.freeze())
            }
        }
    }
}

async fn ours_shown(
    socket: &mut Socket,
    received: &mut u64,
    acknowledged: &mut u64,
) -> anyhow::Result<Bytes> {
    loop {
        match next(socket).await? {
            Message::Binary(frame) if frame.first() == Some(&OP_DATA) => {
                *received += frame.len() as u64 - 1;
                if *received - *acknowledged >= ACKNOWLEDGE_EVERY_BYTES {
                    *acknowledged = *received;
                    let mut told = BytesMut::with_capacity(9);
                    told.put_u8(OP_ACKNOWLEDGED);
                    told.put_u64(*acknowledged);
                    socket.send(Message::Binary(told.freeze())).await?;
                }
                return Ok(frame.slice(1..));
            }
            Message::Text(text) => {
                let said: Value = serde_json::from_str(&text)?;
                if matches!(said["type"].as_str(), Some("error" | "exit")) {
                    bail!("the web terminal says {text}");
                }
            }
            Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_) => {}
        }
    }
}

async fn open(address: &str, headers: &[(&'static str, String)]) -> anyhow::Result<Box<Socket>> {
    let mut request = address.into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value)?);
    }
    // as browsers have it
    let without_delay = true;
    let (socket, _answer) = connect_async_with_config(request, None, without_delay).await?;
    Ok(Box::new(socket))
}

async fn next(socket: &mut Socket) -> anyhow::Result<Message> {
    match socket.next().await {
        Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
        Some(message) => Ok(message?),
        None => bail!("the connection ended"),
    }
}
