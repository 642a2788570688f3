//! What does a line of sshd's log say about the connection it belongs to?
//!
//! Each connection has an sshd and a pipe of its own, so addresses in the text are never needed and
//! never believed: the user name is the peer's, and may contain anything (`x from 1.2.3.4 port 5`).
//! Lines are those of OpenSSH 9.2 with `LogLevel VERBOSE`, with and without PAM.

/// The longest line that is looked at; the rest of a longer one is ignored.
pub const LINE_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Why the attempts that follow on this connection cannot succeed.
    UserRefused {
        class: &'static str,
    },
    /// One try with a password. `invalid_user`: see the line before.
    PasswordFailed {
        user: String,
        method: &'static str,
        invalid_user: bool,
    },
    /// The connection ended because of its number of tries (offered keys count for sshd).
    TooManyTries {
        user: String,
    },
    Accepted {
        user: String,
        method: &'static str,
        fingerprint: Option<String>,
        key_id: Option<String>,
    },
    /// Why sshd ends, as a session's reason.
    Ended {
        reason: &'static str,
    },
    /// sshd cannot do its work: worth an operator's eye.
    Broken,
    Other,
}

/// Reads one line, without knowledge of those before it.
pub fn parse(line: &str) -> Line {
    let line = line.trim_end();
    let (line, preauth) = match line.strip_suffix(" [preauth]") {
        Some(line) => (line, true),
        None => (line, false),
    };
    let line = line.strip_prefix("error: ").unwrap_or(line);
    if let Some(rest) = line.strip_prefix("Failed ") {
        return failed(rest);
    }
    if let Some(rest) = line.strip_prefix("Accepted ") {
        return accepted(rest);
    }
    if line.starts_with("Invalid user ") {
        return Line::UserRefused { class: "unknown_user" };
    }
    if let Some(rest) = line.strip_prefix("User ") {
        return refused(rest);
    }
    if let Some(rest) = line.strip_prefix("maximum authentication attempts exceeded for ") {
        return match user_before_address(rest) {
            Some(user) => Line::TooManyTries { user: without_invalid(user).0.into() },
            None => Line::Other,
        };
    }
    // before a login a peer can provoke complaints at will
    Some(ended(line)).filter(|line| !preauth || *line != Line::Broken).unwrap_or(Line::Other)
}

fn failed(rest: &str) -> Line {
    let Some((method, rest)) = rest.split_once(" for ") else { return Line::Other };
    let method = match method {
        "password" => "password",
        m if m.starts_with("keyboard-interactive") => "keyboard-interactive",
        // `none` is a question, a key that does not match is one of many on offer
        _ => return Line::Other,
    };
    let Some(user) = user_before_address(rest) else { return Line::Other };
    let (user, invalid_user) = without_invalid(user);
    Line::PasswordFailed { user: user.into(), method, invalid_user }
}

fn accepted(rest: &str) -> Line {
    let Some((method, rest)) = rest.split_once(" for ") else { return Line::Other };
    let (rest, key) = match rest.split_once(" ssh2: ") {
        Some((rest, key)) => (rest, Some(key)),
        None => (rest.strip_suffix(" ssh2").unwrap_or(rest), None),
    };
    let Some((user, _)) = rest.rsplit_once(" from ") else { return Line::Other };
    let mut words = key.unwrap_or_default().split(' ');
    let kind = words.next().unwrap_or_default();
    let fingerprint = words.next().filter(|word| word.starts_with("SHA256:")).map(Into::into);
    let certificate = kind.ends_with("-CERT");
    let method = match method {
        "publickey" if certificate => "certificate",
        "publickey" => "publickey",
        "password" => "password",
        m if m.starts_with("keyboard-interactive") => "keyboard-interactive",
        // `Accepted key ... found at`, `Accepted certificate ID ...`: a step on the way, not a login
        _ => return Line::Other,
    };
    let key_id = key.filter(|_| certificate).and_then(|key| {
        let (_, rest) = key.split_once(" ID ")?;
        Some(rest.rsplit_once(" (serial ")?.0.to_owned())
    });
    Line::Accepted { user: user.into(), method, fingerprint, key_id }
}

fn refused(rest: &str) -> Line {
    let Some((_, why)) = rest.rsplit_once(" not allowed because ") else { return Line::Other };
    let class = if why.starts_with("account is locked") {
        "account_locked"
    } else if why.starts_with("shell ") {
        "missing_shell"
    } else {
        // not in AllowUsers and the like: nobody one could log in as
        "unknown_user"
    };
    Line::UserRefused { class }
}

fn ended(line: &str) -> Line {
    let reason = if line.starts_with("Timeout, client not responding") {
        "client_timeout"
    } else if line.starts_with("Disconnected from ") || line.starts_with("Received disconnect from ") {
        "client_left"
    } else if line.starts_with("Connection closed by ") || line.contains("Connection reset by ") {
        "connection_lost"
    } else if line.starts_with("fatal: ") || line.contains("no hostkeys available") {
        return Line::Broken;
    } else {
        return Line::Other;
    };
    Line::Ended { reason }
}

/// `U from IP port N ssh2` -> `U`, read from the right.
fn user_before_address(rest: &str) -> Option<&str> {
    rest.rsplit_once(" from ").map(|(user, _)| user)
}

fn without_invalid(user: &str) -> (&str, bool) {
    match user.strip_prefix("invalid user ") {
        Some(user) => (user, true),
        None => (user, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, invalid_user: bool) -> Line {
        Line::PasswordFailed { user: user.into(), method: "password", invalid_user }
    }

    #[test]
    fn a_failed_password_is_a_try_and_nothing_else_is() {
        let cases = [
            ("Failed password for developer from 127.0.0.1 port 49598 ssh2", password("developer", false)),
            (
                "Failed password for invalid user nobodyhere from 127.0.0.1 port 49608 ssh2",
                password("nobodyhere", true),
            ),
            ("Failed password for invalid user  from ::1 port 9 ssh2", password("", true)),
            (
                "Failed publickey for developer from 127.0.0.1 port 49684 ssh2: ED25519 SHA256:Uh8tRRcGNv9wWo2JevAGK9fxnbmF8AmbYnt8AjaQa0c",
                Line::Other,
            ),
            (
                "Failed keyboard-interactive/pam for developer from 127.0.0.1 port 38978 ssh2",
                Line::PasswordFailed {
                    user: "developer".into(),
                    method: "keyboard-interactive",
                    invalid_user: false,
                },
            ),
            ("PAM: Authentication failure for developer from 127.0.0.1", Line::Other),
            ("Could not get shadow information for NOUSER", Line::Other),
            ("Failed none for invalid user x from 127.0.0.1 port 1 ssh2", Line::Other),
            ("Postponed publickey for developer from 127.0.0.1 port 49666 ssh2 [preauth]", Line::Other),
            ("Connection from 127.0.0.1 port 49594 on 127.0.0.1 port 35389 rdomain \"\"", Line::Other),
            ("User child is on pid 139", Line::Other),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn why_a_user_cannot_succeed() {
        let cases = [
            ("Invalid user nobodyhere from 127.0.0.1 port 49608", "unknown_user"),
            ("User noshell not allowed because shell /nonexistent/shell does not exist", "missing_shell"),
            ("User lockeduser not allowed because account is locked", "account_locked"),
            ("User denied from 127.0.0.1 not allowed because listed in DenyUsers", "unknown_user"),
            ("User root from 127.0.0.1 not allowed because not listed in AllowUsers", "unknown_user"),
        ];
        for (line, class) in cases {
            assert_eq!(parse(line), Line::UserRefused { class }, "{line}");
        }
    }

    #[test]
    fn a_user_name_cannot_forge_a_line() {
        let line =
            "Failed password for invalid user x from 1.2.3.4 port 5 ssh2 from 127.0.0.1 port 49654 ssh2";
        assert_eq!(parse(line), password("x from 1.2.3.4 port 5 ssh2", true));
        assert_eq!(
            parse("Invalid user Accepted password for root from 1.2.3.4 port 5 ssh2 from 127.0.0.1 port 4"),
            Line::UserRefused { class: "unknown_user" }
        );
    }

    #[test]
    fn who_was_let_in_and_how() {
        assert_eq!(
            parse("Accepted password for developer from 127.0.0.1 port 49594 ssh2\r\n"),
            Line::Accepted { user: "developer".into(), method: "password", fingerprint: None, key_id: None }
        );
        assert_eq!(
            parse(
                "Accepted publickey for developer from 127.0.0.1 port 49666 ssh2: ED25519 SHA256:y3nYzRX6tUcRHirBcQxNzNUP8FKfUAi3+wOIV3BqCe8"
            ),
            Line::Accepted {
                user: "developer".into(),
                method: "publickey",
                fingerprint: Some("SHA256:y3nYzRX6tUcRHirBcQxNzNUP8FKfUAi3+wOIV3BqCe8".into()),
                key_id: None
            }
        );
        assert_eq!(
            parse(
                "Accepted publickey for developer from 127.0.0.1 port 38970 ssh2: ED25519-CERT SHA256:73ELoQLzOBeLNEplNhib8d10CQEtAKh7eKhiLIMPF+k ID ses-abcdefghijkl/alice (serial 42) CA ED25519 SHA256:wDvbIEOpmSuOQzq5WHhLgxO2K9vRYUbHH0h+onlODVY"
            ),
            Line::Accepted {
                user: "developer".into(),
                method: "certificate",
                fingerprint: Some("SHA256:73ELoQLzOBeLNEplNhib8d10CQEtAKh7eKhiLIMPF+k".into()),
                key_id: Some("ses-abcdefghijkl/alice".into())
            }
        );
        assert_eq!(
            parse(
                "Accepted certificate ID \"ses-abcdefghijkl/alice\" (serial 42) signed by ED25519 CA SHA256:wDvbIEOpmSuOQzq5WHhLgxO2K9vRYUbHH0h+onlODVY via /etc/portreeve/user_ca.pub"
            ),
            Line::Other
        );
        assert_eq!(
            parse("Accepted keyboard-interactive/pam for developer from 127.0.0.1 port 52046 ssh2"),
            Line::Accepted {
                user: "developer".into(),
                method: "keyboard-interactive",
                fingerprint: None,
                key_id: None
            }
        );
        assert_eq!(
            parse(
                "Accepted key ED25519 SHA256:y3nYzRX6tUcRHirBcQxNzNUP8FKfUAi3+wOIV3BqCe8 found at /etc/pk/developer:1"
            ),
            Line::Other
        );
    }

    #[test]
    fn too_many_tries_and_ends() {
        assert_eq!(
            parse(
                "maximum authentication attempts exceeded for developer from 127.0.0.1 port 49690 ssh2 [preauth]"
            ),
            Line::TooManyTries { user: "developer".into() }
        );
        let ends = [
            ("Disconnected from user developer 127.0.0.1 port 49594", "client_left"),
            ("Received disconnect from 127.0.0.1 port 49594:11: disconnected by user", "client_left"),
            ("Connection closed by 127.0.0.1 port 49708", "connection_lost"),
            ("Timeout, client not responding from user developer 127.0.0.1 port 5", "client_timeout"),
        ];
        for (line, reason) in ends {
            assert_eq!(parse(line), Line::Ended { reason }, "{line}");
        }
    }
}
