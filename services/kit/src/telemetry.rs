//! Where do log lines go? To standard error, as text or JSON; never with a secret.

use std::sync::OnceLock;

use tracing_subscriber::{EnvFilter, filter, reload};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What was put in force by [`init`], and how another filter takes its place.
struct InForce {
    at_start: String,
    put: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

static IN_FORCE: OnceLock<InForce> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("this is no filter of log lines")]
    Shape(#[source] filter::ParseError),
    #[error("the filter of log lines is not ours to change")]
    NotOurs,
    #[error("the filter of log lines cannot be changed")]
    Put(#[source] reload::Error),
}

/// `filter` is in the syntax of `RUST_LOG`, for example `info,provisioner=debug`.
pub fn init(format: LogFormat, filter: &str) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr);
    let (set, put): (_, Box<dyn Fn(EnvFilter) -> _ + Send + Sync>) = match format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            (lines.try_init(), Box::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            (lines.try_init(), Box::new(move |filter| handle.reload(filter)))
        }
    };
    match set {
        Ok(()) => {
            IN_FORCE.get_or_init(|| InForce { at_start: filter.to_owned(), put });
        }
        Err(error) => tracing::debug!(%error, "telemetry was set up before"),
    }
}

/// Whether it can be meant.
pub fn check(filter: &str) -> Result<(), FilterError> {
    EnvFilter::try_new(filter).map(drop).map_err(FilterError::Shape)
}

/// Another filter for the rest of the process, or until it is changed again; `None`: that of the start.
pub fn refilter(filter: Option<&str>) -> Result<(), FilterError> {
    let in_force = IN_FORCE.get().ok_or(FilterError::NotOurs)?;
    let filter = match filter {
        Some(filter) => EnvFilter::try_new(filter).map_err(FilterError::Shape)?,
        None => EnvFilter::try_new(&in_force.at_start).unwrap_or_else(|_| EnvFilter::new("info")),
    };
    (in_force.put)(filter).map_err(FilterError::Put)
}
