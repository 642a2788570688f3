//! What stands in a YAML text, and on which line? Bounded, without aliases that multiply.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Budget, MergeKeyPolicy, Options, Spanned};

use crate::Wrong;

/// How deep a text may be nested; Ansible's groups of groups are the deepest that there is.
const DEPTH_MAX: usize = 40;
const NODES_MAX: usize = 200_000;
const ALIASES_MAX: usize = 1_000;

/// A value with its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: u64,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Text, number, boolean or nothing.
    Plain(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub line: u64,
    pub key: String,
    pub value: Node,
}

/// One document; a key that stands twice is an error.
pub fn parse(text: &str) -> Result<Node, Wrong> {
    let mut budget = Budget::default();
    (budget.max_depth, budget.max_nodes, budget.max_aliases) = (DEPTH_MAX, NODES_MAX, ALIASES_MAX);
    let mut options = Options::default();
    options.budget = Some(budget);
    // YAML 1.2: `yes` is a word
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.merge_keys = MergeKeyPolicy::Merge;
    options.emit_comments = false;
    let parsed: Result<Spanned<Kind>, _> = serde_saphyr::from_str_with_options(text, options);
    match parsed {
        Ok(spanned) => Ok(Node::of(spanned)),
        Err(error) => {
            let line = error.location().map_or(1, |location| location.line());
            let said = error.without_snippet().to_string();
            Err(Wrong::new(line, "", "malformed", format!("is no YAML: {said}")))
        }
    }
}

impl Node {
    fn of(spanned: Spanned<Kind>) -> Self {
        Self { line: spanned.referenced.line(), kind: spanned.value }
    }

    /// The keys of a mapping; nothing counts as an empty one.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Plain(Value::Null) => Some(&[]),
            Kind::Plain(_) | Kind::List(_) => None,
        }
    }

    /// As JSON.
    pub fn value(&self) -> Value {
        match &self.kind {
            Kind::Plain(value) => value.clone(),
            Kind::List(nodes) => nodes.iter().map(Self::value).collect(),
            Kind::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.value())).collect()
            }
        }
    }

    /// A text, as somebody wrote it who thinks of `1` and `true` as words.
    pub fn word(&self) -> Option<String> {
        match &self.kind {
            Kind::Plain(Value::String(text)) => Some(text.clone()),
            Kind::Plain(Value::Number(number)) if !number.is_f64() => Some(number.to_string()),
            Kind::Plain(Value::Bool(yes)) => Some(yes.to_string()),
            Kind::Plain(_) | Kind::List(_) | Kind::Map(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut nodes = Vec::new();
        while let Some(spanned) = access.next_element::<Spanned<Kind>>()? {
            nodes.push(Node::of(spanned));
        }
        Ok(Kind::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = access.next_entry::<Spanned<String>, Spanned<Kind>>()? {
            let line = key.referenced.line();
            entries.push(Entry { line, key: key.value, value: Node::of(value) });
        }
        Ok(Kind::Map(entries))
    }
}
