//! How does a command get to a relay? Over the connection that it is on record for, once, or not at all.

use std::sync::Arc;
use std::time::Duration;

use events::command::{CommandDispatched, CommandFailed};
use events::ids::RelayId;
use events::server::{Method, Server, Settings};
use kit::error::chain;
use reach::Through;
use secrecy::SecretString;
use socketioxide::{SendError, SocketError};
use tokio::time::sleep;

use crate::lines::{Job, Line};
use crate::wire::{EXECUTE_COMMAND, ExecuteCommand};
use crate::{Hub, direct};

/// A relay that does not read is tried again after so long, until the command's time is over.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// Ends when it is sent, when it is known that it was not, or when the command has ended.
pub async fn send(hub: Arc<Hub>, relay: RelayId, line: Line, job: Job) {
    let ended = job.ended.clone();
    ended.run_until_cancelled(hand_over(&hub, &relay, &line, &job)).await;
}

async fn hand_over(hub: &Hub, relay: &RelayId, line: &Line, job: &Job) {
    let Job { tenant, id, dispatched, .. } = job;
    let Prepared { settings, secret, host_key } = match prepared(hub, line, job).await {
        Ok(Way::Message(prepared)) => *prepared,
        Ok(Way::Tunnel) => {
            let through = Through { relay: relay.clone(), door: hub.tunnels_at };
            return direct::run(hub, job, &hub.reach.clone().through(through)).await;
        }
        Err(why) => {
            if let Err(error) = hub.failed(tenant, id, &dispatched.via, why).await {
                tracing::error!(command.id = %id, error = chain(&error), "a failure was not recorded");
            }
            return;
        }
    };
    let (password, private_key) = match settings.credential.method {
        Method::Password => (Some(secret), None),
        Method::PrivateKey | Method::Certificate => (None, Some(secret)),
    };
    let command = ExecuteCommand {
        command_id: id,
        server_id: job.server.as_str(),
        host: &settings.host,
        port: settings.port,
        username: &settings.username,
        password,
        private_key,
        host_key: host_key.as_deref(),
        command: &job.batch.command,
        timeout: job.batch.timeout_ms,
    };
    loop {
        // another connection fenced this one: what is on record for this one is not sent over that one
        if hub.lines.get(relay, line.epoch).is_none() {
            return;
        }
        match line.socket.emit(EXECUTE_COMMAND, &command) {
            Ok(()) => return tracing::debug!(command.id = %id, relay.id = %relay, "sent"),
            Err(SendError::Socket(SocketError::InternalChannelFull)) => sleep(FULL_PAUSE).await,
            // its end comes on record by itself
            Err(error) => return tracing::debug!(command.id = %id, relay.id = %relay, %error, "not sent"),
        }
    }
}

/// How the relay gets it done.
enum Way {
    /// It logs in itself.
    Message(Box<Prepared>),
    /// It carries our login, with a certificate that it never sees.
    Tunnel,
}

struct Prepared {
    settings: Settings,
    secret: SecretString,
    /// The pinned one, as an OpenSSH line.
    host_key: Option<String>,
}

/// With what to log in, if the server is still what it was.
async fn prepared(hub: &Hub, line: &Line, job: &Job) -> Result<Way, CommandFailed> {
    let server = hub.log.load::<Server>(&job.tenant, job.server.as_str()).await.map_err(|error| {
        unable(
            "log_unavailable",
            format!("the server could not be looked up: {}", chain(&error)),
            "try again",
        )
    })?;
    let host_key = server.state.host_key.as_ref().map(|key| key.line.clone());
    let settings = same_place(server.state, &job.dispatched)?;
    let stored = match (&settings.credential.method, &settings.credential.secret) {
        (Method::Password | Method::PrivateKey, Some(secret)) => {
            hub.vault.get(secret).await.map_err(|error| {
                unable(
                    "vault_unavailable",
                    format!("the credential could not be read: {}", chain(&error)),
                    "try again",
                )
            })?
        }
        (Method::Certificate, _) if line.carries_tunnels() => return Ok(Way::Tunnel),
        (Method::Certificate, _) => {
            let reason =
                "this relay logs in with passwords and private keys, and this server wants certificates";
            return Err(unable("credential_unsupported", reason.to_owned(), "give the server a private key"));
        }
        (Method::Password | Method::PrivateKey, None) => None,
    };
    let missing = || {
        unable(
            "credential_missing",
            "the stored credential is gone".to_owned(),
            "set the password or the key again",
        )
    };
    let prepared = |secret| Way::Message(Box::new(Prepared { settings, secret, host_key }));
    stored.map(prepared).ok_or_else(missing)
}

/// Nothing goes to another machine or account than the one that is on record for it.
pub fn same_place(server: Server, dispatched: &CommandDispatched) -> Result<Settings, CommandFailed> {
    let CommandDispatched { host, port, username, .. } = dispatched;
    let settings = server.there().cloned().ok_or_else(|| CommandFailed {
        class: "server_removed".to_owned(),
        reason: "the server is not there any more".to_owned(),
        suggestion: None,
    })?;
    if (&settings.host, settings.port, &settings.username) == (host, *port, username) {
        return Ok(settings);
    }
    let reason =
        format!("the server led to {username}@{host}:{port} when this was begun, and leads elsewhere now");
    Err(unable("server_changed", reason, "run it again"))
}

fn unable(class: &str, reason: String, suggestion: &str) -> CommandFailed {
    CommandFailed { class: class.to_owned(), reason, suggestion: Some(suggestion.to_owned()) }
}
