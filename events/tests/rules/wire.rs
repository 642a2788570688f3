//! Does every event keep its wire format? The log outlives every refactoring.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::DateTime;
use events::batch::{Batch, BatchEvent};
use events::ids::TenantId;
use events::{Aggregate, AggregateEvent, CATALOGUE, Cause, Event, Kind, Subject, envelope};
use serde_json::Value;
use uuid::Uuid;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("wire")
}

#[test]
fn every_event_and_version_has_a_golden_file_that_reads_and_writes_the_same() {
    for kind in CATALOGUE {
        for version in 1..=kind.version {
            let path = folder().join(format!("{}.v{version}.json", kind.name));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|_| {
                panic!("{} is missing: write what version {version} looks like", path.display())
            });
            let golden: Value = serde_json::from_str(&text).unwrap();
            let event = Event::from_wire(kind.kind, kind.name, version, text.as_bytes())
                .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
            assert_eq!((event.kind(), event.event_type()), (kind.kind, kind.name));
            // an older version is written still, or read as the newest
            let written = event.version();
            assert!([version, kind.version].contains(&written), "{}: {written}", path.display());
            if version == written {
                assert_eq!(event.to_json(), golden, "{}", path.display());
            }
        }
    }
}

#[test]
fn no_golden_file_stands_for_nothing() {
    let known: BTreeSet<String> = CATALOGUE
        .iter()
        .flat_map(|event| (1..=event.version).map(move |version| format!("{}.v{version}.json", event.name)))
        .collect();
    for file in std::fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "wire/{name} belongs to no event: wire names never change");
    }
}

#[test]
fn a_session_is_in_an_environment_or_on_a_server() {
    let path = folder().join("SessionOpened.v1.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut there = golden.clone();
    there.as_object_mut().unwrap().remove("env");
    let read = |json: &Value| {
        Event::from_wire(events::Kind::Session, "SessionOpened", 1, json.to_string().as_bytes())
    };
    assert!(read(&there).is_err(), "it must be somewhere");
    there["server"] = "srv-abcdefghijkl".into();
    assert_eq!(read(&there).unwrap().to_json(), there);
    let row = CATALOGUE.iter().find(|row| row.name == "SessionOpened").unwrap();
    let schema = serde_json::to_value((row.schema)()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&there) && validator.is_valid(&golden), "{schema:#}");
}

#[test]
fn a_batch_that_waits_is_of_a_version_that_hubs_without_approvals_cannot_read() {
    let golden = |version: u32| -> Value {
        let path = folder().join(format!("BatchRequested.v{version}.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let subject = Subject::new(TenantId::parse("acme").unwrap(), Kind::Batch, "bat-abcdefghijkl");
    let meta = Cause::new(Uuid::nil(), "user:alice").meta(0, DateTime::UNIX_EPOCH);
    for (version, waits) in [(1, false), (2, true)] {
        // what waits stood in version 1 for a while: both are read
        let read = [1, 2].map(|version| {
            let text = golden(if waits { 2 } else { 1 }).to_string();
            Event::from_wire(Kind::Batch, "BatchRequested", version, text.as_bytes()).unwrap()
        });
        let states = read.clone().map(|event| {
            let event = BatchEvent::from_event(&event).cloned().unwrap();
            Batch::fold([(&event, meta.time)])
        });
        assert_eq!(states[0], states[1]);
        assert_eq!(states[0].waits_for().is_some(), waits);
        for event in read {
            let headers = envelope::headers(&subject, &meta, &event);
            assert!(headers.contains(&("ev-version", version.to_string())), "{headers:?}");
            assert_eq!(event.to_json(), golden(version));
        }
    }
}

#[test]
fn a_wire_name_is_used_once() {
    let names: BTreeSet<_> = CATALOGUE.iter().map(|event| event.name).collect();
    assert_eq!(names.len(), CATALOGUE.len());
}

#[test]
fn what_a_newer_writer_added_is_tolerated_and_what_is_unknown_is_named() {
    let added = br#"{"port": 1, "pool": "main", "purpose": "ssh", "colour": "red"}"#;
    assert!(Event::from_wire(events::Kind::Env, "PortBound", 1, added).is_ok());
    let before = br#"{"name": "a", "owner": "alice", "resources": {"cpu": 1, "memory": 1}, "deadline": "2026-01-02T03:04:05Z"}"#;
    assert!(Event::from_wire(events::Kind::Env, "EnvRequested", 1, before).is_ok(), "older writers");
    assert!(Event::from_wire(events::Kind::Env, "PodReady", 1, b"{}").is_ok(), "older writers");
    let before =
        br#"{"servers": {"zone": "dmz"}, "grants": [{"to": {"user": "alice"}, "may": ["command"]}]}"#;
    assert!(Event::from_wire(events::Kind::Access, "GrantsSet", 1, before).is_ok(), "older writers");
    let newer = Event::from_wire(events::Kind::Env, "PortBound", 2, added).unwrap_err();
    assert!(newer.to_string().contains("PortBound version 2"), "{newer}");
    let unknown = Event::from_wire(events::Kind::Env, "EnvPainted", 1, added).unwrap_err();
    assert!(unknown.to_string().contains("EnvPainted"), "{unknown}");
}
