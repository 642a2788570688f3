//! What is left in the spool of a sentry that will not run again? The records after the last
//! acknowledged one, read from the spool's files.

use kit::sentry_protocol::{Numbered, Reports};
use serde::Deserialize;

use crate::compute::File;

/// Where the spool is, inside.
pub const FOLDER: &str = "/var/lib/portreeve/spool";
/// What was acknowledged, and the spool's name.
const ACKNOWLEDGED: &str = "acknowledged.json";
/// Records, one a line.
const SEGMENT: &str = ".jsonl";

#[derive(Deserialize)]
struct Acknowledged {
    spool_id: String,
    through: u64,
}

/// `None` when there is no readable spool or nothing is left in it. A torn last line was never synced.
pub fn read(files: &[File]) -> Option<Reports> {
    let acknowledged = files.iter().find(|file| file.name == ACKNOWLEDGED)?;
    let acknowledged: Acknowledged = serde_json::from_slice(&acknowledged.bytes).ok()?;
    let segments = files.iter().filter(|file| file.name.ends_with(SEGMENT));
    let lines = segments.flat_map(|file| file.bytes.split_inclusive(|byte| *byte == b'\n'));
    let mut reports: Vec<Numbered> = lines
        .filter(|line| line.ends_with(b"\n"))
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter(|report: &Numbered| report.number > acknowledged.through)
        .collect();
    reports.sort_by_key(|report| report.number);
    (!reports.is_empty()).then_some(Reports { spool_id: acknowledged.spool_id, reports })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use kit::sentry_protocol::Report;

    fn line(number: u64) -> Vec<u8> {
        let report = Report::SessionClosed {
            session_id: "ses-a".into(),
            bytes_in: 1,
            bytes_out: 2,
            reason: "client_left".into(),
        };
        let mut line = serde_json::to_vec(&Numbered { number, at: chrono::Utc::now(), report }).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn what_is_not_acknowledged_is_left_in_order_and_a_torn_line_is_not() {
        let acknowledged = br#"{"spool_id":"s","through":2,"open_sessions":["ses-a"]}"#.to_vec();
        let mut torn = line(4);
        torn.extend_from_slice(b"{\"number\":5,");
        let file = |name: &str, bytes| File { name: name.to_owned(), bytes };
        let files = vec![
            file("00000000000000000004.jsonl", torn),
            file("acknowledged.json", acknowledged),
            file("00000000000000000001.jsonl", [line(1), line(2), line(3)].concat()),
        ];
        let left = read(&files).unwrap();
        assert_eq!(left.spool_id, "s");
        assert_eq!(left.reports.iter().map(|report| report.number).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(read(&files[..1]), None);
        assert_eq!(read(&files[1..2]), None, "nothing is left");
    }
}
