//! Is a report that was kept what the log says now? The same report is computed again and laid beside it.

use serde::Serialize;

use super::document::Document;
use super::rows::Row;

/// What differs, if anything does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// All three hold.
    pub ok: bool,
    /// The rows that were kept are those that their own head vouches for.
    pub whole: bool,
    /// The log has the same messages up to the end of the range.
    pub same_log: bool,
    /// The same rows come out.
    pub same_rows: bool,
    /// The first row that is another or is not there on one side, counted from 1.
    pub first_row: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum Incomparable {
    #[error("it is the report {kept}, and {now} was computed")]
    Report { kept: String, now: String },
    /// Its rows are made in another way now.
    #[error("it has version {kept} of the report, and version {now} is computed now")]
    Version { kept: u32, now: u32 },
    #[error("it is not of the same range or the same tenant as what was computed")]
    Range,
}

/// `now` is the same report of the same range and tenant.
pub fn compare(kept: &Document, now: &Document) -> Result<Comparison, Incomparable> {
    let (was, is) = (&kept.head, &now.head);
    if was.report != is.report {
        return Err(Incomparable::Report { kept: was.report.clone(), now: is.report.clone() });
    }
    if was.version != is.version {
        return Err(Incomparable::Version { kept: was.version, now: is.version });
    }
    let range = |document: &Document| (document.head.from_sequence, document.head.to_sequence);
    if range(kept) != range(now) || was.tenant != is.tenant {
        return Err(Incomparable::Range);
    }
    let whole = kept.rows_digest() == was.rows_digest;
    let same_log = was.digest == is.digest && was.messages == is.messages;
    let same_rows = was.rows_digest == is.rows_digest && kept.rows_digest() == now.rows_digest();
    let first_row = first_other(&kept.rows, &now.rows);
    Ok(Comparison { ok: whole && same_log && same_rows, whole, same_log, same_rows, first_row })
}

fn first_other(kept: &[Row], now: &[Row]) -> Option<usize> {
    let texts = |row: &Row| -> Vec<String> { row.iter().map(|cell| cell.text().into_owned()).collect() };
    let other = kept.iter().zip(now).position(|(kept, now)| texts(kept) != texts(now));
    let shorter = kept.len().min(now.len());
    other.or((kept.len() != now.len()).then_some(shorter)).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::document::Head;
    use super::super::rows::Cell;
    use super::*;

    fn document() -> Document {
        let head = Head {
            report: "logins".into(),
            version: 1,
            tenant: None,
            from_sequence: 1,
            to_sequence: 9,
            from: None,
            to: None,
            messages: 9,
            unreadable: 0,
            digest: "00".into(),
            rows_digest: String::new(),
            columns: vec!["a".into()],
        };
        let mut document = Document { head, rows: vec![vec![Cell::from("1")], vec![Cell::from("2")]] };
        document.head.rows_digest = document.rows_digest();
        document
    }

    /// Whole, same log, same rows, and the first row that differs.
    fn told(change: impl FnOnce(&mut Document)) -> (bool, bool, bool, Option<usize>) {
        let mut kept = document();
        change(&mut kept);
        let found = compare(&kept, &document()).unwrap();
        assert_eq!(found.ok, found.whole && found.same_log && found.same_rows);
        (found.whole, found.same_log, found.same_rows, found.first_row)
    }

    #[test]
    fn each_change_is_told_by_where_it_is() {
        assert_eq!(told(|_| {}), (true, true, true, None));
        assert_eq!(told(|kept| kept.rows[1] = vec!["3".into()]), (false, true, false, Some(2)));
        assert_eq!(told(|kept| kept.rows.truncate(1)), (false, true, false, Some(2)));
        assert_eq!(told(|kept| kept.head.digest = "11".into()), (true, false, true, None));
        // somebody who knows the format
        let forged = |kept: &mut Document| {
            kept.rows[0] = vec!["0".into()];
            kept.head.rows_digest = kept.rows_digest();
        };
        assert_eq!(told(forged), (true, true, false, Some(1)));
        // a table has texts where JSON has numbers
        let spelled = |kept: &mut Document| kept.rows[0] = vec![Cell::Number(1)];
        assert_eq!(told(spelled), (true, true, true, None));
    }

    #[test]
    fn another_report_cannot_be_compared() {
        let mut other = document();
        other.head.version = 2;
        assert!(matches!(compare(&document(), &other), Err(Incomparable::Version { kept: 1, now: 2 })));
        other = document();
        other.head.to_sequence = 8;
        assert!(matches!(compare(&document(), &other), Err(Incomparable::Range)));
    }
}
