//! Why did a connection not come about? One class a cause, each with a reason and what a person can do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// What stood in the way, in the order in which a connection meets it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the relay on the way cannot be used: {why}")]
    RelayUnavailable { why: String },
    #[error("the name {host:?} cannot be resolved")]
    DnsFailed {
        host: String,
        #[source]
        source: Option<io::Error>,
    },
    #[error("{address} refuses connections")]
    ConnectionRefused { address: SocketAddr },
    #[error("there is no way to {address}")]
    Unreachable {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{address} did not answer within {} s", .waited.as_secs())]
    ConnectTimeout { address: SocketAddr, waited: Duration },
    #[error("the server accepted the connection and said nothing for {} s", .waited.as_secs())]
    BannerTimeout { waited: Duration },
    #[error("what answers is not SSH; it said {said:?}")]
    NotSsh { said: String },
    #[error("the server has too many connections; it said {said:?}")]
    TooManyConnections { said: String },
    #[error("the server closed the connection before it said anything")]
    ResetInIdentification,
    #[error("the environment lets this address in no more for now; it said {said:?}")]
    AddressClosed { said: String },
    #[error("the server did not finish the key exchange within {} s", .waited.as_secs())]
    KexTimeout { waited: Duration },
    #[error("no common {kind}: we offer {}, the server {}", .ours.join(", "), .theirs.join(", "))]
    NoCommonAlgorithm { kind: String, ours: Vec<String>, theirs: Vec<String> },
    #[error("the key exchange failed")]
    KexFailed(#[source] russh::Error),
    #[error("the server shows the host key {seen}, expected was {expected}")]
    HostKeyMismatch { expected: String, seen: String },
    #[error("the server did not answer the login within {} s", .waited.as_secs())]
    AuthTimeout { waited: Duration },
    #[error("the server does not let {user:?} in")]
    AuthFailed { user: String },
    #[error("the server does not accept {wanted}; it accepts {}", .accepted.join(", "))]
    AuthMethodUnavailable { wanted: &'static str, accepted: Vec<String> },
    #[error("the server wants a second proof, {}", .wanted.join(", "))]
    SecondFactor { wanted: Vec<String> },
    #[error("too many tries; the server said {said:?}")]
    TooManyAuth { said: String },
    #[error("the connection broke while logging in: {why}")]
    Lost { why: String },
}

impl ConnectError {
    /// Stable name of the class.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::RelayUnavailable { .. } => "relay_unavailable",
            Self::DnsFailed { .. } => "dns_failed",
            Self::ConnectionRefused { .. } => "connection_refused",
            Self::Unreachable { .. } => "unreachable",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::BannerTimeout { .. } => "banner_timeout",
            Self::NotSsh { .. } => "not_ssh",
            Self::TooManyConnections { .. } => "too_many_connections",
            Self::ResetInIdentification => "reset_in_ident",
            Self::AddressClosed { .. } => "address_closed",
            Self::KexTimeout { .. } => "kex_timeout",
            Self::NoCommonAlgorithm { .. } | Self::KexFailed(_) => "kex_failed",
            Self::HostKeyMismatch { .. } => "host_key_mismatch",
            Self::AuthTimeout { .. } => "auth_timeout",
            Self::AuthFailed { .. } => "auth_failed",
            Self::AuthMethodUnavailable { .. } | Self::SecondFactor { .. } => "auth_method_unavailable",
            Self::TooManyAuth { .. } => "too_many_auth",
            Self::Lost { .. } => "connection_lost",
        }
    }

    /// What happened, in a sentence.
    pub fn reason(&self) -> String {
        self.to_string()
    }

    /// What a person can do about it.
    pub fn suggestion(&self) -> String {
        match self {
            Self::RelayUnavailable { .. } => "look whether the relay is connected, and at its log".into(),
            Self::DnsFailed { .. } => "check the spelling of the host, or use its address".into(),
            Self::ConnectionRefused { .. } => {
                "check the port, and that an SSH server is running there".into()
            }
            Self::Unreachable { .. } => "check the address and the route to it; a relay may be needed".into(),
            Self::ConnectTimeout { .. } => {
                "check that the machine is up and that no firewall drops the connection".into()
            }
            Self::BannerTimeout { .. } => {
                "the machine may be overloaded, or the port belongs to another service".into()
            }
            Self::NotSsh { .. } => "check the port: another service answers there".into(),
            Self::TooManyConnections { .. } => "try again in a moment; MaxStartups bounds logins at once".into(),
            Self::ResetInIdentification => {
                "the server turns this address away: look at fail2ban, hosts.deny and PerSourcePenalties there"
                    .into()
            }
            Self::AddressClosed { .. } => "wait, or ask an operator to unlock the address".into(),
            Self::KexTimeout { .. } => "try again; a network that drops large packets looks like this too".into(),
            Self::NoCommonAlgorithm { .. } => {
                "the server is too old or set too strictly: enable one of our algorithms there".into()
            }
            Self::KexFailed(_) => "look at the server's log; it says what it did not like".into(),
            Self::HostKeyMismatch { .. } => {
                "if the machine was set up anew, accept its new key; otherwise somebody may be in between".into()
            }
            Self::AuthTimeout { .. } => "the server may wait for its directory or a reverse lookup; try again".into(),
            Self::AuthFailed { user } => auth_suggestion(user),
            Self::AuthMethodUnavailable { accepted, .. } => {
                format!("use what the server accepts: {}", accepted.join(", "))
            }
            Self::SecondFactor { .. } => "use an account without a second factor for this".into(),
            Self::TooManyAuth { .. } => "wait a little; offer fewer keys".into(),
            Self::Lost { .. } => "try again".into(),
        }
    }

    /// Whether the same attempt may succeed a little later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::RelayUnavailable { .. }
            | Self::ConnectionRefused { .. }
            | Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::BannerTimeout { .. }
            | Self::TooManyConnections { .. }
            | Self::ResetInIdentification
            | Self::KexTimeout { .. }
            | Self::AuthTimeout { .. }
            | Self::Lost { .. } => true,
            Self::DnsFailed { .. }
            | Self::NotSsh { .. }
            | Self::AddressClosed { .. }
            | Self::NoCommonAlgorithm { .. }
            | Self::KexFailed(_)
            | Self::HostKeyMismatch { .. }
            | Self::AuthFailed { .. }
            | Self::AuthMethodUnavailable { .. }
            | Self::SecondFactor { .. }
            | Self::TooManyAuth { .. } => false,
        }
    }
}

/// A server does not say what was wrong: the password, the name, a locked account or a missing shell.
fn auth_suggestion(user: &str) -> String {
    let lower = user.to_lowercase();
    if lower == user {
        "check user name and password; the server's own log says which of them is wrong".into()
    } else {
        format!("names are case-sensitive on Linux: try {lower:?}; else check the password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_capitals_gets_its_lower_case_suggested() {
        let error = ConnectError::AuthFailed { user: "Alice".into() };
        assert!(error.suggestion().contains("\"alice\""));
        assert_eq!((error.class(), error.retryable()), ("auth_failed", false));
    }
}
