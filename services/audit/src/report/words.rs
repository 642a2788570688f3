//! How is it said, the same in every report? Places with grants, whom something is granted to, ranges, long texts.

use std::fmt::Display;

use events::access::{Grantee, Scope};

/// Of a command so much is shown, in characters; all of it stands in the log.
pub const COMMAND_CHARS_MAX: usize = 4_000;

pub fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Server(server) => format!("server {server}"),
        Scope::Zone(zone) => format!("zone {zone}"),
        Scope::Group(group) => format!("group {group}"),
        Scope::Label { key, value } => format!("label {key}={value}"),
    }
}

pub fn grantee(to: &Grantee) -> String {
    match to {
        Grantee::User(user) => format!("user {user}"),
        Grantee::Role(role) => format!("role {}", role.name()),
        Grantee::Group(group) => format!("group {group}"),
    }
}

/// An allow-list; an empty one lets everybody in.
pub fn ranges<T: Display>(ranges: &[T]) -> String {
    if ranges.is_empty() { "everyone".to_owned() } else { joined(ranges) }
}

pub fn joined<T: Display>(texts: impl IntoIterator<Item = T>) -> String {
    texts.into_iter().map(|text| text.to_string()).collect::<Vec<_>>().join(" ")
}

/// A command, cut where it is long.
pub fn command(text: &str) -> String {
    match text.char_indices().nth(COMMAND_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_cut_between_characters() {
        let long = "é".repeat(COMMAND_CHARS_MAX + 1);
        assert_eq!(command(&long), format!("{}…", "é".repeat(COMMAND_CHARS_MAX)));
        assert_eq!(command("uptime"), "uptime");
    }

    #[test]
    fn an_empty_allow_list_is_everyone() {
        assert_eq!(ranges::<String>(&[]), "everyone");
        assert_eq!(ranges(&["10.0.0.0/8", "::1/128"]), "10.0.0.0/8 ::1/128");
    }
}
