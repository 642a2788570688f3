//! Does one get into this server, by the way that commands go? Directly as `reach` tests it; where a relay leads, by
//! a command that its shell has to answer.

use std::time::{Duration, Instant};

use chrono::{SubsecRound, Utc};
use events::Cause;
use events::batch::request::request;
use events::batch::{Batch, BatchRequested};
use events::command::Command;
use events::ids::{BatchId, CommandId, ServerId, TenantId};
use events::server::{ConnectionTested, Server, Settings, test::tested};
use events::{Kind, Subject};
use projections::commands::CommandRow;
use reach::{Tested, Who};
use uuid::Uuid;

use crate::access::Caller;
use crate::app::App;
use crate::idempotency::index;
use crate::problem::Problem;
use crate::server_way::{Way, way};

/// For the relay; a person waits.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// For us: the outcome comes by then.
const OUTCOME_WAIT: Duration = Duration::from_secs(20);
/// The read model has it by then.
const SHOWN_WAIT: Duration = Duration::from_secs(5);
const SAID_CHARACTERS_MAX: usize = 300;

/// Tries the server as commands reach it, and records how it went.
pub async fn run(
    app: &App,
    tenant: &TenantId,
    id: &ServerId,
    caller: &Caller,
    cause: &Cause,
) -> Result<Tested, Problem> {
    let server = app.log.load::<Server>(tenant, id.as_str()).await?.state;
    let settings = server.there().ok_or_else(|| Problem::not_found("server"))?.clone();
    let outcome = match way(app, tenant, &settings).await? {
        Way::Direct => {
            let who = Who { session: "test", user: caller.owner.as_str() };
            return Ok(app.reach.test(tenant, id, who, cause).await?);
        }
        Way::Nowhere => {
            let reason = "the way leads through a relay, and none that serves the server is connected";
            let what = "start the relay, or take it out of the server's settings";
            let trouble = ("relay_unavailable".to_owned(), reason.to_owned(), what.to_owned());
            tested_as(&settings, "preparation", Some(trouble), Duration::ZERO)
        }
        Way::Relay => {
            let began = Instant::now();
            let word = format!("portreeve-{}", cause.command.simple());
            let row = ask(app, tenant, id, caller, cause, &word).await?;
            outcome(&settings, row.as_ref(), &word, began.elapsed())
        }
    };
    let cause = Cause { command: Uuid::new_v5(&cause.command, b"tested"), ..cause.clone() };
    let rule = |server: &Server| tested(server, &settings, outcome.clone());
    let decided = app.log.decide::<Server, _>(tenant, id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(Tested { outcome, seq: decided.seq })
}

/// The command with its outcome; `None` if it has none in time.
async fn ask(
    app: &App,
    tenant: &TenantId,
    server: &ServerId,
    caller: &Caller,
    cause: &Cause,
    word: &str,
) -> Result<Option<CommandRow>, Problem> {
    let cause = Cause { command: Uuid::new_v5(&cause.command, b"test"), ..cause.clone() };
    let batch = BatchId::from_seed(&cause.command);
    let requested = BatchRequested {
        command: format!("echo {word}"),
        servers: vec![server.clone()],
        timeout_ms: u64::try_from(ANSWER_WAIT.as_millis()).unwrap_or(u64::MAX),
        idempotent: true,
        concurrency: 1,
        stop_after_failures: None,
        by: caller.owner.clone(),
        at: Utc::now().trunc_subsecs(3),
    };
    let rule = |state: &Batch| request(state, requested.clone());
    let decided = app.log.decide::<Batch, _>(tenant, batch.as_str(), &cause, index::FIRST, rule).await?;
    let at = decided.state.requested.map_or(requested.at, |begun| begun.at);
    let id = CommandId::of(&batch, server, at);
    let subject = Subject::new(tenant.clone(), Kind::Command, id.as_str());
    let mut bell = app.live.bell(vec![subject], OUTCOME_WAIT);
    loop {
        let command = app.log.load::<Command>(tenant, id.as_str()).await?;
        if command.state.outcome().is_some() {
            app.projections.wait_for(command.seq, SHOWN_WAIT).await?;
            return Ok(projections::commands::get(&app.projections, Some(tenant), None, &id).await?.value);
        }
        if !bell.ring().await {
            return Ok(None);
        }
    }
}

fn outcome(settings: &Settings, row: Option<&CommandRow>, word: &str, took: Duration) -> ConnectionTested {
    let said = |kept: &Option<projections::commands::Kept>| {
        let bytes = kept.as_ref().map(|kept| kept.bytes.as_slice()).unwrap_or_default();
        String::from_utf8_lossy(bytes).trim().chars().take(SAID_CHARACTERS_MAX).collect::<String>()
    };
    let (step, trouble) = match row {
        Some(row) if row.status == "completed" && said(&row.stdout).contains(word) => ("shell", None),
        // what our question cannot have said, the relay did
        Some(row) if row.status == "completed" => {
            let said = format!("{} {}", said(&row.stderr), said(&row.stdout)).trim().to_owned();
            ("authentication", Some(of_relay(&said)))
        }
        Some(row) => {
            let class = row.class.clone().unwrap_or_else(|| row.status.clone());
            let reason = row.reason.clone().unwrap_or_else(|| "the relay did not answer in time".to_owned());
            let what = row.suggestion.clone().unwrap_or_else(|| "look at the relay's log".to_owned());
            ("preparation", Some((class, reason, what)))
        }
        None => {
            let what = "look whether the relay is connected, and at its log";
            let reason = "the relay did not answer in time".to_owned();
            ("preparation", Some(("timed_out".to_owned(), reason, what.to_owned())))
        }
    };
    tested_as(settings, step, trouble, took)
}

/// Class, reason and suggestion, where there is a trouble.
fn tested_as(
    settings: &Settings,
    step: &str,
    trouble: Option<(String, String, String)>,
    took: Duration,
) -> ConnectionTested {
    let (class, reason, suggestion) = match trouble {
        None => (None, None, None),
        Some((class, reason, what)) => (Some(class), Some(reason), Some(what)),
    };
    ConnectionTested {
        host: settings.host.clone(),
        port: settings.port,
        username: settings.username.clone(),
        ok: class.is_none(),
        class,
        reason,
        suggestion,
        step: step.to_owned(),
        identification: None,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Relays tell failures in the words of their libraries.
const WORDS: &[(&str, &str, &str)] = &[
    ("auth", "auth_failed", "check account, password or key; names are case-sensitive on Linux"),
    ("permission denied", "auth_failed", "check account, password or key; names are case-sensitive on Linux"),
    ("refused", "connection_refused", "is sshd running there, and on this port?"),
    ("unable to connect", "connection_refused", "is sshd running there, and on this port?"),
    ("getaddrinfo", "dns_failed", "the relay does not know the name: give the address"),
    ("name or service not known", "dns_failed", "the relay does not know the name: give the address"),
    ("no route", "unreachable", "the relay has no way to this address"),
    ("unreachable", "unreachable", "the relay has no way to this address"),
    ("banner", "banner_timeout", "what listens there does not speak SSH"),
    ("timed out", "connect_timeout", "look for a firewall between the relay and the server"),
    ("timeout", "connect_timeout", "look for a firewall between the relay and the server"),
];

fn of_relay(said: &str) -> (String, String, String) {
    let lower = said.to_lowercase();
    let known = WORDS.iter().find(|(word, _, _)| lower.contains(word));
    let (class, what) = known.map_or(
        ("relay_reported", "the account's shell must run commands; look at the relay's log"),
        |(_, class, what)| (class, what),
    );
    (class.to_owned(), format!("the relay says: {said}"), what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_common_libraries_say_is_understood() {
        for (said, class) in [
            ("Authentication failed.", "auth_failed"),
            ("All configured authentication methods failed", "auth_failed"),
            ("Permission denied for user deploy on host a", "auth_failed"),
            ("connect ECONNREFUSED 127.0.0.1:22", "connection_refused"),
            ("[Errno None] Unable to connect to port 22 on 127.0.0.1", "connection_refused"),
            ("getaddrinfo ENOTFOUND nowhere", "dns_failed"),
            ("[Errno -2] Name or service not known", "dns_failed"),
            ("Timed out while waiting for handshake", "connect_timeout"),
            ("Error reading SSH protocol banner", "banner_timeout"),
            ("This account is currently not available.", "relay_reported"),
        ] {
            assert_eq!(of_relay(said).0, class, "{said}");
        }
    }
}
