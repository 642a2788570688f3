//! What must not be lost or done twice? On disk: each command before it is begun, each result until it is
//! acknowledged.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::wire::is_command_id;

/// A command that was begun is remembered so long; the hub has ended it long before.
const REMEMBERED_FOR: Duration = Duration::from_secs(48 * 3_600);

#[derive(Debug, thiserror::Error)]
#[error("the spool {path} cannot be used")]
pub struct SpoolError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A folder: `<command>.begun`, empty, and `<command>.json`.
pub struct Spool {
    folder: PathBuf,
    begun: Mutex<BTreeSet<String>>,
}

impl Spool {
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut begun = BTreeSet::new();
        for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
            let path = entry.path();
            let Some((id, "begun")) = named(&path) else { continue };
            let age = entry.metadata().and_then(|data| data.modified()).ok();
            let age = age.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
            if age > REMEMBERED_FOR && !folder.join(format!("{id}.json")).exists() {
                fs::remove_file(&path).map_err(failed)?;
            } else {
                begun.insert(id.to_owned());
            }
        }
        Ok(Self { folder: folder.to_owned(), begun: Mutex::new(begun) })
    }

    fn failed(&self, source: io::Error) -> SpoolError {
        SpoolError { path: self.folder.clone(), source }
    }

    /// `false` if it was begun before, by this process or one before it: it must not run again.
    pub fn begin(&self, id: &str) -> Result<bool, SpoolError> {
        if !self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned()) {
            return Ok(false);
        }
        let made = File::create(self.folder.join(format!("{id}.begun"))).and_then(|file| file.sync_all());
        made.and_then(|()| sync(&self.folder)).map_err(|error| self.failed(error))?;
        Ok(true)
    }

    /// On disk when this returns.
    pub fn keep(&self, id: &str, result: &Value) -> Result<(), SpoolError> {
        let (part, whole) = (self.folder.join(format!("{id}.part")), self.folder.join(format!("{id}.json")));
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(result.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &whole)?;
            sync(&self.folder)
        });
        written.map_err(|error| self.failed(error))
    }

    /// The result, if there is one that was not acknowledged.
    pub fn result(&self, id: &str) -> Option<Value> {
        let text = fs::read(self.folder.join(format!("{id}.json"))).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Nobody needs the result any more.
    pub fn acknowledged(&self, id: &str) {
        // one that cannot be removed is sent once more
        fs::remove_file(self.folder.join(format!("{id}.json"))).ok();
    }

    /// The commands whose results were not acknowledged.
    pub fn waiting(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut ids: Vec<String> = entries
            .filter_map(|entry| {
                let path = entry.path();
                named(&path).filter(|(_, kind)| *kind == "json").map(|(id, _)| id.to_owned())
            })
            .collect();
        ids.sort();
        ids
    }
}

/// Command and kind, as the file's name says.
fn named(path: &Path) -> Option<(&str, &str)> {
    let (id, kind) = path.file_name()?.to_str()?.rsplit_once('.')?;
    is_command_id(id).then_some((id, kind))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_begun_once_whoever_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        assert!(spool.begin("cmd_1_a").unwrap());
        assert!(!spool.begin("cmd_1_a").unwrap());
        let again = Spool::open(folder.path()).unwrap();
        assert!(!again.begin("cmd_1_a").unwrap());
        assert!(again.begin("cmd_1_b").unwrap());
    }

    #[test]
    fn a_result_is_kept_until_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        spool.keep("cmd_1_a", &json!({"a": 1})).unwrap();
        let again = Spool::open(folder.path()).unwrap();
        assert_eq!(
            (again.waiting(), again.result("cmd_1_a")),
            (vec!["cmd_1_a".to_owned()], Some(json!({"a": 1})))
        );
        again.acknowledged("cmd_1_a");
        assert_eq!((again.waiting(), again.result("cmd_1_a")), (vec![], None));
    }
}
