//! How is a person told why there is no terminal, or none any more? A typed error, then a close code of ours.
//!
//! A browser cannot read why an upgrade was refused, and learns of a connection that ends without a
//! word as 1006. So every upgrade is accepted, the error said, and the connection closed with 4000 and
//! the status that HTTP has for it.

use serde_json::{Value, json};
use ssh::ConnectError;

use crate::problem::Problem;

/// One row of the table: stable code, close code, whether the same again may work a little later, and
/// what a person can do.
struct Kind {
    code: &'static str,
    close: u16,
    retryable: bool,
    suggestion: &'static str,
}

const fn row(code: &'static str, close: u16, retryable: bool, suggestion: &'static str) -> Kind {
    Kind { code, close, retryable, suggestion }
}

const FINAL: bool = false;
const LATER: bool = true;

/// Every failure of a terminal. Those of [`ConnectError`] and of `reach` come besides, with 4502.
const KINDS: &[Kind] = &[
    row("parameter_invalid", 4400, FINAL, "correct the address of the terminal"),
    row("message_invalid", 4400, FINAL, "use the protocol as /docs describes it"),
    row("subprotocol_unknown", 4400, FINAL, "use portreeve.terminal.v1, or no subprotocol for JSON"),
    row("unauthorized", 4401, FINAL, "sign in again"),
    row("signed_out", 4401, FINAL, "sign in again and open a new terminal"),
    row("ticket_invalid", 4401, LATER, "ask for a new ticket: one lives for 30 seconds and opens once"),
    row("forbidden", 4403, FINAL, "ask somebody with another role"),
    row("origin_refused", 4403, FINAL, "open the terminal from Portreeve's own pages"),
    row(
        "address_not_allowed",
        4403,
        FINAL,
        "connect from an allowed network, or ask for the allow-list to be widened",
    ),
    row("view_only", 4403, FINAL, "ask the owner of the terminal to share it for writing"),
    row("not_found", 4404, FINAL, "look it up in the list of environments or servers"),
    row(
        "session_unknown",
        4404,
        FINAL,
        "open a new terminal: a shell is kept for a minute after its connection broke",
    ),
    row("client_silent", 4408, LATER, "connect again; the shell is kept for a minute"),
    row("too_slow", 4408, LATER, "connect again; what is still kept is shown"),
    row("idle_timeout", 4408, FINAL, "open a new terminal"),
    row("environment_not_running", 4409, FINAL, "start the environment first"),
    row("taken_over", 4409, FINAL, "go on where you opened it last, or take it back by connecting again"),
    row("share_ended", 4410, FINAL, "ask the owner of the terminal to share it again"),
    row("session_ended", 4410, FINAL, "open a new terminal"),
    row("environment_stopped", 4410, FINAL, "start the environment and open a new terminal"),
    row("input_too_large", 4413, FINAL, "send it in pieces, or copy it as a file"),
    row("address_locked", 4423, FINAL, "wait, or ask an operator to unlock the address"),
    row("request_limit", 4429, LATER, "wait a little"),
    row("too_many_terminals", 4429, FINAL, "close another terminal first"),
    row("too_many_guests", 4429, LATER, "wait until somebody leaves"),
    row("internal", 4500, LATER, "try again; the server's log has the cause"),
    row("environment_unreachable", 4502, LATER, "try again in a moment"),
    row("server_lost", 4502, LATER, "open a new terminal; the server's log may say more"),
    row("server_removed", 4410, FINAL, "ask an operator: it is no longer registered"),
    row("environment_lost", 4502, FINAL, "look at the environment's status, then open a new terminal"),
    row("log_unavailable", 4503, LATER, "try again in a moment"),
    row("read_model_unavailable", 4503, LATER, "try again in a moment"),
    row("server_restarting", 4503, LATER, "connect again in a moment"),
    row("busy", 4503, LATER, "try again in a moment"),
];

/// What RFC 6455 calls normal: the shell has ended by itself.
pub const CLOSE_NORMAL: u16 = 1000;
/// A way into an environment failed.
const CLOSE_UPSTREAM: u16 = 4502;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: &'static str,
    pub reason: String,
    pub suggestion: String,
    pub retryable: bool,
    pub close: u16,
}

impl Failure {
    /// Of the table; a code that is not there is our own mistake.
    pub fn new(code: &'static str, reason: impl Into<String>) -> Self {
        let kind = KINDS.iter().find(|kind| kind.code == code);
        debug_assert!(kind.is_some(), "{code} is not in the table of failures");
        let (close, retryable, suggestion) =
            kind.map_or((4500, LATER, "try again"), |kind| (kind.close, kind.retryable, kind.suggestion));
        Self { code, reason: reason.into(), suggestion: suggestion.to_owned(), retryable, close }
    }

    /// A class of `ssh` or `reach`: what stood in the way to where the shell is.
    pub fn upstream(code: &'static str, reason: String, suggestion: String, retryable: bool) -> Self {
        Self { code, reason, suggestion, retryable, close: CLOSE_UPSTREAM }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "type": "error",
            "code": self.code,
            "reason": self.reason,
            "suggestion": self.suggestion,
            "retryable": self.retryable,
        })
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let reason = problem.detail().to_owned();
        if KINDS.iter().any(|kind| kind.code == problem.code()) {
            return Self::new(problem.code(), reason);
        }
        // a refusal of the rules that no terminal has of its own
        let close = 4000 + problem.status().as_u16();
        let retryable = problem.status().is_server_error();
        Self { code: problem.code(), reason, suggestion: "try again".to_owned(), retryable, close }
    }
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        Self::upstream(error.class(), error.reason(), error.suggestion(), error.retryable())
    }
}

/// The table, for people: code, close code, whether the same again may work, what to do.
pub fn table() -> impl Iterator<Item = (&'static str, u16, bool, &'static str)> {
    KINDS.iter().map(|kind| (kind.code, kind.close, kind.retryable, kind.suggestion))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_code_stands_in_the_table_once_with_a_close_code_of_ours() {
        let codes: BTreeSet<_> = KINDS.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), KINDS.len());
        for kind in KINDS {
            assert!((4400..4600).contains(&kind.close) && !kind.suggestion.is_empty(), "{}", kind.code);
        }
    }

    #[test]
    fn a_problem_keeps_its_code_and_its_status() {
        let failure = Failure::from(Problem::new("forbidden", "you are an auditor"));
        assert_eq!((failure.code, failure.close, failure.retryable), ("forbidden", 4403, false));
        let failure = Failure::from(Problem::new("contended", "others were faster"));
        assert_eq!((failure.code, failure.close, failure.retryable), ("contended", 4503, true));
    }

    #[test]
    fn a_typed_error_has_all_that_a_page_shows() {
        let json = Failure::new("ticket_invalid", "no such ticket").to_json();
        for field in ["type", "code", "reason", "suggestion", "retryable"] {
            assert!(!json[field].is_null(), "{field}: {json}");
        }
    }
}
