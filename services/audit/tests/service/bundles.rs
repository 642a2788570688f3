//! Does a bundle hold without any server, and does every change of it show? The second opinion is a program in another
//! language, written after the document alone.

use std::io::Write;
use std::process::Command;

use audit::export::Range;
use audit::line::Line;
use audit::offline::{Known, OfflineError};
use audit::verdict::{Outcome, Report};
use harness::programs;

use crate::world::*;

const EVENTS: u32 = 47;

async fn exported(range: Range) -> (World, Vec<u8>) {
    let mut world = World::start().await;
    world.append(EVENTS).await;
    // what is no text, and has headers of its own
    let headers = [("b", "2"), ("b", "1"), ("A", "\u{e4}")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    world.root().await.request("ev.acme.quota.odd", &headers, &[0xff, 0, 0x80]).await.unwrap();
    let writing = world.write();
    ready(&writing).await;
    world.anchored().await;
    world.fed().await;
    let bundle = world.export(range).await;
    writing.end().await;
    (world, bundle)
}

/// What the other program says: the same three verdicts.
fn second_opinion(bundle: &[u8]) -> (i32, serde_json::Value) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bundle).unwrap();
    let script = programs::repository().join("tests/audit/verify_bundle.py");
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .arg(file.path())
        .env("PYTHONPATH", programs::tools().join("python"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let verdicts = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{errors}"));
    (output.status.code().unwrap(), verdicts)
}

fn agree(report: &Report, bundle: &[u8], what: &str) {
    let (status, verdicts) = second_opinion(bundle);
    assert_eq!(status == 0, report.ok, "{what}: {verdicts}\n{report:#?}");
    for (name, verdict) in [("integrity", &report.integrity), ("completeness", &report.completeness)] {
        let theirs = verdicts[name]["first_sequence"].as_u64();
        assert_eq!(theirs, verdict.first_sequence, "{what}: {name}: {verdicts}\n{report:#?}");
    }
}

fn lines(bundle: &[u8]) -> Vec<Vec<u8>> {
    bundle.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn read(line: &[u8]) -> Line {
    serde_json::from_slice(line).unwrap()
}

/// Where the line of an event is.
fn at(lines: &[Vec<u8>], sequence: u64) -> usize {
    let is = |line: &Vec<u8>| matches!(read(line), Line::Event(event) if event.sequence == sequence);
    lines.iter().position(is).unwrap()
}

/// The last line as an intruder writes it, who knows the format.
fn sealed(mut lines: Vec<Vec<u8>>) -> Vec<u8> {
    lines.pop();
    let bundle = lines.concat();
    let count = |wanted: &str| lines.iter().filter(|line| line.starts_with(wanted.as_bytes())).count() as u64;
    let end = audit::line::End {
        events: count("{\"line\":\"event\""),
        records: count("{\"line\":\"record\""),
        sha256: data_encoding::HEXLOWER.encode(&audit::chain::sha256(&bundle)),
    };
    [bundle, Line::End(end).to_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_holds_by_itself_and_another_program_says_so_too() {
    let (world, bundle) = exported(Range::default()).await;
    let report = offline(&bundle).unwrap();
    assert!(report.ok, "{report:#?}");
    assert_eq!((report.first_sequence, report.last_sequence, report.events), (1, 48, 48));
    assert_eq!(report.fidelity.verdict.verdict, Outcome::Holds);
    agree(&report, &bundle, "as it is");
    // with what is known besides
    let known =
        |first_key: Option<String>| Known { first_key, witness: audit::written_out(&world.file()).unwrap() };
    let first = report.keys[0].fingerprint.clone();
    assert!(audit::offline::verify(&bundle[..], &known(Some(first))).unwrap().ok);
    let other = audit::offline::verify(&bundle[..], &known(Some("0".repeat(64)))).unwrap();
    assert_eq!(other.integrity.first_sequence, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_begins_and_ends_where_anchors_stand() {
    let (world, bundle) = exported(Range { from: Some(15), to: Some(32) }).await;
    let report = offline(&bundle).unwrap();
    assert!(report.ok, "{report:#?}");
    assert!(report.first_sequence <= 15 && report.first_sequence > 1, "{report:?}");
    assert!(report.last_sequence >= 32 && report.last_sequence < 48, "{report:?}");
    agree(&report, &bundle, "a piece");
    let lines = lines(&bundle);
    let mut short = lines.clone();
    short.remove(at(&lines, report.last_sequence));
    assert_eq!(offline(&sealed(short)).unwrap().completeness.first_sequence, Some(report.last_sequence));
    drop(world);
}

/// An intruder who knows the format, and has no key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_a_bundle_is_told_at_its_event_by_both() {
    let (_world, bundle) = exported(Range::default()).await;
    let good = lines(&bundle);
    let replaced = |index: usize, from: &str, to: &str| {
        let mut lines = good.clone();
        let text = String::from_utf8(lines[index].clone()).unwrap();
        lines[index] = text.replacen(from, to, 1).into_bytes();
        assert_ne!(lines[index], good[index], "{from} is in {text}");
        sealed(lines)
    };
    let told = |bundle: &[u8], what: &str, integrity: Option<u64>, completeness: Option<u64>| {
        let report = offline(bundle).unwrap();
        assert!(!report.ok, "{what}");
        assert_eq!(
            (report.integrity.first_sequence, report.completeness.first_sequence),
            (integrity, completeness),
            "{what}: {report:#?}"
        );
        agree(&report, bundle, what);
    };
    told(&replaced(at(&good, 17), "cpu", "cqu"), "a byte of a payload", Some(17), None);
    told(
        &replaced(at(&good, 48), "\"2\"],[\"b\",\"1\"", "\"1\"],[\"b\",\"2\""),
        "two headers swapped",
        Some(48),
        None,
    );
    told(&replaced(at(&good, 30), "ev.t30.", "ev.t31."), "another subject", Some(30), None);
    told(&replaced(0, "\"verdict\":\"holds\"", "\"verdict\":\"fails\""), "the manifest", Some(1), None);
    told(&replaced(3, "upto", "upfo"), "a byte of an anchor", Some(11), None);

    let mut swapped = good.clone();
    swapped.swap(at(&good, 20), at(&good, 25));
    told(&sealed(swapped), "two lines swapped", Some(20), None);
    let mut missing = good.clone();
    missing.remove(at(&good, 23));
    told(&sealed(missing), "one dropped in the middle", None, Some(23));
    let mut short = good.clone();
    let from = at(&good, 44);
    short.drain(from..from + 5);
    told(&sealed(short), "the newest five dropped", None, Some(44));
    // with the anchors that say so
    let mut shorter = good.clone();
    let from = at(&good, 31);
    shorter.drain(from..from + 18);
    let is_late = |line: &Vec<u8>| matches!(read(line), Line::Record(record) if record.record > 4);
    shorter.retain(|line| !is_late(line));
    told(&sealed(shorter), "the newest dropped with their anchors", Some(1), None);
    let mut without = good.clone();
    without.remove(3);
    told(&sealed(without), "an anchor dropped", None, Some(11));
    told(&good[..good.len() - 10].concat(), "broken off", None, Some(40));
}

/// Whatever byte it is, and whoever wrote it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_a_bundle_can_flip_unseen() {
    let (_world, bundle) = exported(Range::default()).await;
    for index in (0..bundle.len()).step_by(23) {
        for bit in [1, 0x20] {
            let mut flipped = bundle.clone();
            flipped[index] ^= bit;
            match offline(&flipped) {
                Ok(report) => assert!(!report.ok, "byte {index} ^ {bit}"),
                Err(OfflineError::Version(_)) => {}
                Err(error) => panic!("byte {index}: {error}"),
            }
        }
    }
    assert!(matches!(offline(b"nothing of ours\n"), Err(OfflineError::NoBundle)));
    assert!(matches!(offline(b""), Err(OfflineError::NoBundle)));
}

/// An export of yesterday in the place of today's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_were_written_out_tell_of_an_older_history() {
    let (world, bundle) = exported(Range::default()).await;
    let witness = audit::written_out(&world.file()).unwrap();
    let known = |witness| Known { first_key: None, witness };
    assert!(audit::offline::verify(&bundle[..], &known(witness.clone())).unwrap().ok);
    // another installation's file
    let mut other = witness.clone();
    other[2].bytes = other[1].bytes.clone();
    let report = audit::offline::verify(&bundle[..], &known(other)).unwrap();
    assert_eq!(report.integrity.verdict, Outcome::Fails);
}
