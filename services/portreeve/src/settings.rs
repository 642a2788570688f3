//! Which settings are written how? Parsers for values that several commands take.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;
use kit::telemetry::LogFormat;
use secrecy::SecretString;

/// The longest secret accepted from a file, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// A setting that cannot be meant. `field` is what the operator typed: a flag or a variable.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {why}")]
pub struct BadSetting {
    pub field: String,
    pub why: String,
}

impl BadSetting {
    pub fn new(field: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { field: field.into(), why: why.to_string() }
    }
}

/// How to log.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// Which log lines are written to standard error, in the syntax of RUST_LOG
    #[arg(long, env = "PORTREEVE_LOG")]
    log: Option<String>,
    /// How log lines look
    #[arg(long, env = "PORTREEVE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl LogArgs {
    /// `usually` when the operator said nothing.
    pub fn init(&self, usually: &str) {
        kit::telemetry::init(self.log_format, self.log.as_deref().unwrap_or(usually));
    }
}

/// Published ports of environments, written `30000-32767`, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "write it as FIRST-LAST, for example 30000-32767";
        let (first, last) = text.split_once('-').ok_or(shape)?;
        let port =
            |text: &str| text.trim().parse::<u16>().map_err(|_| format!("{text:?} is no port; {shape}"));
        let (first, last) = (port(first)?, port(last)?);
        match (first, last) {
            (0, _) => Err("port 0 cannot be published".to_owned()),
            _ if first > last => Err(format!("{first} comes after {last}")),
            _ => Ok(Self(first..=last)),
        }
    }
}

/// An address that others are told, so its port is known beforehand.
pub fn listen_address(text: &str) -> Result<std::net::SocketAddr, String> {
    let address: std::net::SocketAddr =
        text.parse().map_err(|_| "write it as ADDRESS:PORT, for example 127.0.0.1:8080".to_owned())?;
    if address.port() == 0 {
        return Err("port 0 means any port, and nobody could be told which".to_owned());
    }
    Ok(address)
}

/// A host name or address, as a person would type it after `ssh`.
pub fn host_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    if text.is_empty() || text.len() > 253 || text.starts_with('-') || !text.chars().all(allowed) {
        return Err("this is no host name and no address".to_owned());
    }
    Ok(text.to_owned())
}

/// Where a container engine's API answers: `unix:///path`, `tcp://host:port` or `http://host:port`.
pub fn container_host(text: &str) -> Result<String, String> {
    let known = ["unix://", "tcp://", "http://"];
    if known.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        Ok(text.to_owned())
    } else {
        Err("write it as unix:///path, tcp://host:port or http://host:port".to_owned())
    }
}

/// `10.0.0.0/8`, or one address.
pub fn range(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| "write it as 10.0.0.0/8, several after commas".to_owned())
}

/// `nats://host:port`, more servers of the same cluster after commas.
pub fn nats_url(text: &str) -> Result<String, String> {
    let known = ["nats://", "tls://"];
    for server in text.split(',') {
        if !known.iter().any(|scheme| server.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
            return Err("write it as nats://host:port, more servers after commas".to_owned());
        }
        if server.contains('@') {
            return Err("a password does not belong here; see PORTREEVE_NATS_PASSWORD".to_owned());
        }
    }
    Ok(text.to_owned())
}

/// `postgres://user:password@host:port/database`.
pub fn database_url(text: &str) -> Result<String, String> {
    let known = ["postgres://", "postgresql://"];
    if known.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        Ok(text.to_owned())
    } else {
        Err("write it as postgres://user:password@host:port/database".to_owned())
    }
}

/// A secret from the variable `name`, or from the file that `name_FILE` names. Never a flag: command
/// lines are visible to everyone on the machine. `None` when neither is set.
pub fn secret(name: &str) -> Result<Option<SecretString>, BadSetting> {
    let file_name = format!("{name}_FILE");
    match (std::env::var(name), std::env::var_os(&file_name)) {
        (Ok(_), Some(_)) => Err(BadSetting::new(name, format!("set either this or {file_name}"))),
        (Ok(text), None) if text.trim().is_empty() => Err(BadSetting::new(name, "is empty")),
        (Ok(text), None) => Ok(Some(SecretString::from(text.trim().to_owned()))),
        (Err(std::env::VarError::NotUnicode(_)), _) => Err(BadSetting::new(name, "is not UTF-8")),
        (Err(std::env::VarError::NotPresent), Some(path)) => {
            read_secret(&PathBuf::from(path)).map(Some).map_err(|why| BadSetting::new(file_name, why))
        }
        (Err(std::env::VarError::NotPresent), None) => Ok(None),
    }
}

/// As [`secret`], and somebody must have set it.
pub fn needed_secret(name: &str) -> Result<SecretString, BadSetting> {
    secret(name)?.ok_or_else(|| BadSetting::new(name, format!("is not set, nor is {name}_FILE")))
}

/// The text of a small file, without the white space around it.
pub fn read_secret(path: &std::path::Path) -> Result<SecretString, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("{} is empty", path.display())),
        _ if text.len() as u64 > SECRET_BYTES_MAX => {
            Err(format!("{} is longer than {SECRET_BYTES_MAX} bytes", path.display()))
        }
        trimmed => Ok(SecretString::from(trimmed.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_range_has_two_ends_in_order() {
        assert_eq!("30000-32767".parse(), Ok(PortRange(30000..=32767)));
        assert_eq!("5-5".parse(), Ok(PortRange(5..=5)));
        for wrong in ["", "30000", "2-1", "0-9", "1-70000", "a-b", "-1-5"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_without_repeating_it() {
        let why = nats_url("nats://user:hunter2@host:4222").unwrap_err();
        assert!(!why.contains("hunter2"));
        assert!(nats_url("nats://a:4222,nats://b:4222").is_ok());
        assert!(nats_url("http://a").is_err());
    }

    #[test]
    fn an_engine_is_reached_by_a_socket_or_a_port() {
        assert!(container_host("unix:///run/docker.sock").is_ok());
        assert!(container_host("tcp://127.0.0.1:2375").is_ok());
        for wrong in ["", "unix://", "ssh://host", "/run/docker.sock"] {
            assert!(container_host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_to_users_cannot_be_an_option_of_ssh() {
        assert!(host_name("dev.example.org").is_ok());
        for wrong in ["", "-oProxyCommand=x", "a b", "a;b"] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }
}
