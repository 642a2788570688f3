//! Is HTTPS served, and does a new certificate reach the next connection?

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use api::TlsFiles;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::{World, world_with};

/// A certificate of its own for `localhost`, with this many the subject's number.
fn make(folder: &Path, number: u32) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN=test {number}"), "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .expect("openssl is missing: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn trusting(certificate: &[u8]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate).unwrap())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The head of an answer, by somebody who trusts this certificate alone.
async fn ask(world: &World, certificate: &[u8], request: &str) -> anyhow::Result<String> {
    let address = world.admin.base().trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(trusting(certificate)?));
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Until HTTPS answers with this certificate.
async fn until(what: &str, world: &World, certificate: &[u8]) -> String {
    let look = async || {
        let answer = ask(world, certificate, &get("/readyz")).await.map_err(|error| format!("{error:#}"))?;
        if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer) }
    };
    harness::eventually(what, Duration::from_secs(20), look).await.unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_served_and_a_new_certificate_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), 1);
    let first = std::fs::read(folder.path().join("cert.pem")).unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let world = world_with(|config| config.tls = Some(files)).await;
    let answer = until("HTTPS answers", &world, &first).await;
    assert!(answer.to_ascii_lowercase().contains("strict-transport-security: max-age=63072000"), "{answer}");

    // the cookie never leaves TLS
    let body = format!("{{\"token\":\"{}\"}}", world.admin.token().unwrap());
    let length = body.len();
    let sign_in = format!(
        "POST /api/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let signed_in = ask(&world, &first, &sign_in).await.unwrap();
    assert!(signed_in.contains("SameSite=Strict; Max-Age=43200; Secure"), "{signed_in}");

    // half of a new pair leaves what was
    std::fs::write(folder.path().join("key.pem"), "nothing").unwrap();
    until("the old certificate is served on", &world, &first).await;
    make(folder.path(), 2);
    let second = std::fs::read(folder.path().join("cert.pem")).unwrap();
    until("the new certificate is served", &world, &second).await;
    assert!(ask(&world, &first, &get("/readyz")).await.is_err(), "the old one is gone");
}
