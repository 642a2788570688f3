//! `portreeve relay`: which relays may dial out to us? Without a verb, the service that they connect to.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::env::{done, show_all, show_as};
use super::http::Http;
use super::server::label;
use super::table::{self, Column};
use super::{ClientError, Target};
use crate::relay_service::RelayServiceArgs;

const LIST: &[Column] = &[
    ("RELAY", "relay_id"),
    ("NAME", "name"),
    ("ZONE", "zone"),
    ("CONNECTED", "connected"),
    ("PENDING", "pending"),
    ("SINCE", "changed_at"),
    ("NOW", "in_flight"),
    ("MOST", "in_flight_max"),
    ("FROM", "address"),
    ("CLIENT", "client"),
    ("REASON", "reason"),
];

const ONE: &[Column] = &[
    ("relay", "relay_id"),
    ("name", "name"),
    ("zone", "zone"),
    ("labels", "labels"),
    ("addresses", "addresses"),
    ("commands now", "in_flight"),
    ("commands at once", "in_flight_max"),
    ("connected", "connected"),
    ("waits to be accepted", "pending"),
    ("since", "changed_at"),
    ("from", "address"),
    ("client", "client"),
    ("reason", "reason"),
    ("connections so far", "epoch"),
    ("revoked", "revoked"),
    ("registered", "created_at"),
];

const CHANGED: &[Column] = &[
    ("relay", "relay_id"),
    ("name", "name"),
    ("zone", "zone"),
    ("labels", "labels"),
    ("addresses", "addresses"),
    ("commands at once", "in_flight_max"),
];

const KEY: &[Column] = &[
    ("relay", "relay_id"),
    ("proxyId", "proxy_id"),
    ("apiKey, shown once", "api_key"),
    ("the key before counts until", "previous_until"),
];

/// Relays that dial out from networks which accept no connection
#[derive(Debug, clap::Args)]
pub struct RelayArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    pub what: Relay,
}

/// The verbs; without one of them `portreeve relay` is the service.
pub const VERBS: &[&str] =
    &["add", "list", "show", "change", "accept", "rotate-key", "remove", "run", "help"];

#[derive(Debug, clap::Subcommand)]
pub enum Relay {
    /// Register one; its key is shown once
    Add {
        name: String,
        #[command(flatten)]
        said: Said,
    },
    /// All relays
    List {
        /// Revoked ones too
        #[arg(long)]
        revoked: bool,
    },
    /// One relay
    Show(Named),
    /// Change what is given; one that is connected from elsewhere than it may be from now on is closed
    Change {
        #[command(flatten)]
        relay: Named,
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        said: Said,
        /// It may connect from anywhere
        #[arg(long, conflicts_with = "addresses")]
        anywhere: bool,
    },
    /// Let in one that registered itself
    Accept(Named),
    /// Give it another key; the one before counts for a while
    RotateKey {
        #[command(flatten)]
        relay: Named,
        /// Seconds that the key before still counts
        #[arg(long)]
        overlap_s: Option<u64>,
    },
    /// Remove it: its key opens nothing any more, and its connection is closed
    Remove(Named),
    /// Let relays connect and give commands away: the service, which `portreeve relay` alone is too
    Run(Box<RelayServiceArgs>),
}

/// What is said of a relay.
#[derive(Debug, clap::Args)]
pub struct Said {
    /// It serves the servers of this zone
    #[arg(long)]
    zone: Option<String>,
    /// key=value; it serves servers that have all of them; repeatable
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A range from which it may connect; repeatable
    #[arg(long = "address", value_name = "RANGE")]
    addresses: Vec<String>,
    /// Commands that it is given at once
    #[arg(long)]
    in_flight_max: Option<u32>,
}

impl Said {
    fn body(self, name: Option<String>) -> Map<String, Value> {
        let mut body = Map::new();
        body.extend(name.map(|name| ("name".to_owned(), json!(name))));
        body.extend(self.zone.map(|zone| ("zone".to_owned(), json!(zone))));
        if !self.labels.is_empty() {
            let labels = self.labels.into_iter().map(|(key, value)| (key, json!(value)));
            body.insert("labels".to_owned(), Value::Object(labels.collect()));
        }
        if !self.addresses.is_empty() {
            body.insert("addresses".to_owned(), json!(self.addresses));
        }
        body.extend(self.in_flight_max.map(|most| ("in_flight_max".to_owned(), json!(most))));
        body
    }
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// Id or name
    relay: String,
}

impl RelayArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        match self.what {
            Relay::Add { name, said } => {
                let body = Value::Object(said.body(Some(name)));
                show_as(&http.write(Method::POST, "/api/relays", Some(&body)).await?, KEY, json);
            }
            Relay::List { revoked } => {
                let query = [("revoked", revoked.to_string())];
                show_all(http.all("/api/relays", &query).await?, LIST, json);
            }
            Relay::Show(relay) => show_as(&http.get(&relay.path(&http, "").await?, &[]).await?, ONE, json),
            Relay::Change { relay, name, said, anywhere } => {
                let path = relay.path(&http, "").await?;
                let mut body = said.body(name);
                if anywhere {
                    body.insert("addresses".to_owned(), json!([]));
                }
                let changed = http.write(Method::PATCH, &path, Some(&Value::Object(body))).await?;
                show_as(&changed, CHANGED, json);
            }
            Relay::RotateKey { relay, overlap_s } => {
                let path = relay.path(&http, "/rotate-key").await?;
                let body = overlap_s.map_or_else(|| json!({}), |overlap_s| json!({ "overlap_s": overlap_s }));
                show_as(&http.write(Method::POST, &path, Some(&body)).await?, KEY, json);
            }
            Relay::Accept(relay) => {
                let path = relay.path(&http, "/accept").await?;
                done(&http.write(Method::POST, &path, None).await?, "accepted", json);
            }
            Relay::Remove(relay) => {
                let path = relay.path(&http, "").await?;
                done(&http.write(Method::DELETE, &path, None).await?, "removed", json);
            }
            Relay::Run(_) => {
                let why = "the service is started by `portreeve relay`, without a verb";
                return Err(ClientError::Usage(why.to_owned()));
            }
        }
        Ok(())
    }
}

impl Named {
    /// The path of the relay's resource; a name is looked up.
    async fn path(&self, http: &Http, below: &str) -> Result<String, ClientError> {
        if self.relay.starts_with("rel-") {
            return Ok(format!("/api/relays/{}{below}", self.relay));
        }
        let all = http.all("/api/relays", &[]).await?;
        let of_name = all.iter().filter(|relay| table::cell(relay, "name") == self.relay);
        let ids: Vec<String> = of_name.map(|relay| table::cell(relay, "relay_id")).collect();
        let name = self.relay.clone();
        match ids.as_slice() {
            [id] => Ok(format!("/api/relays/{id}{below}")),
            [] => Err(ClientError::Name { name, why: "no relay has it".to_owned() }),
            several => {
                let why = format!("several relays have it: {}", several.join(", "));
                Err(ClientError::Name { name, why })
            }
        }
    }
}
