//! Where do records lie that nobody who holds the store can change? In a file of its own, line by line: what the
//! store has lost since, the file still has.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use nats::StoredRecord;

use crate::line::{Line, RecordLine};

/// Longest line, in bytes: a record is at most what the server takes as one message, escaped.
const LINE_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("line {line} of {path} is no record; move the file away, and a new one is written")]
    Unreadable { path: PathBuf, line: u64 },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> WitnessError {
    let path = path.to_owned();
    move |source| WitnessError::Io { what, path, source }
}

/// The file, open at its end.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    file: File,
    /// The last record that is in it.
    last: u64,
}

/// Where file and store part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parted {
    /// The records of the file, all of them.
    pub file: Vec<StoredRecord>,
    /// The first number at which they differ.
    pub at: u64,
}

impl Witness {
    /// Compares with the records of the store, which begin with 1, and writes what the file lacks.
    pub fn open(path: &Path, store: &[StoredRecord]) -> Result<Result<Self, Parted>, WitnessError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io("make", folder))?;
        }
        let mut open = OpenOptions::new();
        let file = open.read(true).append(true).create(true).open(path).map_err(io("open", path))?;
        let (records, length) = read(path)?;
        // what a kill left of a line is written again
        file.set_len(length).map_err(io("cut", path))?;
        let parted = records.iter().zip(1..).find(|(record, number)| {
            let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
            store.get(index) != Some(*record)
        });
        if let Some((_, at)) = parted {
            return Ok(Err(Parted { file: records, at }));
        }
        let mut witness = Self { path: path.to_owned(), file, last: records.len() as u64 };
        for record in store.iter().skip(records.len()) {
            witness.write(record)?;
        }
        witness.sync()?;
        Ok(Ok(witness))
    }

    /// Moves the file out of the way, so that another is begun.
    pub fn set_aside(path: &Path, at: u64) -> Result<PathBuf, WitnessError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = (0..)
            .map(|number: u32| path.with_file_name(format!("{name}.parted-at-{at}.{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| path.to_owned());
        std::fs::rename(path, &aside).map_err(io("move", path))?;
        Ok(aside)
    }

    /// On disk when this returns.
    pub fn append(&mut self, record: &StoredRecord) -> Result<(), WitnessError> {
        if record.number > self.last {
            self.write(record)?;
            self.sync()?;
        }
        Ok(())
    }

    fn write(&mut self, record: &StoredRecord) -> Result<(), WitnessError> {
        let line = Line::Record(RecordLine::of(record.number, &record.bytes)).to_bytes();
        self.file.write_all(&line).map_err(io("write", &self.path))?;
        self.last = record.number;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WitnessError> {
        self.file.sync_data().map_err(io("write", &self.path))
    }
}

/// The whole records of a file, and how many bytes they are.
pub fn read(path: &Path) -> Result<(Vec<StoredRecord>, u64), WitnessError> {
    let file = File::open(path).map_err(io("open", path))?;
    let (mut records, mut length) = (Vec::new(), 0);
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        let mut bounded = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line).map_err(io("read", path))?;
        if read == 0 || !line.ends_with(b"\n") && (read as u64) < LINE_BYTES_MAX {
            return Ok((records, length));
        }
        let number = records.len() as u64 + 1;
        let unreadable = || WitnessError::Unreadable { path: path.to_owned(), line: number };
        let Ok(Line::Record(line)) = serde_json::from_slice(&line) else { return Err(unreadable()) };
        let bytes = line.stored.bytes().ok_or_else(unreadable)?;
        records.push(StoredRecord { number: line.record, bytes: bytes.into() });
        length += read as u64;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn records(count: u64) -> Vec<StoredRecord> {
        let record = |number| StoredRecord { number, bytes: format!("record {number}").into_bytes().into() };
        (1..=count).map(record).collect()
    }

    #[test]
    fn the_file_has_what_the_store_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/anchors.ndjson");
        let mut witness = Witness::open(&path, &records(2)).unwrap().unwrap();
        for record in records(4) {
            witness.append(&record).unwrap();
        }
        drop(witness);
        assert_eq!(read(&path).unwrap().0, records(4));
        // a kill in the middle of a line
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        Witness::open(&path, &records(6)).unwrap().unwrap();
        assert_eq!(read(&path).unwrap().0, records(6));
    }

    #[test]
    fn a_store_that_lost_records_or_has_others_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchors.ndjson");
        Witness::open(&path, &records(5)).unwrap().unwrap();
        assert_eq!(Witness::open(&path, &records(3)).unwrap().unwrap_err().at, 4);
        let mut other = records(5);
        other[1].bytes = "other".into();
        let parted = Witness::open(&path, &other).unwrap().unwrap_err();
        assert_eq!((parted.at, parted.file.len()), (2, 5));
        let aside = Witness::set_aside(&path, parted.at).unwrap();
        assert_eq!(read(&aside).unwrap().0, records(5));
        assert!(Witness::open(&path, &other).unwrap().is_ok());
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        std::fs::write(&path, "my notes\n").unwrap();
        assert!(matches!(Witness::open(&path, &records(1)), Err(WitnessError::Unreadable { line: 1, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes\n");
    }
}
