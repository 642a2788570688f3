//! `POST /api/commands`: run one command on many servers. One outcome for each.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound, Utc};
use events::access::Right;
use events::access::may::{Visible, visible};
use events::batch::request::request;
use events::batch::{Batch, BatchRequested};
use events::ids::{BatchId, CommandId, ServerId, Tag, TenantId};
use futures_util::{StreamExt, stream};
use projections::servers::{self, Filter};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::fields::{self, Fields, Wrong};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::server::{Found, access_of, find};
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
/// Servers looked up at once.
const LOOK_UPS_AT_ONCE: usize = 64;
/// Wrong servers that are named in one answer.
const NAMED_MAX: usize = 100;
const PAGE: u32 = 500;

#[derive(ToSchema)]
#[schema(as = CommandAsked, example = json!({
    "command": "uptime", "servers": ["srv-abcdefghijkl"], "timeout_ms": 60000, "idempotent": true,
}))]
#[allow(dead_code)] // a description; what is read becomes `Asked`
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

struct Asked {
    command: String,
    which: Which,
    timeout_ms: u64,
    idempotent: bool,
    concurrency: u32,
    stop_after_failures: Option<u32>,
}

enum Which {
    Named(Vec<ServerId>),
    Selected(Selector),
}

struct Selector {
    labels: BTreeMap<Tag, Tag>,
    zone: Option<Tag>,
    group: Option<Tag>,
}

/// A batch that was begun.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchBegun, example = json!({
    "batch_id": "bat-abcdefghijkl", "position": 42,
    "commands": [{"command_id": "cmd_1700000000123_abcdefghijkl", "server_id": "srv-abcdefghijkl"}],
}))]
pub struct Begun {
    #[schema(value_type = String)]
    batch_id: BatchId,
    /// In the order of the servers.
    commands: Vec<Named>,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CommandNamed)]
pub struct Named {
    #[schema(value_type = String)]
    command_id: CommandId,
    #[schema(value_type = String)]
    server_id: ServerId,
}

fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
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
    let says = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    let which = match (says("servers"), says("selector")) {
        (true, true) => {
            fields.note("selector", Wrong::new("unknown", "servers are named already; send one of the two"));
            None
        }
        (false, false) if body.is_object() => {
            fields.note("servers", Wrong::new("missing", "is required, or a selector"));
            None
        }
        (true, false) if named.is_empty() && !fields.has_errors() => {
            fields.note("servers", Wrong::new("too_short", "must name at least one server"));
            None
        }
        (false, true) => selector.map(Which::Selected),
        (true, false) | (false, false) => Some(Which::Named(once(named))),
    };
    let read = command.zip(which).map(|(command, which)| Asked {
        command,
        which,
        timeout_ms: timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
        idempotent: idempotent.unwrap_or(false),
        concurrency: concurrency.and_then(|most| u32::try_from(most).ok()).unwrap_or(CONCURRENCY_DEFAULT),
        stop_after_failures: stop_after.and_then(|most| u32::try_from(most).ok()),
    });
    fields.finish(read)
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

/// Run a command on servers
///
/// Answers as soon as it is on record; each server gets a command of its own, which ends in exactly one outcome:
/// `GET /api/batches/{id}` shows them all, `/events` follows them.
#[utoipa::path(
    post, path = "/api/commands", tag = "commands", request_body = AskedShape,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the key repeats the answer, and runs nothing again")),
    responses(
        (status = 202, body = Begun, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn run(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    let asked = read(&incoming.body.json)?;
    let caller = &incoming.caller;
    let (tenant, servers) = match &asked.which {
        Which::Named(named) => named_servers(&app, caller, named).await?,
        Which::Selected(selector) => selected_servers(&app, caller, selector).await?,
    };
    let cause = incoming.accept(&app).await?;
    let id = BatchId::from_seed(&cause.command);
    let requested = BatchRequested {
        command: asked.command,
        servers,
        timeout_ms: asked.timeout_ms,
        idempotent: asked.idempotent,
        concurrency: asked.concurrency,
        stop_after_failures: asked.stop_after_failures,
        by: caller.owner.clone(),
        at: Utc::now().trunc_subsecs(3),
    };
    let rule = |batch: &Batch| request(batch, requested.clone());
    let decided = app.log.decide::<Batch, _>(&tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    // a repeated request finds what the first one began
    let begun = decided.state.requested.unwrap_or(requested);
    let commands = begun.servers.iter().map(|server| named(&id, server, begun.at)).collect();
    let begun = Begun { batch_id: id, commands, position: decided.seq };
    Ok((StatusCode::ACCEPTED, position::header(begun.position), Json(begun)).into_response())
}

fn named(batch: &BatchId, server: &ServerId, at: DateTime<Utc>) -> Named {
    Named { command_id: CommandId::of(batch, server, at), server_id: server.clone() }
}

/// All must be there, of one tenant, and the caller may run commands on each.
async fn named_servers(
    app: &App,
    caller: &Caller,
    named: &[ServerId],
) -> Result<(TenantId, Vec<ServerId>), Problem> {
    let looked_up: Vec<Result<Found, Problem>> = stream::iter(named.to_vec())
        .map(|server| async move { find(app, caller, server.as_str()).await })
        .buffered(LOOK_UPS_AT_ONCE)
        .collect()
        .await;
    let (mut errors, mut tenant, mut servers) = (Vec::new(), None, Vec::new());
    let mut wrong = |index: usize, code, detail: String| {
        errors.push(FieldError { field: format!("servers[{index}]"), code, detail });
    };
    for (index, found) in looked_up.into_iter().enumerate() {
        match found {
            Ok(found) if found.needs(&[Right::Command]).is_err() => {
                wrong(index, "forbidden", format!("you have no grant for command on {}", found.id));
            }
            Ok(found) => {
                if *tenant.get_or_insert_with(|| found.tenant.clone()) != found.tenant {
                    wrong(index, "malformed", "belongs to another tenant than the first".to_owned());
                }
                servers.push(found.id);
            }
            Err(problem) if problem.code() == "not_found" => {
                wrong(index, "not_found", "there is no such server".to_owned());
            }
            Err(problem) => return Err(problem),
        }
    }
    if !errors.is_empty() && errors.iter().all(|error| error.code == "forbidden") {
        let details: Vec<_> = errors.iter().take(NAMED_MAX).map(|error| error.detail.as_str()).collect();
        return Err(Problem::new("forbidden", details.join("; ")));
    }
    if !errors.is_empty() {
        errors.truncate(NAMED_MAX);
        return Err(Problem::fields(errors));
    }
    Ok((tenant.unwrap_or_else(|| caller.tenant.clone()), servers))
}

/// Those that fit and on which the caller may run commands; at least one. An admin's selector looks in its own tenant.
async fn selected_servers(
    app: &App,
    caller: &Caller,
    selector: &Selector,
) -> Result<(TenantId, Vec<ServerId>), Problem> {
    let access = access_of(app, caller).await?;
    let now = Utc::now();
    let mut labels = selector.labels.iter();
    let filter = Filter {
        tenant: Some(caller.tenant.clone()),
        visible: Some(visible(&access, caller.person(), now)).filter(|seen| *seen != Visible::All),
        zone: selector.zone.clone(),
        group: selector.group.clone(),
        label: labels.next().map(|(key, value)| (key.clone(), value.clone())),
        ..Filter::default()
    };
    let more: Vec<_> = labels.collect();
    let (mut servers, mut cursor) = (Vec::new(), None);
    loop {
        let page = servers::list(&app.projections, &filter, cursor.as_deref(), PAGE).await?;
        for row in page.items {
            let Some(settings) = row.server.there() else { continue };
            let may = events::access::may::rights(&access, caller.person(), &row.server_id, settings, now);
            let fits = more.iter().all(|(key, value)| settings.labels.get(*key) == Some(*value));
            if fits && may.contains(&Right::Command) {
                servers.push(row.server_id);
            }
        }
        if servers.len() > SERVERS_MAX {
            let detail = format!("fits more than {SERVERS_MAX} servers; say more of them");
            return Err(selector_wrong("too_long", detail));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if servers.is_empty() {
        return Err(selector_wrong("not_found", "fits no server on which you may run commands".to_owned()));
    }
    Ok((caller.tenant.clone(), servers))
}

fn selector_wrong(code: &'static str, detail: String) -> Problem {
    Problem::fields(vec![FieldError { field: "selector".to_owned(), code, detail }])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn wrong(body: &Value) -> Vec<(String, &'static str)> {
        match read(body) {
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
        let Which::Named(named) = read(&json!({"command": "a", "servers": [id, id]})).unwrap().which else {
            panic!("named")
        };
        assert_eq!(named.len(), 1, "one outcome a server");
    }
}
