//! `portreeve server grant`: who may do what on a server, until when?

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::ClientError;
use super::env::show_all;
use super::http::Http;
use super::server::Named;
use super::table::Column;

const GRANTS: &[Column] = &[
    ("USER", "user"),
    ("ROLE", "role"),
    ("GROUP", "group"),
    ("MAY", "may"),
    ("ALLOWED", "commands/allow"),
    ("DENIED", "commands/deny"),
    ("DANGEROUS", "commands/dangerous"),
    ("FROM", "from"),
    ("UNTIL", "until"),
];

/// Grant something to somebody on a server, or show what is granted there
#[derive(Debug, clap::Args)]
pub struct GrantArgs {
    #[command(flatten)]
    server: Named,
    #[command(flatten)]
    to: To,
    /// terminal, command or facts; repeatable
    #[arg(long, value_name = "RIGHT", requires = "grantee")]
    may: Vec<String>,
    /// A pattern of commands that are let through, `*` for arguments; all are without one; repeatable
    #[arg(long = "allow-command", value_name = "PATTERN", requires = "may")]
    allow: Vec<String>,
    /// A pattern of commands that are refused, `*` for anything; repeatable
    #[arg(long = "deny-command", value_name = "PATTERN", requires = "may")]
    deny: Vec<String>,
    /// A pattern of commands that wait until another operator or admin approves, `*` for anything; repeatable
    #[arg(long = "dangerous-command", value_name = "PATTERN", requires = "may")]
    dangerous: Vec<String>,
    /// Not before, for example 2026-01-02T03:04:05Z
    #[arg(long, requires = "grantee")]
    from: Option<String>,
    /// Not from then on
    #[arg(long, requires = "grantee")]
    until: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(id = "grantee", multiple = false)]
struct To {
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    role: Option<String>,
    /// A group of people
    #[arg(long)]
    group: Option<String>,
    /// Take away everything that is granted on the server itself
    #[arg(long)]
    none: bool,
}

impl To {
    fn named(&self) -> Option<(&'static str, &str)> {
        let all = [("user", &self.user), ("role", &self.role), ("group", &self.group)];
        all.into_iter().find_map(|(kind, name)| Some((kind, name.as_deref()?)))
    }
}

impl GrantArgs {
    pub async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        let path = self.server.path(http, "/grants").await?;
        let now = http.get(&path, &[]).await?;
        let mut grants = now.get("grants").and_then(Value::as_array).cloned().unwrap_or_default();
        if self.to.none {
            grants.clear();
        }
        if let Some((kind, name)) = self.to.named() {
            // one grant for each grantee: a new one takes the place of the old one
            grants.retain(|grant| grant.get(kind).and_then(Value::as_str) != Some(name));
            if !self.may.is_empty() {
                grants.push(self.grant(kind, name));
            }
        }
        if self.to.none || self.to.named().is_some() {
            let body = json!({ "grants": grants });
            let set = http.write(Method::PUT, &path, Some(&body)).await?;
            grants = set.get("grants").and_then(Value::as_array).cloned().unwrap_or_default();
        }
        show_all(grants, GRANTS, json);
        Ok(())
    }

    fn grant(&self, kind: &str, name: &str) -> Value {
        let mut grant = Map::from_iter([(kind.to_owned(), json!(name)), ("may".to_owned(), json!(self.may))]);
        let lists = [("allow", &self.allow), ("deny", &self.deny), ("dangerous", &self.dangerous)];
        let said = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let commands = Map::from_iter(said.map(|(name, list)| (name.to_owned(), json!(list))));
        if !commands.is_empty() {
            grant.insert("commands".to_owned(), Value::Object(commands));
        }
        grant.extend(self.from.as_ref().map(|from| ("from".to_owned(), json!(from))));
        grant.extend(self.until.as_ref().map(|until| ("until".to_owned(), json!(until))));
        Value::Object(grant)
    }
}
