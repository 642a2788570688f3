//! How are the rows of one table held in memory? In pages by the sequence that rows begin with: old pages stop changing,
//! so the fleets of many instants, and their snapshots, share them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use events::Recorded;
use sha2::{Digest as _, Sha256};

use crate::columns::RowError;
use crate::table::Table;

/// A row before and after, where it was and is.
pub type Changed<'r, R> = (Option<&'r R>, Option<&'r R>);

/// Rows that begin within so many sequences lie on one page.
const PAGE_SPAN: u64 = 10_000;

/// SHA-256 of a page as it is written: its name.
pub(super) type PageName = [u8; 32];

/// A page that cannot be read is none.
#[derive(Debug, thiserror::Error)]
#[error("a page of {table} is not what was written")]
pub(crate) struct PageError {
    table: &'static str,
    #[source]
    source: Option<serde_json::Error>,
}

pub(super) struct Rows<T: Table> {
    pages: BTreeMap<u64, Arc<Page<T::Row>>>,
    /// Of each key, the row that events may change.
    current: Arc<HashMap<String, u64>>,
}

struct Page<R> {
    rows: BTreeMap<u64, R>,
    name: OnceLock<PageName>,
}

impl<R: Clone> Clone for Page<R> {
    /// A copy is made to be changed: it has no name yet.
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), name: OnceLock::new() }
    }
}

impl<R> Default for Page<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), name: OnceLock::new() }
    }
}

impl<T: Table> Clone for Rows<T> {
    fn clone(&self) -> Self {
        Self { pages: self.pages.clone(), current: Arc::clone(&self.current) }
    }
}

impl<T: Table> Default for Rows<T> {
    fn default() -> Self {
        Self { pages: BTreeMap::new(), current: Arc::default() }
    }
}

impl<T: Table> PartialEq for Rows<T> {
    fn eq(&self, other: &Self) -> bool {
        self.current == other.current && self.newest_first(u64::MAX).eq(other.newest_first(u64::MAX))
    }
}

impl<T: Table> Rows<T> {
    pub fn get(&self, key: &str) -> Option<&T::Row> {
        self.at(*self.current.get(key)?)
    }

    fn at(&self, birth: u64) -> Option<&T::Row> {
        self.pages.get(&(birth / PAGE_SPAN))?.rows.get(&birth)
    }

    /// Those that begin before this sequence, the newest first.
    pub fn newest_first(&self, before: u64) -> impl Iterator<Item = &T::Row> {
        let pages = self.pages.range(..=before / PAGE_SPAN).rev();
        pages.flat_map(move |(_, page)| page.rows.range(..before).rev().map(|(_, row)| row))
    }

    /// What the event makes of the row that it changes; nothing happens when it does not fit.
    pub fn apply(&mut self, key: String, recorded: &Recorded) -> Result<(), RowError> {
        let before = self.current.get(&key).copied();
        let after = T::apply(before.and_then(|birth| self.at(birth)).cloned(), recorded)?;
        let birth = after.as_ref().map(T::birth);
        if let Some(before) = before
            && birth != Some(before)
            && (birth.is_none() || !T::KEEPS_HISTORY)
        {
            self.page(before).rows.remove(&before);
        }
        if birth != before {
            let current = Arc::make_mut(&mut self.current);
            match birth {
                Some(birth) => current.insert(key, birth),
                None => current.remove(&key),
            };
        }
        if let Some((birth, row)) = birth.zip(after) {
            self.page(birth).rows.insert(birth, row);
        }
        Ok(())
    }

    fn page(&mut self, birth: u64) -> &mut Page<T::Row> {
        let page = Arc::make_mut(self.pages.entry(birth / PAGE_SPAN).or_default());
        page.name = OnceLock::new();
        page
    }

    /// The rows that are not the same in both, of each what it was and what it is, by their beginnings.
    pub fn differences<'r>(&'r self, later: &'r Self) -> Vec<Changed<'r, T::Row>> {
        let mut found = Vec::new();
        let numbers: std::collections::BTreeSet<u64> =
            self.pages.keys().chain(later.pages.keys()).copied().collect();
        for number in numbers {
            let (one, other) = (self.pages.get(&number), later.pages.get(&number));
            if let (Some(one), Some(other)) = (one, other)
                && Arc::ptr_eq(one, other)
            {
                continue;
            }
            let rows = |page: Option<&'r Arc<Page<T::Row>>>| page.map(|page| &page.rows);
            let births: std::collections::BTreeSet<u64> =
                rows(one).into_iter().chain(rows(other)).flat_map(|rows| rows.keys().copied()).collect();
            for birth in births {
                let was = rows(one).and_then(|rows| rows.get(&birth));
                let is = rows(other).and_then(|rows| rows.get(&birth));
                if was != is {
                    found.push((was, is));
                }
            }
        }
        found
    }

    pub fn different_births(&self, other: &Self) -> Vec<u64> {
        let both = self.differences(other).into_iter();
        both.filter_map(|(one, other)| one.or(other).map(T::birth)).collect()
    }

    /// Each page that has rows: its number and its name, and what is written if it was not named before.
    pub fn named_pages(&self) -> Vec<(u64, PageName, Option<Vec<u8>>)> {
        let named = self.pages.iter().filter(|(_, page)| !page.rows.is_empty()).map(|(number, page)| {
            if let Some(name) = page.name.get() {
                return (*number, *name, None);
            }
            let bytes = write(&page.rows);
            let name = *page.name.get_or_init(|| Sha256::digest(&bytes).into());
            (*number, name, Some(bytes))
        });
        named.collect()
    }

    /// A page as it is written.
    pub fn write_page(&self, number: u64) -> Vec<u8> {
        self.pages.get(&number).map(|page| write(&page.rows)).unwrap_or_default()
    }

    /// Takes over a page that is in memory already.
    pub fn share(&mut self, number: u64, name: &PageName, others: &[&Self]) -> bool {
        let mut same = others.iter().filter_map(|other| other.pages.get(&number));
        let Some(page) = same.find(|page| page.name.get() == Some(name)) else { return false };
        self.pages.insert(number, Arc::clone(page));
        true
    }

    /// Takes a page as it was written.
    pub fn read(&mut self, number: u64, name: &PageName, bytes: &[u8]) -> Result<(), PageError> {
        let wrong = |source| PageError { table: T::NAME, source };
        if PageName::from(Sha256::digest(bytes)) != *name {
            return Err(wrong(None));
        }
        let rows: Vec<(u64, T::Row)> = serde_json::from_slice(bytes).map_err(|error| wrong(Some(error)))?;
        let rows = rows.into_iter().map(|(birth, mut row)| {
            T::born(&mut row, birth);
            (birth, row)
        });
        let page = Page { rows: rows.collect(), name: OnceLock::from(*name) };
        self.pages.insert(number, Arc::new(page));
        Ok(())
    }

    /// After pages were taken: which rows may still change.
    pub fn index(&mut self) {
        let rows = self.pages.values().flat_map(|page| &page.rows);
        // later rows of a key take the place of earlier ones
        let current = rows.map(|(birth, row)| (T::key_of(row), *birth)).collect();
        self.current = Arc::new(current);
    }
}

fn write<R: serde::Serialize>(rows: &BTreeMap<u64, R>) -> Vec<u8> {
    let rows: Vec<(&u64, &R)> = rows.iter().collect();
    serde_json::to_vec(&rows).unwrap_or_default()
}
