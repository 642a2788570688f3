//! `portreeve run`: one command on many servers, with a bar while it runs and a table of what became of each.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::http::Http;
use super::server::{Named as Server, label};
use super::table::{self, Column};
use super::{ClientError, Target};

/// Between two looks at a batch that runs.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Characters of the bar.
const BAR_WIDTH: usize = 30;
/// Outputs that are fetched for the table.
const OUTPUTS_MAX: usize = 200;

const TABLE: &[Column] = &[
    ("SERVER", "name"),
    ("STATUS", "status"),
    ("CODE", "exit_code"),
    ("CLASS", "class"),
    ("RELAY", "relay_id"),
    ("OUTPUT", "said"),
];

/// Run a command on servers; exit code 0 only if it ended with 0 on all of them
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    target: Target,
    /// A server by id or name; repeatable
    #[arg(long = "server", short = 's', value_name = "SERVER")]
    servers: Vec<String>,
    /// All servers of this zone
    #[arg(long)]
    zone: Option<String>,
    /// All servers of this group
    #[arg(long)]
    group: Option<String>,
    /// All servers with this label, key=value; repeatable
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Seconds for each server
    #[arg(long, default_value_t = 60)]
    timeout_s: u64,
    /// Running it twice does no harm: when a relay is lost, another one gets it
    #[arg(long)]
    idempotent: bool,
    /// Servers at once
    #[arg(long)]
    concurrency: Option<u32>,
    /// Begin no more when so many went wrong
    #[arg(long, value_name = "FAILURES")]
    stop_after: Option<u32>,
    /// Do not wait for what becomes of it
    #[arg(long)]
    no_wait: bool,
    /// The command, as the shell there gets it
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl RunArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let begun = http.write(Method::POST, "/api/commands", Some(&self.body(&http).await?)).await?;
        let id = table::cell(&begun, "batch_id");
        if self.no_wait {
            if self.target.json {
                table::print_json(&begun);
            } else {
                table::out(&format!("{id}\n"));
            }
            return Ok(());
        }
        let batch = wait(&http, &id).await?;
        if self.target.json {
            table::print_json(&batch);
        } else {
            show(&http, &batch).await?;
        }
        let count =
            |name: &str| batch.pointer(&format!("/counts/{name}")).and_then(Value::as_u64).unwrap_or(0);
        let (all, good) = (pick(&batch, "servers"), count("completed") - count("completed_nonzero"));
        if good == all {
            return Ok(());
        }
        let last = format!("did not end with 0 on {} of {all} servers", all - good);
        Err(ClientError::WentWrong { what: format!("batch {id}"), last })
    }

    async fn body(&self, http: &Http) -> Result<Value, ClientError> {
        let mut body = Map::new();
        body.insert("command".to_owned(), json!(self.command.join(" ")));
        body.insert("timeout_ms".to_owned(), json!(self.timeout_s.saturating_mul(1_000)));
        body.insert("idempotent".to_owned(), json!(self.idempotent));
        body.extend(self.concurrency.map(|most| ("concurrency".to_owned(), json!(most))));
        body.extend(self.stop_after.map(|most| ("stop_after_failures".to_owned(), json!(most))));
        let mut selector = Map::new();
        selector.extend(self.zone.as_ref().map(|zone| ("zone".to_owned(), json!(zone))));
        selector.extend(self.group.as_ref().map(|group| ("group".to_owned(), json!(group))));
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(key, value)| (key.clone(), json!(value)));
            selector.insert("labels".to_owned(), Value::Object(labels.collect()));
        }
        match (self.servers.is_empty(), selector.is_empty()) {
            (true, true) => {
                return Err(ClientError::Usage(
                    "on which servers? --server, --zone, --group or --label".to_owned(),
                ));
            }
            (false, false) => {
                return Err(ClientError::Usage("name servers, or select them; not both".to_owned()));
            }
            (true, false) => drop(body.insert("selector".to_owned(), Value::Object(selector))),
            (false, true) => {
                let mut ids = Vec::new();
                for server in &self.servers {
                    ids.push(Server::new(server).id(http).await?);
                }
                body.insert("servers".to_owned(), json!(ids));
            }
        }
        Ok(Value::Object(body))
    }
}

/// The batch once every command has its outcome.
async fn wait(http: &Http, id: &str) -> Result<Value, ClientError> {
    let bar = std::io::stderr().is_terminal();
    loop {
        let batch = http.get(&format!("/api/batches/{id}"), &[]).await?;
        let ended = table::cell(&batch, "status") == "ended";
        if bar {
            progress(&batch, ended);
        }
        if ended {
            return Ok(batch);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn pick(batch: &Value, name: &str) -> u64 {
    batch.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn progress(batch: &Value, ended: bool) {
    let count = |name: &str| batch.pointer(&format!("/counts/{name}")).and_then(Value::as_u64).unwrap_or(0);
    let all = pick(batch, "servers").max(1);
    let done = all.saturating_sub(count("queued") + count("dispatched"));
    let filled = usize::try_from(done * BAR_WIDTH as u64 / all).unwrap_or(0);
    let bar = format!("{}{}", "#".repeat(filled), "-".repeat(BAR_WIDTH - filled));
    let running = count("dispatched");
    let line = format!("\r[{bar}] {done} of {all}, {running} running{}", if ended { "\n" } else { "\x1b[K" });
    let mut stderr = std::io::stderr();
    let _closed = stderr.write_all(line.as_bytes()).and_then(|()| stderr.flush());
}

/// One row a server, with the last line that it said.
async fn show(http: &Http, batch: &Value) -> Result<(), ClientError> {
    let commands = batch.get("commands").and_then(Value::as_array).cloned().unwrap_or_default();
    let names = http.all("/api/servers", &[]).await?;
    let name_of = |id: &str| {
        let named = names.iter().find(|server| table::cell(server, "server_id") == id);
        named.map_or_else(|| id.to_owned(), |server| table::cell(server, "name"))
    };
    let mut rows = Vec::new();
    for (index, mut command) in commands.into_iter().enumerate() {
        if index < OUTPUTS_MAX {
            command =
                http.get(&format!("/api/commands/{}", table::cell(&command, "command_id")), &[]).await?;
        }
        let text =
            |name: &str| command.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let outputs = [text("stdout"), text("stderr"), text("reason")];
        let said = outputs.iter().find(|text| !text.is_empty()).and_then(|text| text.lines().last());
        let (said, name) = (json!(said), json!(name_of(&table::cell(&command, "server_id"))));
        if let Some(row) = command.as_object_mut() {
            row.extend([("said".to_owned(), said), ("name".to_owned(), name)]);
        }
        rows.push(command);
    }
    table::print(&rows, TABLE);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn what_follows_is_the_command() {
        let line = ["portreeve", "-s", "one", "--idempotent", "ls", "-l", "--color", "/"];
        let run = Line::try_parse_from(line).unwrap().run;
        assert_eq!(
            (run.servers, run.command.join(" ")),
            (vec!["one".to_owned()], "ls -l --color /".to_owned())
        );
        assert!(run.idempotent);
        assert!(Line::try_parse_from(["portreeve", "-s", "one"]).is_err(), "nothing to run");
    }
}
