//! How does an agent that nobody registered come to a key? It registers itself by a token, keeps the key on disk, and
//! is let in once an operator has accepted it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;

/// From the first packet to the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// In the spool's folder, for its owner alone.
const FILE: &str = "identity.json";

/// What an agent says when it registers itself.
#[derive(Clone)]
pub struct Enrollment {
    /// Of the role `enroller`.
    pub token: SecretString,
    pub name: String,
    pub zone: Option<String>,
}

/// Who the agent is.
#[derive(Clone, Deserialize)]
pub struct Identity {
    pub proxy_id: String,
    pub api_key: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("{0} is no address: write it as https://host or http://host:port")]
    Address(String),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("cannot connect to {url}")]
    Connect {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("{0} did not answer within {ANSWER_WAIT:?}")]
    Silent(String),
    /// Its own words.
    #[error("not registered: {0}")]
    Refused(String),
    #[error("what answered {0} is no Portreeve")]
    Unreadable(String),
    #[error("{path} cannot be used")]
    Kept {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl EnrollError {
    /// Asking again later may be answered otherwise.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken(_) | Self::Silent(_) | Self::Unreadable(_) => true,
            Self::Address(_) | Self::Tls(_) | Self::Refused(_) | Self::Kept { .. } => false,
        }
    }
}

/// The identity that is kept here, if there is one.
pub fn kept(folder: &Path) -> Result<Option<Identity>, EnrollError> {
    let path = folder.join(FILE);
    let failed = |source| EnrollError::Kept { path: path.clone(), source };
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Registers, and keeps what was answered: on disk when this returns.
pub async fn enroll(
    url: &str,
    tls: Arc<ClientConfig>,
    folder: &Path,
    asked: &Enrollment,
) -> Result<Identity, EnrollError> {
    let answer = timeout(ANSWER_WAIT, post(url, tls, asked)).await;
    let (good, answer) = answer.map_err(|_| EnrollError::Silent(url.to_owned()))??;
    if !good {
        let text = |name| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        return Err(match text("code") {
            "" => EnrollError::Unreadable(url.to_owned()),
            code => EnrollError::Refused(format!("{} ({code})", text("detail"))),
        });
    }
    let unreadable = |_| EnrollError::Unreadable(url.to_owned());
    let identity: Identity = serde_json::from_value(answer).map_err(unreadable)?;
    let path = folder.join(FILE);
    keep(folder, &path, &identity).map_err(|source| EnrollError::Kept { path, source })?;
    Ok(identity)
}

fn keep(folder: &Path, path: &Path, identity: &Identity) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let part = path.with_extension("part");
    let text = json!({ "proxy_id": identity.proxy_id, "api_key": identity.api_key.expose_secret() });
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}

/// Whether it was made, and what was answered.
async fn post(url: &str, tls: Arc<ClientConfig>, asked: &Enrollment) -> Result<(bool, Value), EnrollError> {
    let address = || EnrollError::Address(url.to_owned());
    let uri: Uri = format!("{url}/api/relays").parse().map_err(|_| address())?;
    let (authority, host) = (uri.authority().ok_or_else(address)?, uri.host().ok_or_else(address)?);
    let stream = connect(&uri, host, tls).await;
    let stream = stream.map_err(|source| EnrollError::Connect { url: url.to_owned(), source })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(EnrollError::Broken)?;
    let _ends_with_the_sender = tokio::spawn(connection);
    let mut body = json!({ "name": asked.name });
    if let (Some(zone), Some(body)) = (&asked.zone, body.as_object_mut()) {
        body.insert("zone".to_owned(), json!(zone));
    }
    let request = Request::post(uri.path())
        .header(HOST, authority.as_str())
        .header(AUTHORIZATION, format!("Bearer {}", asked.token.expose_secret()))
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string())
        .map_err(|_| address())?;
    let answer = sender.send_request(request).await.map_err(EnrollError::Broken)?;
    let good = answer.status().is_success();
    let unreadable = || EnrollError::Unreadable(url.to_owned());
    let body =
        Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|_| unreadable())?;
    let said = serde_json::from_slice(&body.to_bytes()).map_err(|_| unreadable())?;
    Ok((good, said))
}

async fn connect(uri: &Uri, host: &str, tls: Arc<ClientConfig>) -> io::Result<MaybeTlsStream<TcpStream>> {
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let host = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port)).await?;
    if !secure {
        return Ok(MaybeTlsStream::Plain(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(tls).connect(name, stream).await.map(MaybeTlsStream::Rustls)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(kept(folder.path()).unwrap().is_none());
        let identity = Identity { proxy_id: "rel-a".into(), api_key: "prk_b".to_owned().into() };
        let path = folder.path().join(FILE);
        keep(folder.path(), &path, &identity).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = kept(folder.path()).unwrap().unwrap();
        assert_eq!((again.proxy_id.as_str(), again.api_key.expose_secret()), ("rel-a", "prk_b"));
        fs::write(&path, "{").unwrap();
        assert!(matches!(kept(folder.path()), Err(EnrollError::Kept { .. })));
    }
}
