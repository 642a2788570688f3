//! How is HTTP served beyond its address, and where may it post to? TLS files, the proxies in front, webhooks.

use std::path::PathBuf;

use std::net::SocketAddr;
use std::time::Duration;

use api::{JupyterSettings, JupyterUrl, TlsFiles, WebhookSettings};
use ipnet::IpNet;

use crate::settings::{self, BadSetting};

#[derive(Debug, clap::Args)]
pub struct HttpArgs {
    /// Serve HTTPS with this certificate chain (PEM); read again when it changes
    #[arg(long, env = "PORTREEVE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// ... and this private key (PEM)
    #[arg(long, env = "PORTREEVE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Ranges of the proxies in front, whose X-Forwarded-For is believed; several after commas
    #[arg(long, env = "PORTREEVE_TRUSTED_PROXIES", value_name = "RANGES", value_delimiter = ',', value_parser = settings::range)]
    trusted_proxies: Vec<IpNet>,
    /// Where browsers get JupyterLab: an origin of its own [default: the address of HTTP at 8083, or at any
    /// free port where that is taken]
    #[arg(long, env = "PORTREEVE_JUPYTER_LISTEN", value_name = "ADDRESS", value_parser = settings::listen_address)]
    jupyter_listen: Option<SocketAddr>,
    /// How browsers reach it, if not by the host name of HTTP: https://jupyter.example.org, or
    /// https://{env}.jupyter.example.org for an origin for each environment
    #[arg(long, env = "PORTREEVE_JUPYTER_URL", value_name = "URL")]
    jupyter_url: Option<JupyterUrl>,
    /// Ranges of addresses that webhooks may reach besides the public network; several after commas
    #[arg(long, env = "PORTREEVE_WEBHOOK_RANGES", value_name = "RANGES", value_delimiter = ',', value_parser = settings::range)]
    webhook_ranges: Vec<IpNet>,
    /// Webhooks may be http:// too
    #[arg(long, env = "PORTREEVE_WEBHOOK_HTTP")]
    webhook_http: bool,
    /// Seconds after which a delivery that failed is tried again, one wait after the other after commas; then it is
    /// parked [default: 5 s to 24 h, nine waits over three days]
    #[arg(long, env = "PORTREEVE_WEBHOOK_RETRY_S", value_name = "SECONDS", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=RETRY_S_MAX))]
    webhook_retry_s: Vec<u64>,
}

/// A week.
const RETRY_S_MAX: u64 = 7 * 24 * 3_600;

/// What can be meant by it.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    pub tls: Option<TlsFiles>,
    pub trusted_proxies: Vec<IpNet>,
    pub jupyter: JupyterSettings,
    pub webhooks: WebhookSettings,
}

impl HttpArgs {
    pub fn check(self) -> Result<HttpSettings, BadSetting> {
        let tls = match (self.tls_cert, self.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (Some(_), None) => return Err(alone("--tls-key (PORTREEVE_TLS_KEY)", "--tls-cert")),
            (None, Some(_)) => return Err(alone("--tls-cert (PORTREEVE_TLS_CERT)", "--tls-key")),
        };
        if let Some(files) = &tls {
            readable("--tls-cert (PORTREEVE_TLS_CERT)", &files.cert)?;
            readable("--tls-key (PORTREEVE_TLS_KEY)", &files.key)?;
        }
        let jupyter = JupyterSettings { listen: self.jupyter_listen, url: self.jupyter_url };
        let mut webhooks = WebhookSettings {
            ranges: self.webhook_ranges,
            http: self.webhook_http,
            ..WebhookSettings::default()
        };
        if !self.webhook_retry_s.is_empty() {
            webhooks.retry_after = self.webhook_retry_s.into_iter().map(Duration::from_secs).collect();
        }
        Ok(HttpSettings { tls, trusted_proxies: self.trusted_proxies, jupyter, webhooks })
    }
}

fn alone(missing: &str, given: &str) -> BadSetting {
    BadSetting::new(missing, format!("is needed with {given}"))
}

fn readable(field: &str, path: &std::path::Path) -> Result<(), BadSetting> {
    let opened = std::fs::File::open(path);
    opened.map(drop).map_err(|error| BadSetting::new(field, format!("{}: {error}", path.display())))
}
