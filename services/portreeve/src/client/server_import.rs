//! `portreeve server import`, `export`: many servers from a list, and as a list.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::ClientError;
use super::env::list_of;
use super::http::Http;
use super::server::{first_line, label, read};
use super::table::{self, Column, cell};

/// The longest list that is read, in bytes; a body has room for no more.
const LIST_BYTES_MAX: u64 = 1 << 20;

const IMPORTED: &[Column] =
    &[("LINE", "line"), ("SERVER", "server_id"), ("NAME", "name"), ("OUTCOME", "outcome")];

/// Register or change the servers of a list: all of them, or none if a line is wrong
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// CSV, YAML, an Ansible inventory or an ssh_config; - reads the standard input
    file: PathBuf,
    /// csv, yaml, ansible_ini, ansible_yaml or ssh_config; told by the file's name when left out
    #[arg(long)]
    format: Option<String>,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// The account, where the list names none
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    port: Option<u16>,
    /// A file with the password, where the list has no credential
    #[arg(long, value_name = "FILE", group = "default_credential")]
    password_file: Option<PathBuf>,
    /// Certificates of this installation, where the list has no credential
    #[arg(long, group = "default_credential")]
    certificate: bool,
    /// A private key that the list names by this path; repeatable
    #[arg(long = "identity", value_name = "FILE")]
    identities: Vec<PathBuf>,
    /// A file with the passphrase of the keys
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[arg(long)]
    zone: Option<String>,
    #[arg(long)]
    relay: Option<String>,
    /// A group of servers, where the list names none; repeatable
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// key=value, where the list names none; repeatable
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    labels: Vec<(String, String)>,
}

impl ImportArgs {
    pub async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        let body = self.body()?;
        let answered = http.write(Method::POST, "/api/servers/import", Some(&body)).await;
        let answer = answered.map_err(|error| {
            let ClientError::Refused(problem) = &error else { return error };
            let lines = problem.wrong_fields().into_iter().map(|(field, detail)| named(&field, &detail));
            let lines: Vec<String> = lines.collect();
            if lines.is_empty() {
                return error;
            }
            let last = format!("was imported, because of\n{}", lines.join("\n"));
            ClientError::WentWrong { what: "nothing".to_owned(), last }
        })?;
        if json {
            table::print_json(&answer);
            return Ok(());
        }
        table::print(&list_of(&answer, "servers"), IMPORTED);
        for note in list_of(&answer, "notes") {
            table::out(&format!("line {}: {}\n", cell(&note, "line"), cell(&note, "text")));
        }
        let count = |field| cell(&answer, field);
        let (created, changed, unchanged) = (count("created"), count("changed"), count("unchanged"));
        let would = if self.dry_run { "would be: " } else { "" };
        table::out(&format!("{would}{created} created, {changed} changed, {unchanged} as they were\n"));
        Ok(())
    }

    fn body(&self) -> Result<Value, ClientError> {
        let format = match &self.format {
            Some(format) => format.clone(),
            None => format_of(&self.file)?.to_owned(),
        };
        let mut defaults = Map::new();
        let mut set =
            |field: &str, value: Option<Value>| defaults.extend(value.map(|value| (field.to_owned(), value)));
        set("username", self.user.clone().map(Value::from));
        set("port", self.port.map(Value::from));
        set("password", self.password_file.as_deref().map(first_line).transpose()?.map(Value::from));
        set("passphrase", self.passphrase_file.as_deref().map(first_line).transpose()?.map(Value::from));
        set("certificate", self.certificate.then_some(json!(true)));
        set("zone", self.zone.clone().map(Value::from));
        set("relay", self.relay.clone().map(Value::from));
        set("groups", (!self.groups.is_empty()).then(|| json!(self.groups)));
        let labels = self.labels.iter().map(|(key, value)| (key.clone(), json!(value)));
        set("labels", (!self.labels.is_empty()).then(|| Value::Object(labels.collect())));
        let mut keys = Map::new();
        for path in &self.identities {
            let text = read(&expanded(path))?;
            for name in names_of(path) {
                keys.insert(name, text.clone().into());
            }
        }
        let text = whole(&self.file)?;
        Ok(
            json!({"format": format, "text": text, "defaults": defaults, "keys": keys, "dry_run": self.dry_run}),
        )
    }
}

/// `line[7].port` as a person says it.
fn named(field: &str, detail: &str) -> String {
    let place = field.strip_prefix("line[").and_then(|rest| rest.split_once(']'));
    match place {
        Some((line, "")) => format!("  line {line}: {detail}"),
        Some((line, field)) => format!("  line {line}, {}: {detail}", field.trim_start_matches('.')),
        None => format!("  {field}: {detail}"),
    }
}

/// By its name; an inventory in YAML cannot be told from our own.
fn format_of(path: &Path) -> Result<&'static str, ClientError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match (extension, name) {
        ("csv", _) => Ok("csv"),
        ("yaml" | "yml", _) => Ok("yaml"),
        ("ini", _) | (_, "hosts") => Ok("ansible_ini"),
        (_, "config" | "ssh_config") => Ok("ssh_config"),
        _ => {
            let known = "csv, yaml, ansible_ini, ansible_yaml or ssh_config";
            Err(ClientError::Usage(format!("{} does not say what it is: --format {known}", path.display())))
        }
    }
}

fn whole(path: &Path) -> Result<String, ClientError> {
    use std::io::Read as _;
    let failed = |source| ClientError::Io { what: format!("read {}", path.display()), source };
    let mut text = String::new();
    let reader: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    reader.take(LIST_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LIST_BYTES_MAX {
        return Err(ClientError::Usage(format!(
            "{} has more than {LIST_BYTES_MAX} bytes: import it in parts",
            path.display()
        )));
    }
    Ok(text)
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

fn expanded(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// What a list may call the file: as it was typed, in full, and below `~`.
fn names_of(path: &Path) -> Vec<String> {
    let full = expanded(path);
    let below = home().and_then(|home| full.strip_prefix(home).map(|rest| Path::new("~").join(rest)).ok());
    let mut names: Vec<String> = [Some(path.to_owned()), below, Some(full)]
        .into_iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect();
    names.dedup();
    names
}

/// All servers as a list that `import` takes; without their secrets
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// csv or yaml
    #[arg(long, default_value = "csv")]
    format: String,
    /// Where to write it; the standard output when left out
    #[arg(long)]
    out: Option<PathBuf>,
}

impl ExportArgs {
    pub async fn run(self, http: &Http) -> Result<(), ClientError> {
        let answer = http.slow("/api/servers/export", &[("format", self.format)]).await?;
        let text = answer.text().await.map_err(|source| http.unreachable(source))?;
        match self.out {
            None => table::out(&text),
            Some(path) => std::fs::write(&path, text)
                .map_err(|source| ClientError::Io { what: format!("write {}", path.display()), source })?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_named_as_a_person_says_it() {
        assert_eq!(named("line[7].port", "x"), "  line 7, port: x");
        assert_eq!(named("line[7]", "x"), "  line 7: x");
        assert_eq!(named("defaults.zone", "x"), "  defaults.zone: x");
    }

    #[test]
    fn a_list_is_known_by_its_name() {
        let of = |name: &str| format_of(Path::new(name)).ok();
        assert_eq!(of("/etc/ansible/hosts"), Some("ansible_ini"));
        assert_eq!(of("/home/alice/.ssh/config"), Some("ssh_config"));
        assert_eq!((of("a.yml"), of("a.csv"), of("a.txt")), (Some("yaml"), Some("csv"), None));
    }
}
