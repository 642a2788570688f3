//! How are rows given out? A page at a time, newest first, with the position they are true at.

use serde::Serialize;

/// The most rows of one page.
pub const LIMIT_MAX: u32 = 500;

/// Rows could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The caller's mistake: text that no page ended with.
    #[error("the cursor is not one that a list of this kind gave out")]
    CursorInvalid,
    #[error("PostgreSQL did not answer the query")]
    Database(#[source] sqlx::Error),
    #[error("a row cannot be read")]
    Row(#[source] sqlx::Error),
    #[error("{0}")]
    Projection(#[from] crate::UnknownProjection),
}

impl From<sqlx::Error> for QueryError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
            Self::Row(error)
        } else {
            Self::Database(error)
        }
    }
}

/// A value of the read model, true after the event of sequence `position`.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    pub position: u64,
    pub value: T,
}

/// Some rows, newest first, true after the event of sequence `position`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
    #[serde(skip)]
    pub position: u64,
}

impl<T> Page<T> {
    /// The same page with each row as it is shown.
    pub fn map<U>(self, show: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, next_cursor, position } = self;
        Page { items: items.into_iter().map(show).collect(), next_cursor, position }
    }
}

/// What a page is cut from: rows in falling order of a unique sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// The table, so that a cursor of one list is refused by another.
    table: &'static str,
    /// Rows below this sequence.
    pub before: i64,
    limit: u32,
}

impl Window {
    pub fn new(table: &'static str, cursor: Option<&str>, limit: u32) -> Result<Self, QueryError> {
        let before = match cursor {
            None => i64::MAX,
            Some(text) => parse(table, text).ok_or(QueryError::CursorInvalid)?,
        };
        Ok(Self { table, before, limit: limit.clamp(1, LIMIT_MAX) })
    }

    /// Rows to ask for: one more than shown says whether there is a next page.
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// `rows` are those asked for; `seq` is what they are ordered by.
    pub fn page<T>(&self, rows: Vec<T>, position: u64, seq: impl Fn(&T) -> u64) -> Page<T> {
        cut(self.table, self.limit, rows, position, seq)
    }
}

/// What a page is cut from where rows come in rising order of a unique number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Onward {
    /// As of a window.
    table: &'static str,
    /// Rows above this number.
    pub after: i64,
    limit: u32,
}

impl Onward {
    pub fn new(table: &'static str, cursor: Option<&str>, limit: u32) -> Result<Self, QueryError> {
        let after = match cursor {
            None => -1,
            Some(text) => parse(table, text).ok_or(QueryError::CursorInvalid)?,
        };
        Ok(Self { table, after, limit: limit.clamp(1, LIMIT_MAX) })
    }

    /// As of a window.
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// `rows` are those asked for; `number` is what they are ordered by.
    pub fn page<T>(&self, rows: Vec<T>, position: u64, number: impl Fn(&T) -> u64) -> Page<T> {
        cut(self.table, self.limit, rows, position, number)
    }
}

fn cut<T>(table: &str, limit: u32, mut rows: Vec<T>, position: u64, number: impl Fn(&T) -> u64) -> Page<T> {
    let shown = limit as usize;
    let more = rows.len() > shown;
    rows.truncate(shown);
    let next_cursor = rows.last().filter(|_| more).map(|row| show(table, number(row)));
    Page { items: rows, next_cursor, position }
}

fn show(table: &str, seq: u64) -> String {
    data_encoding::BASE64URL_NOPAD.encode(format!("{table}:{seq}").as_bytes())
}

fn parse(table: &str, cursor: &str) -> Option<i64> {
    let bytes = data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (of, seq) = text.split_once(':')?;
    (of == table).then(|| seq.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_cursor_continues_its_own_list_and_no_other() {
        let window = Window::new("users", None, 2).expect("no cursor");
        let page = window.page(vec![9_u64, 8, 7], 9, |seq| *seq);
        assert_eq!(page.items, [9, 8]);
        let cursor = page.next_cursor.expect("there is a third");
        assert_eq!(Window::new("users", Some(&cursor), 2).map(|window| window.before).ok(), Some(8));
        for wrong in [("tokens", cursor.as_str()), ("users", "x"), ("users", "")] {
            let refused = Window::new(wrong.0, Some(wrong.1), 2);
            assert!(matches!(refused, Err(QueryError::CursorInvalid)), "{wrong:?}");
        }
        assert_eq!(window.page(vec![9_u64], 9, |seq| *seq).next_cursor, None);
    }

    #[test]
    fn a_rising_list_goes_on_after_its_last_row() {
        let onward = Onward::new("commands", None, 2).expect("no cursor");
        assert_eq!(onward.after, -1, "the first number is 0");
        let page = onward.page(vec![0_u64, 1, 2], 9, |place| *place);
        let cursor = page.next_cursor.expect("there is a third");
        assert_eq!(Onward::new("commands", Some(&cursor), 2).map(|onward| onward.after).ok(), Some(1));
        assert!(matches!(Onward::new("users", Some(&cursor), 2), Err(QueryError::CursorInvalid)));
    }
}
