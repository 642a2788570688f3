//! How does a command run on a server that a hub logs in to itself? By the way and the account of its test and terminal.

use events::Cause;
use events::command::{CommandCompleted, CommandFailed};
use events::ids::NAMESPACE;
use events::server::Server;
use kit::error::chain;
use reach::{Reach, ReachError, Trouble, Who};
use ssh::channel::{self, Channel, ChannelError, Exit, exit_code_of_signal};
use ssh::client::Connection;
use uuid::Uuid;

use crate::Hub;
use crate::keep::Keeper;
use crate::lines::Job;
use crate::send::same_place;

/// How a run went.
enum Ran {
    Completed(CommandCompleted),
    /// Nothing ran.
    Failed(CommandFailed),
    /// It may have run.
    Lost(String),
}

/// Ends when the result is on record or the command has ended; dropped, the connection and with it the command's
/// channel are closed.
pub async fn run(hub: &Hub, job: &Job, reach: &Reach) {
    let ended = job.ended.clone();
    let Some(ran) = ended.run_until_cancelled(Box::pin(go_and_run(hub, job, reach))).await else { return };
    let Job { tenant, id, dispatched, .. } = job;
    let via = &dispatched.via;
    let told = match ran {
        Ran::Completed(completed) => hub.answered(tenant, id, via, completed).await,
        Ran::Failed(failed) => hub.failed(tenant, id, via, failed).await,
        Ran::Lost(reason) => hub.lost(tenant, id, via, &reason).await,
    };
    if let Err(error) = told {
        tracing::error!(command.id = %id, error = chain(&error), "what became of a command was not recorded");
    }
}

async fn go_and_run(hub: &Hub, job: &Job, reach: &Reach) -> Ran {
    let Job { tenant, id, server, .. } = job;
    match hub.log.load::<Server>(tenant, server.as_str()).await {
        Ok(loaded) => {
            if let Err(failed) = same_place(loaded.state, &job.dispatched) {
                return Ran::Failed(failed);
            }
        }
        Err(error) => return Ran::Failed(failed("log_unavailable", chain(&error), "try again")),
    }
    let who = Who { session: id.as_str(), user: job.batch.by.as_str() };
    let command = Uuid::new_v5(&NAMESPACE, format!("run\n{id}\n{}", hub.id).as_bytes());
    let mut cause = Cause::new(command, "service:relay");
    cause.correlation = job.origin.correlation;
    cause.traceparent.clone_from(&job.origin.traceparent);
    let reached = match reach.connect(tenant, server, who, &cause).await {
        Ok(reached) => reached,
        Err(error) => return Ran::Failed(of_reach(error)),
    };
    // until the command is asked for nothing can have run
    let channel = match reached.connection.session().await {
        Ok(channel) => channel,
        Err(error) => return Ran::Failed(of_trouble(Trouble::from(&error))),
    };
    match channel.request_command(job.batch.command.as_bytes()).await {
        Ok(()) => {}
        Err(error @ ChannelError::RequestRefused { .. }) => {
            return Ran::Failed(of_trouble(Trouble::from(&error)));
        }
        Err(error) => return Ran::Lost(format!("it was asked for, and then: {}", chain(&error))),
    }
    let ran = gather(hub, job, &channel).await;
    leave(reached.connection).await;
    ran
}

/// Politely, and not for long.
async fn leave(connection: Connection) {
    tokio::time::timeout(std::time::Duration::from_secs(1), connection.disconnect()).await.ok();
}

async fn gather(hub: &Hub, job: &Job, channel: &Channel) -> Ran {
    let keeper = || Keeper::new(&hub.outputs, &job.tenant, &job.id);
    let (mut stdout, mut stderr, mut exit) = (keeper(), keeper(), None);
    loop {
        match channel.next().await {
            Ok(Some(channel::Output::Data(bytes))) => stdout.take(&bytes).await,
            Ok(Some(channel::Output::ErrorData(bytes))) => stderr.take(&bytes).await,
            Ok(Some(channel::Output::Exit(ended))) => exit = Some(ended),
            Ok(Some(channel::Output::Eof)) => {}
            Ok(None) => break,
            Err(lost) => return Ran::Lost(format!("the connection broke while it ran: {}", lost.why)),
        }
    }
    let exit_code = match exit {
        Some(Exit::Status(code)) => i32::try_from(code).unwrap_or(i32::MAX),
        Some(Exit::Signal { name, .. }) => exit_code_of_signal(&name),
        None => return Ran::Lost("the server closed the channel without saying how it ended".to_owned()),
    };
    Ran::Completed(CommandCompleted { exit_code, stdout: stdout.end().await, stderr: stderr.end().await })
}

fn of_reach(error: ReachError) -> CommandFailed {
    match error {
        ReachError::Trouble(trouble) => of_trouble(trouble),
        ReachError::NotFound => {
            failed("server_removed", error.to_string(), "run it on a server that is there")
        }
        ReachError::Log(_) | ReachError::Contended => failed("log_unavailable", chain(&error), "try again"),
        ReachError::Vault(_) => failed("vault_unavailable", chain(&error), "try again"),
        ReachError::Authority(_) | ReachError::Certify(_) | ReachError::Stored(_) => {
            failed("credential_unusable", chain(&error), "set the password or the key again")
        }
    }
}

fn of_trouble(trouble: Trouble) -> CommandFailed {
    CommandFailed {
        class: trouble.class.to_owned(),
        reason: trouble.reason,
        suggestion: Some(trouble.suggestion),
    }
}

fn failed(class: &str, reason: String, suggestion: &str) -> CommandFailed {
    CommandFailed { class: class.to_owned(), reason, suggestion: Some(suggestion.to_owned()) }
}
