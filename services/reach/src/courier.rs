//! How is a server asked where nothing but commands goes? By relays of others, which run them: the test is a command
//! that the account's shell has to answer, and so is a script.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use events::Cause;
use ssh::channel::Exit;

use crate::script::Said;
use crate::trouble::{Step, Trouble};

/// For an answer of a shell; a person waits.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// Of what a relay says, so much is repeated.
const SAID_CHARACTERS_MAX: usize = 300;

/// Runs commands on one server by its account. They stand on record, so no secret may be in them.
pub trait Courier: Debug + Send + Sync {
    /// `label` tells the commands of one visit apart; a repeated one is told how the first ended.
    fn run<'c>(
        &'c self,
        label: &'static str,
        command: String,
        wait: Duration,
        cause: &'c Cause,
    ) -> Running<'c>;
}

pub type Running<'c> = Pin<Box<dyn Future<Output = Result<Said, CourierError>> + Send + 'c>>;

/// A command that did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourierError {
    /// `timed_out` and `lost` may have run; whatever else did not.
    pub class: String,
    pub reason: String,
    pub suggestion: Option<String>,
}

/// A courier on a visit.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub courier: Arc<dyn Courier>,
    pub own: Cause,
}

impl Visit {
    /// Whether the account's shell runs a command and gives back what it says.
    pub async fn test(&self) -> Result<(), Trouble> {
        let word = format!("portreeve-{}", self.own.command.simple());
        let said = self.run("test", format!("echo {word}"), ANSWER_WAIT).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if text(&said.out).contains(&word) {
            return Ok(());
        }
        // what our question cannot have said, the relay did
        let text = format!("{} {}", text(&said.err), text(&said.out));
        Err(of_relay(text.trim()))
    }

    pub async fn run(&self, label: &'static str, command: String, wait: Duration) -> Result<Said, Trouble> {
        let ran = self.courier.run(label, command, wait, &self.own).await;
        ran.map_err(|CourierError { class, reason, suggestion }| Trouble {
            step: Step::Preparation,
            class: known(&class),
            reason,
            suggestion: suggestion.unwrap_or_else(|| "look at the relay's log".to_owned()),
            retryable: true,
        })
    }
}

/// Classes of commands that did not complete, as they are told here.
fn known(class: &str) -> &'static str {
    const CLASSES: [&str; 6] = [
        "relay_unavailable",
        "credential_unsupported",
        "credential_missing",
        "server_removed",
        "server_changed",
        "log_unavailable",
    ];
    match class {
        "timed_out" => "script_timeout",
        "lost" => "connection_lost",
        other => CLASSES.into_iter().find(|known| *known == other).unwrap_or("relay_reported"),
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

fn of_relay(said: &str) -> Trouble {
    let said: String = said.chars().take(SAID_CHARACTERS_MAX).collect();
    let lower = said.to_lowercase();
    let known = WORDS.iter().find(|(word, _, _)| lower.contains(word));
    let (class, what) = known.map_or(
        ("relay_reported", "the account's shell must run commands; look at the relay's log"),
        |(_, class, what)| (*class, *what),
    );
    Trouble {
        step: Step::Authentication,
        class,
        reason: format!("the relay says: {said}"),
        suggestion: what.to_owned(),
        retryable: false,
    }
}

impl Said {
    /// Of a command that completed.
    pub const fn of(exit_code: i32, out: Vec<u8>, err: Vec<u8>) -> Self {
        Self { out, err, exit: Some(Exit::Status(exit_code.cast_unsigned())) }
    }
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
            assert_eq!(of_relay(said).class, class, "{said}");
        }
    }

    #[test]
    fn a_command_that_may_have_run_is_told_as_a_script_that_may_have() {
        for (class, told) in [
            ("timed_out", "script_timeout"),
            ("lost", "connection_lost"),
            ("relay_unavailable", "relay_unavailable"),
            ("cancelled", "relay_reported"),
        ] {
            assert_eq!(known(class), told);
        }
    }
}
