//! `portreeve audit replay|diff|explain|timeline`: what was, what changed since, and why?

use chrono::{DateTime, Local, NaiveTime, SecondsFormat, Utc};
use serde_json::Value;

use super::env::items;
use super::table::{self, Column, cell};
use super::{ClientError, Target};

const ENVIRONMENTS: &[Column] = &[
    ("ENVIRONMENT", "env_id"),
    ("NAME", "name"),
    ("TENANT", "tenant_id"),
    ("OWNER", "owner"),
    ("STATUS", "status"),
    ("PORT", "ssh_port"),
    ("SINCE", "updated_at"),
];
const PORTS: &[Column] = &[
    ("PORT", "port"),
    ("ENVIRONMENT", "env_id"),
    ("TENANT", "tenant_id"),
    ("PURPOSE", "purpose"),
    ("SINCE", "allocated_at"),
];
const SESSIONS: &[Column] = &[
    ("SESSION", "session_id"),
    ("ENVIRONMENT", "env_id"),
    ("SERVER", "server_id"),
    ("USER", "user"),
    ("ADDRESS", "ip"),
    ("ENTRANCE", "entrance"),
    ("SINCE", "opened_at"),
];
const SERVERS: &[Column] = &[
    ("SERVER", "server_id"),
    ("NAME", "name"),
    ("TENANT", "tenant_id"),
    ("HOST", "host"),
    ("PORT", "port"),
    ("SINCE", "updated_at"),
];
const QUOTAS: &[Column] =
    &[("TENANT", "tenant_id"), ("NAME", "name"), ("USED", "used"), ("LIMITS", "limits")];
const RELAYS: &[Column] = &[
    ("RELAY", "relay_id"),
    ("NAME", "name"),
    ("TENANT", "tenant_id"),
    ("ZONE", "zone"),
    ("CONNECTED", "connected"),
    ("SINCE", "changed_at"),
    ("NOW", "in_flight"),
];
const SCHEDULES: &[Column] = &[
    ("SCHEDULE", "schedule_id"),
    ("NAME", "name"),
    ("TENANT", "tenant_id"),
    ("BY", "by"),
    ("STATUS", "status"),
    ("NEXT", "next_due"),
];
const BATCHES: &[Column] = &[
    ("BATCH", "batch_id"),
    ("TENANT", "tenant_id"),
    ("STATUS", "status"),
    ("BY", "by"),
    ("SERVERS", "servers"),
    ("BEGUN", "created_at"),
    ("COMMAND", "command"),
];
/// Of a replay, what is shown under which heading.
const PARTS: &[(&str, &str, &[Column])] = &[
    ("environments", "Environments", ENVIRONMENTS),
    ("ports", "Ports held", PORTS),
    ("sessions", "Sessions open", SESSIONS),
    ("servers", "Servers", SERVERS),
    ("quotas", "Quotas", QUOTAS),
    ("relays", "Relays", RELAYS),
    ("schedules", "Schedules", SCHEDULES),
    ("batches", "Batches", BATCHES),
];
const DIFFERENCES: &[Column] =
    &[("WHAT", "what"), ("ID", "id"), ("TENANT", "tenant_id"), ("CHANGE", "change"), ("FIELDS", "fields")];
const EVENTS: &[Column] = &[
    ("SEQ", "seq"),
    ("TIME", "time"),
    ("ACTOR", "actor"),
    ("EVENT", "type"),
    ("ID", "aggregate_id"),
    ("EVENT ID", "event_id"),
];

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// A sequence, an RFC 3339 time, or a time of today like 14:05
    #[arg(long, value_parser = instant)]
    at: String,
    /// Only the environment that held this port
    #[arg(long)]
    port: Option<u16>,
    /// Only this environment
    #[arg(long)]
    env: Option<String>,
    /// Of each part
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// A sequence, an RFC 3339 time, or a time of today like 14:05
    #[arg(long, value_parser = instant)]
    from: String,
    /// Likewise; now when left out
    #[arg(long, value_parser = instant)]
    to: Option<String>,
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// The page after this one, as the last page's next_cursor says
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The event's id, or its sequence
    event: String,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// Of an environment
    #[arg(long)]
    env: Option<String>,
    /// Of a person
    #[arg(long)]
    user: Option<String>,
    /// Of a server
    #[arg(long)]
    server: Option<String>,
    /// Of an address
    #[arg(long)]
    address: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct TimelineArgs {
    #[command(flatten)]
    of: Subject,
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// The page after this one, as the last page's next_cursor says
    #[arg(long)]
    cursor: Option<String>,
}

/// A time of today is one of this machine's clock; everything else is the server's to read.
pub fn instant(text: &str) -> Result<String, String> {
    let at = ["%H:%M", "%H:%M:%S"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok());
    let Some(at) = at else { return Ok(text.to_owned()) };
    let today = Local::now().date_naive().and_time(at).and_local_timezone(Local).earliest();
    let time: DateTime<Utc> = today.ok_or("there is no such time today")?.to_utc();
    Ok(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

pub fn given(pairs: Vec<(&'static str, Option<String>)>) -> Vec<(&'static str, String)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

impl ReplayArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        let query = given(vec![
            ("at", Some(self.at)),
            ("port", self.port.map(|port| port.to_string())),
            ("env", self.env),
            ("limit", Some(self.limit.to_string())),
        ]);
        let then = target.connect()?.get("/api/audit/replay", &query).await?;
        if target.json {
            table::print_json(&then);
            return Ok(());
        }
        table::out(&format!("after event {} of {}\n", cell(&then, "position"), cell(&then, "time")));
        for (part, heading, columns) in PARTS {
            let page = then.get(*part).unwrap_or(&Value::Null);
            let rows = items(page);
            // narrowed to an environment, the rest is not told
            if rows.is_empty() && (self.port.is_some() || query.iter().any(|(name, _)| *name == "env")) {
                continue;
            }
            table::out(&format!("\n{heading}\n"));
            table::print(&rows, columns);
            if page.get("next_cursor").is_some_and(|cursor| !cursor.is_null()) {
                table::out("and more: ask with a larger --limit\n");
            }
        }
        if self.port.is_some() && items(then.get("ports").unwrap_or(&Value::Null)).is_empty() {
            table::out("nobody held the port\n");
        }
        Ok(())
    }
}

impl DiffArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        let query = given(vec![
            ("from", Some(self.from)),
            ("to", self.to),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor),
        ]);
        let found = target.connect()?.get("/api/audit/diff", &query).await?;
        if target.json {
            table::print_json(&found);
            return Ok(());
        }
        let (from, to) = (cell(&found, "from"), cell(&found, "to"));
        table::out(&format!("after event {from} up to event {to}: {}\n", cell(&found, "count")));
        table::print(&items(&found), DIFFERENCES);
        more(&found);
        Ok(())
    }
}

impl ExplainArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        let path = format!("/api/audit/explain/{}", self.event);
        let said = target.connect()?.get(&path, &[]).await?;
        if target.json {
            table::print_json(&said);
            return Ok(());
        }
        let list = |name: &str| said.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        table::out("The event\n");
        table::print(&[said.get("event").cloned().unwrap_or_default()], EVENTS);
        table::out(&format!("\nThe rule {}: {}\n", cell(&said, "rule/file"), cell(&said, "rule/what")));
        table::out(&format!("decided again: {}\n", cell(&said, "rule/again/outcome")));
        table::out("\nCaused by\n");
        table::print(&list("causes"), EVENTS);
        table::out("\nIts consequences\n");
        table::print(&list("consequences"), EVENTS);
        table::out("\nEverything that the request set in motion\n");
        table::print(&list("request"), EVENTS);
        Ok(())
    }
}

impl TimelineArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        let query = given(vec![
            ("env", self.of.env),
            ("user", self.of.user),
            ("server", self.of.server),
            ("address", self.of.address),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor),
        ]);
        let page = target.connect()?.get("/api/audit/timeline", &query).await?;
        if target.json {
            table::print_json(&page);
            return Ok(());
        }
        table::print(&items(&page), EVENTS);
        more(&page);
        Ok(())
    }
}

fn more(page: &Value) {
    if let Some(cursor) = page.get("next_cursor").and_then(Value::as_str) {
        table::out(&format!("and more: --cursor {cursor}\n"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_time_of_today_becomes_an_instant() {
        let noon = instant("12:00").unwrap();
        let noon = DateTime::parse_from_rfc3339(&noon).unwrap().with_timezone(&Local);
        assert_eq!(noon.date_naive(), Local::now().date_naive());
        assert_eq!(noon.time(), NaiveTime::from_hms_opt(12, 0, 0).unwrap());
        assert_eq!(instant("17"), Ok("17".to_owned()));
        assert_eq!(instant("2026-01-02T03:04:05Z"), Ok("2026-01-02T03:04:05Z".to_owned()));
    }
}
