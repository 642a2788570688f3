//! How is the embedded nats-server started? With the one configuration, and everything that differs
//! in its environment.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::children::Spec;
use crate::data_dir::{DataDir, DataDirError};
use crate::kept::Kept;
use crate::taps_args::WebsocketListener;
use crate::{leftovers, tools};

pub const NAME: &str = "nats-server";
const PASSWORD_PREFIX: &str = "PORTREEVE_NATS_PASSWORD_";
/// Relative to the data directory; also the mark of a process of ours.
const CONFIGURATION: &str = "nats/server.conf";
const STOPS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum NatsServerError {
    #[error(transparent)]
    NotFound(#[from] tools::NotFound),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// The users whose passwords the configuration asks for, in lower case.
pub fn users() -> BTreeSet<String> {
    nats::SERVER_CONF
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split('$').skip(1))
        .filter_map(|rest| rest.strip_prefix(PASSWORD_PREFIX))
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_uppercase()).next())
        .filter(|name| !name.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// What to run so that the server listens on this port of 127.0.0.1, and on WebSockets where somebody wants them.
pub fn prepare(
    data: &DataDir,
    kept: &Kept,
    port: u16,
    websocket: Option<&WebsocketListener>,
) -> Result<Spec, NatsServerError> {
    let program = tools::nats_server()?;
    let listens = websocket.map(WebsocketListener::configuration).unwrap_or_default();
    data.write(CONFIGURATION, &format!("{}{listens}", nats::SERVER_CONF))?;
    let configuration = data.join(CONFIGURATION);
    let store = data.join("nats/store");
    let mut env: Vec<(String, OsString)> = vec![
        ("PORTREEVE_NATS_HOST".into(), quoted("127.0.0.1")),
        ("PORTREEVE_NATS_PORT".into(), port.to_string().into()),
        ("PORTREEVE_NATS_STORE".into(), quoted(&store.to_string_lossy())),
    ];
    for (user, password) in kept.nats_users() {
        env.push((format!("{PASSWORD_PREFIX}{}", user.to_ascii_uppercase()), quoted(password)));
    }
    let issuer = nats::Issuer::of(&kept.nats_password("taps").unwrap_or_default());
    env.push((nats::ISSUER_VARIABLE.to_owned(), quoted(issuer.public())));
    let spec = Spec {
        name: NAME,
        command: vec![program.into(), "-c".into(), configuration.clone().into()],
        env,
        inherits_env: false,
        log: data.log_of(NAME),
        stale_socket: None,
        stop_signal: Signal::SIGTERM,
        stop_within: STOPS_WITHIN,
    };
    Ok(spec)
}

/// Ends a server that a killed `up` left behind.
pub async fn end_leftover(data: &DataDir) {
    leftovers::end(NAME, &data.join(CONFIGURATION), Signal::SIGTERM).await;
}

/// The server reads the value of a variable as it reads its file: text wants quotes.
fn quoted(text: &str) -> OsString {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_of_ours_is_in_the_configuration() {
        let users = users();
        for needed in ["setup", "api", "provisioner", "projector", "taps"] {
            assert!(users.contains(needed), "{needed} is not in {users:?}");
        }
    }
}
