//! How does somebody run a command on servers and hold its results? One request over HTTP, and the batch's own events,
//! which bring the outputs as they come.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use harness::Api;
use serde_json::{Value, json};
use tokio::time::timeout;

/// A batch that has not ended by then never will.
const ENDS_AT_MOST: Duration = Duration::from_secs(120);

/// What everybody runs, and what is in every answer.
pub const COMMAND: &str = "uptime";
pub const SAID: &str = "load average";

pub struct Asking {
    api: Api,
    client: reqwest::Client,
}

impl Asking {
    pub fn of(api: &Api) -> Self {
        Self { api: api.clone(), client: reqwest::Client::new() }
    }

    /// Seconds from the request until the output of the last server is here. Whatever ends otherwise than well is an
    /// error.
    pub async fn run(&self, servers: &[String], at_once: usize) -> anyhow::Result<f64> {
        let began = Instant::now();
        let body = json!({"command": COMMAND, "servers": servers, "concurrency": at_once});
        let begun = self.api.post("/api/commands", &body).await?.expect(202)?;
        let all = self.all_have_ended(begun.text("batch_id")?, servers.len());
        let last = timeout(ENDS_AT_MOST, all).await.context("the batch does not end")??;
        let took = began.elapsed().as_secs_f64();
        self.settled(last).await?;
        Ok(took)
    }

    /// Until the read models have this: what is still to be done is no burden for whoever has the next turn.
    pub async fn settled(&self, sequence: u64) -> anyhow::Result<()> {
        self.api.get(&format!("/api/batches?limit=1&after={sequence}")).await?.expect(200).map(drop)
    }

    /// The sequence of the last result.
    async fn all_have_ended(&self, batch: &str, count: usize) -> anyhow::Result<u64> {
        let mut events = self.events(batch).await?;
        let (mut ended, mut last) = (0, 0);
        while ended < count {
            let event = events.next().await?;
            match event["type"].as_str() {
                Some("CommandCompleted") => {
                    let data = &event["data"];
                    let said = data["stdout"]["text"].as_str().unwrap_or_default();
                    ensure!(data["exit_code"] == 0 && said.contains(SAID), "it went wrong: {data}");
                    ended += 1;
                    last = event["sequence"].as_str().context("no sequence")?.parse()?;
                }
                Some("BatchRequested" | "CommandRequested" | "CommandDispatched") => {}
                _ => bail!("it went wrong: {event}"),
            }
        }
        Ok(last)
    }

    async fn events(&self, batch: &str) -> anyhow::Result<Events> {
        let address = format!("{}/api/batches/{batch}/events", self.api.base());
        let token = self.api.token().context("nobody asks")?;
        let response = self.client.get(address).bearer_auth(token).send().await?.error_for_status()?;
        Ok(Events { response, rest: BytesMut::new() })
    }
}

/// Server-sent events.
struct Events {
    response: reqwest::Response,
    rest: BytesMut,
}

impl Events {
    async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|two| two == b"\n\n") {
                let event = self.rest.split_to(end + 2);
                let data = std::str::from_utf8(&event)?.lines().find_map(|line| line.strip_prefix("data:"));
                match data {
                    Some(data) => return Ok(serde_json::from_str(data)?),
                    // a comment, so that the connection is not taken for dead
                    None => continue,
                }
            }
            let more = self.response.chunk().await?.context("the events end before the batch does")?;
            self.rest.extend_from_slice(&more);
        }
    }
}
