//! How is a report written, and read again? As JSON in one piece; or as CSV, with what is said of all rows beside it,
//! because programs that read tables take every line of a table for one.

use chrono::{DateTime, Utc};
use csv::{QuoteStyle, ReaderBuilder, Terminator, WriterBuilder};
use data_encoding::HEXLOWER;
use events::ids::TenantId;
use serde::{Deserialize, Serialize};

use super::rows::{Cell, Row, digest};

/// What spreadsheets take for a formula (OWASP, CSV injection); a cell that begins so gets an apostrophe before it.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// What is said of all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub report: String,
    pub version: u32,
    /// Whose rows these are; absent: everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The range, first and last event included.
    pub from_sequence: u64,
    pub to_sequence: u64,
    /// When these were stored; `null` where the range has no event.
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// How many messages were read: from the first of the log to the last of the range.
    pub messages: u64,
    /// Of those, how many could be of the report and cannot be read by this version.
    pub unreadable: u64,
    /// The chain's hash over those messages, hex.
    pub digest: String,
    /// Of columns and rows, hex: [`digest`].
    pub rows_digest: String,
    pub columns: Vec<String>,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    #[serde(flatten)]
    pub head: Head,
    /// Cells in the order of the columns.
    pub rows: Vec<Row>,
}

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("it is no report in JSON")]
    Json(#[source] serde_json::Error),
    #[error("it is no report in CSV")]
    Csv(#[source] csv::Error),
    #[error("its heading is not the one that is said beside it")]
    Heading,
    #[error("row {0} has not as many cells as there are columns")]
    Row(usize),
}

impl Document {
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn from_json(bytes: &[u8]) -> Result<Self, Unreadable> {
        let document: Self = serde_json::from_slice(bytes).map_err(Unreadable::Json)?;
        let columns = document.head.columns.len();
        match document.rows.iter().position(|row| row.len() != columns) {
            None => Ok(document),
            Some(at) => Err(Unreadable::Row(at + 1)),
        }
    }

    /// The rows below a heading, as RFC 4180 has it, every cell in quotes.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut builder = WriterBuilder::new();
        builder.quote_style(QuoteStyle::Always).terminator(Terminator::CRLF);
        let mut writer = builder.from_writer(Vec::new());
        // writing to memory does not fail, and each record is as long as the first
        let mut put = |record: Vec<String>| writer.write_record(record).is_ok();
        put(self.head.columns.clone());
        for row in &self.rows {
            put(row.iter().map(|cell| guarded(&cell.text())).collect());
        }
        writer.into_inner().unwrap_or_default()
    }

    /// `head` is what is said beside the rows.
    pub fn from_csv(head: &[u8], rows: &[u8]) -> Result<Self, Unreadable> {
        let head: Head = serde_json::from_slice(head).map_err(Unreadable::Json)?;
        let mut reader = ReaderBuilder::new().from_reader(rows);
        let heading = reader.headers().map_err(Unreadable::Csv)?;
        if !heading.iter().eq(head.columns.iter().map(String::as_str)) {
            return Err(Unreadable::Heading);
        }
        let mut read = Vec::new();
        for record in reader.records() {
            let record = record.map_err(Unreadable::Csv)?;
            read.push(record.iter().map(|cell| Cell::from(unguarded(cell))).collect());
        }
        Ok(Self { head, rows: read })
    }

    /// What the rows have, whatever the head says.
    pub fn rows_digest(&self) -> String {
        HEXLOWER.encode(&digest(&self.head.columns, &self.rows))
    }
}

/// With one apostrophe more where it would be a formula, also behind apostrophes: so it can be taken away again.
fn guarded(text: &str) -> String {
    if text.trim_start_matches('\'').starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest,
        Some(_) | None => cell,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn document() -> Document {
        let head = Head {
            report: "commands".into(),
            version: 1,
            tenant: Some(TenantId::parse("acme").unwrap()),
            from_sequence: 2,
            to_sequence: 9,
            from: Some(DateTime::UNIX_EPOCH),
            to: None,
            messages: 9,
            unreadable: 0,
            digest: "00".into(),
            rows_digest: String::new(),
            columns: vec!["a".into(), "b".into()],
        };
        let texts =
            ["=1+1", "'=1", "''", "it's", "-1", "@x", "\ty", "line\r\nend, \"quoted\"", "＝1", "plain", ""];
        let rows = texts.iter().map(|text| vec![Cell::from(*text), Cell::Number(-7)]).collect();
        let mut document = Document { head, rows };
        document.head.rows_digest = document.rows_digest();
        document
    }

    #[test]
    fn both_formats_have_the_same_rows() {
        let document = document();
        let json = Document::from_json(&document.to_json()).unwrap();
        assert_eq!(json, document);
        let head = serde_json::to_vec(&document.head).unwrap();
        let csv = Document::from_csv(&head, &document.to_csv()).unwrap();
        assert_eq!(csv.head, document.head);
        let texts = |document: &Document| -> Vec<String> {
            document.rows.iter().flatten().map(|cell| cell.text().into_owned()).collect()
        };
        assert_eq!(texts(&csv), texts(&document));
        assert_eq!(csv.rows_digest(), document.head.rows_digest);
    }

    #[test]
    fn no_cell_of_a_table_begins_a_formula() {
        let csv = document().to_csv();
        let text = String::from_utf8(csv.clone()).unwrap();
        assert!(text.starts_with("\"a\",\"b\"\r\n\"'=1+1\",\"'-7\"\r\n\"''=1\",\"'-7\"\r\n"), "{text}");
        let mut reader = ReaderBuilder::new().from_reader(csv.as_slice());
        for record in reader.records() {
            let record = record.unwrap();
            assert!(!record.iter().any(|cell| cell.starts_with(FORMULA)), "{record:?}");
        }
    }

    #[test]
    fn the_head_comes_first_and_is_one_line_of_ascii() {
        let json = String::from_utf8(document().to_json()).unwrap();
        assert!(json.starts_with("{\"report\":\"commands\",\"version\":1,\"tenant\":\"acme\","), "{json}");
        let head = serde_json::to_string(&document().head).unwrap();
        assert!(head.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{head}");
    }

    #[test]
    fn what_is_no_report_is_told_by_why() {
        let head = serde_json::to_vec(&document().head).unwrap();
        assert!(matches!(Document::from_json(b"{}"), Err(Unreadable::Json(_))));
        assert!(matches!(Document::from_csv(b"nothing", b"a,b\n"), Err(Unreadable::Json(_))));
        assert!(matches!(Document::from_csv(&head, b"a,c\n"), Err(Unreadable::Heading)));
        assert!(matches!(Document::from_csv(&head, b"a,b\n1\n"), Err(Unreadable::Csv(_))));
        let mut short = document();
        short.rows[2].pop();
        assert!(matches!(Document::from_json(&short.to_json()), Err(Unreadable::Row(3))));
    }
}
