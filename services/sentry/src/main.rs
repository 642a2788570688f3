//! The binary `sentry`: reads its configuration, runs until a signal, and ends with a status.

use std::process::ExitCode;

use clap::Parser;
use kit::error::chain;
use kit::telemetry::{self, LogFormat};
use sentry::config::Config;

/// EX_USAGE of sysexits.h.
const EXIT_CONFIG: u8 = 64;
/// Accepting and reporting are light; sshd does the work in processes of its own.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(error) => {
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    telemetry::init(LogFormat::Text, &filter);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let ran = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            let shutdown = kit::shutdown::on_signal().map_err(|error| error.to_string())?;
            sentry::run(config, shutdown).await.map_err(|error| chain(&error))
        })
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "sentry cannot go on");
            ExitCode::FAILURE
        }
    }
}
