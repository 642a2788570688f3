//! `portreeve audit report`: what does the log say of a range, and is a report that was kept what it says now? Exit
//! status of `--check` as of `audit verify`: 0: the same, 1: it differs, 2: it cannot be compared.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use audit::report::again::{Comparison, compare};
use audit::report::document::{Document, Head};
use audit::report::rows::Row;
use audit::report::{REPORTS, Report, named};
use kit::error::chain;
use serde_json::{Value, json};

use super::audit_time::{given, instant};
use super::http::{Http, Problem};
use super::table::{self, Column};
use super::{ClientError, Target};

/// The longest report that is read: all its cells, and what stands around them.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Behind the name of a table: the file that says what it is.
const MANIFEST: &str = ".manifest.json";

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// access, logins, commands, passwords or privileged
    #[arg(value_parser = report, required_unless_present = "check", conflicts_with = "check")]
    name: Option<&'static Report>,
    /// The first event: a sequence, an RFC 3339 time, or a time of today like 14:05
    #[arg(long, value_parser = instant, conflicts_with = "check")]
    from: Option<String>,
    /// The last event, likewise; of times it ends before
    #[arg(long, value_parser = instant, conflicts_with = "check")]
    to: Option<String>,
    /// Only this tenant
    #[arg(long, conflicts_with = "check")]
    tenant: Option<String>,
    /// As CSV; what is said of all rows goes to FILE.manifest.json, or to the standard error
    #[arg(long, conflicts_with = "check")]
    csv: bool,
    /// Where to write it; it must not be there yet
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    out: Option<PathBuf>,
    /// Compute the report of a file again, and say whether it is the same
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

fn report(name: &str) -> Result<&'static Report, String> {
    let known: Vec<&str> = REPORTS.iter().map(|report| report.name).collect();
    named(name).ok_or_else(|| format!("there are {}", known.join(", ")))
}

/// As it came: the bytes of the file, and what is said beside them.
struct Answer {
    body: Vec<u8>,
    head: String,
}

async fn ask(http: &Http, name: &str, query: &[(&str, String)]) -> Result<Answer, ClientError> {
    let path = format!("/api/audit/reports/{name}");
    let response = http.slow(&path, query).await?;
    let head = response.headers().get("portreeve-report").and_then(|head| head.to_str().ok());
    let head =
        head.map(str::to_owned).ok_or_else(|| http.unreadable(&path, "nothing is said of its rows"))?;
    let body = response.bytes().await.map_err(|error| http.unreadable(&path, &error.to_string()))?;
    Ok(Answer { body: body.to_vec(), head })
}

impl ReportArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        match (&self.check, self.name) {
            (Some(path), _) => check(path, target).await,
            (None, Some(report)) => self.compute(report, target).await,
            // the command line asks for one of them
            (None, None) => Err(ClientError::Usage("name a report".to_owned())),
        }
    }

    async fn compute(&self, report: &Report, target: &Target) -> Result<(), ClientError> {
        if let Some(there) = self.files().into_iter().find(|file| file.exists()) {
            return Err(ClientError::Usage(format!("{} is there already", there.display())));
        }
        let http = target.connect()?;
        let query = given(vec![
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("tenant", self.tenant.clone()),
            ("format", self.csv.then(|| "csv".to_owned())),
        ]);
        let answer = ask(&http, report.name, &query).await?;
        let read = if self.csv {
            Document::from_csv(answer.head.as_bytes(), &answer.body)
        } else {
            Document::from_json(&answer.body)
        };
        let path = format!("/api/audit/reports/{}", report.name);
        let document = read.map_err(|error| http.unreadable(&path, &chain(&error)))?;
        match &self.out {
            Some(out) => {
                if self.csv {
                    write(&manifest_of(out), answer.head.as_bytes())?;
                }
                write(out, &answer.body)?;
                let (head, shown) = (&document.head, out.display());
                if target.json {
                    table::print_json(&serde_json::to_value(head).unwrap_or_default());
                } else {
                    table::out(&format!("{}\nwritten to {shown}\n", summary(&document)));
                }
            }
            None if self.csv => {
                table::out(&String::from_utf8_lossy(&answer.body));
                eprintln!("{}", answer.head);
            }
            None if target.json => {
                table::print_json(&serde_json::from_slice(&answer.body).unwrap_or_default());
            }
            None => {
                table::out(&format!("{}\n", summary(&document)));
                show(report, &document);
            }
        }
        Ok(())
    }

    /// What is written.
    fn files(&self) -> Vec<PathBuf> {
        let manifest = self.out.as_deref().filter(|_| self.csv).map(manifest_of);
        self.out.iter().cloned().chain(manifest).collect()
    }
}

fn manifest_of(out: &Path) -> PathBuf {
    let mut name: OsString = out.as_os_str().to_owned();
    name.push(MANIFEST);
    name.into()
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    let io = |source| ClientError::Io { what: format!("write {}", path.display()), source };
    let mut part: OsString = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, bytes).map_err(io)?;
    std::fs::rename(&part, path).map_err(io)
}

fn summary(document: &Document) -> String {
    let Head { report, from_sequence, to_sequence, digest, .. } = &document.head;
    let rows = document.rows.len();
    let unreadable = match document.head.unreadable {
        0 => String::new(),
        count => format!("\n{count} events cannot be read by this version and are not in it"),
    };
    format!("{report}: events {from_sequence} to {to_sequence}, {rows} rows; digest {digest}{unreadable}")
}

fn show(report: &Report, document: &Document) {
    let columns: Vec<Column> = report.columns.iter().map(|column| (*column, *column)).collect();
    let names = &document.head.columns;
    let cells = |row: &Row| -> Value {
        names.iter().zip(row).map(|(name, cell)| (name.clone(), json!(cell))).collect()
    };
    let items: Vec<Value> = document.rows.iter().map(cells).collect();
    table::print(&items, &columns);
}

async fn check(path: &Path, target: &Target) -> Result<(), ClientError> {
    let unproven = |why: String| ClientError::Unproven { what: path.display().to_string(), why };
    let kept = kept(path).map_err(unproven)?;
    let head = &kept.head;
    let query = given(vec![
        ("from", Some(head.from_sequence.to_string())),
        ("to", Some(head.to_sequence.to_string())),
        ("tenant", head.tenant.as_ref().map(ToString::to_string)),
    ]);
    let http = target.connect()?;
    let answer = match ask(&http, &head.report, &query).await {
        Ok(answer) => answer,
        Err(ClientError::Refused(problem)) if is_beyond(&problem) => {
            table::out(&format!("log   DIFFERS: {problem}\n"));
            return Err(ClientError::NotProven);
        }
        Err(error) => return Err(unproven(chain(&error))),
    };
    let now = Document::from_json(&answer.body).map_err(|error| unproven(chain(&error)))?;
    let found = compare(&kept, &now).map_err(|error| unproven(chain(&error)))?;
    if target.json {
        table::print_json(&json!(found));
    } else {
        table::out(&format!("{}\n{}", summary(&kept), lines(&found)));
    }
    if found.ok { Ok(()) } else { Err(ClientError::NotProven) }
}

/// The log does not go as far as the report did.
fn is_beyond(problem: &Problem) -> bool {
    problem.wrong_fields().iter().any(|(field, _)| field == "to")
}

/// JSON, or a table with what is said of it beside.
fn kept(path: &Path) -> Result<Document, String> {
    let body = read(path)?;
    let manifest = manifest_of(path);
    let document = if manifest.exists() {
        Document::from_csv(&read(&manifest)?, &body)
    } else {
        Document::from_json(&body)
    };
    document.map_err(|error| chain(&error))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

fn lines(found: &Comparison) -> String {
    let line = |name: &str, same: bool, right: &str, wrong: String| {
        format!("{name:<5} {}\n", if same { right.to_owned() } else { wrong })
    };
    let from = found.first_row.map_or_else(String::new, |row| format!(" from row {row} on"));
    [
        line("file", found.whole, "whole", "CHANGED: its rows are not those that its head tells".to_owned()),
        line("log", found.same_log, "same", "DIFFERS: its messages are others than they were".to_owned()),
        line("rows", found.same_rows, "same", format!("DIFFER{from}")),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_part_is_one_line() {
        let same = Comparison { ok: true, whole: true, same_log: true, same_rows: true, first_row: None };
        assert_eq!(lines(&same), "file  whole\nlog   same\nrows  same\n");
        let (whole, same_log, same_rows) = (false, false, false);
        let said = lines(&Comparison { ok: false, whole, same_log, same_rows, first_row: Some(7) });
        assert!(said.contains("file  CHANGED") && said.contains("log   DIFFERS"), "{said}");
        assert!(said.ends_with("rows  DIFFER from row 7 on\n"), "{said}");
    }

    #[test]
    fn a_table_has_what_is_said_of_it_beside() {
        assert_eq!(manifest_of(Path::new("a/b.csv")), Path::new("a/b.csv.manifest.json"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.csv");
        let head = json!({
            "report": "logins", "version": 1, "from_sequence": 1, "to_sequence": 2, "from": null, "to": null,
            "messages": 2, "unreadable": 0, "digest": "00", "rows_digest": "11", "columns": ["tenant"],
        });
        write(&path, b"\"tenant\"\r\n\"acme\"\r\n").unwrap();
        assert!(kept(&path).is_err(), "alone it is no report");
        write(&manifest_of(&path), head.to_string().as_bytes()).unwrap();
        let document = kept(&path).unwrap();
        assert_eq!((document.rows.len(), document.head.report.as_str()), (1, "logins"));
        assert!(kept(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_report_is_named_or_refused_with_those_there_are() {
        assert_eq!(report("access").unwrap().name, "access");
        assert!(report("nothing").unwrap_err().contains("privileged"));
    }
}
