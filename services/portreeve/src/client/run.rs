//! `portreeve run`: one command on many servers, with a bar while it runs and a table of what became of each.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::batch::{not_approved, waits};
use super::http::Http;
use super::run_again;
use super::server::{Named as Server, label};
use super::table::{self, Column};
use super::{ClientError, Target};

/// Between two looks at a batch that runs.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A second person has to approve of it first.
const AWAITING: &str = "awaiting_approval";
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

/// Run a command on servers, or once more what a batch ran; exit code 0 only if it ended with 0 on all of them
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    target: Target,
    /// Do not wait for what becomes of it
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    what: What,
}

/// What is run where, now or when a schedule is due.
#[derive(Debug, clap::Args)]
pub struct What {
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
    /// What this batch ran, on its servers and as it was run, but for what is said here
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["servers", "zone", "group", "labels", "command"])]
    again: Option<String>,
    /// Only where it did not end with 0
    #[arg(long, requires = "again", conflicts_with_all = ["servers", "zone", "group", "labels", "command"])]
    failed: bool,
    /// Seconds for each server; 60 when nothing is said
    #[arg(long)]
    timeout_s: Option<u64>,
    /// Running it twice does no harm: when a relay is lost, another one gets it
    #[arg(long)]
    idempotent: bool,
    /// Servers at once
    #[arg(long)]
    concurrency: Option<u32>,
    /// Begin no more when so many went wrong
    #[arg(long, value_name = "FAILURES")]
    stop_after: Option<u32>,
    /// Seconds that another operator or admin may take to approve, where the command is marked dangerous
    #[arg(long, value_name = "SECONDS")]
    approve_within_s: Option<u64>,
    /// The command, as the shell there gets it
    #[arg(required_unless_present = "again", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl RunArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let begun = http.write(Method::POST, "/api/commands", Some(&self.what.body(&http).await?)).await?;
        let id = table::cell(&begun, "batch_id");
        if table::cell(&begun, "status") == AWAITING {
            eprintln!("{}", waits(&begun));
        }
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
        let last = not_approved(&batch)
            .unwrap_or_else(|| format!("did not end with 0 on {} of {all} servers", all - good));
        Err(ClientError::WentWrong { what: format!("batch {id}"), last })
    }
}

impl What {
    /// As `POST /api/commands` takes it; names are looked up.
    pub async fn body(&self, http: &Http) -> Result<Value, ClientError> {
        let mut body = match &self.again {
            Some(batch) => run_again::body(http, batch, self.failed).await?,
            None => self.asked(http).await?,
        };
        let timeout_ms = self.timeout_s.map(|timeout_s| timeout_s.saturating_mul(1_000));
        body.extend(timeout_ms.map(|timeout_ms| ("timeout_ms".to_owned(), json!(timeout_ms))));
        body.extend(self.idempotent.then(|| ("idempotent".to_owned(), json!(true))));
        body.extend(self.concurrency.map(|most| ("concurrency".to_owned(), json!(most))));
        body.extend(self.stop_after.map(|most| ("stop_after_failures".to_owned(), json!(most))));
        body.extend(self.approve_within_s.map(|seconds| ("approve_within_s".to_owned(), json!(seconds))));
        Ok(Value::Object(body))
    }

    /// Command and servers as they were typed.
    async fn asked(&self, http: &Http) -> Result<Map<String, Value>, ClientError> {
        let mut body = Map::from_iter([("command".to_owned(), json!(self.command.join(" ")))]);
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
        Ok(body)
    }
}

/// The batch once every command has its outcome.
async fn wait(http: &Http, id: &str) -> Result<Value, ClientError> {
    let (bar, path) = (std::io::stderr().is_terminal(), format!("/api/batches/{id}"));
    loop {
        // the counts say how far it is
        let mut batch = http.get(&path, &[("limit", "1".to_owned())]).await?;
        let status = table::cell(&batch, "status");
        let ended = status == "ended";
        if bar && status != AWAITING {
            progress(&batch, ended);
        }
        if ended {
            let commands = http.all(&format!("{path}/commands"), &[]).await?;
            if let Some(batch) = batch.as_object_mut() {
                batch.insert("commands".to_owned(), json!(commands));
                batch.insert("next_cursor".to_owned(), Value::Null);
            }
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
    let done = all.saturating_sub(count("awaiting_approval") + count("queued") + count("dispatched"));
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
            (run.what.servers, run.what.command.join(" ")),
            (vec!["one".to_owned()], "ls -l --color /".to_owned())
        );
        assert!(run.what.idempotent);
        assert!(Line::try_parse_from(["portreeve", "-s", "one"]).is_err(), "nothing to run");
    }

    #[test]
    fn again_takes_the_place_of_servers_and_command() {
        let parsed = |line: &str| Line::try_parse_from(["portreeve"].into_iter().chain(line.split(' ')));
        let run = parsed("--again bat-abcdefghijkl --failed --timeout-s 5").unwrap().run;
        assert_eq!(
            (run.what.again.as_deref(), run.what.failed, run.what.timeout_s),
            (Some("bat-abcdefghijkl"), true, Some(5))
        );
        for wrong in ["--again bat-a -s one", "--again bat-a uptime", "--failed -s one uptime"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
