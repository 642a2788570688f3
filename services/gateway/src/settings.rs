//! What may change while the gateway runs? A few settings: those of the start, and a file that may say
//! others and is looked at again. Sessions that are open do not notice.

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use kit::error::chain;
use kit::telemetry::{self, FilterError};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks at the file.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A longer file is no settings.
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// When the gateway ends, sessions may go on for so many seconds ...
    pub drain_s: u64,
    /// ... and nobody may set more than so many.
    pub drain_max_s: u64,
    /// Who connects from here is a proxy, and says with a PROXY header for whom.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Log lines of this process, in the syntax of RUST_LOG; `None`: as at its start.
    pub log: Option<String>,
}

/// What a file may say, as JSON. What it does not say is as at the start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    drain_s: Option<u64>,
    proxy_protocol_from: Option<Vec<IpNet>>,
    log: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is longer than {FILE_BYTES_MAX} bytes", .0.display())]
    Long(PathBuf),
    #[error("{} is not what settings look like", path.display())]
    Shape {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("drain_s is {said}, and may be {max} at most")]
    Drain { said: u64, max: u64 },
    #[error("log cannot be meant")]
    Log(#[source] FilterError),
}

impl Settings {
    pub fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxy_protocol_from.iter().any(|range| range.contains(&ip))
    }

    /// These, changed by what the file says.
    pub fn changed_by(&self, file: &Path) -> Result<Self, SettingsError> {
        let source = |source| SettingsError::Read { path: file.to_owned(), source };
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(file).map_err(source)?;
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(source)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(SettingsError::Long(file.to_owned()));
        }
        let said: Said = serde_json::from_slice(&bytes)
            .map_err(|source| SettingsError::Shape { path: file.to_owned(), source })?;
        if let Some(said) = said.drain_s.filter(|said| *said > self.drain_max_s) {
            return Err(SettingsError::Drain { said, max: self.drain_max_s });
        }
        if let Some(filter) = &said.log {
            telemetry::check(filter).map_err(SettingsError::Log)?;
        }
        Ok(Self {
            drain_s: said.drain_s.unwrap_or(self.drain_s),
            drain_max_s: self.drain_max_s,
            proxy_protocol_from: said.proxy_protocol_from.unwrap_or_else(|| self.proxy_protocol_from.clone()),
            log: said.log.or_else(|| self.log.clone()),
        })
    }
}

/// Puts in force what the file says as soon as it says something else. A file that cannot be used leaves
/// what was, and is told once.
pub async fn keep_fresh(
    file: PathBuf,
    at_start: Settings,
    in_force: watch::Sender<Settings>,
    shutdown: CancellationToken,
) {
    let mut told = None;
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_some() {
        let settings = match at_start.changed_by(&file) {
            Ok(settings) => settings,
            Err(error) => {
                let why = chain(&error);
                if told.as_ref() != Some(&why) {
                    tracing::error!(file = %file.display(), error = why, "these settings cannot be used; the old ones stay");
                    told = Some(why);
                }
                continue;
            }
        };
        told = None;
        if *in_force.borrow() != settings {
            refilter(&settings);
            tracing::info!(?settings, "other settings are in force");
            in_force.send_replace(settings);
        }
    }
}

pub fn refilter(settings: &Settings) {
    if let Err(error) = telemetry::refilter(settings.log.as_deref()) {
        tracing::error!(error = chain(&error), "log lines stay as they were");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.json");
        std::fs::write(&file, text).unwrap();
        let start = Settings {
            drain_s: 5,
            drain_max_s: 10,
            proxy_protocol_from: vec!["192.0.2.0/24".parse().unwrap()],
            log: None,
        };
        start.changed_by(&file).map_err(|error| chain(&error))
    }

    #[test]
    fn what_a_file_does_not_say_is_as_at_the_start() {
        let settings = read("{}").unwrap();
        assert_eq!(settings.drain_s, 5);
        assert!(settings.is_proxy("192.0.2.1".parse().unwrap()));
        let settings = read(r#"{"drain_s": 7, "log": "info,gateway=debug"}"#).unwrap();
        assert_eq!((settings.drain_s, settings.log.as_deref()), (7, Some("info,gateway=debug")));
        assert!(settings.is_proxy("192.0.2.1".parse().unwrap()));
        let settings = read(r#"{"proxy_protocol_from": []}"#).unwrap();
        assert!(!settings.is_proxy("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (text, why) in [
            ("", "not what settings look like"),
            (r#"{"drain": 5}"#, "unknown field `drain`"),
            (r#"{"drain_s": 11}"#, "may be 10 at most"),
            (r#"{"proxy_protocol_from": ["here"]}"#, "invalid IP address syntax"),
            (r#"{"log": "gateway=loud"}"#, "log cannot be meant"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(
            read(&format!("{{}}{}", " ".repeat(FILE_BYTES_MAX as usize))).unwrap_err().contains("longer")
        );
    }
}
