//! How does a test use a web terminal? As a client of its WebSocket, in either protocol, that keeps all it was told.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::http::Api;

pub const SUBPROTOCOL: &str = "portreeve.terminal.v1";
/// Whatever a terminal is waited for is there by then, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// How a terminal is opened.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// Path below the root, with its query.
    pub path: String,
    pub subprotocol: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    /// The address it comes from.
    pub from: Option<IpAddr>,
}

pub struct Terminal {
    socket: WebSocketStream<TcpStream>,
    binary: bool,
    /// Binary: says what was drawn. Without it, the server stops sending.
    pub acknowledges: bool,
    /// Output since the offset where it began.
    pub output: Vec<u8>,
    pub begins_at: u64,
    pub session: Option<String>,
    /// Offset behind the newest output, as the server counts (JSON), or as we do.
    pub offset: u64,
    /// Everything else, in its order.
    pub told: Vec<Value>,
    pub replayed: bool,
    /// Close code and reason; `(1006, ..)` when it broke without one.
    pub closed: Option<(u16, String)>,
}

/// A ticket for an environment, a server or a share.
pub async fn ticket(api: &Api, body: &Value) -> anyhow::Result<String> {
    let answer = api.post("/api/terminal-tickets", body).await?.expect(201)?;
    Ok(answer.text("ticket")?.to_owned())
}

impl Opening {
    /// A new shell in an environment, by a ticket.
    pub async fn of(api: &Api, env: &str, more: &str) -> anyhow::Result<Self> {
        let ticket = ticket(api, &json!({"environment": env})).await?;
        let path = format!("/ws/terminal/environments/{env}?ticket={ticket}{more}");
        Ok(Self { path, ..Self::default() })
    }

    /// A new shell on a server, by a ticket.
    pub async fn of_server(api: &Api, server: &str, more: &str) -> anyhow::Result<Self> {
        let ticket = ticket(api, &json!({"server": server})).await?;
        let path = format!("/ws/terminal/servers/{server}?ticket={ticket}{more}");
        Ok(Self { path, ..Self::default() })
    }

    pub async fn of_share(api: &Api, share: &str) -> anyhow::Result<Self> {
        let ticket = ticket(api, &json!({"share": share})).await?;
        Ok(Self { path: format!("/ws/terminal/shares/{share}?ticket={ticket}"), ..Self::default() })
    }

    pub fn binary(self) -> Self {
        Self { subprotocol: Some(SUBPROTOCOL.to_owned()), ..self }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Connects; what the server has to say comes later.
    pub async fn open(self, api: &Api) -> anyhow::Result<Terminal> {
        let address = api.base().trim_start_matches("http://");
        let mut request = format!("ws://{address}{}", self.path).into_client_request()?;
        if let Some(subprotocol) = &self.subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse()?);
        }
        request.headers_mut().insert("user-agent", "harness".parse()?);
        for (name, value) in &self.headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        let address: SocketAddr = address.parse()?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(request, stream).await.context("the upgrade is always accepted")?;
        Ok(Terminal {
            socket,
            binary: self.subprotocol.as_deref() == Some(SUBPROTOCOL),
            acknowledges: true,
            output: Vec::new(),
            begins_at: 0,
            session: None,
            offset: 0,
            told: Vec::new(),
            replayed: false,
            closed: None,
        })
    }

    /// Connects and waits until the shell is there.
    pub async fn ready(self, api: &Api) -> anyhow::Result<Terminal> {
        let mut terminal = self.open(api).await?;
        terminal.until("it says which shell it is", |terminal| terminal.session.is_some()).await?;
        Ok(terminal)
    }
}

impl Terminal {
    /// Takes the next message; `false` when there will be none.
    pub async fn step(&mut self) -> anyhow::Result<bool> {
        if self.closed.is_some() {
            return Ok(false);
        }
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => self.hear(serde_json::from_str(text.as_str())?)?,
            Some(Ok(Message::Binary(frame))) => self.take(&frame).await?,
            Some(Ok(Message::Close(frame))) => {
                let (code, why) =
                    frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                self.closed = Some((code, why));
                // answers the close, so that the server need not wait
                let _closed_either_way = self.socket.next().await;
            }
            Some(Ok(_)) => {}
            Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => {
                self.closed = Some((1006, "no close frame".to_owned()));
            }
            Some(Err(error)) => self.closed = Some((1006, error.to_string())),
        }
        Ok(self.closed.is_none())
    }

    fn hear(&mut self, said: Value) -> anyhow::Result<()> {
        match said["type"].as_str() {
            Some("output") => {
                self.output.extend_from_slice(said["data"].as_str().context("no data")?.as_bytes());
                self.offset = said["offset"].as_u64().context("no offset")?;
            }
            Some("session") => {
                self.session = said["session"].as_str().map(str::to_owned);
                self.begins_at = said["offset"].as_u64().context("no offset")?;
                self.offset = self.begins_at;
                self.told.push(said);
            }
            Some("replayed") => self.replayed = true,
            _ => self.told.push(said),
        }
        Ok(())
    }

    async fn take(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        match frame.split_first() {
            Some((0, bytes)) => {
                self.output.extend_from_slice(bytes);
                self.offset += bytes.len() as u64;
                if self.acknowledges {
                    self.acknowledge(self.offset).await?;
                }
            }
            Some((3, [])) => self.replayed = true,
            other => bail!("an unknown binary message {other:?}"),
        }
        Ok(())
    }

    pub async fn acknowledge(&mut self, offset: u64) -> anyhow::Result<()> {
        self.send(Message::binary([&[2][..], &offset.to_be_bytes()].concat())).await
    }

    pub async fn send(&mut self, message: Message) -> anyhow::Result<()> {
        Ok(self.socket.send(message).await?)
    }

    pub async fn types(&mut self, text: &str) -> anyhow::Result<()> {
        self.send(self.input(text)).await
    }

    fn input(&self, text: &str) -> Message {
        if self.binary {
            Message::binary([&[0], text.as_bytes()].concat())
        } else {
            Message::text(json!({"type": "input", "data": text}).to_string())
        }
    }

    /// Types without waiting for it to be taken before what comes is looked at, as a browser does.
    pub async fn types_and_reads(&mut self, text: &str) -> anyhow::Result<()> {
        self.socket.feed(self.input(text)).await?;
        while tokio::time::timeout(Duration::from_millis(20), self.socket.flush()).await.is_err() {
            self.until_quiet(Duration::from_millis(1)).await?;
        }
        Ok(())
    }

    pub async fn resize(&mut self, cols: u16, rows: u16) -> anyhow::Result<()> {
        let message = if self.binary {
            Message::binary([&[1][..], &cols.to_be_bytes(), &rows.to_be_bytes()].concat())
        } else {
            Message::text(json!({"type": "resize", "cols": cols, "rows": rows}).to_string())
        };
        self.send(message).await
    }

    pub async fn ping(&mut self, id: u64) -> anyhow::Result<()> {
        self.send(Message::text(json!({"type": "ping", "id": id}).to_string())).await
    }

    /// What was shown, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Takes messages until it is so.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + SOON;
        while !holds(self) {
            let more = match tokio::time::timeout_at(deadline, self.step()).await {
                Ok(more) => more?,
                Err(_) => bail!("not in time: {what}; {}", self.last()),
            };
            if !more && !holds(self) {
                bail!("it ended before: {what}; {}", self.last());
            }
        }
        Ok(())
    }

    fn last(&self) -> String {
        let text = self.text();
        let from = text.char_indices().rev().nth(300).map_or(0, |(at, _)| at);
        format!("told {:?}, closed {:?}, shown at last {:?}", self.told, self.closed, &text[from..])
    }

    pub async fn until_shows(&mut self, text: &str) -> anyhow::Result<()> {
        self.until(&format!("{text:?} is shown"), |terminal| terminal.text().contains(text)).await
    }

    /// Takes what comes until nothing came for so long.
    pub async fn until_quiet(&mut self, quiet: Duration) -> anyhow::Result<()> {
        while let Ok(more) = tokio::time::timeout(quiet, self.step()).await {
            if !more? {
                break;
            }
        }
        Ok(())
    }

    /// Runs a command line and answers what it printed.
    pub async fn runs(&mut self, line: &str) -> anyhow::Result<String> {
        let from = self.output.len();
        // what is typed is echoed, so the marks must not stand in it as they are printed
        self.types(&format!("printf 'be''gin\\n'; {line}; printf 'en''d\\n'\r")).await?;
        let shown = |terminal: &Self| String::from_utf8_lossy(&terminal.output[from..]).into_owned();
        self.until(&format!("{line:?} has run"), |terminal| shown(terminal).contains("end\r\n")).await?;
        let shown = shown(self);
        let (_, rest) =
            shown.split_once("begin\r\n").with_context(|| format!("no beginning in {shown:?}"))?;
        let (printed, _) = rest.rsplit_once("end\r\n").context("no end")?;
        Ok(printed.replace("\r\n", "\n"))
    }

    /// Status lines.
    pub fn lines(&self) -> Vec<&str> {
        let lines = self.told.iter().filter(|said| said["type"] == "message");
        lines.filter_map(|said| said["data"].as_str()).collect()
    }

    pub fn newest(&self, kind: &str) -> Option<&Value> {
        self.told.iter().rev().find(|said| said["type"] == kind)
    }

    /// Waits for the typed error and the close after it; answers the error.
    pub async fn fails(&mut self, code: &str, close: u16) -> anyhow::Result<Value> {
        self.until(&format!("it fails with {code}"), |terminal| terminal.closed.is_some()).await?;
        let error = self.newest("error").with_context(|| format!("no typed error; {}", self.last()))?.clone();
        ensure!(error["code"] == code, "expected {code}; {error}");
        ensure!(
            self.closed.as_ref().is_some_and(|(seen, _)| *seen == close),
            "expected {close}; {:?}",
            self.closed
        );
        for field in ["reason", "suggestion"] {
            ensure!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {error}");
        }
        ensure!(error["retryable"].is_boolean(), "{error}");
        Ok(error)
    }

    /// Pulls the plug: no close frame.
    pub fn drop_connection(self) -> anyhow::Result<()> {
        let stream = self.socket.into_inner();
        stream.set_zero_linger()?;
        Ok(())
    }

    /// Says good-bye, as a page does that is closed.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.acknowledges = false;
        self.socket.close(None).await?;
        while self.step().await? {}
        Ok(())
    }
}
