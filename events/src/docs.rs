//! How does the catalogue read for people? Renders `events/README.md` from the table.

use std::fmt::Write;

use crate::catalogue::{CATALOGUE, EventType};

const HEAD: &str = "# The events

Generated from `src/catalogue.rs` by `cargo test -p events`; do not edit. Subject: `ev.<tenant>.<kind>.<id>`.
Every event also becomes a row of `audit_log`. `wire/` has an example of each payload, `schemas/` its JSON Schema,
`asyncapi.json` the streams that carry them; the API serves them at `/api/events/schemas/{type}` and
`/asyncapi.json`, and all of it for people at `/docs/events`.

| kind | event | what happened | rule | appended by | reacts | tables |
| --- | --- | --- | --- | --- | --- | --- |
";

/// The whole page.
pub fn catalogue_page() -> String {
    let mut page = HEAD.to_owned();
    for event in CATALOGUE {
        let _infallible = writeln!(
            page,
            "| {} | `{}` v{} | {} | `{}` | {} | {} | {} |",
            event.kind.wire_name(),
            event.name,
            event.version,
            summary(event),
            event.rule,
            list(event.appended_by),
            list(event.reacts),
            list(event.tables),
        );
    }
    page
}

/// The first line of the doc comment.
pub fn summary(event: &EventType) -> String {
    let schema = (event.schema)();
    schema
        .get("description")
        .and_then(|text| text.as_str())
        .and_then(|text| text.lines().next())
        .unwrap_or_default()
        .to_owned()
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_page_is_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let page = catalogue_page();
        if std::env::var_os("PORTREEVE_BLESS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == page, "events/README.md is stale: PORTREEVE_BLESS=1 cargo test -p events");
    }

    #[test]
    fn every_event_says_what_happened_and_names_a_rule_that_exists() {
        for event in CATALOGUE {
            assert!(!summary(event).is_empty(), "{} has no doc comment", event.name);
            let rule = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(event.rule);
            assert!(rule.exists(), "{}: no rule {}", event.name, event.rule);
        }
    }
}
