//! Whom does a user name mean? `<env id>`, or `<env id>+<name>` for a person who wants to be told apart.

use entrance::way_in::ACCOUNT;
use events::ids::EnvId;

/// Longest name after the `+`, in bytes.
const NAME_LENGTH_MAX: usize = 63;

/// An environment, and what the person calls themselves there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub env: EnvId,
    /// For the records: the account, or the name after the `+`.
    pub name: String,
}

/// `None`: no environment has this name, whatever the log says.
pub fn parse(user: &str) -> Option<Who> {
    let (env, name) = match user.split_once('+') {
        None => (user, ACCOUNT),
        Some((env, name)) => (env, name),
    };
    let printable = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.chars().all(printable) {
        return None;
    }
    Some(Who { env: EnvId::parse(env).ok()?, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_may_follow_and_nothing_else() {
        assert_eq!(parse("env-abcdefghijkl").unwrap().name, "developer");
        assert_eq!(parse("env-abcdefghijkl+alice").unwrap().name, "alice");
        for wrong in ["", "root", "env-abcdefghijkl+", "env-abcdefghijkl+a b", "ENV-abcdefghijkl"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
