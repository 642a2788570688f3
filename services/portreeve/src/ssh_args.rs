//! How does the SSH gateway serve beyond its address? Time to drain, proxies in front, a file that may change both.

use std::path::PathBuf;

use gateway::settings::Settings;
use ipnet::IpNet;

use crate::settings::{self, BadSetting};

#[derive(Debug, clap::Args)]
pub struct SshArgs {
    /// Ranges of the proxies in front, which must begin with a PROXY header (version 2) and are believed; several after commas
    #[arg(long, env = "PORTREEVE_SSH_PROXY_PROTOCOL_FROM", value_name = "RANGES", value_delimiter = ',', value_parser = settings::range)]
    ssh_proxy_protocol_from: Vec<IpNet>,
    /// A JSON file that may say drain_s, proxy_protocol_from and log; looked at again while the gateway runs
    #[arg(long, env = "PORTREEVE_SSH_CONFIG", value_name = "FILE")]
    ssh_config: Option<PathBuf>,
}

/// What can be meant by it.
#[derive(Debug, Clone)]
pub struct SshSettings {
    pub at_start: Settings,
    pub file: Option<PathBuf>,
}

impl SshArgs {
    pub fn check(self, drain_s: u64, drain_max_s: u64) -> Result<SshSettings, BadSetting> {
        let proxy_protocol_from = self.ssh_proxy_protocol_from;
        let at_start = Settings { drain_s, drain_max_s, proxy_protocol_from, log: None };
        if let Some(file) = &self.ssh_config
            && let Err(error) = at_start.changed_by(file)
        {
            let why = kit::error::chain(&error);
            return Err(BadSetting::new("--ssh-config (PORTREEVE_SSH_CONFIG)", why));
        }
        Ok(SshSettings { at_start, file: self.ssh_config })
    }
}
