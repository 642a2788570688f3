//! Does the code keep to the map? Crates, outside systems and files compared with what is allowed.
//! A new edge is a commit of its own, with its reason, here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Who may depend on whom, for its own sake and for its tests.
const EDGES: &[(&str, &[&str], &[&str])] = &[
    ("events", &[], &[]),
    ("nats", &["events"], &["harness"]),
    ("projections", &["events"], &["harness"]),
    ("kit", &[], &[]),
    ("ssh", &[], &["harness"]),
    // how the entrances that we keep lead in, and what is recorded of it
    ("entrance", &["events", "nats", "kit", "ssh"], &[]),
    // what terminals showed: both of them record it, the api shows it
    ("recorder", &["events", "nats", "kit"], &["harness"]),
    // one account and one way to a server of somebody's own, for the test, the terminal and commands
    ("reach", &["events", "nats", "kit", "ssh"], &["harness"]),
    // how lists of servers are written: text alone
    ("inventory", &[], &[]),
    // Socket.IO for the relays, and who gives commands away
    // our own relay: a program of the intranet side
    ("agent", &["kit", "ssh"], &[]),
    ("relay", &["events", "nats", "kit", "ssh", "reach"], &[]),
    ("gateway", &["events", "nats", "kit", "ssh", "entrance", "recorder"], &[]),
    // what vouches for the log: its service writes it, the api and the command line check it
    ("audit", &["events", "nats", "projections", "kit"], &["harness"]),
    (
        "api",
        &[
            "events",
            "nats",
            "projections",
            "kit",
            "ssh",
            "entrance",
            "recorder",
            "reach",
            "inventory",
            "audit",
        ],
        &["harness"],
    ),
    ("provisioner", &["events", "nats", "kit"], &["harness"]),
    ("projector", &["events", "nats", "projections", "kit"], &["harness"]),
    // who follows the events by NATS itself
    ("taps", &["events", "nats", "kit"], &[]),
    ("sentry", &["events", "kit"], &["harness"]),
    // the one place where services meet in one process
    (
        "portreeve",
        &[
            "events",
            "nats",
            "projections",
            "kit",
            "api",
            "gateway",
            "relay",
            "agent",
            "provisioner",
            "projector",
            "audit",
            "taps",
            "sentry",
        ],
        &["harness"],
    ),
    ("harness", &[], &[]),
    ("system", &["harness", "events", "nats", "projections"], &[]),
    ("bench", &["harness", "events", "nats", "projections", "audit"], &[]),
];

/// One outside system, one place. The bench measures against the bare libraries.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("async-nats", &["nats", "bench"]),
    ("sqlx", &["projections", "bench"]),
    ("bollard", &["provisioner"]),
    ("kube", &["provisioner"]),
    ("k8s-openapi", &["provisioner"]),
    ("russh", &["ssh", "bench"]),
    ("socketioxide", &["relay"]),
];

/// All that the ground may stand on: nothing that waits, tells the time by itself or rolls dice.
const EVENTS_MAY_USE: &[&str] = &[
    "serde",
    "serde_json",
    "uuid",
    "chrono",
    "thiserror",
    "schemars",
    "ipnet",
    "data-encoding",
    "sha2",
    // tables of time zones: what clocks there show at a given time
    "chrono-tz",
];

/// What a rule would say to learn what only its arguments may tell it.
const NOT_IN_EVENTS: &[&str] = &[
    "Utc::now",
    "Local::now",
    "SystemTime",
    "Instant",
    "new_v4",
    "now_v7",
    "async ",
    ".await",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "TcpStream",
    "println!",
];

/// Names that answer no question.
const NAMES_REFUSED: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

/// A file is longer than this only for its tests, in lines.
const LINES_MAX: usize = 420;

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn dependencies(metadata: &Metadata, of: &str, kinds: &[DependencyKind]) -> BTreeSet<String> {
    let package = metadata.packages.iter().find(|package| package.name == of).unwrap();
    let used = package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
    used.map(|dependency| dependency.name.clone()).collect()
}

const OWN: &[DependencyKind] = &[DependencyKind::Normal, DependencyKind::Build];
const TESTS: &[DependencyKind] = &[DependencyKind::Development];

#[test]
fn crates_depend_on_each_other_as_allowed() {
    let metadata = metadata();
    let members: BTreeSet<String> =
        metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let listed: BTreeSet<String> = EDGES.iter().map(|(name, _, _)| (*name).to_owned()).collect();
    assert_eq!(members, listed, "every crate of the workspace stands in EDGES, and no other");
    for (name, own, tests) in EDGES {
        for (kinds, allowed) in [(OWN, own), (TESTS, tests)] {
            let mut found = dependencies(&metadata, name, kinds);
            found.retain(|dependency| members.contains(dependency));
            let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
            let more: Vec<_> = found.difference(&allowed).collect();
            assert!(more.is_empty(), "{name} depends on {more:?}, which is not allowed");
        }
    }
}

#[test]
fn an_outside_system_has_one_place() {
    let metadata = metadata();
    for (library, places) in OUTSIDE {
        let users: BTreeSet<&str> = metadata
            .packages
            .iter()
            .filter(|package| package.dependencies.iter().any(|dependency| dependency.name == *library))
            .map(|package| package.name.as_str())
            .collect();
        let more: Vec<_> = users.iter().filter(|user| !places.contains(user)).collect();
        assert!(more.is_empty(), "{library} is used by {more:?}; its place is {places:?}");
        assert!(users.contains(places[0]), "{library} has left its place, {}: this list is stale", places[0]);
    }
}

#[test]
fn the_ground_knows_nothing_of_time_chance_files_or_networks() {
    let used = dependencies(&metadata(), "events", OWN);
    let more: Vec<_> = used.iter().filter(|name| !EVENTS_MAY_USE.contains(&name.as_str())).collect();
    assert!(more.is_empty(), "events uses {more:?}");
    for file in sources(&root().join("events/src")) {
        let text = without_tests(&file);
        for word in NOT_IN_EVENTS {
            assert!(!text.contains(word), "{} says {word:?}", file.display());
        }
    }
}

#[test]
fn a_file_says_what_it_answers_and_fits_in_a_head() {
    let mut wrong = BTreeMap::new();
    for folder in ["events", "nats", "projections", "services", "tests"] {
        for file in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
            if !text.starts_with("//! ") {
                wrong.insert(file.clone(), "its first line does not say which question it answers");
            } else if NAMES_REFUSED.contains(&stem.as_str()) {
                wrong.insert(file.clone(), "its name answers no question");
            } else if without_tests(&file).lines().count() > LINES_MAX {
                wrong.insert(file.clone(), "it is longer than a file should be");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target" && name != "node_modules") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn without_tests(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}
