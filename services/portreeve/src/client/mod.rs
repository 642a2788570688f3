//! How does a person at a terminal ask a running Portreeve for something? One file per noun.

pub mod audit;
pub mod audit_evidence;
mod audit_report;
mod audit_time;
mod audit_what_if;
pub mod batch;
pub mod env;
pub mod env_create;
pub mod env_ssh;
pub mod events;
pub mod http;
pub mod key;
mod nats_tap;
pub mod people;
pub mod projections;
pub mod relay;
pub mod run;
mod run_again;
pub mod schedule;
pub mod server;
pub mod server_account;
pub mod server_doctor;
pub mod server_grant;
pub mod server_import;
pub mod sse;
pub mod subscription;
pub mod table;

use std::path::PathBuf;

use http::Http;

/// What went wrong, for a person.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The command line cannot be meant.
    #[error("{0}")]
    Usage(String),
    #[error("there is no token: set PORTREEVE_TOKEN, or name the data directory of `portreeve up` ({why})")]
    NoToken { why: String },
    #[error("cannot reach {url}; is `portreeve up` running there? PORTREEVE_URL says where to ask")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{0}")]
    Refused(http::Problem),
    #[error("the answer of {url} is not what was expected: {why}")]
    Unreadable { url: String, why: String },
    #[error("the name {name:?} names no single environment: {why}")]
    Name { name: String, why: String },
    #[error("the stream was ended: {detail} ({code})")]
    StreamEnded { code: String, detail: String },
    #[error("{what} is still {last} after {waited_s} s")]
    TookTooLong { what: String, last: String, waited_s: u64 },
    #[error("{what} {last}")]
    WentWrong { what: String, last: String },
    /// What was verified says which verdict does not hold.
    #[error("not everything holds")]
    NotProven,
    #[error("{what} cannot be verified: {why}")]
    Unproven { what: String, why: String },
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

/// Whom to ask, and how to print the answer.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// Where Portreeve answers
    #[arg(long, env = "PORTREEVE_URL", default_value = "http://127.0.0.1:8080", global = true, value_parser = url)]
    url: String,
    /// Where `portreeve up` keeps admin.token, used when PORTREEVE_TOKEN is not set
    #[arg(long, env = "PORTREEVE_DATA_DIR", default_value = ".portreeve", global = true)]
    data_dir: PathBuf,
    /// Print what the server answered, as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

fn url(text: &str) -> Result<String, String> {
    match text.strip_prefix("http://") {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.trim_end_matches('/').to_owned()),
        _ if text.starts_with("https://") => {
            Err("this build speaks http:// only; put a tunnel in between (ssh -L)".to_owned())
        }
        _ => Err("write it as http://host:port".to_owned()),
    }
}

impl Target {
    pub fn connect(&self) -> Result<Http, ClientError> {
        let token = match crate::settings::secret("PORTREEVE_TOKEN") {
            Ok(Some(token)) => token,
            Ok(None) => crate::settings::read_secret(&self.data_dir.join("admin.token"))
                .map_err(|why| ClientError::NoToken { why })?,
            Err(error) => return Err(ClientError::Usage(error.to_string())),
        };
        Http::new(self.url.clone(), token)
    }
}
