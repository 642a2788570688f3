//! How does a test read server-sent events?

use std::time::Duration;

use harness::Api;
use serde_json::Value;
use tokio::time::Instant;

/// One event as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub id: Option<u64>,
    pub event: Option<String>,
    pub data: Value,
}

pub struct Stream {
    /// What happened up to this sequence was before the stream.
    pub position: Option<u64>,
    response: reqwest::Response,
    text: String,
}

/// Opens a stream; `last` is sent as `Last-Event-ID`.
pub async fn open(api: &Api, path: &str, last: Option<u64>) -> Stream {
    let mut request = reqwest::Client::new().get(format!("{}{path}", api.base()));
    request = request.bearer_auth(api.token().unwrap());
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let position = response.headers().get("portreeve-position");
    let position = position.map(|value| value.to_str().unwrap().parse().unwrap());
    Stream { position, response, text: String::new() }
}

impl Stream {
    /// The next event; `None` at the end or when nothing comes for so long.
    pub async fn next(&mut self, at_most: Duration) -> Option<Seen> {
        let until = Instant::now() + at_most;
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                match parse(&block) {
                    Some(seen) => return Some(seen),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout_at(until, self.response.chunk()).await.ok()?.ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next events, exactly so many.
    pub async fn take(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let next = self.next(Duration::from_secs(10)).await;
            seen.push(next.unwrap_or_else(|| {
                panic!("{count} events; the last of {} was {:?}", seen.len(), seen.last())
            }));
        }
        seen
    }

    /// Everything until nothing comes for so long.
    pub async fn rest(&mut self, quiet: Duration) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(next) = self.next(quiet).await {
            seen.push(next);
        }
        seen
    }
}

fn parse(block: &str) -> Option<Seen> {
    let field = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
    };
    let data = field("data:")?;
    Some(Seen {
        id: field("id:").map(|id| id.parse().unwrap()),
        event: field("event:"),
        data: serde_json::from_str(&data).unwrap(),
    })
}
