//! What a sentry (inside an environment) and the provisioner say to each other.
//!
//! HTTP/1.1 with JSON, always dialled by the sentry: on one machine over a Unix socket that is
//! mounted read-only into the container, on a cluster over TCP. The sentry authenticates with
//! `Authorization: Bearer <token>`; the token is bound to its environment.
//!
//! | call | what |
//! | --- | --- |
//! | `GET /v1/policy?have=<version>`, headers [`HOST_KEY_HEADER`] and [`ACTIVE_AT_HEADER`] | 200 [`Policy`] as soon as the version in force differs from `have`, or 204 after [`POLICY_WAIT_S`] |
//! | `POST /v1/applied` [`Applied`] | 204: the policy of this version is in force, port 22 accepts |
//! | `POST /v1/reports` [`Reports`] | 200 [`ReportsAccepted`]: everything through that number is in the log |
//!
//! 401 means the token is not this environment's, 404 that the environment is gone.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where the sentry finds the provisioner: `unix:/path/to/socket` or `http://host:port`.
pub const ENV_CONTROL_URL: &str = "PORTREEVE_CONTROL_URL";
/// The environment this sentry guards.
pub const ENV_ID: &str = "PORTREEVE_ENV_ID";
/// The bearer token of this environment's sentry.
pub const ENV_TOKEN: &str = "PORTREEVE_SENTRY_TOKEN";

/// The port of the inner door, inside the environment and never published: sshd with certificates of
/// our SSH CA alone, for entrances that have asked all the questions themselves.
pub const INNER_PORT: u16 = 2022;

/// What the inner door shows, as in [`Applied::host_key`]: said with each policy request, so that a
/// provisioner that has just started knows it too.
pub const HOST_KEY_HEADER: &str = "portreeve-host-key";

/// When there was traffic last, RFC 3339: said with each policy request. While an end for idleness was
/// announced, a sentry asks anew as soon as there is traffic.
pub const ACTIVE_AT_HEADER: &str = "portreeve-active-at";

/// The longest the provisioner holds a policy request open.
pub const POLICY_WAIT_S: u64 = 25;
/// At most this many reports in one request.
pub const REPORTS_MAX: usize = 500;

/// Everything the sentry enforces. Whole each time: applying it twice is harmless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Digest of the rest; equal versions mean equal policies.
    pub version: String,
    /// crypt(3) hash for the account `developer`; never the password.
    pub password_hash: String,
    /// OpenSSH public key lines.
    pub authorized_keys: Vec<String>,
    /// Source ranges that may connect; empty means everyone.
    pub allow_list: Vec<IpNet>,
    /// Addresses closed by the log, whatever entrance they failed at.
    pub lockouts: Vec<Lockout>,
    /// Failures at other entrances that count now: guesses there and here add up.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// Failures of an address before this instant are forgotten (an operator unlocked it).
    pub forgiven: Vec<Forgiven>,
    /// OpenSSH public key line of the SSH CA whose certificates open the inner door.
    pub user_ca: Option<String>,
    /// Set when JupyterLab shall run.
    pub jupyter: Option<Jupyter>,
    /// Whoever is at a terminal is told that the environment ends soon, and when.
    #[serde(default)]
    pub ends_soon: Option<EndsSoon>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lockout {
    pub ip: IpAddr,
    pub until: DateTime<Utc>,
}

/// A password that was wrong, at any entrance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// An IPv4 address, or the /64 of an IPv6 address.
    pub ip: IpAddr,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forgiven {
    pub ip: IpAddr,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndsSoon {
    pub at: DateTime<Utc>,
    /// It is stopped because nobody uses it, and traffic keeps it; otherwise it is deleted because its
    /// time ends.
    pub idle: bool,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Jupyter {
    pub token: String,
    /// The path below which it serves, [`jupyter_base_url`]; a sentry that does not know this field serves
    /// at `/`, and so does one that is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
}

impl Jupyter {
    /// `/` where nothing was said.
    pub fn path(&self) -> &str {
        self.base_url.as_deref().unwrap_or("/")
    }
}

/// Where JupyterLab listens inside an environment.
pub const JUPYTER_PORT: u16 = 8888;

/// Below which path an environment's JupyterLab serves, whoever leads there: so that its own links are
/// right behind the control plane too. With both slashes.
pub fn jupyter_base_url(env: &str) -> String {
    format!("/jupyter/{env}/")
}

impl std::fmt::Debug for Jupyter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jupyter {{ token: [redacted], base_url: {:?} }}", self.base_url)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    pub version: String,
    /// OpenSSH public key line (ed25519) that the inner door shows; absent where there is no such door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
}

/// Reports in the order they were written to the spool, numbered without gaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reports {
    /// Names the spool; a new one is made only when the environment's state volume is new.
    pub spool_id: String,
    pub reports: Vec<Numbered>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// Starts at 1.
    pub number: u64,
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub report: Report,
}

/// What a sentry saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    LoginSucceeded {
        ip: IpAddr,
        user: String,
        /// `password`, `publickey` or `certificate`.
        method: String,
        key_fingerprint: Option<String>,
        session_id: String,
    },
    LoginFailed {
        ip: IpAddr,
        user: String,
        method: String,
        /// `wrong_password`, `unknown_user`, `account_locked`, `too_many_auth`, ...
        class: String,
    },
    /// An address was turned away so often that each time is not worth a report; told once a minute.
    LoginsRefused {
        /// An IPv4 address, or the /64 of an IPv6 address.
        ip: IpAddr,
        count: u64,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    },
    SessionOpened {
        /// `ses-` and 12 lower-case base32 characters.
        session_id: String,
        ip: IpAddr,
        user: String,
        method: String,
    },
    /// An entrance came in by the inner door for this session, which it records itself.
    InnerOpened { session_id: String },
    /// Also for a session of the inner door, when whoever opened it has had its time to say so.
    SessionClosed {
        session_id: String,
        /// Bytes from the client to the environment.
        bytes_in: u64,
        /// Bytes from the environment to the client.
        bytes_out: u64,
        /// `client_left`, `environment_stopped`, `interrupted`, ...
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportsAccepted {
    pub accepted_through: u64,
}
