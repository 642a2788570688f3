//! `portreeve audit what-if`: what would another policy have decided?

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::audit_time::instant;
use super::env::items;
use super::table::{self, Column, cell};
use super::{ClientError, Target};

const DIFFERENCES: &[Column] = &[
    ("SEQ", "sequence"),
    ("TIME", "time"),
    ("EVENT", "type"),
    ("ID", "id"),
    ("ADDRESS", "address"),
    ("ACTOR", "actor"),
    ("WAS", "was"),
    ("WOULD BE", "would_be"),
    ("WHY", "reason"),
];

#[derive(Debug, clap::Args)]
pub struct WhatIfArgs {
    /// A sequence, an RFC 3339 time, or a time of today like 14:05
    #[arg(long, value_parser = instant)]
    from: String,
    /// Likewise; now when left out
    #[arg(long, value_parser = instant)]
    to: Option<String>,
    #[command(flatten)]
    lockout: Lockout,
    /// Whose quota it is; with --allow and without --env also whose allow-list
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    quota: Quota,
    /// Whose allow-list it is
    #[arg(long, requires = "allow")]
    env: Option<String>,
    /// A range or an address that may come in; repeatable
    #[arg(long, value_name = "RANGE")]
    allow: Vec<String>,
}

/// When an address is closed; what is not given is as it is.
#[derive(Debug, clap::Args)]
struct Lockout {
    /// So many failed passwords close an address
    #[arg(long)]
    failures: Option<u32>,
    /// Failures that old count, like 90s, 30m, 2h or 1d
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    window: Option<u64>,
    /// It stays closed for so long
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    locked: Option<u64>,
}

/// Each a maximum over all environments of the tenant; what is not given is unlimited.
#[derive(Debug, clap::Args)]
struct Quota {
    #[arg(long = "quota-environments", value_name = "NUMBER", requires = "tenant")]
    environments: Option<u32>,
    /// Cores
    #[arg(long = "quota-cpu", value_name = "CORES", requires = "tenant")]
    cpu: Option<f64>,
    /// GiB
    #[arg(long = "quota-memory", value_name = "GIB", requires = "tenant")]
    memory: Option<f64>,
    #[arg(long = "quota-gpu", value_name = "NUMBER", requires = "tenant")]
    gpu: Option<u32>,
    /// GiB
    #[arg(long = "quota-storage", value_name = "GIB", requires = "tenant")]
    storage: Option<f64>,
}

/// A span as seconds; without a unit it is in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 24 * 3_600)];
    let in_unit = |(unit, factor): (char, u64)| Some((text.strip_suffix(unit)?, factor));
    let (number, factor) = units.into_iter().find_map(in_unit).unwrap_or((text, 1));
    let span = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    span.ok_or_else(|| "write it as 90s, 30m, 2h or 1d".to_owned())
}

fn given(members: Vec<(&str, Option<Value>)>) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

impl WhatIfArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        let body = self.body()?;
        let found = target.connect()?.write(Method::POST, "/api/audit/what-if", Some(&body)).await?;
        if target.json {
            table::print_json(&found);
            return Ok(());
        }
        let number = |name| cell(&found, name);
        table::out(&format!(
            "events {} to {}: {} decisions, {} would have been others\n",
            number("from_sequence"),
            number("to_sequence"),
            number("decided"),
            number("differing")
        ));
        let rows: Vec<Value> = items(&found).into_iter().map(told).collect();
        table::print(&rows, DIFFERENCES);
        if found.get("truncated") == Some(&Value::Bool(true)) {
            table::out(&format!("the first {} are shown: ask about a shorter period\n", rows.len()));
        }
        Ok(())
    }

    fn body(self) -> Result<Value, ClientError> {
        let Self { from, to, lockout, tenant, quota, env, allow } = self;
        let lockout = given(vec![
            ("failures", lockout.failures.map(|most| json!(most))),
            ("window_s", lockout.window.map(|span| json!(span))),
            ("locked_s", lockout.locked.map(|span| json!(span))),
        ]);
        let mut limits = given(vec![
            ("environments", quota.environments.map(|most| json!(most))),
            ("cpu", quota.cpu.map(|most| json!(most))),
            ("memory", quota.memory.map(|most| json!(most))),
            ("gpu", quota.gpu.map(|most| json!(most))),
            ("storage", quota.storage.map(|most| json!(most))),
        ]);
        let mut policy = Map::new();
        if !lockout.is_empty() {
            policy.insert("lockout".to_owned(), Value::Object(lockout));
        }
        if !limits.is_empty() {
            limits.insert("tenant_id".to_owned(), json!(tenant));
            policy.insert("quota".to_owned(), Value::Object(limits));
        }
        if !allow.is_empty() {
            let whose = match (env, tenant) {
                (Some(env), _) => ("env_id", json!(env)),
                (None, Some(tenant)) => ("tenant_id", json!(tenant)),
                (None, None) => {
                    return Err(usage("--allow needs --env or --tenant: whose allow-list is it?"));
                }
            };
            let list = given(vec![(whose.0, Some(whose.1)), ("ranges", Some(json!(allow)))]);
            policy.insert("allow_list".to_owned(), Value::Object(list));
        }
        if policy.is_empty() {
            return Err(usage("give another --failures, --window, --locked, --quota-* or --allow"));
        }
        let mut body = given(vec![("from", Some(json!(from))), ("to", to.map(|to| json!(to)))]);
        body.insert("policy".to_owned(), Value::Object(policy));
        Ok(Value::Object(body))
    }
}

fn usage(text: &str) -> ClientError {
    ClientError::Usage(text.to_owned())
}

/// A difference with its outcomes in words.
fn told(mut item: Value) -> Value {
    for name in ["was", "would_be"] {
        let outcome = item.get(name).cloned().unwrap_or_default();
        let what = cell(&outcome, "outcome").replace('_', " ");
        let text = match (outcome.get("code"), outcome.get("until"), outcome.get("times")) {
            (Some(_), _, _) => format!("{what}: {}", cell(&outcome, "code")),
            (_, Some(_), _) => format!("{what} until {}", cell(&outcome, "until")),
            (_, _, Some(_)) => format!("{what} {} times", cell(&outcome, "times")),
            (None, None, None) => what,
        };
        if let Some(fields) = item.as_object_mut() {
            fields.insert(name.to_owned(), Value::String(text));
        }
    }
    item
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        what_if: WhatIfArgs,
    }

    fn body(rest: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from([&["portreeve", "--from", "7"][..], rest].concat());
        let args = line.map_err(|error| error.to_string())?.what_if;
        args.body().map_err(|error| error.to_string())
    }

    #[test]
    fn each_part_of_the_policy_is_said_when_it_is_given() {
        let lockout = body(&["--failures", "3", "--window", "30m", "--locked", "2h", "--to", "9"]).unwrap();
        let policy = json!({"lockout": {"failures": 3, "window_s": 1_800, "locked_s": 7_200}});
        assert_eq!(lockout, json!({"from": "7", "to": "9", "policy": policy}));
        let both = ["--tenant", "acme", "--quota-cpu", "1.5", "--allow", "10.0.0.0/8", "--allow", "::1"];
        let policy = json!({
            "quota": {"tenant_id": "acme", "cpu": 1.5},
            "allow_list": {"tenant_id": "acme", "ranges": ["10.0.0.0/8", "::1"]},
        });
        assert_eq!(body(&both).unwrap(), json!({"from": "7", "policy": policy}));
        let of_env = body(&["--env", "env-a", "--tenant", "acme", "--allow", "::1"]).unwrap();
        assert_eq!(of_env["policy"], json!({"allow_list": {"env_id": "env-a", "ranges": ["::1"]}}));
        for wrong in ["", "--allow ::1", "--env env-a", "--quota-gpu 1", "--window x", "--tenant acme"] {
            let words: Vec<&str> = wrong.split_whitespace().collect();
            assert!(body(&words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_span_has_a_unit_or_is_in_seconds() {
        for (text, expected) in [("90", 90), ("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "m", "1w", "-1s", "1.5h", "30ü", "999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_outcome_is_told_with_what_belongs_to_it() {
        let item = told(json!({
            "was": {"outcome": "turned_away", "times": 3},
            "would_be": {"outcome": "closed", "until": "2026-01-02T03:04:05.678Z"},
        }));
        assert_eq!(item["was"], "turned away 3 times");
        assert_eq!(item["would_be"], "closed until 2026-01-02T03:04:05Z");
        let refused = told(json!({"would_be": {"outcome": "refused", "code": "address_locked"}}));
        assert_eq!(refused["would_be"], "refused: address_locked");
    }
}
