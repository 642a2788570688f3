//! `portreeve env create`: what shall the new environment be, and how does one get in?

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::env::{show_as, wait_for};
use super::http::Http;
use super::table::Column;
use super::{ClientError, key};

const CREATED: &[Column] = &[
    ("environment", "env_id"),
    ("name", "name"),
    ("status", "status"),
    ("ssh", "ssh_command"),
    ("password", "ssh_password"),
    ("jupyter", "jupyter_url"),
];

/// Make an environment; prints how to get in
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    name: String,
    /// Cores
    #[arg(long, default_value_t = 1.0)]
    cpu: f64,
    /// GiB
    #[arg(long, default_value_t = 1.0)]
    memory: f64,
    #[arg(long)]
    gpu: Option<u32>,
    /// GiB
    #[arg(long)]
    storage: Option<f64>,
    /// Image reference; the server's default if not given
    #[arg(long)]
    image: Option<String>,
    /// With JupyterLab
    #[arg(long)]
    jupyter: bool,
    /// Seconds after which it ends by itself
    #[arg(long)]
    ttl_s: Option<u64>,
    /// Seconds without traffic after which it is stopped
    #[arg(long)]
    idle_s: Option<u64>,
    /// A source range that may connect; repeatable; everyone if not given
    #[arg(long = "allow", value_name = "RANGE")]
    allow: Vec<String>,
    /// A file with a public key for this environment alone; repeatable
    #[arg(long = "key-file", value_name = "FILE")]
    key_files: Vec<PathBuf>,
    /// Return only when it runs
    #[arg(long)]
    wait: bool,
}

impl CreateArgs {
    pub async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        let body = self.body()?;
        let mut created = http.write(Method::POST, "/api/environments", Some(&body)).await?;
        if self.wait {
            let id = created.get("env_id").and_then(Value::as_str);
            let id = id.ok_or_else(|| http.unreadable("/api/environments", "there is no env_id"))?.to_owned();
            wait_for(http, &id, "running").await?;
            if let Some(members) = created.as_object_mut() {
                members.insert("status".to_owned(), "running".into());
            }
        }
        show_as(&created, CREATED, json);
        Ok(())
    }

    fn body(&self) -> Result<Value, ClientError> {
        let mut resources =
            Map::from_iter([("cpu".to_owned(), json!(self.cpu)), ("memory".to_owned(), json!(self.memory))]);
        resources.extend(self.gpu.map(|gpu| ("gpu".to_owned(), json!(gpu))));
        resources.extend(self.storage.map(|storage| ("storage".to_owned(), json!(storage))));
        let mut body = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("resources".to_owned(), Value::Object(resources)),
        ]);
        body.extend(self.image.as_ref().map(|image| ("image".to_owned(), json!(image))));
        body.extend(self.ttl_s.map(|ttl_s| ("ttl_s".to_owned(), json!(ttl_s))));
        body.extend(self.idle_s.map(|idle_s| ("idle_s".to_owned(), json!(idle_s))));
        if self.jupyter {
            body.insert("jupyter".to_owned(), json!(true));
        }
        if !self.allow.is_empty() {
            body.insert("allow_list".to_owned(), json!(self.allow));
        }
        if !self.key_files.is_empty() {
            let keys = self.key_files.iter().map(|file| key::read_public(file));
            body.insert("ssh_public_keys".to_owned(), json!(keys.collect::<Result<Vec<_>, _>>()?));
        }
        Ok(Value::Object(body))
    }
}
