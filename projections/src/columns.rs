//! How do values cross into PostgreSQL? Columns of arrays, whole numbers with their bounds.

use chrono::{DateTime, SubsecRound as _, Utc};
use events::{Milli, Resources};
use sqlx::postgres::PgRow;
use sqlx::{Row, error::BoxDynError};

/// Why rows of an event could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// What the event says does not fit the rows that are there.
    #[error("{0}")]
    Unfit(String),
    #[error("PostgreSQL refused the rows")]
    Database(#[from] sqlx::Error),
}

/// SQLSTATE classes that blame the data: data exception, integrity violation, limit exceeded.
const DATA_CLASSES: [&str; 3] = ["22", "23", "54"];

impl RowError {
    /// Whether the same event would be refused again: it is parked instead of tried for ever.
    pub fn is_data(&self) -> bool {
        match self {
            Self::Unfit(_) | Self::Database(sqlx::Error::Encode(_)) => true,
            Self::Database(error) => error
                .as_database_error()
                .and_then(|error| error.code())
                .is_some_and(|code| DATA_CLASSES.iter().any(|class| code.starts_with(class))),
        }
    }

    /// For an operator; the message of PostgreSQL without the row.
    pub fn reason(&self) -> String {
        match self {
            Self::Unfit(why) => why.clone(),
            Self::Database(error) => match error.as_database_error() {
                Some(error) => {
                    format!("{} (SQLSTATE {})", error.message(), error.code().unwrap_or_default())
                }
                None => error.to_string(),
            },
        }
    }
}

/// Refuses text that PostgreSQL cannot hold. Asked of each event where rows keep only the last of
/// several: else what is parked would depend on which events come in one chunk.
pub(crate) fn check_text<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<(), RowError> {
    match texts.into_iter().find(|text| text.contains('\0')) {
        Some(text) => Err(RowError::Unfit(format!("text with a NUL: {text:?}"))),
        None => Ok(()),
    }
}

/// An instant as PostgreSQL holds it: rows are the same before and after they were written.
pub(crate) fn instant(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// One column of a set of rows.
pub(crate) fn column<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// A sequence as PostgreSQL holds it; the log never reaches the bound.
pub(crate) fn seq(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Quantities are at most [`Milli::MAX`]; a larger one can only come from a foreign writer.
pub(crate) fn milli(quantity: Milli) -> i64 {
    i64::try_from(quantity.thousandths()).unwrap_or(i64::MAX)
}

pub(crate) fn decode_error(column: &'static str, source: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

/// A whole number that is never negative.
pub(crate) fn get_unsigned(row: &PgRow, column: &'static str) -> Result<u64, sqlx::Error> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|error| decode_error(column, error))
}

pub(crate) fn get_milli(row: &PgRow, column: &'static str) -> Result<Milli, sqlx::Error> {
    get_unsigned(row, column).map(Milli::from_thousandths)
}

pub(crate) fn get_resources(row: &PgRow) -> Result<Resources, sqlx::Error> {
    Ok(Resources {
        cpu: get_milli(row, "cpu_milli")?,
        memory: get_milli(row, "memory_milli")?,
        gpu: u32::try_from(get_unsigned(row, "gpu")?).map_err(|error| decode_error("gpu", error))?,
        storage: get_milli(row, "storage_milli")?,
    })
}

/// A text column that holds an id or another value read from text.
pub(crate) fn get_parsed<T>(row: &PgRow, column: &'static str) -> Result<T, sqlx::Error>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.try_get::<&str, _>(column)?.parse().map_err(|error| decode_error(column, error))
}

pub(crate) fn get_parsed_option<T>(row: &PgRow, column: &'static str) -> Result<Option<T>, sqlx::Error>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: Option<&str> = row.try_get(column)?;
    text.map(str::parse).transpose().map_err(|error| decode_error(column, error))
}
