//! What is this sentry told when it starts?

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use kit::sentry_protocol::{ENV_CONTROL_URL, ENV_ID, ENV_TOKEN, INNER_PORT, JUPYTER_PORT};

use crate::refusals;

/// First process of an environment: accepts SSH connections, starts sshd for each, reports what it saw.
#[derive(Debug, Clone, Parser)]
#[command(name = "sentry", version)]
pub struct Config {
    /// The provisioner: unix:/path/to/socket or http://host:port
    #[arg(long, env = ENV_CONTROL_URL)]
    pub control_url: ControlUrl,
    /// The environment this sentry guards
    #[arg(long, env = ENV_ID)]
    pub env_id: String,
    /// The bearer token of this environment's sentry
    #[arg(long, env = ENV_TOKEN, hide_env_values = true)]
    pub token: Token,

    /// Where SSH is accepted (IPv6 sockets take IPv6 only)
    #[arg(
        long,
        env = "PORTREEVE_SENTRY_LISTEN",
        value_delimiter = ',',
        default_value = "0.0.0.0:22,[::]:22"
    )]
    pub listen: Vec<SocketAddr>,
    /// Where gateway and web terminal come in, with certificates of our SSH CA alone; never published
    #[arg(
        long,
        env = "PORTREEVE_SENTRY_INNER_LISTEN",
        value_delimiter = ',',
        default_values_t = inner_addresses()
    )]
    pub inner_listen: Vec<SocketAddr>,
    /// Seconds between two summaries of who was turned away
    #[arg(long, default_value_t = refusals::TELL_EVERY.as_secs())]
    pub refusals_every_s: u64,
    /// Where GET /healthz is answered
    #[arg(long, env = "PORTREEVE_SENTRY_HEALTH", default_value = "0.0.0.0:8022")]
    pub health: SocketAddr,

    /// Host keys, spool, cached policy: on the environment's own volume
    #[arg(long, env = "PORTREEVE_SENTRY_STATE_DIR", default_value = "/var/lib/portreeve")]
    pub state_dir: PathBuf,
    /// Where sshd looks for authorized_keys/<account>, user_ca.pub and principals
    #[arg(long, default_value = "/etc/portreeve")]
    pub settings_dir: PathBuf,
    /// The password file of the account
    #[arg(long, default_value = "/etc/shadow")]
    pub shadow_file: PathBuf,
    /// sshd's directory for privilege separation
    #[arg(long, default_value = "/run/sshd")]
    pub run_dir: PathBuf,
    /// Directories that belong to the account; missing ones are made
    #[arg(long, value_delimiter = ',', default_value = "/gemini/code,/gemini/output")]
    pub owned_dirs: Vec<PathBuf>,
    /// The account that people log in to
    #[arg(long, default_value = "developer")]
    pub account: String,

    #[arg(long, default_value = "/usr/sbin/sshd")]
    pub sshd: PathBuf,
    #[arg(long, default_value = "/etc/ssh/sshd_config")]
    pub sshd_config: PathBuf,
    #[arg(long, default_value = "/usr/bin/ssh-keygen")]
    pub ssh_keygen: PathBuf,
    #[arg(long, default_value = "/usr/bin/setpriv")]
    pub setpriv: PathBuf,
    #[arg(long, default_value = "/opt/jupyter/bin/jupyter")]
    pub jupyter: PathBuf,
    /// Working directory of JupyterLab
    #[arg(long, default_value = "/gemini/code")]
    pub jupyter_dir: PathBuf,
    #[arg(long, default_value_t = JUPYTER_PORT)]
    pub jupyter_port: u16,
}

impl Config {
    pub fn tell_every(&self) -> Duration {
        Duration::from_secs(self.refusals_every_s.max(1))
    }
}

fn inner_addresses() -> [SocketAddr; 2] {
    [(Ipv4Addr::UNSPECIFIED, INNER_PORT).into(), (Ipv6Addr::UNSPECIFIED, INNER_PORT).into()]
}

/// How the provisioner is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlUrl {
    Unix(PathBuf),
    /// Without a slash at its end.
    Http(String),
}

impl FromStr for ControlUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err("unix: needs an absolute path".into()),
            };
        }
        match text.starts_with("http://") && text.len() > "http://".len() {
            true => Ok(Self::Http(text.trim_end_matches('/').into())),
            false => Err("expected unix:/path/to/socket or http://host:port".into()),
        }
    }
}

/// A secret that does not print.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(Self(text.into())),
            false => Err("a token is printable ASCII without spaces".into()),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_urls() {
        assert_eq!("unix:/run/x.sock".parse(), Ok(ControlUrl::Unix("/run/x.sock".into())));
        assert_eq!("http://10.0.0.1:80/".parse(), Ok(ControlUrl::Http("http://10.0.0.1:80".into())));
        for bad in ["", "unix:run/x", "https://x", "http://"] {
            assert!(bad.parse::<ControlUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_token_does_not_print() {
        assert_eq!(format!("{:?}", "s3cret".parse::<Token>().unwrap()), "[redacted]");
    }
}
