//! `portreeve events`: what happens, as it happens, and how does it read? `tap` reconnects where it left off; `schema`
//! and `asyncapi` ask nobody.

use std::time::Duration;

use ::events::{asyncapi, schema};
use futures_util::StreamExt;
use serde_json::Value;

use super::http::Http;
use super::nats_tap::NatsTap;
use super::sse::{Parser, SseEvent};
use super::{ClientError, Target, table};

/// Lost connections in a row after which the tap ends.
const RECONNECTS_MAX: u32 = 30;
const RECONNECT_AFTER_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_AFTER_MAX: Duration = Duration::from_secs(5);

/// The server's last word on a stream: `{code, detail}`.
const END: &str = "end";
/// Ends after which asking again helps: the reader was too slow, the server is ending.
const PASSING: [&str; 2] = ["too_slow", "closing"];

/// The event stream
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Events,
}

#[derive(Debug, clap::Subcommand)]
enum Events {
    /// Print events as they happen, one a line, until Ctrl-C
    Tap(TapArgs),
    /// Print the JSON Schema of an event's data, or all of them by their names
    Schema {
        /// Type, or type and version: EnvRequested, EnvRequested.v1; CloudEvent is the envelope
        #[arg(value_name = "TYPE")]
        asked: Option<String>,
    },
    /// Print the AsyncAPI document of the event streams
    Asyncapi,
    /// Let programs follow the events by NATS itself
    NatsTap {
        #[command(subcommand)]
        what: NatsTap,
    },
}

#[derive(Debug, clap::Args)]
struct TapArgs {
    /// The first sequence or time (RFC 3339) wanted; only what is new if not given
    #[arg(long)]
    from: Option<String>,
    /// Only events of this type, for example EnvRequested
    #[arg(long = "type")]
    types: Vec<String>,
    /// Only events of this kind of aggregate, for example env
    #[arg(long)]
    kind: Vec<String>,
    /// Only events of this aggregate
    #[arg(long)]
    id: Option<String>,
    /// End after so many events
    #[arg(long)]
    count: Option<u64>,
}

impl EventsArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let document = match self.what {
            Events::Tap(tap) => return tap.run(&self.target.connect()?, self.target.json).await,
            Events::NatsTap { what } => return what.run(&self.target.connect()?, self.target.json).await,
            Events::Schema { asked: Some(asked) } => schema::find(&asked).ok_or_else(|| {
                let all = "`portreeve events schema` prints all that are written";
                ClientError::Usage(format!("there is no event type {asked:?} to show: {all}"))
            })?,
            Events::Schema { asked: None } => Value::from_iter(schema::all()),
            Events::Asyncapi => asyncapi::document(),
        };
        table::print_json(&document);
        Ok(())
    }
}

impl TapArgs {
    async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        let mut last_id: Option<String> = None;
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut failures = 0;
        while left > 0 {
            let seen_before = last_id.clone();
            match self.connection(http, json, &mut last_id, &mut left).await {
                // Refused is refused, however often it is asked.
                Err(error @ (ClientError::Refused(_) | ClientError::StreamEnded { .. })) => {
                    return Err(error);
                }
                Err(error) if failures >= RECONNECTS_MAX => return Err(error),
                Ok(()) | Err(_) => {}
            }
            failures = if last_id == seen_before { failures + 1 } else { 0 };
            if left > 0 {
                let pause = RECONNECT_AFTER_MAX.min(RECONNECT_AFTER_FIRST * (1 << failures.min(5)));
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    /// Prints until the connection ends.
    async fn connection(
        &self,
        http: &Http,
        json: bool,
        last_id: &mut Option<String>,
        left: &mut u64,
    ) -> Result<(), ClientError> {
        let path = "/api/events";
        let response = http.stream(path, &self.query(last_id.is_some()), last_id.as_deref()).await?;
        let mut parser = Parser::default();
        let mut bytes = response.bytes_stream();
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk.map_err(|error| http.unreadable(path, &error.to_string()))?;
            let events = parser.feed(&chunk).map_err(|error| http.unreadable(path, &error.to_string()))?;
            for event in events {
                if event.event.as_deref() == Some(END) {
                    return end(&event);
                }
                print(&event, json);
                *last_id = event.id.or(last_id.take());
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn query(&self, resumes: bool) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        // After a reconnection Last-Event-ID says where to go on.
        query.extend(self.from.clone().filter(|_| !resumes).map(|from| ("from", from)));
        query.extend(self.id.clone().map(|id| ("id", id)));
        for (name, values) in [("type", &self.types), ("kind", &self.kind)] {
            if !values.is_empty() {
                query.push((name, values.join(",")));
            }
        }
        query
    }
}

fn end(event: &SseEvent) -> Result<(), ClientError> {
    let said: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let (code, detail) = (table::cell(&said, "code"), table::cell(&said, "detail"));
    if PASSING.contains(&code.as_str()) {
        eprintln!("note: {detail}; connecting again");
        return Ok(());
    }
    Err(ClientError::StreamEnded { code, detail })
}

fn print(event: &SseEvent, json: bool) {
    let parsed: Option<Value> = serde_json::from_str(&event.data).ok();
    match parsed {
        Some(value) if !json => {
            let cell = |pointer| table::cell(&value, pointer);
            let sequence = event.id.as_deref().unwrap_or("-");
            table::out(&format!(
                "{sequence:>8}  {}  {:<20}  {}  {}  {}\n",
                cell("time"),
                cell("type"),
                cell("subject"),
                cell("actor"),
                cell("data"),
            ));
        }
        Some(_) | None => table::out(&format!("{}\n", event.data.replace('\n', " "))),
    }
}
