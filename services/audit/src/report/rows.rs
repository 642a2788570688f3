//! What is a row, how many may there be, whose are they, and what is their digest?

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use events::ids::TenantId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::chain::Digest;

/// Rows of one report.
pub const ROWS_MAX: usize = 100_000;
/// What stands in all of them, in bytes.
pub const BYTES_MAX: usize = 64 << 20;

/// A cell: in JSON `null`, a number or a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    #[default]
    Nothing,
    Number(i64),
    Text(String),
}

/// As many cells as there are columns.
pub type Row = Vec<Cell>;

impl Cell {
    /// As every format shows it, and as it is hashed; empty where there is nothing.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Nothing => Cow::Borrowed(""),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        if text.is_empty() { Self::Nothing } else { Self::Text(text) }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::Text(number.to_string()), Self::Number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<DateTime<Utc>> for Cell {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Text(time.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// The rows of a range that somebody may see.
pub struct Rows {
    /// Only this one's.
    tenant: Option<TenantId>,
    /// The first event of the range.
    from: u64,
    /// When the last message before the range was stored.
    since: Option<DateTime<Utc>>,
    /// Each with the event by which it is ordered.
    rows: Vec<(u64, Row)>,
    bytes: usize,
    is_full: bool,
}

impl Rows {
    pub fn new(tenant: Option<TenantId>, from: u64) -> Self {
        Self { tenant, from, since: None, rows: Vec::new(), bytes: 0, is_full: false }
    }

    /// The next message, whatever is in it.
    pub fn passes(&mut self, sequence: u64, stored: DateTime<Utc>) {
        if !self.has(sequence) {
            self.since = Some(stored);
        }
    }

    /// Whether the event is of the range.
    pub fn has(&self, sequence: u64) -> bool {
        sequence >= self.from
    }

    /// Whether what ended at this instant by itself had ended before the range began.
    pub fn was_over(&self, until: DateTime<Utc>) -> bool {
        self.since.is_some_and(|since| until <= since)
    }

    /// Whether rows of this tenant are shown, or of whom it belongs to is said inside.
    pub fn may_show(&self, tenant: &str) -> bool {
        let system = TenantId::system();
        self.tenant.as_ref().is_none_or(|own| own.as_str() == tenant || system.as_str() == tenant)
    }

    /// A row of one event, if it is of the range.
    pub fn event(&mut self, sequence: u64, tenant: &TenantId, cells: impl FnOnce() -> Row) {
        if self.has(sequence) {
            self.put(sequence, tenant, cells);
        }
    }

    /// A row that is shown wherever it began; rows are ordered by `sequence`.
    pub fn put(&mut self, sequence: u64, tenant: &TenantId, cells: impl FnOnce() -> Row) {
        if self.is_full || self.tenant.as_ref().is_some_and(|own| own != tenant) {
            return;
        }
        let cells = cells();
        self.bytes += cells.iter().map(|cell| cell.text().len()).sum::<usize>();
        self.rows.push((sequence, cells));
        self.is_full = self.rows.len() > ROWS_MAX || self.bytes > BYTES_MAX;
    }

    /// There are more than may be shown.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    pub fn finish(mut self) -> Vec<Row> {
        // stable: rows of one event keep their order
        self.rows.sort_by_key(|(sequence, _)| *sequence);
        self.rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// SHA-256 over the number of columns (4 bytes, big-endian), then each column's name and each cell's text in their
/// order, every text preceded by its length in bytes (4 bytes, big-endian).
pub fn digest<C: AsRef<str>>(columns: &[C], rows: &[Row]) -> Digest {
    let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut hash = Sha256::new();
    hash.update(short(columns.len()));
    let mut add = |text: &str| {
        hash.update(short(text.len()));
        hash.update(text.as_bytes());
    };
    columns.iter().for_each(|column| add(column.as_ref()));
    rows.iter().flatten().for_each(|cell| add(&cell.text()));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hex(columns: &[&str], rows: &[Row]) -> String {
        data_encoding::HEXLOWER.encode(&digest(columns, rows))
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn rows_of_others_and_from_before_are_none() {
        let mut rows = Rows::new(Some(tenant("blue")), 10);
        rows.event(9, &tenant("blue"), || vec!["before".into()]);
        rows.event(11, &tenant("red"), || vec!["foreign".into()]);
        rows.event(12, &tenant("blue"), || vec!["second".into()]);
        rows.put(3, &tenant("blue"), || vec!["first".into()]);
        assert!(rows.may_show("blue") && rows.may_show("_sys") && !rows.may_show("red"));
        assert_eq!(rows.finish(), [vec![Cell::from("first")], vec!["second".into()]]);
    }

    #[test]
    fn there_is_an_end_of_rows_and_of_bytes() {
        let mut many = Rows::new(None, 1);
        for sequence in 0..ROWS_MAX as u64 {
            many.put(sequence, &tenant("blue"), || vec![Cell::Nothing]);
        }
        assert!(!many.is_full());
        many.put(0, &tenant("blue"), || vec![Cell::Nothing]);
        assert!(many.is_full());
        let mut large = Rows::new(None, 1);
        large.put(1, &tenant("blue"), || vec!["x".repeat(BYTES_MAX).into()]);
        assert!(!large.is_full());
        large.put(2, &tenant("blue"), || vec!["x".into()]);
        assert!(large.is_full());
    }

    /// Computed with another program (Python's hashlib), byte by byte as the comment says.
    #[test]
    fn the_digest_of_rows_stays_the_same_for_ever() {
        let rows = [vec![Cell::from("x"), 1_u64.into()], vec![Cell::Nothing, "é".into()]];
        let expected = "735da112621259eb799b10d3ba0dc7fb7a37c645bbf493b02f8c0d5c0df299c8";
        assert_eq!(hex(&["a", "b"], &rows), expected);
    }

    #[test]
    fn nothing_moves_from_one_cell_into_another_unseen() {
        let texts = |cells: [&str; 2]| vec![Cell::from(cells[0]), cells[1].into()];
        let all = [
            hex(&["a", "b"], &[texts(["xy", ""])]),
            hex(&["a", "b"], &[texts(["x", "y"])]),
            hex(&["a", "b"], &[texts(["", "xy"])]),
            hex(&["ab", ""], &[texts(["x", "y"])]),
            hex(&["a", "b", "x", "y"], &[]),
            hex(&["a", "b"], &[texts(["x", "y"]), texts(["", ""])]),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        // however a format spells it
        let (number, text) = (vec![Cell::Number(7)], vec![Cell::from("7")]);
        assert_eq!(hex(&["a"], &[number]), hex(&["a"], &[text]));
    }

    #[test]
    fn cells_read_as_they_were_written() {
        let row: Row = vec![Cell::Nothing, (-1_i32).into(), "7".into(), 7_u64.into()];
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, "[null,-1,\"7\",7]");
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row);
    }
}
