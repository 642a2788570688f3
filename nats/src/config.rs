//! Where is the log, and who are we there?

use secrecy::SecretString;

/// How to reach the servers as one service.
#[derive(Clone, Debug)]
pub struct Config {
    /// `nats://host:port`; several servers of a cluster are separated by commas.
    pub url: String,
    /// The service's own user; see `server.conf`.
    pub user: String,
    pub password: SecretString,
    /// Name of the client as the server's monitoring shows it: the service.
    pub name: String,
}

/// The users that `server.conf` knows: `setup`, and one a service.
pub const USERS: [&str; 8] =
    ["setup", "api", "provisioner", "projector", "audit", "gateway", "relay", "taps"];

/// Name of the environment variable from which the server reads whose word it believes about everybody else:
/// [`crate::Issuer::public`] of the password of `taps`.
pub const ISSUER_VARIABLE: &str = "PORTREEVE_NATS_TAPS_ISSUER";

/// Name of the environment variable from which the server reads a user's password.
pub fn password_variable(user: &str) -> String {
    format!("PORTREEVE_NATS_PASSWORD_{}", user.to_uppercase())
}

/// A text as a value of the server's environment. The server reads such a value as configuration:
/// unquoted, a password like `0123` or `12k` becomes a number and the server does not start.
pub fn quoted(text: &str) -> String {
    let mut value = String::with_capacity(text.len() + 2);
    value.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            value.push('\\');
        }
        value.push(character);
    }
    value.push('"');
    value
}
