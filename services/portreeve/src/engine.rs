//! Which container engine runs the environments? The one named, one that is found, or our own Podman.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use crate::children::Spec;
use crate::data_dir::{DataDir, DataDirError};
use crate::{leftovers, tools};

pub const NAME: &str = "podman";
const CONTAINERS_CONF: &str = include_str!("../../../deploy/dev/containers.conf");
const CONTAINERS_CONF_NAME: &str = "containers.conf";
const SOCKET_NAME: &str = "podman.sock";
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// An engine that is there answers within this.
const PING_WITHIN: Duration = Duration::from_secs(2);
/// How long an engine that was named or started may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The part of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 64;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    NotFound(#[from] tools::NotFound),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("the container engine at {host} did not answer within {} s; last: {last}", READY_WITHIN.as_secs())]
    Silent { host: String, last: String },
}

/// The sockets of an engine that somebody else runs on this machine.
fn usual_sockets() -> Vec<PathBuf> {
    let mut sockets: Vec<PathBuf> =
        ["/var/run/docker.sock", "/run/podman/podman.sock"].map(PathBuf::from).into();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        sockets.extend([dir.join("podman/podman.sock"), dir.join("docker.sock")]);
    }
    sockets
}

/// `unix://...` of an engine that answers on this machine.
pub async fn find() -> Option<String> {
    for socket in usual_sockets() {
        let host = format!("unix://{}", socket.display());
        if socket.exists() && ping(&host).await.is_ok() {
            return Some(host);
        }
    }
    None
}

/// Our own: what to run, and where it will answer.
pub fn prepare(data: &DataDir) -> Result<(Spec, String), EngineError> {
    let program = tools::podman()?;
    data.write(CONTAINERS_CONF_NAME, CONTAINERS_CONF)?;
    let socket = data.run().join(SOCKET_NAME);
    let host = format!("unix://{}", socket.display());
    let spec = Spec {
        name: NAME,
        command: vec![
            program.into(),
            "system".into(),
            "service".into(),
            "--time=0".into(),
            host.clone().into(),
        ],
        env: vec![("CONTAINERS_CONF".into(), data.join(CONTAINERS_CONF_NAME).into())],
        // HOME, XDG_RUNTIME_DIR and the like tell Podman where its images are.
        inherits_env: true,
        log: data.log_of(NAME),
        stale_socket: Some(socket),
        stop_signal: Signal::SIGTERM,
        stop_within: STOPS_WITHIN,
    };
    Ok((spec, host))
}

/// Ends a service that a killed `up` left behind. Containers go on running.
pub async fn end_leftover(data: &DataDir) {
    leftovers::end(NAME, &data.run().join(SOCKET_NAME), Signal::SIGTERM).await;
}

/// Waits until the engine answers.
pub async fn ready(host: &str) -> Result<(), EngineError> {
    let began = Instant::now();
    loop {
        match ping(host).await {
            Ok(()) => return Ok(()),
            Err(last) if began.elapsed() > READY_WITHIN => {
                return Err(EngineError::Silent { host: host.to_owned(), last });
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// `GET /_ping`, which Docker and Podman answer without a version in the path.
async fn ping(host: &str) -> Result<(), String> {
    let asked = async {
        if let Some(path) = host.strip_prefix("unix://") {
            let stream = UnixStream::connect(Path::new(path)).await.map_err(|error| error.to_string())?;
            ask(stream).await
        } else {
            let address = host.split_once("://").map_or(host, |(_, address)| address).trim_end_matches('/');
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            ask(stream).await
        }
    };
    let silent = |_| format!("no answer within {} s", PING_WITHIN.as_secs());
    tokio::time::timeout(PING_WITHIN, asked).await.map_err(silent)?
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    stream
        .write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
        .await
        .map_err(text)?;
    let mut first = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut first).await.map_err(text)?;
    if first.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(format!("it answered {first:?}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_engine_is_one_that_answers_its_ping() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let host = format!("unix://{}", socket.display());
        assert!(ping(&host).await.is_err(), "nobody is there");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            for answer in ["HTTP/1.1 200 OK\r\n\r\nOK", "HTTP/1.1 503 Starting\r\n\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 16];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(ping(&host).await, Ok(()));
        assert!(ping(&host).await.unwrap_err().contains("503"));
    }
}
