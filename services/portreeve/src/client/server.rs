//! `portreeve server`: which machines are there, does one get in, and who may?

use std::io::Read;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::env::{done, list_of, show_all, show_as};
use super::http::Http;
use super::server_account::AccountArgs;
use super::server_doctor::DoctorArgs;
use super::server_grant::GrantArgs;
use super::server_import::{ExportArgs, ImportArgs};
use super::table::{self, Column};
use super::{ClientError, Target};

/// The longest file with a password or a key that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

const LIST: &[Column] = &[
    ("SERVER", "server_id"),
    ("NAME", "name"),
    ("HOST", "host"),
    ("PORT", "port"),
    ("USER", "username"),
    ("ZONE", "zone"),
    ("GROUPS", "groups"),
    ("OK", "test/ok"),
    ("CLASS", "test/class"),
    ("TESTED", "test/at"),
];

const ONE: &[Column] = &[
    ("server", "server_id"),
    ("name", "name"),
    ("host", "host"),
    ("port", "port"),
    ("user", "username"),
    ("method", "method"),
    ("zone", "zone"),
    ("relay", "relay"),
    ("groups", "groups"),
    ("labels", "labels"),
    ("host key", "host_key_fingerprint"),
    ("another key seen", "host_key_seen_fingerprint"),
    ("you may", "may"),
    ("ok", "test/ok"),
    ("class", "test/class"),
    ("reason", "test/reason"),
    ("suggestion", "test/suggestion"),
    ("step", "test/step"),
    ("says it is", "test/identification"),
    ("tested", "test/at"),
    ("registered", "created_at"),
];

const TEST: &[Column] = &[
    ("server", "server_id"),
    ("ok", "ok"),
    ("class", "class"),
    ("reason", "reason"),
    ("suggestion", "suggestion"),
    ("step", "step"),
    ("says it is", "identification"),
    ("ms", "duration_ms"),
    ("host key", "host_key_fingerprint"),
    ("another key seen", "host_key_seen_fingerprint"),
];

const FACTS: &[Column] = &[
    ("host name", "facts/hostname"),
    ("system", "facts/system/name"),
    ("kernel", "facts/kernel_release"),
    ("machine", "facts/machine"),
    ("virtualisation", "facts/virtualisation"),
    ("processor", "facts/cpu_model"),
    ("processors", "facts/cpus"),
    ("memory, KiB", "facts/memory_kib"),
    ("swap, KiB", "facts/swap_kib"),
    ("up for, s", "facts/uptime_s"),
    ("gathered", "gathered_at"),
];

const DISKS: &[Column] = &[
    ("DISK", "device"),
    ("MOUNT", "mount"),
    ("KIND", "kind"),
    ("SIZE KIB", "size_kib"),
    ("USED KIB", "used_kib"),
];

const ADDRESSES: &[Column] = &[("INTERFACE", "interface"), ("ADDRESS", "address")];

/// Machines that are reached over SSH
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Server,
}

#[derive(Debug, clap::Subcommand)]
enum Server {
    /// Register one; says whether one gets in
    Add {
        name: String,
        #[command(flatten)]
        said: Said,
    },
    /// All servers that you may use
    List {
        #[arg(long)]
        zone: Option<String>,
        #[arg(long)]
        group: Option<String>,
        /// key=value
        #[arg(long)]
        label: Option<String>,
        /// Only those whose newest test went well (true) or did not (false)
        #[arg(long)]
        ok: Option<bool>,
    },
    /// One server
    Show(Named),
    /// Change what is given; says whether one gets in
    Change {
        #[command(flatten)]
        server: Named,
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        said: Said,
    },
    /// Try whether one gets in; exit code 1 if not
    Test(Named),
    /// Accept the key that a server shows instead of the one that was believed
    AcceptHostKey {
        #[command(flatten)]
        server: Named,
        /// SHA256:..., compared with what the machine itself says
        fingerprint: String,
    },
    /// Remove it with its credential and its grants
    Remove(Named),
    Grant(GrantArgs),
    Account(AccountArgs),
    /// Walk the way to it, look around there, and print what is wrong with a remedy; exit code 1 if something is
    Doctor(DoctorArgs),
    /// What the machine is; asks it anew unless --known
    Facts {
        #[command(flatten)]
        server: Named,
        /// What was gathered before
        #[arg(long)]
        known: bool,
    },
    Import(ImportArgs),
    Export(ExportArgs),
    /// What a server needs to let in certificates of this installation
    Authority,
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// Id or name
    server: String,
}

/// What is said of a server.
#[derive(Debug, clap::Args)]
struct Said {
    /// Name or address
    #[arg(long)]
    host: Option<String>,
    #[arg(long)]
    port: Option<u16>,
    /// The account there
    #[arg(long)]
    user: Option<String>,
    /// A file with its password; - reads the standard input
    #[arg(long, value_name = "FILE", group = "credential")]
    password_file: Option<PathBuf>,
    /// A file with a private key
    #[arg(long, value_name = "FILE", group = "credential")]
    key_file: Option<PathBuf>,
    /// A file with the passphrase of the private key
    #[arg(long, value_name = "FILE", requires = "key_file")]
    passphrase_file: Option<PathBuf>,
    /// Certificates of this installation, which the server trusts
    #[arg(long, group = "credential")]
    certificate: bool,
    #[arg(long)]
    zone: Option<String>,
    /// The relay that leads there
    #[arg(long)]
    relay: Option<String>,
    /// A group of servers; repeatable
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// key=value; repeatable
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Do not try to connect
    #[arg(long)]
    no_test: bool,
}

pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Said {
    fn body(&self, name: Option<String>) -> Result<Value, ClientError> {
        let mut body = Map::new();
        let mut set = |field: &str, value: Option<Value>| {
            body.extend(value.map(|value| (field.to_owned(), value)));
        };
        set("name", name.map(Value::from));
        set("host", self.host.clone().map(Value::from));
        set("port", self.port.map(Value::from));
        set("username", self.user.clone().map(Value::from));
        set("zone", self.zone.clone().map(Value::from));
        set("relay", self.relay.clone().map(Value::from));
        set("groups", (!self.groups.is_empty()).then(|| json!(self.groups)));
        let labels = self.labels.iter().map(|(key, value)| (key.clone(), json!(value)));
        set("labels", (!self.labels.is_empty()).then(|| Value::Object(labels.collect())));
        set("password", self.password_file.as_deref().map(first_line).transpose()?.map(Value::from));
        set("private_key", self.key_file.as_deref().map(read).transpose()?.map(Value::from));
        set("passphrase", self.passphrase_file.as_deref().map(first_line).transpose()?.map(Value::from));
        set("certificate", self.certificate.then_some(json!(true)));
        set("test", self.no_test.then_some(json!(false)));
        Ok(Value::Object(body))
    }
}

/// Secrets come from files or the standard input: a command line is seen by everybody on the machine.
pub fn read(path: &Path) -> Result<String, ClientError> {
    let mut text = String::new();
    let result = if path == Path::new("-") {
        std::io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
    };
    result.map_err(|source| ClientError::Io { what: format!("read {}", path.display()), source })?;
    Ok(text)
}

pub fn first_line(path: &Path) -> Result<String, ClientError> {
    Ok(read(path)?.lines().next().unwrap_or_default().to_owned())
}

impl ServerArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        match self.what {
            Server::Add { name, said } => {
                let saved = http.write(Method::POST, "/api/servers", Some(&said.body(Some(name))?)).await?;
                show_saved(saved, json);
            }
            Server::List { zone, group, label, ok } => {
                let ok = ok.map(|ok| ok.to_string());
                let query = [("zone", zone), ("group", group), ("label", label), ("ok", ok)];
                let query: Vec<_> =
                    query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                show_all(http.all("/api/servers", &query).await?, LIST, json);
            }
            Server::Show(server) => {
                show_as(&http.get(&server.path(&http, "").await?, &[]).await?, ONE, json);
            }
            Server::Change { server, name, said } => {
                let path = server.path(&http, "").await?;
                show_saved(http.write(Method::PATCH, &path, Some(&said.body(name)?)).await?, json);
            }
            Server::Test(server) => return server.test(&http, json).await,
            Server::AcceptHostKey { server, fingerprint } => {
                let path = server.path(&http, "/accept-host-key").await?;
                let body = json!({ "fingerprint": fingerprint });
                show_saved(http.write(Method::POST, &path, Some(&body)).await?, json);
            }
            Server::Remove(server) => {
                let path = server.path(&http, "").await?;
                done(&http.write(Method::DELETE, &path, None).await?, "removed", json);
            }
            Server::Grant(grant) => return grant.run(&http, json).await,
            Server::Account(account) => return account.run(&http, json).await,
            Server::Doctor(doctor) => return doctor.run(&http, json).await,
            Server::Facts { server, known } => return server.facts(&http, known, json).await,
            Server::Import(import) => return import.run(&http, json).await,
            Server::Export(export) => return export.run(&http).await,
            Server::Authority => {
                let authority = http.get("/api/server-authority", &[]).await?;
                let columns = &[("public key", "public_key"), ("sshd_config", "sshd_config")];
                show_as(&authority, columns, json);
            }
        }
        Ok(())
    }
}

/// The test beside what it is about.
fn show_saved(saved: Value, json: bool) {
    if json {
        return table::print_json(&saved);
    }
    let mut shown = saved.get("test").and_then(Value::as_object).cloned().unwrap_or_default();
    for field in ["server_id", "host_key_fingerprint", "host_key_seen_fingerprint"] {
        shown.insert(field.to_owned(), saved.get(field).cloned().unwrap_or_default());
    }
    table::print_one(&Value::Object(shown), TEST);
}

impl Named {
    /// The path of the server's resource; a name is looked up.
    pub async fn path(&self, http: &Http, below: &str) -> Result<String, ClientError> {
        Ok(format!("/api/servers/{}{below}", self.id(http).await?))
    }

    /// As it was typed.
    pub fn name(&self) -> &str {
        &self.server
    }

    pub fn new(server: &str) -> Self {
        Self { server: server.to_owned() }
    }

    pub async fn id(&self, http: &Http) -> Result<String, ClientError> {
        if events::ids::ServerId::parse(self.server.as_str()).is_ok() {
            return Ok(self.server.clone());
        }
        let found = http.all("/api/servers", &[("name", self.server.clone())]).await?;
        let ids: Vec<String> = found.iter().map(|server| table::cell(server, "server_id")).collect();
        let name = self.server.clone();
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(ClientError::Name { name, why: "no server has it".to_owned() }),
            several => {
                let why = format!("several servers have it: {}", several.join(", "));
                Err(ClientError::Name { name, why })
            }
        }
    }

    async fn facts(&self, http: &Http, known: bool, json: bool) -> Result<(), ClientError> {
        let path = self.path(http, "/facts").await?;
        let answer =
            if known { http.get(&path, &[]).await? } else { http.write(Method::POST, &path, None).await? };
        if answer.get("facts").is_none_or(Value::is_null) {
            let why = answer.pointer("/test/reason").and_then(Value::as_str).unwrap_or("nobody asked it yet");
            let last = format!("says nothing of itself: {why}");
            return Err(ClientError::WentWrong { what: self.server.clone(), last });
        }
        if json {
            table::print_json(&answer);
            return Ok(());
        }
        table::print_one(&answer, FACTS);
        let facts = answer.get("facts").cloned().unwrap_or_default();
        table::print(&list_of(&facts, "disks"), DISKS);
        table::print(&list_of(&facts, "addresses"), ADDRESSES);
        Ok(())
    }

    async fn test(&self, http: &Http, json: bool) -> Result<(), ClientError> {
        let tested = http.write(Method::POST, &self.path(http, "/test").await?, None).await?;
        show_as(&tested, TEST, json);
        if tested.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(());
        }
        let last = format!("cannot be used: {}", table::cell(&tested, "class"));
        Err(ClientError::WentWrong { what: self.server.clone(), last })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn body(line: &str) -> Result<Value, String> {
        let parsed = Line::try_parse_from(["portreeve"].into_iter().chain(line.split(' ')));
        let what = parsed.map_err(|error| error.to_string())?.server.what;
        let Server::Add { name, said } = what else { return Err(format!("{what:?}")) };
        said.body(Some(name)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_is_read_from_its_file_and_one_credential_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "open sesame\n").unwrap();
        let file = file.display();
        let line = format!("add web --host h --user u --label env=prod --group a --password-file {file}");
        let expected = json!({"name": "web", "host": "h", "username": "u", "labels": {"env": "prod"},
            "groups": ["a"], "password": "open sesame"});
        assert_eq!(body(&line), Ok(expected));
        assert!(body(&format!("{line} --certificate")).is_err());
        assert!(body("add web --host h --user u --passphrase-file x").is_err(), "of which key?");
        assert!(body("add web --label env").is_err());
    }
}
