//! Which reports can be computed from the log? One table. A report is a fold: events go by in their order, rows come
//! out; the same range gives the same rows for ever. How it looks outside: `docs/audit-reports.md`.

pub mod again;
pub mod document;
pub mod rows;

mod access;
mod accounts;
mod commands;
mod computation;
mod grants;
mod intervals;
mod logins;
mod passwords;
mod people;
mod privileged;
#[cfg(test)]
mod testing;
mod words;

use events::{Kind, Recorded};

pub use computation::{Asked, ReportError, compute};
use rows::Rows;

/// A row of the table.
#[derive(Debug)]
pub struct Report {
    pub name: &'static str,
    /// What it answers, for a person.
    pub about: &'static str,
    /// Raised whenever the same events make other rows.
    pub version: u32,
    pub columns: &'static [&'static str],
    /// Of which events it is made; the others are not even read.
    kinds: &'static [Kind],
    fold: fn() -> Box<dyn Fold>,
}

/// How events become rows. It keeps what goes on, never what is over: a log is longer than memory.
trait Fold: Send {
    /// The next event of the report's kinds. Those before the range are told too: what holds in it may have begun
    /// before.
    fn take(&mut self, event: &Recorded, rows: &mut Rows);

    /// What goes on after the last event.
    fn finish(&mut self, rows: &mut Rows);
}

pub const REPORTS: &[Report] =
    &[access::REPORT, logins::REPORT, commands::REPORT, passwords::REPORT, privileged::REPORT];

/// The report of this name.
pub fn named(name: &str) -> Option<&'static Report> {
    REPORTS.iter().find(|report| report.name == name)
}

impl Report {
    /// Whether it is made of events like this one, told by the subject alone.
    fn looks_at(&self, subject: &str) -> bool {
        let kind = subject.split('.').nth(2).and_then(Kind::from_wire);
        kind.is_some_and(|kind| self.kinds.contains(&kind))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;

    use events::CATALOGUE;
    use serde_json::Value;

    use super::testing::{cells, golden};
    use super::*;

    #[test]
    fn names_and_columns_are_there_once() {
        let names: BTreeSet<&str> = REPORTS.iter().map(|report| report.name).collect();
        assert_eq!(names.len(), REPORTS.len());
        for report in REPORTS {
            let columns: BTreeSet<&str> = report.columns.iter().copied().collect();
            assert_eq!(columns.len(), report.columns.len(), "{}", report.name);
            assert_eq!(report.columns.first(), Some(&"tenant"), "{}", report.name);
            assert!(report.columns.iter().any(|column| column.contains("sequence")), "{}", report.name);
            assert_eq!(named(report.name).unwrap().name, report.name);
        }
        assert!(named("nothing").is_none());
    }

    /// What leads to a secret, or could stand for one, wherever it is in a payload.
    fn hidden(payload: &Value, found: &mut BTreeSet<String>) {
        match payload {
            Value::Object(object) => {
                let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
                if let (Some(version), true) = (text("version"), object.contains_key("owner")) {
                    found.insert(version);
                }
                found.extend(text("digest"));
                object.values().for_each(|value| hidden(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| hidden(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Every event there is goes by, in the order of the catalogue and backwards.
    #[test]
    fn no_report_has_a_secret_or_says_where_one_lies() {
        let mut all: Vec<_> = (1..).zip(CATALOGUE).map(|(sequence, row)| golden(sequence, row)).collect();
        all.extend((1..).zip(CATALOGUE.iter().rev()).map(|(sequence, row)| {
            let after = CATALOGUE.len() as u64;
            golden(after + sequence, row)
        }));
        let mut secrets = BTreeSet::new();
        all.iter().for_each(|event| hidden(&event.event.to_json(), &mut secrets));
        assert!(secrets.len() >= 3, "{secrets:?}");
        for report in REPORTS {
            let rows = cells(report, 1, None, &all);
            assert!(!rows.is_empty(), "{}", report.name);
            for row in rows {
                assert_eq!(row.len(), report.columns.len(), "{}: {row:?}", report.name);
                for secret in &secrets {
                    assert!(!row.iter().any(|cell| cell.contains(secret)), "{}: {row:?}", report.name);
                }
            }
        }
    }

    #[test]
    fn other_events_are_not_read() {
        for report in REPORTS {
            for row in CATALOGUE {
                let event = golden(1, row);
                if !report.looks_at(&event.subject.to_string()) {
                    assert!(cells(report, 1, None, &[event]).is_empty(), "{} {}", report.name, row.name);
                }
            }
        }
    }
}
