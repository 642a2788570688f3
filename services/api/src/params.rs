//! What do the query parameters say? Read one by one; an unknown or repeated one is an error.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::http::request::Parts;

use crate::problem::{FieldError, Problem};

/// Elements of a page when nothing is asked for.
pub const PAGE_LIMIT_DEFAULT: u32 = 50;
/// Elements of a page at most.
pub const PAGE_LIMIT_MAX: u32 = 500;

/// The parameters that nobody has read yet.
pub struct Params {
    left: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new("parameter_invalid", "the query is not readable"))?;
        let mut params = Self { left: BTreeMap::new(), errors: Vec::new() };
        for (name, value) in pairs {
            if params.left.insert(name.clone(), value).is_some() {
                params.wrong(&name, "repeated", "must be there once");
            }
        }
        Ok(params)
    }
}

impl Params {
    /// Notes what [`Self::end`] then refuses.
    pub fn wrong(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        self.errors.push(FieldError { field: name.to_owned(), code, detail: detail.into() });
    }

    /// The text; empty counts as absent.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.left.remove(name).filter(|text| !text.is_empty())
    }

    /// A text that `parse` understands; its error says what is wanted.
    pub fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(wanted) => {
                self.wrong(name, "malformed", wanted);
                None
            }
        }
    }

    pub fn number(&mut self, name: &str) -> Option<u64> {
        self.parsed(name, |text| {
            text.parse::<u64>().map_err(|_| "must be a whole number that is not negative".to_owned())
        })
    }

    /// `limit` and `cursor`.
    pub fn page(&mut self) -> (u32, Option<String>) {
        (self.limit(), self.text("cursor"))
    }

    /// Elements of a page.
    pub fn limit(&mut self) -> u32 {
        self.limit_or(PAGE_LIMIT_DEFAULT)
    }

    /// The same, where a page has so many when nothing is asked for.
    pub fn limit_or(&mut self, otherwise: u32) -> u32 {
        let limit = self.parsed("limit", |text| {
            text.parse::<u32>()
                .ok()
                .filter(|limit| (1..=PAGE_LIMIT_MAX).contains(limit))
                .ok_or_else(|| format!("must be a whole number between 1 and {PAGE_LIMIT_MAX}"))
        });
        limit.unwrap_or(otherwise)
    }

    /// Nothing unknown and nothing wrong is left.
    pub fn end(&mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.left).into_keys() {
            self.wrong(&name, "unknown", "there is no such parameter here");
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        let errors = std::mem::take(&mut self.errors);
        let said: Vec<_> = errors.iter().map(|error| format!("{} {}", error.field, error.detail)).collect();
        Err(Problem::parameters(said.join("; "), errors))
    }
}

/// `true` or `false`.
pub fn yes_or_no(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}
