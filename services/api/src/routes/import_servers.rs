//! `POST /api/servers/import`: many servers at once, from a list that somebody keeps elsewhere.

use axum::extract::State;
use axum::response::Response;
use inventory::{Format, Note};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::fields::{self, Fields, Wrong};
use crate::incoming::{BODY_BYTES_MAX, Incoming};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::server_fields::{self, document, private_keys};
use crate::server_import::{Beside, Imported, Outcome, at, plan, refused, write};

#[derive(ToSchema)]
#[schema(as = ServerImport, example = json!({
    "format": "csv", "text": "name,host,username,password\nweb one,web1.example.org,deploy,correct horse\n",
}))]
#[allow(dead_code)] // a description
pub struct AskedShape {
    /// `csv`, `yaml`, `ansible_ini`, `ansible_yaml` or `ssh_config`.
    format: String,
    /// The list itself.
    text: String,
    /// For servers of which the list says nothing else: the fields of a registration, but name and host.
    defaults: Option<DefaultsShape>,
    /// Private keys that the list names by their files: the file's name as the list has it, and its content.
    keys: Option<std::collections::HashMap<String, String>>,
    /// `true`: only say what would happen.
    dry_run: Option<bool>,
}

#[derive(ToSchema)]
#[schema(as = ServerImportDefaults, example = json!({"username": "deploy", "certificate": true}))]
#[allow(dead_code)] // a description
pub struct DefaultsShape {
    port: Option<u16>,
    username: Option<String>,
    password: Option<String>,
    private_key: Option<String>,
    /// Of the private key, and of those in `keys`.
    passphrase: Option<String>,
    certificate: Option<bool>,
    zone: Option<String>,
    relay: Option<String>,
    groups: Option<Vec<String>>,
    labels: Option<std::collections::HashMap<String, String>>,
}

/// Something in the list that was not taken over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerImportNote)]
pub struct NoteView {
    line: u64,
    text: String,
}

/// What became of a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServersImported)]
pub struct ImportView {
    created: usize,
    changed: usize,
    unchanged: usize,
    dry_run: bool,
    servers: Vec<Imported>,
    notes: Vec<NoteView>,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    position: u64,
}

fn format(value: &Value) -> Result<Format, Wrong> {
    let name = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    Format::from_name(name).ok_or_else(|| {
        let known = Format::ALL.map(Format::name).join(", ");
        Wrong::new("malformed", format!("must be one of {known}"))
    })
}

/// Import servers
///
/// All of the list is judged before anything is written: if a line is wrong, it is named with its field
/// (`line[7].port`) and nothing is imported. A server is the one of its `server_id`, else the one of its name; one
/// that does not exist is registered, one that is otherwise is changed, and repeating an import changes nothing. What
/// a list leaves out stays; an empty cell takes zone, relay, groups and labels away. Nothing is removed and nothing is
/// tested. At most 2,000 servers.
#[utoipa::path(
    post, path = "/api/servers/import", tag = "servers", request_body = AskedShape,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the key repeats the answer")),
    responses(
        (status = 200, body = ImportView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong line is named", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn import(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    incoming.caller.keeps_servers()?;
    let body = &incoming.body.json;
    let mut fields = Fields::of(body);
    let format = fields.required("format", format);
    let text = fields.required("text", document(BODY_BYTES_MAX));
    fields.object("defaults", false, server_fields::defaults);
    let keys = fields.optional("keys", private_keys).unwrap_or_default();
    let dry_run = fields.optional("dry_run", fields::boolean).unwrap_or_default();
    let (format, text) = fields.finish(format.zip(text))?;
    let defaults = body.get("defaults").and_then(Value::as_object).cloned().unwrap_or_default();
    let read = inventory::read(format, text.expose_secret()).map_err(|wrong| {
        refused(
            wrong.into_iter().map(|wrong| at(wrong.line, &wrong.field, wrong.code, wrong.detail)).collect(),
        )
    })?;
    // what the caller wrote just now counts
    let head = app.log.head().await?;
    app.caught_up(Some(head)).await?;
    let tenant = incoming.caller.tenant.clone();
    let planned = plan(&app, &tenant, read.rows, &Beside { defaults, keys }).await?;
    let (servers, position) = if dry_run {
        (planned.iter().map(|one| one.told()).collect(), head)
    } else {
        let cause = incoming.accept(&app).await?;
        // once begun it is brought to its end, also when nobody waits for it any more
        let writing = tokio::spawn(write(app.clone(), tenant, planned, cause));
        writing.await.map_err(|error| Problem::internal(&error))??
    };
    let count = |outcome| servers.iter().filter(|server: &&Imported| server.outcome == outcome).count();
    let view = ImportView {
        created: count(Outcome::Created),
        changed: count(Outcome::Changed),
        unchanged: count(Outcome::Unchanged),
        dry_run,
        notes: read.notes.into_iter().map(|Note { line, text }| NoteView { line, text }).collect(),
        position,
        servers,
    };
    Ok(position::shown(position, view))
}
