//! What do other people's lists of servers say? Text in, one row a server out, each with its line; and back again.
//!
//! A row has the field names of the API, and nothing here judges what stands in them: that a port is a port is said
//! where every registration is read. Knows no HTTP, no files and no log: what a text names is not opened.

mod ansible;
mod ansible_ini;
mod ansible_yaml;
mod node;
mod sheet;
mod ssh_config;
mod yaml;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use sheet::write as write_csv;
pub use yaml::write as write_yaml;

/// Servers in one text.
pub const ROWS_MAX: usize = 2_000;

/// The columns of a list, in their order; what is written can be read again.
pub const COLUMNS: &[&str] =
    &["server_id", "name", "host", "port", "username", "method", "zone", "relay", "groups", "labels"];

/// How a text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Yaml,
    AnsibleIni,
    AnsibleYaml,
    SshConfig,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Csv, Self::Yaml, Self::AnsibleIni, Self::AnsibleYaml, Self::SshConfig];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Yaml => "yaml",
            Self::AnsibleIni => "ansible_ini",
            Self::AnsibleYaml => "ansible_yaml",
            Self::SshConfig => "ssh_config",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// What a text says of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Counted from 1.
    pub line: u64,
    /// Of fields that stand elsewhere.
    pub lines: BTreeMap<String, u64>,
    /// As in the body of a registration, and `private_key_file`: a path as its writer's machine has it.
    pub fields: Map<String, Value>,
}

impl Row {
    fn new(line: u64) -> Self {
        Self { line, lines: BTreeMap::new(), fields: Map::new() }
    }

    fn set(&mut self, line: u64, field: &str, value: impl Into<Value>) {
        self.lines.insert(field.to_owned(), line);
        self.fields.insert(field.to_owned(), value.into());
    }

    /// Where a field stands; the row's own line if it stands nowhere.
    pub fn line_of(&self, field: &str) -> u64 {
        let root = field.split(['.', '[']).next().unwrap_or_default();
        self.lines.get(root).copied().unwrap_or(self.line)
    }
}

/// A place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub line: u64,
    /// Empty when it is the line as a whole.
    pub field: String,
    /// `malformed`, `unknown`, `too_long`, ...
    pub code: &'static str,
    pub detail: String,
}

impl Wrong {
    fn new(line: u64, field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { line, field: field.into(), code, detail: detail.into() }
    }
}

/// Something that stands there and is not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub line: u64,
    pub text: String,
}

/// A text that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub rows: Vec<Row>,
    pub notes: Vec<Note>,
}

/// Every place that cannot be read is named, not the first alone.
pub fn read(format: Format, text: &str) -> Result<Inventory, Vec<Wrong>> {
    // what editors put in front of a text
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let inventory = match format {
        Format::Csv => sheet::read(text),
        Format::Yaml => yaml::read(text),
        Format::AnsibleIni => ansible_ini::read(text),
        Format::AnsibleYaml => ansible_yaml::read(text),
        Format::SshConfig => ssh_config::read(text),
    }?;
    match inventory.rows.get(ROWS_MAX) {
        None => Ok(inventory),
        Some(row) => {
            let detail = format!("a text may have at most {ROWS_MAX} servers");
            Err(vec![Wrong::new(row.line, "", "too_long", detail)])
        }
    }
}
