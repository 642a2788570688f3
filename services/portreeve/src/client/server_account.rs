//! `portreeve server account`: accounts on a server, with their keys.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::ClientError;
use super::env::{list_of, show_all};
use super::http::Http;
use super::server::{Named, read};
use super::server_doctor::shown;
use super::table::{self, Column, cell};

const LIST: &[Column] = &[
    ("ACCOUNT", "account"),
    ("THERE", "there"),
    ("OURS", "ours"),
    ("PENDING", "pending"),
    ("LAST", "last/action"),
    ("OUTCOME", "last/outcome"),
    ("CLASS", "last/class"),
];

const CHANGE: &[Column] = &[
    ("account", "account"),
    ("action", "action"),
    ("outcome", "outcome"),
    ("class", "class"),
    ("reason", "reason"),
    ("suggestion", "suggestion"),
    ("made", "made"),
];

/// Accounts there, with their keys
#[derive(Debug, clap::Args)]
pub struct AccountArgs {
    #[command(subcommand)]
    what: Account,
}

#[derive(Debug, clap::Subcommand)]
enum Account {
    /// Make it if it is missing, with these keys and the right modes; again changes nothing
    Push {
        #[command(flatten)]
        server: Named,
        account: String,
        /// A file with public keys, one a line; repeatable
        #[arg(long = "key-file", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        /// A group there; repeatable
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[arg(long)]
        shell: Option<String>,
        /// May it become root without a password?
        #[arg(long)]
        sudo: Option<bool>,
    },
    /// Could it be used with its keys? Changes nothing
    Verify {
        #[command(flatten)]
        server: Named,
        account: String,
    },
    /// Other keys in the place of those that were pushed
    Rotate {
        #[command(flatten)]
        server: Named,
        account: String,
        /// A file with public keys, one a line; repeatable
        #[arg(long = "key-file", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
    },
    /// Take its keys away, and itself if it was made from here
    Remove {
        #[command(flatten)]
        server: Named,
        account: String,
        /// With its home
        #[arg(long)]
        home: bool,
    },
    /// Those that were pushed
    List(Named),
}

fn public_keys(files: &[PathBuf]) -> Result<Vec<String>, ClientError> {
    let mut keys = Vec::new();
    for file in files {
        let text = read(file)?;
        keys.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    Ok(keys)
}

impl AccountArgs {
    pub async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        let (method, path, body) = match self.what {
            Account::List(server) => {
                let answer = http.get(&server.path(http, "/accounts").await?, &[]).await?;
                show_all(list_of(&answer, "items"), LIST, json);
                return Ok(());
            }
            Account::Push { server, account, keys, groups, shell, sudo } => {
                let mut body = Map::new();
                body.insert("account".to_owned(), account.into());
                body.insert("public_keys".to_owned(), public_keys(&keys)?.into());
                body.insert("groups".to_owned(), groups.into());
                body.extend(shell.map(|shell| ("shell".to_owned(), shell.into())));
                body.extend(sudo.map(|sudo| ("sudo".to_owned(), sudo.into())));
                (Method::POST, server.path(http, "/accounts").await?, Value::Object(body))
            }
            Account::Verify { server, account } => {
                (Method::POST, server.path(http, &format!("/accounts/{account}/verify")).await?, json!({}))
            }
            Account::Rotate { server, account, keys } => {
                let body = json!({ "public_keys": public_keys(&keys)? });
                (Method::POST, server.path(http, &format!("/accounts/{account}/rotate")).await?, body)
            }
            Account::Remove { server, account, home } => {
                let body = json!({ "remove_home": home });
                (Method::DELETE, server.path(http, &format!("/accounts/{account}")).await?, body)
            }
        };
        let changed = http.write(method, &path, Some(&body)).await?;
        if json {
            table::print_json(&changed);
        } else {
            table::print_one(&changed, CHANGE);
            table::out(&shown(&list_of(&changed, "findings")));
        }
        match cell(&changed, "outcome").as_str() {
            "done" => Ok(()),
            outcome => {
                let what = cell(&changed, "account");
                Err(ClientError::WentWrong { what, last: format!("{outcome}: {}", cell(&changed, "class")) })
            }
        }
    }
}
