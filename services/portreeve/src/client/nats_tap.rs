//! `portreeve events nats-tap`: who may follow the events by NATS itself, and how far have they come?

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::ClientError;
use super::env::{done, show_all, show_as};
use super::http::Http;
use super::table::{self, Column};

const LIST: &[Column] = &[
    ("TAP", "tap_id"),
    ("NAME", "name"),
    ("TENANT", "tenant_id"),
    ("KINDS", "kinds"),
    ("BY", "issued_by"),
    ("ISSUED", "created_at"),
    ("REVOKED", "revoked_at"),
];

/// How it is used.
const WAYS: [Column; 8] = [
    ("tap", "tap_id"),
    ("server", "url"),
    ("by WebSocket", "websocket_url"),
    ("as it happens, user", "live/user"),
    ("on from where one was, user", "resume/user"),
    ("stream", "resume/stream"),
    ("consumer", "resume/consumer"),
    ("API prefix", "resume/api_prefix"),
];

const PROGRESS: &[Column] = &[
    ("handed out, up to", "progress/delivered"),
    ("acknowledged, up to", "progress/acknowledged"),
    ("not acknowledged", "progress/unacknowledged"),
    ("still to come", "progress/pending"),
];

#[derive(Debug, clap::Subcommand)]
pub enum NatsTap {
    /// Let somebody follow; the password is shown once
    Issue {
        name: String,
        /// Only events of this kind of thing, for example env; repeatable
        #[arg(long)]
        kind: Vec<String>,
        /// Whose events; yours if not given
        #[arg(long)]
        tenant: Option<String>,
    },
    /// All taps
    List {
        /// Revoked ones too
        #[arg(long)]
        revoked: bool,
    },
    /// One tap, with how far it has come
    Show(Named),
    /// Let nobody in by it any more, and those out who are
    Revoke(Named),
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// Id or name
    tap: String,
}

impl NatsTap {
    pub async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        match self {
            Self::Issue { name, kind, tenant } => {
                let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
                if !kind.is_empty() {
                    body.insert("kinds".to_owned(), json!(kind));
                }
                body.extend(tenant.map(|tenant| ("tenant_id".to_owned(), json!(tenant))));
                let issued = http.write(Method::POST, "/api/nats-taps", Some(&Value::Object(body))).await?;
                let columns = [&WAYS[..], &[("inboxes", "resume/inbox_prefix"), ("password", "password")]];
                show_as(&issued, &columns.concat(), json);
                say_subjects(&issued, json);
            }
            Self::List { revoked } => {
                let query = [("revoked", revoked.to_string())];
                show_all(http.all("/api/nats-taps", &query).await?, LIST, json);
            }
            Self::Show(tap) => {
                let shown = http.get(&tap.path(http).await?, &[]).await?;
                let columns = [&WAYS[..], &[("inboxes", "resume/inbox_prefix")], PROGRESS];
                show_as(&shown, &columns.concat(), json);
                say_subjects(&shown, json);
            }
            Self::Revoke(tap) => {
                done(&http.write(Method::DELETE, &tap.path(http).await?, None).await?, "revoked", json);
            }
        }
        Ok(())
    }
}

/// One a line: a client subscribes to each.
fn say_subjects(tap: &Value, json: bool) {
    let subjects = tap.pointer("/live/subjects").and_then(Value::as_array);
    if let Some(subjects) = subjects.filter(|_| !json) {
        table::out("\nas it happens, on the subjects\n");
        for subject in subjects.iter().filter_map(Value::as_str) {
            table::out(&format!("  {subject}\n"));
        }
    }
}

impl Named {
    /// The path of the tap's resource; a name is looked up.
    async fn path(&self, http: &Http) -> Result<String, ClientError> {
        if self.tap.starts_with("tap-") {
            return Ok(format!("/api/nats-taps/{}", self.tap));
        }
        let all = http.all("/api/nats-taps", &[]).await?;
        let of_name = all.iter().filter(|tap| table::cell(tap, "name") == self.tap);
        let ids: Vec<String> = of_name.map(|tap| table::cell(tap, "tap_id")).collect();
        let name = self.tap.clone();
        match ids.as_slice() {
            [id] => Ok(format!("/api/nats-taps/{id}")),
            [] => Err(ClientError::Name { name, why: "no tap of NATS has it".to_owned() }),
            several => {
                let why = format!("several taps of NATS have it: {}", several.join(", "));
                Err(ClientError::Name { name, why })
            }
        }
    }
}
