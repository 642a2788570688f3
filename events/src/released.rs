//! Does the table keep what the last release promised? Compared schema by schema; each fault says what to do.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::breaks::breaks;
use crate::schema::ENVELOPE;

/// Schemas by their labels.
pub type Schemas = BTreeMap<String, Value>;

/// What is promised once what is written `now` is released: older versions too, to whoever kept such events.
pub fn promise(before: &Schemas, now: &Schemas) -> Schemas {
    before.iter().chain(now).map(|(label, schema)| (label.clone(), schema.clone())).collect()
}

/// What of the promised is broken by what is written now.
pub fn broken(promised: &Schemas, now: &Schemas) -> Vec<String> {
    let faults = promised.iter().map(|(label, read)| {
        let (name, version) = named(label);
        match now.get(label) {
            Some(written) => {
                let what_to_do = if name == ENVELOPE {
                    "nobody can choose another envelope: keep it as it was"
                } else {
                    "keep it as it was, or raise the event's version in events/src/catalogue.rs and read the \
                     older one up (CONTRIBUTING.md, A new event)"
                };
                let found = breaks(read, written);
                found.iter().map(|one| format!("{name} v{version}: {one}; {what_to_do}")).collect()
            }
            None if is_newer(name, version, now) => Vec::new(),
            None => vec![format!(
                "{name} v{version} is gone: what was released is read by its name for ever; keep its row in \
                 events/src/catalogue.rs"
            )],
        }
    });
    faults.collect::<Vec<Vec<String>>>().concat()
}

fn is_newer(name: &str, than: u32, now: &Schemas) -> bool {
    now.keys().map(|label| named(label)).any(|(other, version)| other == name && version > than)
}

fn named(label: &str) -> (&str, u32) {
    let (name, version) = label.rsplit_once(".v").unwrap_or((label, ""));
    (name, version.parse().unwrap_or_default())
}

/// How promises are kept in a file.
pub fn to_file(release: &str, promised: &Schemas) -> Value {
    json!({"release": release, "schemas": promised})
}

/// The inverse of [`to_file`]; nothing is promised by what cannot be read.
pub fn from_file(file: &Value) -> Schemas {
    let schemas = file["schemas"].as_object().into_iter().flatten();
    schemas.map(|(label, schema)| (label.clone(), schema.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(of: &[(&str, &str)]) -> Schemas {
        of.iter().map(|(label, kind)| ((*label).to_owned(), json!({"type": kind}))).collect()
    }

    #[test]
    fn a_broken_promise_names_the_event_and_what_to_do() {
        let promised = schemas(&[("EnvRequested.v1", "string"), ("CloudEvent.v1", "string")]);
        assert!(broken(&promised, &promised).is_empty());
        let changed = schemas(&[("EnvRequested.v1", "integer"), ("CloudEvent.v1", "integer")]);
        let faults = broken(&promised, &changed);
        assert!(faults[0].starts_with("CloudEvent v1: as a whole was string"), "{faults:?}");
        assert!(faults[0].ends_with("keep it as it was"), "{faults:?}");
        assert!(faults[1].starts_with("EnvRequested v1: ") && faults[1].contains("raise"), "{faults:?}");
    }

    #[test]
    fn a_newer_version_is_free_and_a_name_stays() {
        let promised = schemas(&[("EnvRequested.v1", "string")]);
        let raised = schemas(&[("EnvRequested.v2", "integer")]);
        assert!(broken(&promised, &raised).is_empty());
        assert_eq!(broken(&raised, &promised).len(), 1, "an older version is none");
        let renamed = schemas(&[("EnvAsked.v2", "string")]);
        assert!(broken(&promised, &renamed)[0].starts_with("EnvRequested v1 is gone"));
    }

    #[test]
    fn a_release_keeps_the_promises_before_it() {
        let before = schemas(&[("A.v1", "string"), ("B.v1", "string")]);
        let now = schemas(&[("A.v2", "integer"), ("B.v1", "integer")]);
        let promised = promise(&before, &now);
        let expected = schemas(&[("A.v1", "string"), ("A.v2", "integer"), ("B.v1", "integer")]);
        assert_eq!(promised, expected);
        assert_eq!(from_file(&to_file("1.0.0", &promised)), promised);
    }
}
