//! How does a test say to a nats-server what no crate of ours would say? By the bare protocol, one request after the
//! other: an intruder needs no client library.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer comes within, or a test waits for nothing.
const ANSWER_AT_MOST: Duration = Duration::from_secs(20);

pub struct BareNats {
    stream: BufReader<TcpStream>,
    requests: u64,
}

impl BareNats {
    pub async fn connect(port: u16, user: &str, password: &str) -> anyhow::Result<Self> {
        let stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        let mut client = Self { stream, requests: 0 };
        client.line().await?; // who the server is
        let who = serde_json::json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "lang": "test", "version": "0", "user": user, "pass": password,
        });
        client.send(format!("CONNECT {who}\r\nPING\r\n").as_bytes()).await?;
        match client.line().await?.as_str() {
            "PONG" => Ok(client),
            refused => bail!("{refused}"),
        }
    }

    /// The payload of the answer.
    pub async fn request(
        &mut self,
        subject: &str,
        headers: &[(String, String)],
        payload: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        self.requests += 1;
        let (number, inbox) = (self.requests, format!("_INBOX.bare.{}", self.requests));
        let mut said = format!("SUB {inbox} {number}\r\nUNSUB {number} 1\r\n").into_bytes();
        if headers.is_empty() {
            said.extend(format!("PUB {subject} {inbox} {}\r\n", payload.len()).as_bytes());
        } else {
            let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = format!("NATS/1.0\r\n{lines}\r\n");
            let total = head.len() + payload.len();
            said.extend(format!("HPUB {subject} {inbox} {} {total}\r\n{head}", head.len()).as_bytes());
        }
        said.extend_from_slice(payload);
        said.extend_from_slice(b"\r\n");
        self.send(&said).await?;
        timeout(ANSWER_AT_MOST, self.answer()).await.with_context(|| format!("no answer to {subject}"))?
    }

    async fn answer(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split(' ').collect();
            let number = |back: usize| -> anyhow::Result<usize> {
                Ok(words.iter().rev().nth(back).context("a length")?.parse()?)
            };
            let (skipped, total) = match words.first() {
                Some(&"MSG") => (0, number(0)?),
                Some(&"HMSG") => (number(1)?, number(0)?),
                Some(&"PING") => {
                    self.send(b"PONG\r\n").await?;
                    continue;
                }
                Some(&"-ERR") => bail!("{line}"),
                _ => continue,
            };
            let mut message = vec![0; total + 2];
            self.stream.read_exact(&mut message).await?;
            return Ok(message.get(skipped..total).unwrap_or_default().to_vec());
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = timeout(ANSWER_AT_MOST, self.stream.read_line(&mut line)).await.context("no line")??;
        if read == 0 {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }

    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(bytes).await?)
    }
}
