//! What is to be run, on which servers, and how? The fields of a request, with their limits.

use std::collections::BTreeSet;

use events::ids::{ServerId, Tag};
use events::schedule::{Run, Selector, Which};
use serde_json::Value;
use utoipa::ToSchema;

use crate::fields::{self, Fields, Wrong};
use crate::server_fields::labels;

/// Servers of one batch.
pub const SERVERS_MAX: usize = 10_000;
const COMMAND_BYTES_MAX: usize = 64 << 10;
/// A tenth of a second to a day; a minute when nothing is said.
const TIMEOUT_MS: (u64, u64) = (100, 24 * 3_600 * 1_000);
const TIMEOUT_MS_DEFAULT: u64 = 60_000;
/// Servers of a batch at once.
const CONCURRENCY: (u64, u64) = (1, 1_000);
const CONCURRENCY_DEFAULT: u32 = 100;

#[derive(ToSchema)]
#[schema(as = CommandAsked, example = json!({
    "command": "uptime", "servers": ["srv-abcdefghijkl"], "timeout_ms": 60000, "idempotent": true,
}))]
#[allow(dead_code)] // a description; what is read becomes `Run`
pub struct AskedShape {
    /// Given to the account's shell.
    #[schema(min_length = 1, example = "uptime")]
    command: String,
    /// Server ids, at most 10000; or `selector`.
    servers: Option<Vec<String>>,
    /// All servers that fit, on which the caller may run commands.
    selector: Option<SelectorShape>,
    /// From the moment that it is sent, 100 to 86400000; 60000 when absent. So long a server also waits for a relay.
    timeout_ms: Option<u64>,
    /// Running it twice does no harm: when a relay is lost, another one gets it. `false` when absent.
    idempotent: Option<bool>,
    /// Servers at once, 1 to 1000; 100 when absent.
    concurrency: Option<u32>,
    /// When so many of its commands ended otherwise than with exit code 0, 1 to 10000, no more are begun; what runs
    /// goes on. All are begun when absent.
    stop_after_failures: Option<u32>,
    /// Where a second person has to approve of it: how long that one may take, 1 to 604800; 86400 when absent.
    approve_within_s: Option<u64>,
}

/// Which servers; all that is said must fit.
#[derive(ToSchema)]
#[schema(as = ServerSelector)]
#[allow(dead_code)] // a description
pub struct SelectorShape {
    labels: Option<std::collections::HashMap<String, String>>,
    #[schema(value_type = Option<String>)]
    zone: Option<Tag>,
    #[schema(value_type = Option<String>)]
    group: Option<Tag>,
}

/// Of the body itself, or of an object in it.
pub fn run(fields: &mut Fields<'_>) -> Option<Run> {
    let command = fields.required("command", command);
    let named = fields.list("servers", SERVERS_MAX, fields::id(ServerId::parse));
    let selector = fields.object("selector", false, |inner| {
        let labels = inner.optional("labels", labels).unwrap_or_default();
        let zone = inner.optional("zone", fields::id(Tag::parse));
        let group = inner.optional("group", fields::id(Tag::parse));
        if labels.is_empty() && zone.is_none() && group.is_none() && !inner.has_errors() {
            inner.note("", Wrong::new("missing", "must say labels, a zone or a group"));
        }
        Some(Selector { labels, zone, group })
    });
    let timeout_ms = fields.optional("timeout_ms", fields::whole(TIMEOUT_MS.0, TIMEOUT_MS.1));
    let idempotent = fields.optional("idempotent", fields::boolean);
    let concurrency = fields.optional("concurrency", fields::whole(CONCURRENCY.0, CONCURRENCY.1));
    let stop_after = fields.optional("stop_after_failures", fields::whole(1, SERVERS_MAX as u64));
    let which = match (fields.has("servers"), fields.has("selector")) {
        (true, true) => {
            fields.note("selector", Wrong::new("unknown", "servers are named already; send one of the two"));
            None
        }
        (false, false) if fields.is_object() => {
            fields.note("servers", Wrong::new("missing", "is required, or a selector"));
            None
        }
        (true, false) if named.is_empty() && !fields.has_errors() => {
            fields.note("servers", Wrong::new("too_short", "must name at least one server"));
            None
        }
        (false, true) => selector.map(Which::Selector),
        (true, false) | (false, false) => Some(Which::Servers(once(named))),
    };
    command.zip(which).map(|(command, which)| Run {
        command,
        which,
        timeout_ms: timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
        idempotent: idempotent.unwrap_or(false),
        concurrency: concurrency.and_then(|most| u32::try_from(most).ok()).unwrap_or(CONCURRENCY_DEFAULT),
        stop_after_failures: stop_after.and_then(|most| u32::try_from(most).ok()),
    })
}

/// Lines and tabs are welcome; what no shell can be given is not.
fn command(value: &Value) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    if text.trim().is_empty() {
        return Err(Wrong::new("too_short", "must not be empty"));
    }
    if text.len() > COMMAND_BYTES_MAX {
        return Err(Wrong::new("too_long", format!("must have at most {COMMAND_BYTES_MAX} bytes")));
    }
    if text.contains('\0') {
        return Err(Wrong::new("malformed", "must not have NUL characters"));
    }
    Ok(text.to_owned())
}

/// Each server once, where it comes first.
fn once(servers: Vec<ServerId>) -> Vec<ServerId> {
    let mut seen = BTreeSet::new();
    servers.into_iter().filter(|server| seen.insert(server.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn wrong(body: &Value) -> Vec<(String, &'static str)> {
        let mut fields = Fields::of(body);
        let run = run(&mut fields);
        match fields.finish(run) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors().iter().map(|error| (error.field.clone(), error.code)).collect(),
        }
    }

    #[test]
    fn servers_are_named_or_selected() {
        let id = "srv-abcdefghijkl";
        assert_eq!(wrong(&json!({"command": "a\nb", "servers": [id, id]})), []);
        assert_eq!(wrong(&json!({"command": "a", "selector": {"zone": "dmz"}})), []);
        let cases = [
            (json!({"servers": [id]}), "command", "missing"),
            (json!({"command": " ", "servers": [id]}), "command", "too_short"),
            (json!({"command": "a\u{0}", "servers": [id]}), "command", "malformed"),
            (json!({"command": "a"}), "servers", "missing"),
            (json!({"command": "a", "servers": []}), "servers", "too_short"),
            (json!({"command": "a", "servers": ["x"]}), "servers[0]", "malformed"),
            (json!({"command": "a", "servers": [id], "selector": {"zone": "a"}}), "selector", "unknown"),
            (json!({"command": "a", "selector": {}}), "selector", "missing"),
            (json!({"command": "a", "selector": {"zone": "a b"}}), "selector.zone", "malformed"),
            (json!({"command": "a", "selector": {"labels": {"a": 1}}}), "selector.labels", "wrong_type"),
            (json!({"command": "a", "servers": [id], "timeout_ms": 1}), "timeout_ms", "out_of_range"),
            (json!({"command": "a", "servers": [id], "idempotent": 1}), "idempotent", "wrong_type"),
            (json!({"command": "a", "servers": [id], "concurrency": 0}), "concurrency", "out_of_range"),
            (
                json!({"command": "a", "servers": [id], "stop_after_failures": 0}),
                "stop_after_failures",
                "out_of_range",
            ),
        ];
        for (body, field, code) in cases {
            assert_eq!(wrong(&body), [(field.to_owned(), code)], "{body}");
        }
        let body = json!({"command": "a", "servers": [id, id]});
        let Which::Servers(named) = run(&mut Fields::of(&body)).unwrap().which else { panic!("named") };
        assert_eq!(named.len(), 1, "one outcome a server");
    }
}
