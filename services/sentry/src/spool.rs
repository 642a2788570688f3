//! Where are reports kept until the control plane has recorded them?
//!
//! Append-only segments `<first number>.jsonl`, one report a line, numbered from 1 without gaps. A
//! segment is removed when everything in it is acknowledged. `acknowledged.json` holds the number
//! acknowledged and the sessions open at that point, so that with the records after it the open
//! sessions are known exactly after a crash. A last line that was torn by a crash is cut off: it was
//! never synced, so it was never sent. At [`SPOOL_BYTES_MAX`] the door closes to new connections
//! (`accept.rs`) rather than any record being dropped; what open sessions still have to say has
//! [`HEADROOM_BYTES`] of room.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use kit::sentry_protocol::{Numbered, Report};
use serde::{Deserialize, Serialize};

/// Beyond this no new connection is accepted.
pub const SPOOL_BYTES_MAX: u64 = 64 << 20;
/// Kept free below the bound for records of connections that are already in.
pub const HEADROOM_BYTES: u64 = 4 << 20;
/// A segment this large is followed by a new one.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot {what} {path}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} does not hold what a spool holds: {why}")]
    Damaged { path: PathBuf, why: String },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    move |source| SpoolError::File { what, path: path.into(), source }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Acknowledged {
    spool_id: String,
    through: u64,
    open_sessions: BTreeSet<String>,
}

struct Segment {
    first: u64,
    path: PathBuf,
    bytes: u64,
}

pub struct Spool {
    dir: PathBuf,
    acknowledged: Acknowledged,
    /// Oldest first; the last one is written to.
    segments: Vec<Segment>,
    file: Option<File>,
    last: u64,
    open_sessions: BTreeSet<String>,
}

impl Spool {
    pub fn open(dir: &Path) -> Result<Self, SpoolError> {
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        let acknowledged = read_acknowledged(dir)?;
        let mut spool = Self {
            dir: dir.into(),
            last: acknowledged.through,
            open_sessions: acknowledged.open_sessions.clone(),
            acknowledged,
            segments: Vec::new(),
            file: None,
        };
        spool.recover()?;
        Ok(spool)
    }

    pub fn id(&self) -> &str {
        &self.acknowledged.spool_id
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn acknowledged_through(&self) -> u64 {
        self.acknowledged.through
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Sessions that were opened and not closed, as far as the records say.
    pub fn open_sessions(&self) -> &BTreeSet<String> {
        &self.open_sessions
    }

    /// Writes and syncs; on an error nothing of it is there (the numbers are given again).
    pub fn append(&mut self, reports: &[(DateTime<Utc>, Report)]) -> Result<(), SpoolError> {
        if reports.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for (number, (at, report)) in (self.last + 1..).zip(reports) {
            let record = Numbered { number, at: *at, report: report.clone() };
            serde_json::to_writer(&mut lines, &record)
                .map_err(|e| failed("encode for", &self.dir)(e.into()))?;
            lines.push(b'\n');
        }
        self.write(&lines)?;
        self.last += reports.len() as u64;
        for (_, report) in reports {
            note_session(&mut self.open_sessions, report);
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), SpoolError> {
        let full = self.segments.last().is_none_or(|segment| segment.bytes >= SEGMENT_BYTES_MAX);
        if full || self.file.is_none() {
            self.open_last(full)?;
        }
        let (Some(segment), Some(file)) = (self.segments.last_mut(), &mut self.file) else {
            return Err(failed("open", &self.dir)(io::ErrorKind::NotFound.into()));
        };
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // after a failed sync the state on disk is unknown: go back to what is known
            let cut = file.set_len(segment.bytes).and_then(|()| file.sync_data());
            tracing::error!(cut = cut.is_ok(), "a write to the spool failed");
            self.file = None;
            return Err(failed("write", &segment.path)(error));
        }
        segment.bytes += lines.len() as u64;
        Ok(())
    }

    fn open_last(&mut self, new: bool) -> Result<(), SpoolError> {
        if new {
            let first = self.last + 1;
            let path = self.dir.join(format!("{first:020}.jsonl"));
            self.segments.retain(|segment| segment.path != path);
            self.segments.push(Segment { first, path, bytes: 0 });
        }
        let Some(segment) = self.segments.last() else { return Ok(()) };
        let file = OpenOptions::new().create(true).append(true).open(&segment.path);
        let file = file.map_err(failed("open", &segment.path))?;
        file.set_len(segment.bytes).map_err(failed("cut", &segment.path))?;
        sync_dir(&self.dir)?;
        self.file = Some(file);
        Ok(())
    }

    /// Up to `max` records after those acknowledged, in order.
    pub fn unacknowledged(&self, max: usize) -> Result<Vec<Numbered>, SpoolError> {
        let mut records = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(index + 1).map_or(self.last + 1, |next| next.first);
            if next <= self.acknowledged.through + 1 {
                continue;
            }
            for record in read_segment(segment)?.0 {
                if record.number > self.acknowledged.through && records.len() < max {
                    records.push(record);
                }
            }
            if records.len() >= max {
                break;
            }
        }
        Ok(records)
    }

    /// Remembers that everything through `number` is recorded elsewhere; segments no longer needed go.
    pub fn acknowledge(&mut self, number: u64) -> Result<(), SpoolError> {
        let through = number.min(self.last);
        if through <= self.acknowledged.through {
            return Ok(());
        }
        let mut next = self.acknowledged.clone();
        for segment in &self.segments {
            for record in read_segment(segment)?.0 {
                if record.number > next.through && record.number <= through {
                    note_session(&mut next.open_sessions, &record.report);
                }
            }
        }
        next.through = through;
        write_acknowledged(&self.dir, &next)?;
        self.acknowledged = next;
        self.remove_segments()
    }

    fn remove_segments(&mut self) -> Result<(), SpoolError> {
        let through = self.acknowledged.through;
        let ends: Vec<u64> =
            self.segments.iter().skip(1).map(|s| s.first - 1).chain(std::iter::once(self.last)).collect();
        let mut kept = Vec::new();
        let segments = std::mem::take(&mut self.segments);
        let count = segments.len();
        for (index, (segment, end)) in segments.into_iter().zip(ends).enumerate() {
            if end > through {
                kept.push(segment);
                continue;
            }
            if index + 1 == count {
                self.file = None;
            }
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!(%error, path = %segment.path.display(), "cannot remove a segment of the spool");
            }
        }
        self.segments = kept;
        Ok(())
    }

    fn recover(&mut self) -> Result<(), SpoolError> {
        let mut paths: Vec<(u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let path = entry.map_err(failed("list", &self.dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(first) = name.strip_suffix(".jsonl").and_then(|first| first.parse().ok()) {
                paths.push((first, path));
            }
        }
        paths.sort_unstable();
        let last_index = paths.len().saturating_sub(1);
        let mut expected = None;
        for (index, (first, path)) in paths.into_iter().enumerate() {
            let bytes = fs::metadata(&path).map_err(failed("read", &path))?.len();
            let segment = Segment { first, path, bytes };
            let (records, good_bytes) = read_segment(&segment)?;
            let damaged = |why: String| SpoolError::Damaged { path: segment.path.clone(), why };
            if good_bytes < bytes && index < last_index {
                return Err(damaged(format!("line at byte {good_bytes} is not a record")));
            }
            for record in &records {
                let number = expected.unwrap_or(first);
                if record.number != number {
                    return Err(damaged(format!("number {} where {number} was due", record.number)));
                }
                expected = Some(number + 1);
                self.last = self.last.max(number);
                if number > self.acknowledged.through {
                    note_session(&mut self.open_sessions, &record.report);
                }
            }
            self.segments.push(Segment { bytes: good_bytes, ..segment });
        }
        let newest = expected.map_or(self.acknowledged.through, |next| next - 1);
        if newest < self.acknowledged.through {
            // everything here is acknowledged, and the next number is not that of the last segment
            self.segments.drain(..).for_each(|segment| drop(fs::remove_file(segment.path)));
        }
        self.remove_segments()
    }
}

fn note_session(open: &mut BTreeSet<String>, report: &Report) {
    match report {
        Report::SessionOpened { session_id, .. } | Report::InnerOpened { session_id } => {
            open.insert(session_id.clone());
        }
        Report::SessionClosed { session_id, .. } => {
            open.remove(session_id);
        }
        Report::LoginSucceeded { .. } | Report::LoginFailed { .. } | Report::LoginsRefused { .. } => {}
    }
}

/// Its records, and up to which byte they reach.
fn read_segment(segment: &Segment) -> Result<(Vec<Numbered>, u64), SpoolError> {
    let file = File::open(&segment.path).map_err(failed("open", &segment.path))?;
    let mut reader = BufReader::new(file);
    let (mut records, mut good_bytes, mut line) = (Vec::new(), 0, Vec::new());
    while good_bytes < segment.bytes {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line).map_err(failed("read", &segment.path))?;
        if bytes == 0 || line.last() != Some(&b'\n') {
            break;
        }
        let Ok(record) = serde_json::from_slice(&line) else { break };
        records.push(record);
        good_bytes += bytes as u64;
    }
    Ok((records, good_bytes))
}

fn read_acknowledged(dir: &Path) -> Result<Acknowledged, SpoolError> {
    let path = dir.join("acknowledged.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| SpoolError::Damaged { path, why: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let new = Acknowledged { spool_id: uuid::Uuid::new_v4().to_string(), ..Acknowledged::default() };
            write_acknowledged(dir, &new)?;
            Ok(new)
        }
        Err(error) => Err(failed("read", &path)(error)),
    }
}

fn write_acknowledged(dir: &Path, acknowledged: &Acknowledged) -> Result<(), SpoolError> {
    let path = dir.join("acknowledged.json");
    let bytes = serde_json::to_vec(acknowledged).map_err(|e| failed("encode", &path)(e.into()))?;
    crate::atomic_file::write(&path, &bytes, 0o600).map_err(failed("write", &path))
}

fn sync_dir(dir: &Path) -> Result<(), SpoolError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(id: &str) -> (DateTime<Utc>, Report) {
        let report = Report::SessionOpened {
            session_id: id.into(),
            ip: "203.0.113.9".parse().unwrap(),
            user: "developer".into(),
            method: "password".into(),
        };
        (Utc::now(), report)
    }

    fn closed(id: &str) -> (DateTime<Utc>, Report) {
        let report = Report::SessionClosed {
            session_id: id.into(),
            bytes_in: 1,
            bytes_out: 2,
            reason: "client_left".into(),
        };
        (Utc::now(), report)
    }

    fn numbers(spool: &Spool) -> Vec<u64> {
        spool.unacknowledged(500).unwrap().iter().map(|r| r.number).collect()
    }

    #[test]
    fn numbers_go_on_without_gaps_across_restarts_acknowledgements_and_torn_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let id = spool.id().to_owned();
        spool.append(&[opened("ses-a"), opened("ses-b"), closed("ses-a")]).unwrap();
        spool.acknowledge(2).unwrap();
        assert_eq!(numbers(&spool), [3]);
        drop(spool);

        let segment = dir.path().join(format!("{:020}.jsonl", 1));
        OpenOptions::new().append(true).open(&segment).unwrap().write_all(b"{\"number\":4,\"at").unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        assert_eq!(spool.id(), id);
        assert_eq!(spool.open_sessions().iter().collect::<Vec<_>>(), ["ses-b"]);
        spool.append(&[opened("ses-c")]).unwrap();
        assert_eq!(numbers(&spool), [3, 4]);
        spool.acknowledge(99).unwrap();
        assert_eq!((numbers(&spool), spool.bytes()), (vec![], 0), "no more than was written");
        drop(spool);

        let mut spool = Spool::open(dir.path()).unwrap();
        assert_eq!(spool.last(), 4);
        assert_eq!(spool.open_sessions().iter().collect::<Vec<_>>(), ["ses-b", "ses-c"]);
        spool.append(&[closed("ses-b")]).unwrap();
        assert_eq!(numbers(&spool), [5]);
    }

    #[test]
    fn segments_follow_one_another_and_go_when_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let batch: Vec<_> = (0..1000).map(|n| opened(&format!("ses-{n:012}"))).collect();
        for _ in 0..20 {
            spool.append(&batch).unwrap();
        }
        assert!(spool.segments.len() > 2);
        let before = spool.bytes();
        spool.acknowledge(15_500).unwrap();
        assert!(spool.bytes() < before / 2, "{} of {before}", spool.bytes());
        assert_eq!(numbers(&spool), (15_501..=16_000).collect::<Vec<_>>());
        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!((spool.last(), numbers(&spool)[0]), (20_000, 15_501));
    }

    #[test]
    fn a_hole_in_the_middle_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        spool.append(&[opened("ses-a"), opened("ses-b"), opened("ses-c")]).unwrap();
        let segment = dir.path().join(format!("{:020}.jsonl", 1));
        let text = fs::read_to_string(&segment).unwrap();
        let without_second: Vec<_> =
            text.lines().enumerate().filter(|(n, _)| *n != 1).map(|(_, l)| l).collect();
        fs::write(&segment, without_second.join("\n") + "\n").unwrap();
        assert!(matches!(Spool::open(dir.path()), Err(SpoolError::Damaged { .. })));
    }
}
