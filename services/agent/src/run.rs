//! How does a command run? In a channel of an open login; what stood in its way is told by class.

use std::sync::Arc;
use std::time::Duration;

use ssh::channel::{Channel, ChannelError, Exit, Output};
use tokio::time::timeout;

use crate::pool::{Credential, Lease, Place, Pool, ReachError};
use crate::wire::{Ended, Execute};

/// Kept of each output: the largest message of the hub holds both.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Within its time; then the channel is closed, which hangs up what runs.
pub async fn run(pool: &Arc<Pool>, command: Execute) -> Ended {
    let limit = Duration::from_millis(command.timeout);
    match timeout(limit, go_and_run(pool, command)).await {
        Ok(ended) => ended,
        Err(_) => Ended::BrokenOff { reason: format!("it did not end within {} ms", limit.as_millis()) },
    }
}

async fn go_and_run(pool: &Arc<Pool>, command: Execute) -> Ended {
    let Execute { host, port, username, password, private_key, host_key, command, .. } = command;
    let credential = match (password, private_key) {
        (_, Some(key)) => Credential::PrivateKey(key),
        (Some(password), None) => Credential::Password(password),
        (None, None) => {
            return failed(
                "credential_missing",
                "no password and no private key came".to_owned(),
                "set one of them",
            );
        }
    };
    let place = Place { host, port, username, credential, host_key };
    let (lease, channel) = match open(pool, &place).await {
        Ok(opened) => opened,
        Err(ended) => return ended,
    };
    match channel.request_command(command.as_bytes()).await {
        Ok(()) => {}
        Err(error @ ChannelError::RequestRefused { .. }) => return of_channel(&error),
        Err(error) => {
            lease.spoil();
            return Ended::BrokenOff {
                reason: format!("it was asked for, and then: {}", kit::error::chain(&error)),
            };
        }
    }
    let ended = gather(&channel).await;
    if matches!(ended, Ended::BrokenOff { .. }) {
        lease.spoil();
    }
    ended
}

/// A channel in which nothing runs yet. A login that was open before may have ended unseen: then another one is made,
/// once.
async fn open(pool: &Arc<Pool>, place: &Place) -> Result<(Lease, Channel), Ended> {
    let mut lease = pool.lease(place).await.map_err(of_reach)?;
    let mut opened = lease.connection.session().await;
    if let Err(ChannelError::Lost(_) | ChannelError::Closed | ChannelError::Silent) = opened {
        lease.spoil();
        lease = pool.lease(place).await.map_err(of_reach)?;
        opened = lease.connection.session().await;
    }
    match opened {
        Ok(channel) => Ok((lease, channel)),
        Err(error) => {
            lease.spoil();
            Err(of_channel(&error))
        }
    }
}

async fn gather(channel: &Channel) -> Ended {
    let (mut stdout, mut stderr, mut exit) = (Vec::new(), Vec::new(), None);
    loop {
        match channel.next().await {
            Ok(Some(Output::Data(bytes))) => keep(&mut stdout, &bytes),
            Ok(Some(Output::ErrorData(bytes))) => keep(&mut stderr, &bytes),
            Ok(Some(Output::Exit(ended))) => exit = Some(ended),
            Ok(Some(Output::Eof)) => {}
            Ok(None) => break,
            Err(lost) => {
                return Ended::BrokenOff {
                    reason: format!("the connection broke while it ran: {}", lost.why),
                };
            }
        }
    }
    match exit {
        Some(Exit::Status(code)) => {
            Ended::Ran { exit_code: i32::try_from(code).unwrap_or(i32::MAX), stdout, stderr }
        }
        Some(Exit::Signal { name, .. }) => {
            Ended::Ran { exit_code: ssh::channel::exit_code_of_signal(&name), stdout, stderr }
        }
        None => Ended::BrokenOff {
            reason: "the server closed the channel without saying how it ended".to_owned(),
        },
    }
}

fn keep(kept: &mut Vec<u8>, more: &[u8]) {
    let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
    kept.extend_from_slice(&more[..more.len().min(room)]);
}

fn of_reach(error: ReachError) -> Ended {
    match error {
        ReachError::Connect(error) => failed(error.class(), kit::error::chain(&error), &error.suggestion()),
        ReachError::Key(error) => {
            failed("credential_unusable", kit::error::chain(&error), "set the private key again")
        }
    }
}

fn of_channel(error: &ChannelError) -> Ended {
    let what = "look at MaxSessions, ForceCommand and options of the key in authorized_keys";
    failed(error.class(), kit::error::chain(error), what)
}

fn failed(class: &str, reason: String, suggestion: &str) -> Ended {
    Ended::Failed { class: class.to_owned(), reason, suggestion: suggestion.to_owned() }
}
