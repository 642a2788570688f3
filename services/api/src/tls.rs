//! How is HTTP served over TLS? With rustls and two PEM files that are read again when they change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use kit::error::chain;

/// Between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Offered to clients, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificate chain and private key lie, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} holds no certificate chain", path.display())]
    Certificates {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("{} holds no private key", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("certificate and key are not usable")]
    Unusable(#[source] rustls::Error),
}

/// What the files held.
#[derive(PartialEq, Eq)]
struct Held {
    cert: Vec<u8>,
    key: Vec<u8>,
}

async fn read(files: &TlsFiles) -> Result<Held, TlsError> {
    let read = async |path: &PathBuf| {
        tokio::fs::read(path).await.map_err(|source| TlsError::Read { path: path.clone(), source })
    };
    Ok(Held { cert: read(&files.cert).await?, key: read(&files.key).await? })
}

fn config_of(files: &TlsFiles, held: &Held) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = |source| TlsError::Certificates { path: files.cert.clone(), source };
    let chain =
        CertificateDer::pem_slice_iter(&held.cert).collect::<Result<Vec<_>, _>>().map_err(certificates)?;
    if chain.is_empty() {
        return Err(certificates(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(&held.key)
        .map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Certificate and key as they are served now.
pub struct Tls {
    files: TlsFiles,
    held: Held,
    pub config: RustlsConfig,
}

impl Tls {
    /// Nothing where there are no files.
    pub async fn load_if(files: Option<&TlsFiles>) -> Result<Option<Self>, TlsError> {
        match files {
            Some(files) => Self::load(files.clone()).await.map(Some),
            None => Ok(None),
        }
    }

    pub async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let held = read(&files).await?;
        let config = RustlsConfig::from_config(config_of(&files, &held)?);
        Ok(Self { files, held, config })
    }

    /// Serves what the files say as soon as they say something else, until shutdown. Files that cannot
    /// be used, say one new and one old, leave what was.
    pub async fn keep_fresh(mut self, shutdown: CancellationToken) {
        let mut refused: Option<Held> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = shutdown.cancelled() => return,
            }
            let held = match read(&self.files).await {
                Ok(held) => held,
                // while a file is replaced it may be away for a moment
                Err(_) => continue,
            };
            if held == self.held || refused.as_ref() == Some(&held) {
                continue;
            }
            match config_of(&self.files, &held) {
                Ok(config) => {
                    self.config.reload_from_config(config);
                    self.held = held;
                    refused = None;
                    tracing::info!(cert = %self.files.cert.display(), "the new certificate is served");
                }
                Err(error) => {
                    tracing::error!(
                        error = chain(&error),
                        "the new certificate cannot be used; the old one is served on"
                    );
                    refused = Some(held);
                }
            }
        }
    }
}
