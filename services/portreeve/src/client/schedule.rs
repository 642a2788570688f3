//! `portreeve schedule`: what is to be run when, and what became of it?

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::env::{done, show_all, show_as};
use super::http::Http;
use super::run::What;
use super::table::{self, Column};
use super::{ClientError, Target};

const LIST: &[Column] = &[
    ("SCHEDULE", "schedule_id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("CRON", "cron"),
    ("ZONE", "time_zone"),
    ("NEXT", "next_due"),
    ("LAST", "last/due_at"),
    ("OUTCOME", "last/outcome"),
    ("BY", "by"),
    ("COMMAND", "run/command"),
];

const ONE: &[Column] = &[
    ("schedule", "schedule_id"),
    ("name", "name"),
    ("status", "status"),
    ("by", "by"),
    ("at", "at"),
    ("cron", "cron"),
    ("time zone", "time_zone"),
    ("next due", "next_due"),
    ("late at most, s", "late_s_max"),
    ("command", "run/command"),
    ("servers", "run/servers"),
    ("selector", "run/selector"),
    ("time-out, ms", "run/timeout_ms"),
    ("servers at once", "run/concurrency"),
    ("stop after failures", "run/stop_after_failures"),
    ("set", "created_at"),
];

const RUNS: &[Column] = &[
    ("DUE", "due_at"),
    ("TIMES", "count"),
    ("OUTCOME", "outcome"),
    ("BATCH", "batch_id"),
    ("SERVERS", "servers"),
    ("LEFT OUT", "left_out"),
    ("WHY", "why"),
    ("REASON", "reason"),
];

const SAVED: &[Column] = &[("schedule", "schedule_id"), ("next due", "next_due")];

/// Commands that are run at a time, or again and again
#[derive(Debug, clap::Args)]
pub struct ScheduleArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Schedule,
}

#[derive(Debug, clap::Subcommand)]
enum Schedule {
    /// Run a command later, or again and again, in your name
    Add(Box<Add>),
    /// All schedules
    List,
    /// One schedule, with what became of its newest due times
    Show(Named),
    /// Begin nothing of it until it is resumed
    Pause(Named),
    /// Count again, from now on
    Resume(Named),
    /// Remove it; what it began goes on
    Remove(Named),
}

#[derive(Debug, clap::Args)]
struct Add {
    name: String,
    /// Minute, hour, day of the month, month, day of the week: '0 3 * * *'
    #[arg(long, required_unless_present = "at", conflicts_with = "at")]
    cron: Option<String>,
    /// Of whose clocks --cron speaks, like Europe/Berlin; UTC when absent
    #[arg(long, requires = "cron", conflicts_with = "at")]
    time_zone: Option<String>,
    /// Once, then: 2026-01-02T03:04:05Z
    #[arg(long)]
    at: Option<String>,
    /// What is later than so many seconds is not begun any more
    #[arg(long)]
    late_s_max: Option<u64>,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Id or name
    schedule: String,
}

impl ScheduleArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        match self.what {
            Schedule::Add(add) => {
                let body = add.body(&http).await?;
                show_as(&http.write(Method::POST, "/api/schedules", Some(&body)).await?, SAVED, json);
            }
            Schedule::List => show_all(http.all("/api/schedules", &[]).await?, LIST, json),
            Schedule::Show(schedule) => {
                let shown = http.get(&schedule.path(&http).await?, &[]).await?;
                show_as(&shown, ONE, json);
                let runs = shown.get("runs").and_then(Value::as_array);
                if let Some(runs) = runs.filter(|runs| !json && !runs.is_empty()) {
                    table::out("\n");
                    table::print(runs, RUNS);
                }
            }
            Schedule::Pause(schedule) => {
                let path = schedule.path(&http).await?;
                done(
                    &http.write(Method::PATCH, &path, Some(&json!({"paused": true}))).await?,
                    "paused",
                    json,
                );
            }
            Schedule::Resume(schedule) => {
                let path = schedule.path(&http).await?;
                let resumed = http.write(Method::PATCH, &path, Some(&json!({"paused": false}))).await?;
                show_as(&resumed, SAVED, json);
            }
            Schedule::Remove(schedule) => {
                let path = schedule.path(&http).await?;
                done(&http.write(Method::DELETE, &path, None).await?, "removed", json);
            }
        }
        Ok(())
    }
}

impl Add {
    async fn body(&self, http: &Http) -> Result<Value, ClientError> {
        let mut body = Map::from_iter([("name".to_owned(), json!(self.name))]);
        body.insert("run".to_owned(), self.what.body(http).await?);
        let texts = [("cron", &self.cron), ("time_zone", &self.time_zone), ("at", &self.at)];
        body.extend(
            texts
                .into_iter()
                .filter_map(|(field, text)| text.as_ref().map(|text| (field.to_owned(), json!(text)))),
        );
        body.extend(self.late_s_max.map(|late_s| ("late_s_max".to_owned(), json!(late_s))));
        Ok(Value::Object(body))
    }
}

impl Named {
    /// The path of the schedule's resource; a name is looked up.
    async fn path(&self, http: &Http) -> Result<String, ClientError> {
        if self.schedule.starts_with("sch-") {
            return Ok(format!("/api/schedules/{}", self.schedule));
        }
        let all = http.all("/api/schedules", &[]).await?;
        let of_name = all.iter().filter(|schedule| table::cell(schedule, "name") == self.schedule);
        let ids: Vec<String> = of_name.map(|schedule| table::cell(schedule, "schedule_id")).collect();
        let name = self.schedule.clone();
        match ids.as_slice() {
            [id] => Ok(format!("/api/schedules/{id}")),
            [] => Err(ClientError::Name { name, why: "no schedule has it".to_owned() }),
            several => {
                let why = format!("several schedules have it: {}", several.join(", "));
                Err(ClientError::Name { name, why })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        schedule: ScheduleArgs,
    }

    #[test]
    fn a_name_a_time_and_then_the_command() {
        let line = |rest: &[&str]| Line::try_parse_from([&["portreeve"][..], rest].concat());
        let nightly =
            line(&["add", "nightly", "--cron", "0 3 * * *", "-s", "one", "--", "ls", "-l", "--at"]).unwrap();
        let Schedule::Add(add) = nightly.schedule.what else { panic!("add") };
        assert_eq!((add.name.as_str(), add.cron.as_deref()), ("nightly", Some("0 3 * * *")));
        assert!(add.at.is_none());
        for wrong in [
            &["add", "nightly", "-s", "one", "--", "ls"][..],
            &["add", "nightly", "--cron", "x", "--at", "y", "-s", "one", "--", "ls"],
            &["add", "nightly", "--at", "y", "--time-zone", "UTC", "-s", "one", "--", "ls"],
            &["add", "nightly", "--at", "y", "-s", "one"],
        ] {
            assert!(line(wrong).is_err(), "{wrong:?}");
        }
    }
}
