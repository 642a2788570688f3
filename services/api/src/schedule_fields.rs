//! What does somebody say of a schedule? The fields of a new one and of a change, with their limits.

use chrono::{DateTime, SubsecRound, Utc};
use events::schedule::{Run, ScheduleSet, When};
use serde_json::Value;
use utoipa::ToSchema;

use crate::command_fields::{self, AskedShape as RunShape};
use crate::fields::{self, Fields, Wrong};
use crate::problem::Problem;
use crate::readers;

/// Seconds that something may be late: to a day; ten minutes when nothing is said.
const LATE_S: (u64, u64) = (1, 24 * 3_600);
const LATE_S_DEFAULT: u64 = 600;
const UTC: &str = "UTC";

/// What is to be run, and when. Of `at` and `cron` there is one.
#[derive(ToSchema)]
#[schema(as = ScheduleAsked, example = json!({
    "name": "nightly", "run": {"command": "apt-get -y upgrade", "selector": {"group": "web"}},
    "cron": "0 3 * * *", "time_zone": "Europe/Berlin",
}))]
#[allow(dead_code)] // a description; what is read becomes a `ScheduleSet`
pub struct AskedShape {
    /// Any text of 1 to 63 characters; not unique.
    name: String,
    /// As `POST /api/commands` takes it.
    run: RunShape,
    /// Once, then.
    at: Option<DateTime<Utc>>,
    /// Minute, hour, day of the month, month, day of the week.
    #[schema(example = "0 3 * * *")]
    cron: Option<String>,
    /// IANA name of the clocks that `cron` speaks of; `UTC` when absent.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// What is later than that is not begun any more, 1 to 86400 seconds; 600 when absent.
    late_s_max: Option<u64>,
}

/// What changes of a schedule; what is left out stays.
#[derive(ToSchema)]
#[schema(as = ScheduleChange, example = json!({"paused": true}))]
#[allow(dead_code)] // a description; what is read becomes a `Change`
pub struct ChangeShape {
    /// Any text of 1 to 63 characters; not unique.
    name: Option<String>,
    /// All of it.
    run: Option<RunShape>,
    at: Option<DateTime<Utc>>,
    cron: Option<String>,
    /// Goes with `cron`.
    time_zone: Option<String>,
    late_s_max: Option<u64>,
    /// `true`: nothing is begun until it is `false` again. What was due meanwhile is not made up for.
    paused: Option<bool>,
}

/// What was read of a new one.
pub struct Asked {
    pub name: String,
    pub run: Run,
    pub when: When,
    pub late_s_max: u64,
}

/// What was read of a change.
pub struct Change {
    pub name: Option<String>,
    pub run: Option<Run>,
    pub when: Option<When>,
    pub late_s_max: Option<u64>,
    pub paused: Option<bool>,
}

impl Change {
    /// Something other than the pause changes.
    pub fn sets(&self) -> bool {
        self.name.is_some() || self.run.is_some() || self.when.is_some() || self.late_s_max.is_some()
    }

    /// What is set then; by `actor`, by whose rights it runs from now on.
    pub fn of(&self, before: &ScheduleSet, actor: &str, now: DateTime<Utc>) -> ScheduleSet {
        ScheduleSet {
            name: self.name.clone().unwrap_or_else(|| before.name.clone()),
            run: self.run.clone().unwrap_or_else(|| before.run.clone()),
            when: self.when.clone().unwrap_or_else(|| before.when.clone()),
            late_s_max: self.late_s_max.unwrap_or(before.late_s_max),
            by: before.by.clone(),
            actor: actor.to_owned(),
            since: now,
        }
    }
}

pub fn asked(body: &Value, now: DateTime<Utc>) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::label);
    let run = fields.object("run", true, command_fields::run);
    let when = when(&mut fields, now);
    if !fields.has("at") && !fields.has("cron") && fields.is_object() {
        fields.note("cron", Wrong::new("missing", "is required, or a time in at"));
    }
    let late_s_max = fields.optional("late_s_max", fields::whole(LATE_S.0, LATE_S.1));
    let asked = match (name, run, when) {
        (Some(name), Some(run), Some(when)) => {
            Some(Asked { name, run, when, late_s_max: late_s_max.unwrap_or(LATE_S_DEFAULT) })
        }
        (_, _, _) => None,
    };
    fields.finish(asked)
}

pub fn change(body: &Value, now: DateTime<Utc>) -> Result<Change, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.optional("name", readers::label);
    let run = fields.object("run", false, command_fields::run);
    let when = when(&mut fields, now);
    let late_s_max = fields.optional("late_s_max", fields::whole(LATE_S.0, LATE_S.1));
    let paused = fields.optional("paused", fields::boolean);
    fields.finish(Some(Change { name, run, when, late_s_max, paused }))
}

/// One of the two, if anything is said of it.
fn when(fields: &mut Fields<'_>, now: DateTime<Utc>) -> Option<When> {
    let at = fields.optional("at", |value| time_to_come(value, now));
    let cron = fields.optional("cron", text(When::cron_fields));
    let time_zone = fields.optional("time_zone", text(When::time_zone));
    let has_zone = fields.has("time_zone");
    if fields.has("at") && fields.has("cron") {
        fields.note("cron", Wrong::new("unknown", "a time is named already; send one of the two"));
        return None;
    }
    if has_zone && !fields.has("cron") {
        fields.note("time_zone", Wrong::new("unknown", "goes with cron, which is absent"));
        return None;
    }
    if let Some(at) = at {
        return Some(When::At(at));
    }
    if has_zone && time_zone.is_none() {
        return None;
    }
    let when = When::Cron { fields: cron?, time_zone: time_zone.unwrap_or_else(|| UTC.to_owned()) };
    if when.after(now).next().is_none() {
        fields.note("cron", Wrong::new("out_of_range", "is never due"));
        return None;
    }
    Some(when)
}

fn time_to_come(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|_| Wrong::new("malformed", "must be a time like 2026-01-02T03:04:05Z"))?
        .to_utc()
        .trunc_subsecs(3);
    if time > now { Ok(time) } else { Err(Wrong::new("out_of_range", "must be a time to come")) }
}

/// What `read` makes of a text, or what is wrong with it.
fn text<E: std::error::Error>(
    read: impl FnOnce(&str) -> Result<String, E>,
) -> impl FnOnce(&Value) -> Result<String, Wrong> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
        read(text).map_err(|error| Wrong::new("malformed", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn body(more: Value) -> Value {
        let mut body = json!({"name": "one", "run": {"command": "true", "servers": ["srv-abcdefghijkl"]}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    fn wrong(body: &Value) -> Vec<(String, &'static str, String)> {
        let named = |problem: Problem| {
            let errors = problem.errors().iter();
            errors.map(|error| (error.field.clone(), error.code, error.detail.clone())).collect()
        };
        asked(body, now()).err().map(named).unwrap_or_default()
    }

    #[test]
    fn each_wrong_field_is_named_with_what_is_wrong() {
        assert_eq!(wrong(&body(json!({"cron": "0 3 * * *"}))), []);
        assert_eq!(wrong(&body(json!({"at": "2026-01-02T03:04:05+01:00"}))), []);
        let cases = [
            (json!({}), "cron", "missing", "or a time in at"),
            (json!({"cron": "0 3 * *"}), "cron", "malformed", "not 4"),
            (json!({"cron": "0 25 * * *"}), "cron", "malformed", "the hour \"25\""),
            (json!({"cron": "0 0 31 2 *"}), "cron", "out_of_range", "never due"),
            (json!({"cron": 5}), "cron", "wrong_type", "a string"),
            (json!({"cron": "* * * * *", "at": "2026-01-02T03:04:05Z"}), "cron", "unknown", "one of the two"),
            (json!({"cron": "* * * * *", "time_zone": "Berlin"}), "time_zone", "malformed", "IANA"),
            (json!({"at": "2026-01-02T03:04:05Z", "time_zone": "UTC"}), "time_zone", "unknown", "cron"),
            (json!({"at": "tomorrow"}), "at", "malformed", "2026-01-02T03:04:05Z"),
            (json!({"at": "2020-01-02T03:04:05Z"}), "at", "out_of_range", "to come"),
            (json!({"cron": "* * * * *", "late_s_max": 0}), "late_s_max", "out_of_range", "86400"),
            (json!({"cron": "* * * * *", "run": {"command": "a"}}), "run.servers", "missing", "selector"),
            (json!({"cron": "* * * * *", "run": null}), "run", "missing", "required"),
            (json!({"cron": "* * * * *", "paused": true}), "paused", "unknown", "no such field"),
        ];
        for (more, field, code, detail) in cases {
            let found = wrong(&body(more.clone()));
            let [(named, coded, said)] = found.as_slice() else { panic!("{more}: {found:?}") };
            assert_eq!((named.as_str(), *coded), (field, code), "{more}");
            assert!(said.contains(detail), "{more}: {said}");
        }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let asked = asked(&body(json!({"cron": "0 3 * * *", "time_zone": "Asia/Shanghai"})), now()).unwrap();
        let before = ScheduleSet {
            name: asked.name,
            run: asked.run,
            when: asked.when,
            late_s_max: asked.late_s_max,
            by: "alice".parse().unwrap(),
            actor: "user:alice".into(),
            since: now(),
        };
        let named = change(&json!({"name": "other"}), now()).unwrap();
        assert!(named.sets() && named.paused.is_none());
        let after = named.of(&before, "user:alice", now());
        assert_eq!(after, ScheduleSet { name: "other".into(), ..before.clone() });
        let moved = change(&json!({"cron": "0 4 * * *"}), now()).unwrap().of(&before, "user:alice", now());
        assert_eq!(moved.when, When::Cron { fields: "0 4 * * *".into(), time_zone: "UTC".into() });
        assert!(!change(&json!({"paused": true}), now()).unwrap().sets());
        assert!(change(&json!({"time_zone": "UTC"}), now()).is_err(), "without the fields");
    }
}
