//! What becomes of a list of servers? All of it is judged before anything is written; then each server is what the
//! list says of it, and one that is so already stays as it is.

use std::collections::BTreeMap;

use events::ids::{NAMESPACE, ServerId, TenantId};
use events::server::change::{Change, change};
use events::server::{Method, Server, ServerEvent, ServerRefusal, Stage};
use events::{Aggregate as _, Cause, Event};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use inventory::Row;
use nats::Decided;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use ssh::keys::KeyPair;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::idempotency::index;
use crate::problem::{FieldError, Problem};
use crate::routes::change_server::alter;
use crate::routes::register_server::keep;
use crate::server_fields::{self, Asked, Said};

/// Servers that are looked at, or written, at the same time.
const AT_ONCE: usize = 16;
/// How often a server of one name may have been removed and imported again.
const GENERATIONS_MAX: u32 = 64;
/// Wrong places that one answer names.
const ERRORS_MAX: usize = 200;

/// What a list may lack.
pub struct Beside {
    /// Fields of a registration, for servers that say nothing else.
    pub defaults: Map<String, Value>,
    /// Private keys by the paths that the list has for them.
    pub keys: BTreeMap<String, SecretString>,
}

/// What happened to a server, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ServerImportOutcome)]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
}

/// One server of an import.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerImported)]
pub struct Imported {
    /// Where it stands in the text.
    pub line: u64,
    pub name: String,
    #[schema(value_type = String)]
    pub server_id: ServerId,
    pub outcome: Outcome,
}

enum Wanted {
    New(Asked),
    Other(Change, Option<Said>),
}

/// A row that was judged.
pub struct Planned {
    line: u64,
    name: String,
    id: ServerId,
    /// The field that says which server is meant.
    by: &'static str,
    wanted: Wanted,
    /// What it would be.
    outcome: Outcome,
}

impl Planned {
    pub fn told(&self) -> Imported {
        let Self { line, name, id, outcome, .. } = self;
        Imported { line: *line, name: name.clone(), server_id: id.clone(), outcome: *outcome }
    }
}

/// Every wrong line with its field, as the answer names it.
pub fn refused(mut errors: Vec<FieldError>) -> Problem {
    let more = errors.len().saturating_sub(ERRORS_MAX);
    errors.truncate(ERRORS_MAX);
    let detail = match more {
        0 => "nothing was imported: some lines are wrong".to_owned(),
        more => format!("nothing was imported: some lines are wrong, {more} more than are named here"),
    };
    Problem::with_fields(detail, errors)
}

/// A wrong place as the answer names it.
pub fn at(line: u64, field: &str, code: &'static str, detail: impl Into<String>) -> FieldError {
    let dot = if field.is_empty() { "" } else { "." };
    FieldError { field: format!("line[{line}]{dot}{field}"), code, detail: detail.into() }
}

/// Judges all rows; writes nothing.
pub async fn plan(
    app: &App,
    tenant: &TenantId,
    rows: Vec<Row>,
    beside: &Beside,
) -> Result<Vec<Planned>, Problem> {
    let mut errors = Vec::new();
    let names: Vec<String> = rows.iter().filter_map(|row| text(&row.fields, "name")).collect();
    let known = projections::servers::named(&app.projections, tenant, &names).await?;
    let judging: Vec<_> = rows.iter().map(|row| judge(app, tenant, row, beside, &known)).collect();
    let judged: Vec<Judged> = stream::iter(judging).buffered(AT_ONCE).try_collect().await?;
    let mut planned: Vec<Planned> = Vec::new();
    for one in judged {
        match one {
            Ok(one) => match planned.iter().find(|before| before.id == one.id) {
                Some(before) => {
                    let detail = format!("is the same server as on line {}", before.line);
                    errors.push(at(one.line, one.by, "repeated", detail));
                }
                None => planned.push(one),
            },
            Err(wrong) => errors.extend(wrong),
        }
    }
    if errors.is_empty() { Ok(planned) } else { Err(refused(errors)) }
}

fn text(fields: &Map<String, Value>, field: &str) -> Option<String> {
    fields.get(field).and_then(Value::as_str).map(str::to_owned)
}

type Judged = Result<Planned, Vec<FieldError>>;

/// The outer error is ours, the inner one the row's.
async fn judge(
    app: &App,
    tenant: &TenantId,
    row: &Row,
    beside: &Beside,
    known: &BTreeMap<String, Vec<ServerId>>,
) -> Result<Judged, Problem> {
    let mut fields = row.fields.clone();
    let asked_id = fields.remove("server_id");
    let mut errors = Vec::new();
    if fields.contains_key("test") {
        errors.push(at(row.line_of("test"), "test", "unknown", "nothing is tested while importing"));
    }
    let keyless = complete(row, &mut fields, beside).err();
    let found = match which(app, tenant, asked_id.as_ref(), text(&fields, "name"), known).await? {
        Ok(found) => found,
        Err((field, code, detail)) => {
            errors.push(at(row.line_of(field), field, code, detail));
            return Ok(Err(errors));
        }
    };
    // one that is there has its key already
    let has_key = |server: &Server| {
        server.there().is_some_and(|settings| settings.credential.method == Method::PrivateKey)
    };
    errors.extend(keyless.filter(|_| !matches!(&found, Which::There(_, server) if has_key(server))));
    let body = Value::Object(fields);
    let judged = match &found {
        Which::There(_, server) => judge_change(app, row, &body, server).await?,
        Which::New(_) => read(row, server_fields::registration(&body))
            .map(|asked| (asked.settings.name.clone(), Wanted::New(asked), Outcome::Created)),
    };
    Ok(match judged {
        Ok((name, wanted, outcome)) if errors.is_empty() => {
            let (Which::There(id, _) | Which::New(id)) = found;
            let by = if asked_id.is_some_and(|id| !id.is_null()) { "server_id" } else { "name" };
            Ok(Planned { line: row.line, name, id, by, wanted, outcome })
        }
        Ok(_) => Err(errors),
        Err(wrong) => {
            errors.extend(wrong);
            Err(errors)
        }
    })
}

/// What is wrong with a field is wrong on its line.
fn read<T>(row: &Row, result: Result<T, Problem>) -> Result<T, Vec<FieldError>> {
    result.map_err(|problem| {
        let of = |error: &FieldError| {
            at(row.line_of(&error.field), &error.field, error.code, error.detail.clone())
        };
        problem.errors().iter().map(of).collect()
    })
}

/// Adds what the row lacks: its key, if the row names a file, and the defaults.
fn complete(row: &Row, fields: &mut Map<String, Value>, beside: &Beside) -> Result<(), FieldError> {
    const CREDENTIALS: [&str; 3] = ["password", "private_key", "certificate"];
    let has_credential = |fields: &Map<String, Value>| {
        CREDENTIALS.iter().any(|field| fields.get(*field).is_some_and(|value| !value.is_null()))
    };
    let file = fields.remove("private_key_file");
    let default = |field: &str| beside.defaults.get(field).filter(|value| !value.is_null());
    for (field, value) in &beside.defaults {
        if !CREDENTIALS.contains(&field.as_str()) && field != "passphrase" && !fields.contains_key(field) {
            fields.insert(field.clone(), value.clone());
        }
    }
    if has_credential(fields) {
        return Ok(());
    }
    if has_credential(&beside.defaults) && file.as_ref().is_none_or(|_| beside.keys.is_empty()) {
        let said = CREDENTIALS.iter().chain(&["passphrase"]);
        fields.extend(said.filter_map(|field| Some(((*field).to_owned(), default(field)?.clone()))));
        return Ok(());
    }
    let Some(path) = file.as_ref().and_then(Value::as_str) else { return Ok(()) };
    match beside.keys.get(path) {
        Some(key) => {
            if KeyPair::is_encrypted(key) {
                fields.extend(default("passphrase").map(|value| ("passphrase".to_owned(), value.clone())));
            }
            fields.insert("private_key".to_owned(), key.expose_secret().into());
            Ok(())
        }
        None => {
            let line = row.line_of("private_key_file");
            let detail = format!(
                "the key {path} is not here: send it as keys[{path:?}], or a credential as a default"
            );
            Err(at(line, "private_key_file", "missing", detail))
        }
    }
}

enum Which {
    There(ServerId, Box<Server>),
    New(ServerId),
}

type Unclear = (&'static str, &'static str, String);

/// The server that a row means: the one it names by its id, else the one of its name, else the one that this import
/// makes. The read model only says where to look; what is true of it says the log.
async fn which(
    app: &App,
    tenant: &TenantId,
    id: Option<&Value>,
    name: Option<String>,
    known: &BTreeMap<String, Vec<ServerId>>,
) -> Result<Result<Which, Unclear>, Problem> {
    let mut candidates = Vec::new();
    if let Some(id) = id.filter(|id| !id.is_null()) {
        match id.as_str().map(ServerId::parse) {
            Some(Ok(id)) => candidates.push(id),
            Some(Err(invalid)) => {
                return Ok(Err(("server_id", "malformed", format!("must be {}", invalid.rule))));
            }
            None => return Ok(Err(("server_id", "wrong_type", "must be a string".to_owned()))),
        }
    }
    let named = name.as_ref().and_then(|name| known.get(name));
    match named.map(Vec::as_slice) {
        Some([one]) => candidates.push(one.clone()),
        Some(several @ [_, _, ..]) if candidates.iter().all(|id| !several.contains(id)) => {
            let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
            let detail = format!("several servers have it; say which as server_id: {}", ids.join(", "));
            return Ok(Err(("name", "ambiguous", detail)));
        }
        Some(_) | None => {}
    }
    for id in candidates {
        let server = app.log.load::<Server>(tenant, id.as_str()).await?.state;
        if server.there().is_some() {
            return Ok(Ok(Which::There(id, Box::new(server))));
        }
    }
    for generation in 0..GENERATIONS_MAX {
        let seed =
            format!("imported server\n{tenant}\n{}\n{generation}", name.as_deref().unwrap_or_default());
        let id = ServerId::from_seed(&Uuid::new_v5(&NAMESPACE, seed.as_bytes()));
        let server = app.log.load::<Server>(tenant, id.as_str()).await?.state;
        match server.stage {
            Stage::Absent => return Ok(Ok(Which::New(id))),
            // imported before, and not renamed since
            Stage::There if server.settings.as_ref().map(|settings| &settings.name) == name.as_ref() => {
                return Ok(Ok(Which::There(id, Box::new(server))));
            }
            Stage::There | Stage::Removed => {}
        }
    }
    let detail = format!("was removed and imported {GENERATIONS_MAX} times: register it by itself");
    Ok(Err(("name", "exhausted", detail)))
}

async fn judge_change(
    app: &App,
    row: &Row,
    body: &Value,
    server: &Server,
) -> Result<Result<(String, Wanted, Outcome), Vec<FieldError>>, Problem> {
    let asked = match read(row, server_fields::change(body)) {
        Ok(asked) => asked,
        Err(errors) => return Ok(Err(errors)),
    };
    let Some(settings) = server.there() else { return Ok(Err(Vec::new())) };
    let mut said = asked.said;
    if let Some(new) = &said {
        let stored = match &settings.credential.secret {
            Some(secret) => app.vault.get(secret).await?,
            None => None,
        };
        // stored already, so no change; unless it is sent again because the server is at another place
        let alone = Change { credential: None, ..asked.change.clone() };
        let sent_again = matches!(change(server, &alone), Err(ServerRefusal::CredentialNeeded { .. }));
        if new.is(settings.credential.method, stored.as_ref()) && !sent_again {
            said = None;
        }
    }
    let mut tried = asked.change.clone();
    // as if it were new: which name its secret gets is no matter
    tried.credential = said.is_some().then(|| settings.credential.clone());
    let decided = match change(server, &tried) {
        Ok(decided) => decided,
        Err(refusal) => {
            use events::aggregate::Refusal as _;
            return Ok(Err(vec![at(row.line_of("host"), "host", refusal.code(), refusal.to_string())]));
        }
    };
    let mut after = server.clone();
    if let Some(event) = &decided {
        after.evolve(event, chrono::DateTime::UNIX_EPOCH);
    }
    let name = after.there().map(|settings| settings.name.clone()).unwrap_or_default();
    let outcome = if decided.is_some() || said.is_some() { Outcome::Changed } else { Outcome::Unchanged };
    Ok(Ok((name, Wanted::Other(asked.change, said), outcome)))
}

/// Writes all of it, a server after the other's start; the answer has them in their order, with the last sequence.
pub async fn write(
    app: App,
    tenant: TenantId,
    planned: Vec<Planned>,
    cause: Cause,
) -> Result<(Vec<Imported>, u64), Problem> {
    let writing: Vec<_> = (index::FIRST..)
        .zip(planned)
        .map(|(index, one)| write_one(&app, &tenant, one, &cause, index))
        .collect();
    let written: Vec<(Imported, u64)> = stream::iter(writing).buffered(AT_ONCE).try_collect().await?;
    let position = written.iter().map(|(_, seq)| *seq).max().unwrap_or_default();
    Ok((written.into_iter().map(|(imported, _)| imported).collect(), position))
}

async fn write_one(
    app: &App,
    tenant: &TenantId,
    one: Planned,
    cause: &Cause,
    index: u32,
) -> Result<(Imported, u64), Problem> {
    let Planned { line, name, id, wanted, .. } = one;
    let decided = match wanted {
        Wanted::New(asked) => keep(app, tenant, &id, asked, cause, index).await?,
        Wanted::Other(change, said) => alter(app, tenant, &id, change, said, cause, index).await?,
    };
    let outcome = outcome(&decided);
    Ok((Imported { line, name, server_id: id, outcome }, decided.seq))
}

/// By what this command appended, now or when it came before.
fn outcome(decided: &Decided<Server>) -> Outcome {
    #[allow(clippy::wildcard_enum_match_arm)] // an import appends nothing else
    match decided.appended.as_ref().map(|recorded| &recorded.event) {
        Some(Event::Server(ServerEvent::ServerRegistered(_))) => Outcome::Created,
        Some(_) => Outcome::Changed,
        None => Outcome::Unchanged,
    }
}
