//! How is one event posted to a receiver, and what did it say? The very address that is connected to is looked at, no
//! redirect is followed, and a connection is kept for the next event.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use chrono::Utc;
use events::Recorded;
use events::subscription::{Class, Failure};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use kit::error::chain;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::WebhookSettings;
use super::signature::Secrets;
use super::target::Target;

/// Of an answer: what it says beyond its status is read to keep the connection, and looked at by nobody.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// How events are written in bodies.
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
const USER_AGENT: &str = concat!("portreeve/", env!("CARGO_PKG_VERSION"));

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Delivered,
    /// The receiver wants nothing more (410).
    Gone,
    Failed(Failure),
}

/// Posts as the installation allows.
pub struct Postman {
    settings: WebhookSettings,
    tls: Arc<ClientConfig>,
}

/// A connection that was left open, and where it leads.
pub struct Link {
    target: Target,
    sender: SendRequest<Body>,
}

impl Postman {
    pub fn new(settings: WebhookSettings) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        // one that cannot be read vouches for nobody
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { settings, tls: Arc::new(tls) })
    }

    pub fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// One attempt, within the time that the settings give. The header `webhook-id` is the event's id, the same in
    /// every attempt.
    pub async fn post(
        &self,
        link: &mut Option<Link>,
        target: &Target,
        secrets: &Secrets,
        event: &Recorded,
    ) -> Answer {
        let body = event.to_cloudevent().to_string();
        let posted = self.try_post(link, target, secrets, event, body);
        match tokio::time::timeout(self.settings.timeout, posted).await {
            Ok(Ok(status)) if status.is_success() => Answer::Delivered,
            Ok(Ok(StatusCode::GONE)) => Answer::Gone,
            Ok(Ok(status)) => Answer::Failed(Failure { class: Class::Status, status: Some(status.as_u16()) }),
            Ok(Err(class)) => Answer::Failed(Failure { class, status: None }),
            Err(_) => Answer::Failed(Failure { class: Class::Timeout, status: None }),
        }
    }

    async fn try_post(
        &self,
        link: &mut Option<Link>,
        target: &Target,
        secrets: &Secrets,
        event: &Recorded,
        body: String,
    ) -> Result<StatusCode, Class> {
        // settings may have changed since the URL was taken
        if !target.tls && !self.settings.http {
            return Err(Class::Insecure);
        }
        if let Some(mut kept) = link.take().filter(|kept| kept.target == *target)
            && kept.sender.ready().await.is_ok()
            && let Ok(status) = exchange(link, kept, request(target, secrets, event, body.clone())?).await
        {
            return Ok(status);
        }
        // none was left, or it was closed meanwhile: whether the receiver had read it, its id tells
        let sender = self.connect(target).await?;
        let fresh = Link { target: target.clone(), sender };
        exchange(link, fresh, request(target, secrets, event, body)?).await
    }

    async fn connect(&self, target: &Target) -> Result<SendRequest<Body>, Class> {
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|_| Class::Name)?.collect();
        if found.is_empty() {
            return Err(Class::Name);
        }
        let reachable: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.settings.may_reach(address.ip())).collect();
        if reachable.is_empty() {
            return Err(Class::AddressRefused);
        }
        let stream = first_that_answers(&reachable).await?;
        if !target.tls {
            return handshake(stream).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|_| Class::Name)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        handshake(stream.map_err(|_| Class::Tls)?).await
    }
}

async fn first_that_answers(addresses: &[SocketAddr]) -> Result<TcpStream, Class> {
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address).await {
            return Ok(stream);
        }
    }
    Err(Class::Connect)
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, Class>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let (sender, connection) =
        http.handshake::<_, Body>(TokioIo::new(stream)).await.map_err(|_| Class::Broken)?;
    // ends when nobody has it any more
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = chain(&error), "a connection to a webhook's receiver ended early");
        }
    });
    Ok(sender)
}

fn request(
    target: &Target,
    secrets: &Secrets,
    event: &Recorded,
    body: String,
) -> Result<Request<Body>, Class> {
    let (id, now) = (event.meta.id.to_string(), Utc::now());
    let signature = secrets.sign(&id, now, body.as_bytes());
    let request = Request::builder()
        .method(Method::POST)
        .uri(target.path.as_str())
        .header(header::HOST, target.authority.as_str())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header("webhook-id", id)
        .header("webhook-timestamp", now.timestamp())
        .header("webhook-signature", signature);
    request.body(Body::from(body)).map_err(|_| Class::Broken)
}

/// The status counts once it is there; a connection whose answer does not end soon is given up.
async fn exchange(
    link: &mut Option<Link>,
    mut fresh: Link,
    request: Request<Body>,
) -> Result<StatusCode, Class> {
    let answer: hyper::Response<Incoming> =
        fresh.sender.send_request(request).await.map_err(|_| Class::Broken)?;
    let status = answer.status();
    let rest = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX);
    if matches!(tokio::time::timeout(super::DRAIN_WITHIN, rest).await, Ok(Ok(_))) {
        *link = Some(fresh);
    }
    Ok(status)
}
