//! Is a bundle what it says? Read line by line, without any server. How its lines look: `docs/audit-bundle.md`.

use std::borrow::Cow;
use std::io::{BufRead, Read};

use chrono::DateTime;
use data_encoding::{BASE64, HEXLOWER};
use nats::StoredRecord;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::chain::{Digest, sha256};
use crate::check::{Check, Checked, End};
use crate::evidence::{Anchored, Evidence};
use crate::export::last_event;
use crate::line::{self, FORMAT, Line, Manifest, VERSION};
use crate::live::report;
use crate::verdict::{Fidelity, Report, Verdict};

/// Longest line, in bytes: a megabyte of payload that is no text, and what stands around it.
const LINE_BYTES_MAX: u64 = 8 << 20;
const EVENT: &[u8] = b"{\"line\":\"event\",";

/// The file cannot be looked at at all.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("the bundle cannot be read")]
    Read(#[source] std::io::Error),
    #[error("this is no bundle of ours: no line of it can be read")]
    NoBundle,
    #[error("the bundle has version {0}; this program reads version {VERSION}")]
    Version(u32),
}

/// What is known besides the bundle.
#[derive(Debug, Default)]
pub struct Known {
    /// The fingerprint of the first key.
    pub first_key: Option<String>,
    /// Records that were written out elsewhere.
    pub witness: Vec<StoredRecord>,
}

/// An event's line, without copies where none are needed.
#[derive(Deserialize)]
struct Event<'a> {
    sequence: u64,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    base64: Option<Cow<'a, str>>,
}

impl Event<'_> {
    fn payload(&self) -> Option<Cow<'_, [u8]>> {
        match (&self.text, &self.base64) {
            (Some(text), None) => Some(Cow::Borrowed(text.as_bytes())),
            (None, Some(text)) => BASE64.decode(text.as_bytes()).ok().map(Cow::Owned),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

/// Reads the whole bundle.
pub fn verify(bundle: impl BufRead, known: &Known) -> Result<Report, OfflineError> {
    let mut reading = Reading::default();
    let mut lines = Lines { bundle, line: Vec::new() };
    while let Some(line) = lines.next()? {
        reading.line(line)?;
    }
    reading.finish(known)
}

struct Lines<B> {
    bundle: B,
    line: Vec<u8>,
}

impl<B: BufRead> Lines<B> {
    /// With its newline, if it has one.
    fn next(&mut self) -> Result<Option<&[u8]>, OfflineError> {
        self.line.clear();
        let mut bounded = Read::take(&mut self.bundle, LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut self.line).map_err(OfflineError::Read)?;
        Ok((read > 0).then_some(self.line.as_slice()))
    }
}

#[derive(Default)]
struct Reading {
    lines: u64,
    /// A line that could be read.
    any: bool,
    manifest: Option<(Manifest, Digest)>,
    records: Vec<(u64, Digest)>,
    evidence: Evidence,
    said: Vec<Anchored>,
    /// Once the first event came.
    check: Option<Check>,
    hash: Sha256,
    end: Option<(line::End, Digest)>,
    broken: Option<String>,
    /// Lines after the end, or in a place where they do not belong.
    misplaced: Option<String>,
}

impl Reading {
    fn line(&mut self, line: &[u8]) -> Result<(), OfflineError> {
        self.lines += 1;
        if self.end.is_some() {
            self.misplaced.get_or_insert_with(|| "there are lines after the last one".to_owned());
        }
        let before = self.hash.clone();
        self.hash.update(line);
        if line.starts_with(EVENT)
            && let Ok(event) = serde_json::from_slice::<Event>(line)
            && let Some(payload) = event.payload()
        {
            self.any = true;
            let headers: Vec<(&str, &str)> =
                event.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
            let time = DateTime::UNIX_EPOCH;
            self.check().event(event.sequence, time, &event.subject, &headers, &payload);
            return Ok(());
        }
        let Ok(read) = serde_json::from_slice::<Line>(line) else {
            self.unreadable();
            return Ok(());
        };
        self.any = true;
        match read {
            Line::Manifest(manifest) => {
                if manifest.format != FORMAT {
                    self.unreadable();
                } else if manifest.version != VERSION {
                    return Err(OfflineError::Version(manifest.version));
                } else if self.lines == 1 {
                    let text = line.strip_suffix(b"\n").unwrap_or(line);
                    self.manifest = Some((manifest, sha256(text)));
                } else {
                    self.misplaced.get_or_insert_with(|| "a manifest is not the first line".to_owned());
                }
            }
            Line::Record(record) => self.record(&record),
            // an event's line begins otherwise, or its payload is none
            Line::Event(_) => self.unreadable(),
            Line::End(end) => self.end = Some((end, before.finalize().into())),
            Line::Broken { why } => self.broken = Some(why),
        }
        Ok(())
    }

    fn unreadable(&mut self) {
        let line = self.lines;
        let what = format!("line {line} of the bundle cannot be read");
        match &mut self.check {
            Some(check) => check.unreadable(what),
            None => self.misplaced = self.misplaced.take().or(Some(what)),
        }
    }

    fn record(&mut self, line: &line::RecordLine) {
        let Some(bytes) = line.stored.bytes() else { return self.unreadable() };
        if self.check.is_some() {
            self.misplaced.get_or_insert_with(|| format!("record {} is among the events", line.record));
        }
        self.records.push((line.record, sha256(&bytes)));
        let statement = self.evidence.take(line.record, &bytes);
        self.said.extend(statement.as_ref().and_then(Anchored::of));
    }

    fn check(&mut self) -> &mut Check {
        let first = self.manifest.as_ref().map_or(1, |(manifest, _)| manifest.first);
        self.check.get_or_insert_with(|| Check::new(first, self.said.clone(), &self.evidence))
    }

    fn finish(mut self, known: &Known) -> Result<Report, OfflineError> {
        if !self.any {
            return Err(OfflineError::NoBundle);
        }
        self.check();
        let first = self.manifest.as_ref().map_or(1, |(manifest, _)| manifest.first);
        let to = self.manifest.as_ref().and_then(|(manifest, _)| manifest.to);
        let last = self.evidence.last().map_or(0, |last| last_event(to, &self.said, last));
        let check = self.check.take();
        let mut checked = check.map_or_else(nothing, |check| check.finish(End::Piece(last)));
        self.integrity(first, known, &mut checked);
        self.completeness(known, &mut checked);
        let fidelity = match self.manifest.take() {
            Some((manifest, _)) => manifest.fidelity,
            None => Fidelity::unknown("the manifest cannot be read"),
        };
        Ok(report(&self.evidence, checked, fidelity))
    }

    fn integrity(&self, first: u64, known: &Known, checked: &mut Checked) {
        let integrity = &mut checked.integrity;
        let bound = self.evidence.last().filter(|last| last.number == self.evidence.number());
        let digest = self.manifest.as_ref().map(|(_, digest)| HEXLOWER.encode(digest));
        if digest.is_none() || bound.and_then(|last| last.anchor.binds.clone()) != digest {
            let what = || "the manifest is not the one that the last record binds".to_owned();
            integrity.fails_also(first, what);
        }
        if let Some(wanted) = &known.first_key
            && self.evidence.first_fingerprint().as_ref() != Some(wanted)
        {
            integrity.fails_also(first, || "the first key is not the one that is trusted".to_owned());
        }
        for record in &known.witness {
            let here = self.records.iter().find(|(number, _)| *number == record.number);
            if here.is_some_and(|(_, digest)| *digest != sha256(&record.bytes)) {
                let what = || format!("record {} is not the one that was written out", record.number);
                integrity.fails_also(first, what);
            }
        }
        if let Some(what) = &self.misplaced {
            integrity.fails_also(first, || what.clone());
        }
        // what nothing else found: a change that changes no meaning
        if let Some((end, hash)) = &self.end
            && integrity.ok
            && checked.completeness.ok
            && end.sha256 != HEXLOWER.encode(hash)
        {
            let what = || "some byte of the bundle is not what was written".to_owned();
            integrity.fails_also(first, what);
        }
    }

    fn completeness(&self, known: &Known, checked: &mut Checked) {
        let next = checked.last + 1;
        let completeness = &mut checked.completeness;
        match (&self.end, &self.broken) {
            (_, Some(why)) => completeness.fails_also(next, || format!("the export broke off: {why}")),
            (None, None) => completeness.fails_also(next, || "the bundle breaks off here".to_owned()),
            (Some((end, _)), None) => {
                let (events, records) = (checked.events, self.records.len() as u64);
                if (end.events, end.records) != (events, records) && completeness.ok && checked.integrity.ok {
                    let what = || {
                        format!(
                            "{} events and {} records were written, {events} and {records} are here",
                            end.events, end.records
                        )
                    };
                    completeness.fails_also(next, what);
                }
            }
        }
        let exported = self.manifest.as_ref().map(|(manifest, _)| manifest.exported_at);
        let mut written = Evidence::default();
        for record in &known.witness {
            let statement = written.take(record.number, &record.bytes);
            let earlier = statement.is_some_and(|statement| Some(statement.time) < exported);
            if earlier && record.number > self.evidence.number() {
                let upto = self.evidence.upto();
                let what = || format!("record {}, written out before the export, is missing", record.number);
                completeness.fails_also(upto + 1, what);
            }
        }
    }
}

fn nothing() -> Checked {
    Checked { first: 1, last: 0, events: 0, integrity: Verdict::holds(), completeness: Verdict::holds() }
}
