//! What stood in the way to a server, at which step, and what can a person do about it?

use kit::error::chain;
use ssh::ConnectError;
use ssh::channel::ChannelError;

/// The steps of a login, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Before anything is sent: the route and the credential.
    Preparation,
    Network,
    Identification,
    KeyExchange,
    HostKey,
    Authentication,
    Shell,
}

impl Step {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparation => "preparation",
            Self::Network => "network",
            Self::Identification => "identification",
            Self::KeyExchange => "key_exchange",
            Self::HostKey => "host_key",
            Self::Authentication => "authentication",
            Self::Shell => "shell",
        }
    }

    fn of(error: &ConnectError) -> Self {
        match error {
            ConnectError::RelayUnavailable { .. } => Self::Preparation,
            ConnectError::DnsFailed { .. }
            | ConnectError::ConnectionRefused { .. }
            | ConnectError::Unreachable { .. }
            | ConnectError::ConnectTimeout { .. } => Self::Network,
            ConnectError::BannerTimeout { .. }
            | ConnectError::NotSsh { .. }
            | ConnectError::TooManyConnections { .. }
            | ConnectError::ResetInIdentification
            | ConnectError::AddressClosed { .. } => Self::Identification,
            ConnectError::KexTimeout { .. }
            | ConnectError::NoCommonAlgorithm { .. }
            | ConnectError::KexFailed(_) => Self::KeyExchange,
            ConnectError::HostKeyMismatch { .. } => Self::HostKey,
            ConnectError::AuthTimeout { .. }
            | ConnectError::AuthFailed { .. }
            | ConnectError::AuthMethodUnavailable { .. }
            | ConnectError::SecondFactor { .. }
            | ConnectError::TooManyAuth { .. }
            | ConnectError::Lost { .. } => Self::Authentication,
        }
    }
}

/// A way that did not lead in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub step: Step,
    /// Stable, for programs: `auth_failed`.
    pub class: &'static str,
    pub reason: String,
    pub suggestion: String,
    /// The same again may work a little later.
    pub retryable: bool,
}

impl From<&ConnectError> for Trouble {
    fn from(error: &ConnectError) -> Self {
        Self {
            step: Step::of(error),
            class: error.class(),
            reason: chain(error),
            suggestion: error.suggestion(),
            retryable: error.retryable(),
        }
    }
}

impl From<&ChannelError> for Trouble {
    fn from(error: &ChannelError) -> Self {
        let suggestion = match error {
            ChannelError::Refused { .. } => {
                "look at MaxSessions and at restrictions of the account in the server's sshd_config"
            }
            ChannelError::RequestRefused { .. } => {
                "look at PermitTTY, ForceCommand and at options of the key in authorized_keys"
            }
            ChannelError::Silent | ChannelError::Closed | ChannelError::Lost(_) => {
                "try again; look at the server's log"
            }
        };
        Self::at_shell(error.class(), chain(error), suggestion)
    }
}

impl Trouble {
    pub(crate) fn at_shell(class: &'static str, reason: String, suggestion: &str) -> Self {
        Self { step: Step::Shell, class, reason, suggestion: suggestion.to_owned(), retryable: false }
    }

    pub(crate) fn credential_missing() -> Self {
        Self {
            step: Step::Preparation,
            class: "credential_missing",
            reason: "the stored credential is gone".to_owned(),
            suggestion: "set the password or the key again".to_owned(),
            retryable: false,
        }
    }

    pub(crate) fn relay_unavailable() -> Self {
        Self {
            step: Step::Preparation,
            class: "relay_unavailable",
            reason: "the way leads through a relay, and none that serves the server is connected".to_owned(),
            suggestion: "start the relay, or take it out of the server's settings".to_owned(),
            retryable: true,
        }
    }

    pub(crate) fn commands_alone() -> Self {
        Self {
            step: Step::Preparation,
            class: "behind_relay",
            reason: "the way leads through a relay that carries commands and nothing else".to_owned(),
            suggestion: "run commands there, or let a `portreeve agent` serve the server".to_owned(),
            retryable: false,
        }
    }

    pub(crate) fn host_key_mismatch(expected: &str, seen: &str) -> Self {
        let (expected, seen) = (expected.to_owned(), seen.to_owned());
        Self::from(&ConnectError::HostKeyMismatch { expected, seen })
    }

    /// All steps together took longer than somebody waits.
    pub(crate) fn timed_out(waited_s: u64) -> Self {
        Self {
            step: Step::Authentication,
            class: "timed_out",
            reason: format!("the server took longer than {waited_s} s in all"),
            suggestion: "the server is slow at every step: look at its load".to_owned(),
            retryable: true,
        }
    }
}
