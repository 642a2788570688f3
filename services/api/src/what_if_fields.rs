//! Which policy over which period is a what-if about? The fields of its body, with their limits.

use audit::time_travel::Instant;
use events::env::allow_list::RANGES_MAX;
use events::ids::{EnvId, TenantId};
use events::login::lockout::LockoutPolicy;
use events::what_if::OtherQuota;
use ipnet::IpNet;
use serde_json::Value;
use utoipa::ToSchema;

use crate::fields::{self, Fields, Wrong};
use crate::problem::Problem;
use crate::readers;
use crate::reading::instant;

/// Failures that are remembered of an address.
const FAILURES_MAX: u64 = 100;
/// A week.
const WINDOW_S_MAX: u64 = 7 * 24 * 3_600;
/// Thirty days.
const LOCKED_S_MAX: u64 = 30 * 24 * 3_600;

/// A policy, and the period that it is held against.
#[derive(ToSchema)]
#[schema(as = WhatIfAsked, example = json!({
    "from": "2026-01-02T00:00:00Z", "to": "2026-01-09T00:00:00Z",
    "policy": {"lockout": {"failures": 3, "window_s": 600}},
}))]
#[allow(dead_code)] // a description; what is read becomes `Asked`
pub struct AskedShape {
    /// The sequence of the first event, or an RFC 3339 time, after which it was stored; not in the future.
    from: Value,
    /// The sequence of the last event, or an RFC 3339 time, up to which it was stored; now when absent.
    to: Option<Value>,
    policy: PolicyShape,
}

/// At least one part. What is absent stays as it was.
#[derive(ToSchema)]
#[schema(as = OtherPolicy)]
#[allow(dead_code)] // a description
pub struct PolicyShape {
    lockout: Option<LockoutShape>,
    quota: Option<QuotaShape>,
    allow_list: Option<ListShape>,
}

/// When an address is closed, and for how long; what is absent is as every entrance has it.
#[derive(ToSchema)]
#[schema(as = OtherLockout)]
#[allow(dead_code)] // a description
pub struct LockoutShape {
    /// So many failed passwords close it, 1 to 100; 5 when absent.
    failures: Option<u32>,
    /// Those that are at most so many seconds old count, 1 to 604800; 1800 when absent.
    window_s: Option<u64>,
    /// So many seconds, 1 to 2592000; 1800 when absent.
    locked_s: Option<u64>,
}

/// The most that a tenant may have in use at once; what is absent is unlimited.
#[derive(ToSchema)]
#[schema(as = OtherQuota)]
#[allow(dead_code)] // a description
pub struct QuotaShape {
    tenant_id: String,
    environments: Option<u32>,
    /// Cores.
    cpu: Option<f64>,
    /// GiB.
    memory: Option<f64>,
    /// Whole devices.
    gpu: Option<u32>,
    /// GiB.
    storage: Option<f64>,
}

/// Of an environment or of a tenant: one of the two ids.
#[derive(ToSchema)]
#[schema(as = OtherAllowList)]
#[allow(dead_code)] // a description
pub struct ListShape {
    env_id: Option<String>,
    tenant_id: Option<String>,
    /// At most 100 ranges or addresses; none means everyone.
    ranges: Vec<String>,
}

/// What was read.
#[derive(Debug, PartialEq)]
pub struct Asked {
    pub from: Instant,
    pub to: Option<Instant>,
    pub policy: Policy,
}

#[derive(Debug, PartialEq)]
pub struct Policy {
    pub lockout: Option<LockoutPolicy>,
    pub quota: Option<OtherQuota>,
    pub allow_list: Option<(Whose, Vec<IpNet>)>,
}

/// Whose list another one takes the place of.
#[derive(Debug, PartialEq, Eq)]
pub enum Whose {
    Env(EnvId),
    Tenant(TenantId),
}

pub fn asked(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let from = fields.required("from", point);
    let to = fields.optional("to", point);
    let policy = fields.object("policy", true, policy);
    fields.finish(from.zip(policy).map(|(from, policy)| Asked { from, to, policy }))
}

/// A sequence as a number or a text, or a time.
fn point(value: &Value) -> Result<Instant, Wrong> {
    if let Some(sequence) = value.as_u64() {
        return Ok(Instant::Sequence(sequence));
    }
    let text = value.as_str().ok_or_else(|| Wrong::kind("a sequence or an RFC 3339 time", value))?;
    instant(text).map_err(|wanted| Wrong::new("malformed", wanted))
}

fn policy(fields: &mut Fields<'_>) -> Option<Policy> {
    let lockout = fields.object("lockout", false, |inner| Some(lockout(inner)));
    let quota = fields.object("quota", false, |inner| {
        let tenant = inner.required("tenant_id", readers::tenant);
        let limits = readers::limits(inner);
        tenant.map(|tenant| OtherQuota { tenant, limits })
    });
    let allow_list = fields.object("allow_list", false, allow_list);
    if !["lockout", "quota", "allow_list"].into_iter().any(|part| fields.has(part)) {
        fields.note("", Wrong::new("missing", "must say lockout, quota or allow_list, or several of them"));
    }
    Some(Policy { lockout, quota, allow_list })
}

fn lockout(inner: &mut Fields<'_>) -> LockoutPolicy {
    let as_it_is = LockoutPolicy::default();
    let failures = inner.optional("failures", fields::whole(1, FAILURES_MAX));
    let window_s = inner.optional("window_s", fields::whole(1, WINDOW_S_MAX));
    let locked_s = inner.optional("locked_s", fields::whole(1, LOCKED_S_MAX));
    let seconds = |given: Option<u64>, otherwise: i64| {
        given.and_then(|given| i64::try_from(given).ok()).unwrap_or(otherwise)
    };
    LockoutPolicy {
        failures: failures.and_then(|most| usize::try_from(most).ok()).unwrap_or(as_it_is.failures),
        window_s: seconds(window_s, as_it_is.window_s),
        locked_s: seconds(locked_s, as_it_is.locked_s),
    }
}

fn allow_list(inner: &mut Fields<'_>) -> Option<(Whose, Vec<IpNet>)> {
    let env = inner.optional("env_id", fields::id(EnvId::parse)).map(Whose::Env);
    let tenant = inner.optional("tenant_id", readers::tenant).map(Whose::Tenant);
    let ranges = inner.required_list("ranges", RANGES_MAX, readers::range);
    match (inner.has("env_id"), inner.has("tenant_id")) {
        (true, true) => {
            inner.note("tenant_id", Wrong::new("unknown", "env_id is given already; send one of the two"));
        }
        (false, false) => inner.note("env_id", Wrong::new("missing", "is required, or tenant_id")),
        (true, false) | (false, true) => {}
    }
    Some((env.or(tenant)?, ranges))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn wrong(body: &Value) -> Vec<(String, &'static str)> {
        match asked(body) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors().iter().map(|error| (error.field.clone(), error.code)).collect(),
        }
    }

    #[test]
    fn each_part_is_read_and_what_is_absent_is_as_it_is() {
        let env = "env-abcdefghijkl";
        let body = json!({"from": 7, "to": "2026-01-02T03:04:05Z", "policy": {
            "lockout": {"failures": 3}, "quota": {"tenant_id": "acme", "environments": 2},
            "allow_list": {"env_id": env, "ranges": ["10.1.2.3/8"]},
        }});
        let read = asked(&body).unwrap();
        assert_eq!(read.from, Instant::Sequence(7));
        assert!(matches!(read.to, Some(Instant::Time(_))));
        assert_eq!(read.policy.lockout, Some(LockoutPolicy { failures: 3, ..LockoutPolicy::default() }));
        let quota = read.policy.quota.unwrap();
        assert_eq!((quota.tenant.as_str(), quota.limits.environments), ("acme", Some(2)));
        let list = (Whose::Env(EnvId::parse(env).unwrap()), vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(read.policy.allow_list, Some(list));
        assert_eq!(asked(&json!({"from": "7", "policy": {"lockout": {}}})).unwrap().from, read.from);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |policy: Value| json!({"from": 1, "policy": policy});
        let list = |fields: Value| with(json!({"allow_list": fields}));
        for (body, field, code) in [
            (json!({"policy": {"lockout": {}}}), "from", "missing"),
            (json!({"from": 1}), "policy", "missing"),
            (json!({"from": true, "policy": {"lockout": {}}}), "from", "wrong_type"),
            (json!({"from": 1.5, "policy": {"lockout": {}}}), "from", "wrong_type"),
            (json!({"from": "yesterday", "policy": {"lockout": {}}}), "from", "malformed"),
            (json!({"from": 1, "to": -1, "policy": {"lockout": {}}}), "to", "wrong_type"),
            (with(json!({})), "policy", "missing"),
            (with(json!({"ports": {}})), "policy", "missing"),
            (with(json!({"lockout": {"failures": 0}})), "policy.lockout.failures", "out_of_range"),
            (with(json!({"lockout": {"window_s": 604_801}})), "policy.lockout.window_s", "out_of_range"),
            (with(json!({"lockout": {"locked_s": "1h"}})), "policy.lockout.locked_s", "wrong_type"),
            (with(json!({"quota": {"environments": 1}})), "policy.quota.tenant_id", "missing"),
            (with(json!({"quota": {"tenant_id": "_sys"}})), "policy.quota.tenant_id", "malformed"),
            (list(json!({"ranges": []})), "policy.allow_list.env_id", "missing"),
            (list(json!({"tenant_id": "acme"})), "policy.allow_list.ranges", "missing"),
            (list(json!({"env_id": "one", "ranges": []})), "policy.allow_list.env_id", "malformed"),
            (list(json!({"tenant_id": "acme", "ranges": ["x"]})), "policy.allow_list.ranges[0]", "malformed"),
        ] {
            let named = wrong(&body);
            assert!(named.contains(&(field.to_owned(), code)), "{body}: {named:?}");
        }
        let both = list(json!({"env_id": "env-abcdefghijkl", "tenant_id": "acme", "ranges": []}));
        assert_eq!(wrong(&both), [("policy.allow_list.tenant_id".to_owned(), "unknown")]);
    }
}
