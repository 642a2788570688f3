//! What happens between accepting a connection and the last byte of its session?
//!
//! sshd gets the socket itself; a copy is kept to count bytes when it has ended. Lines of its log
//! become reports. Whatever else may happen, a reported `SessionOpened` is followed by its
//! `SessionClosed`.
//!
//! Who comes in by the inner door was let in at an entrance, which records the session itself. Should it
//! be killed before it could say how the session ended, we say it: we saw.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use events::login::lockout::counts;
use kit::sentry_protocol::Report;
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::{ChildStderr, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::door::{Door, End, Place, Side};
use crate::log_lines::LogLines;
use crate::reap::{Children, OwnChild};
use crate::refusals::Refusals;
use crate::reporter::Reporter;
use crate::session_id;
use crate::sshd_log::{self, Line};
use crate::tcp_info::{self, Traffic};

/// An end of ours is asked for with SIGTERM; after this comes SIGKILL.
pub const END_GRACE: Duration = Duration::from_secs(2);
/// What sshd's children may still log after it has ended.
const LAST_LINES_WAIT: Duration = Duration::from_millis(500);
/// How long the client has to acknowledge the last bytes.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(2);
const SETTLE_LOOK_WAIT: Duration = Duration::from_millis(5);

/// How long an entrance has to say itself how a session of the inner door ended.
pub const INNER_CLOSE_GRACE: Duration = Duration::from_secs(20);
/// Seconds to show a certificate; programs need no time to think.
const INNER_LOGIN_GRACE_S: u32 = 20;

/// What all connections share.
pub struct Surroundings {
    pub door: Arc<Door>,
    pub refusals: Arc<Refusals>,
    pub reporter: Reporter,
    pub children: Arc<Children>,
    pub sshd: PathBuf,
    pub sshd_config: PathBuf,
    /// The CA whose certificates open the inner door, and whom they must name.
    pub user_ca: PathBuf,
    pub principals: PathBuf,
    /// The environment stops: nothing is waited for any more.
    pub stop: CancellationToken,
}

/// From accepted to closed.
pub async fn serve(stream: TcpStream, mut place: Place, around: Arc<Surroundings>) {
    if let Err(end) = place.turn().await {
        tracing::debug!(ip = %place.ip(), ?end, "closed while waiting for its turn");
        return;
    }
    let (sshd, socket) = match start(stream, place.side(), &around) {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(%error, ip = %place.ip(), "cannot start sshd");
            return;
        }
    };
    let mut connection = Connection { place, around, socket, who: Who::default() };
    let end = connection.watch(sshd).await;
    connection.close(end).await;
}

fn start(stream: TcpStream, side: Side, around: &Surroundings) -> io::Result<(OwnChild, Arc<OwnedFd>)> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let socket = OwnedFd::from(stream);
    let mut command = Command::new(&around.sshd);
    command
        .args(["-i", "-e", "-o", "LogLevel=VERBOSE"])
        .args(match side {
            Side::Outer => vec!["-o".to_owned(), "TrustedUserCAKeys=none".to_owned()],
            Side::Inner => inner_options(around),
        })
        .arg("-f")
        .arg(&around.sshd_config)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::from(socket.try_clone()?))
        .stdout(Stdio::from(socket.try_clone()?))
        .stderr(Stdio::piped());
    let sshd = around.children.spawn(&mut command)?;
    Ok((sshd, Arc::new(socket)))
}

/// The first value that sshd reads counts, so these come before its file.
fn inner_options(around: &Surroundings) -> Vec<String> {
    [
        format!("TrustedUserCAKeys={}", around.user_ca.display()),
        format!("AuthorizedPrincipalsFile={}", around.principals.display()),
        "AuthorizedKeysFile=none".to_owned(),
        "AuthenticationMethods=publickey".to_owned(),
        "PasswordAuthentication=no".to_owned(),
        format!("LoginGraceTime={INNER_LOGIN_GRACE_S}"),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect()
}

/// What the log has said so far.
#[derive(Default)]
struct Who {
    /// Why the user of this connection cannot succeed, if so.
    refused: Option<&'static str>,
    passwords_failed: u32,
    session_id: Option<String>,
    ended: Option<&'static str>,
}

struct Connection {
    place: Place,
    around: Arc<Surroundings>,
    socket: Arc<OwnedFd>,
    who: Who,
}

impl Connection {
    /// Until sshd has ended and its last line is read.
    async fn watch(&mut self, mut sshd: OwnChild) -> Option<End> {
        let mut stderr = sshd.take_stderr();
        let (mut lines, mut buffer) = (LogLines::default(), [0; 4096]);
        let mut end = None;
        let mut deadline: Option<Instant> = None;
        loop {
            if sshd.has_ended() && stderr.is_none() {
                return end;
            }
            tokio::select! {
                biased;
                read = read(&mut stderr, &mut buffer), if stderr.is_some() => match read {
                    0 => stderr = None,
                    bytes => {
                        for line in lines.take(&buffer[..bytes]) {
                            self.note(&line).await;
                        }
                    }
                },
                why = self.place.ended(), if end.is_none() => {
                    end = Some(why);
                    deadline = self.ask_to_end(&sshd);
                }
                status = sshd.wait(), if !sshd.has_ended() => {
                    tracing::debug!(ip = %self.place.ip(), ?status, "sshd ended");
                    deadline = Some(Instant::now() + LAST_LINES_WAIT);
                }
                () = until(deadline), if deadline.is_some() => {
                    deadline = None;
                    match sshd.has_ended() {
                        true => stderr = None,
                        false => sshd.signal_group(Signal::SIGKILL),
                    }
                }
            }
        }
    }

    /// Without a login there is nothing to finish, and each moment could be another guess.
    fn ask_to_end(&self, sshd: &OwnChild) -> Option<Instant> {
        if self.who.session_id.is_some() {
            sshd.signal_group(Signal::SIGTERM);
            return Some(Instant::now() + END_GRACE);
        }
        sshd.signal_group(Signal::SIGKILL);
        None
    }

    async fn note(&mut self, line: &str) {
        let inside = self.who.session_id.is_some();
        match sshd_log::parse(line) {
            Line::UserRefused { class } if !inside => self.who.refused = Some(class),
            Line::PasswordFailed { user, method, invalid_user } if !inside => {
                let otherwise = if invalid_user { "unknown_user" } else { "wrong_password" };
                let class = self.who.refused.filter(|_| invalid_user).unwrap_or(otherwise);
                // the door first: it may have to close before the disk has answered
                self.place.failed(class, Utc::now());
                self.who.passwords_failed += 1;
                self.report_failed(user, method, class).await;
            }
            // after failed passwords they have been reported one by one
            Line::TooManyTries { user } if !inside && self.who.passwords_failed == 0 => {
                self.report_failed(user, "publickey", "too_many_auth").await;
            }
            Line::Accepted { user, method, fingerprint, key_id } if !inside => {
                self.open_session(user, method, fingerprint, key_id).await;
            }
            Line::Ended { reason } => drop(self.who.ended.get_or_insert(reason)),
            Line::Broken => tracing::warn!(ip = %self.place.ip(), line, "sshd complains"),
            Line::UserRefused { .. }
            | Line::PasswordFailed { .. }
            | Line::TooManyTries { .. }
            | Line::Accepted { .. }
            | Line::Other => tracing::debug!(ip = %self.place.ip(), line, "sshd"),
        }
    }

    async fn report_failed(&self, user: String, method: &str, class: &str) {
        // what closes nothing could go on for ever
        if !counts(class) && !self.around.refusals.is_told(self.place.ip(), Utc::now()) {
            return;
        }
        let failed =
            Report::LoginFailed { ip: self.place.ip(), user, method: method.into(), class: class.into() };
        self.around.reporter.report(failed).await;
    }

    async fn open_session(
        &mut self,
        user: String,
        method: &str,
        key_fingerprint: Option<String>,
        key_id: Option<String>,
    ) {
        // only certificates of our own CA say which session they are for
        let inner = self.place.side() == Side::Inner;
        let wish = key_id.as_deref().filter(|_| inner).and_then(session_id::from_key_id);
        let session_id = self.place.logged_in(wish, &self.socket);
        self.who.session_id = Some(session_id.clone());
        if inner {
            self.around.reporter.report(Report::InnerOpened { session_id }).await;
            return;
        }
        let (ip, method) = (self.place.ip(), method.to_owned());
        let succeeded = Report::LoginSucceeded {
            ip,
            user: user.clone(),
            method: method.clone(),
            key_fingerprint,
            session_id: session_id.clone(),
        };
        self.around.reporter.report(succeeded).await;
        self.around.reporter.report(Report::SessionOpened { session_id, ip, user, method }).await;
    }

    async fn close(self, end: Option<End>) {
        let Some(session_id) = self.who.session_id else { return };
        let traffic = settled(&self.socket).await;
        let inner = self.place.side() == Side::Inner;
        let reason = match end {
            Some(End::Stopping) => "environment_stopped",
            Some(End::NotAllowed) => "address_not_allowed",
            Some(End::Locked | End::GuessesUnderWay) | None if inner => "interrupted",
            Some(End::Locked | End::GuessesUnderWay) | None => self.who.ended.unwrap_or("sshd_ended"),
        };
        let Self { place, around, socket, .. } = self;
        drop((place, socket)); // others may come in meanwhile
        if inner {
            timeout(INNER_CLOSE_GRACE, around.stop.cancelled()).await.ok();
        }
        let Traffic { bytes_in, bytes_out, .. } = traffic;
        let closed = Report::SessionClosed { session_id, bytes_in, bytes_out, reason: reason.into() };
        around.reporter.report(closed).await;
    }
}

async fn read(stderr: &mut Option<ChildStderr>, buffer: &mut [u8]) -> usize {
    match stderr {
        Some(stderr) => stderr.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The final count: when the client has acknowledged everything, or has had its time.
async fn settled(socket: &Arc<OwnedFd>) -> Traffic {
    let look = || {
        tcp_info::read(socket).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot count the bytes of a connection");
            Traffic { settled: true, ..Traffic::default() }
        })
    };
    let settle = async {
        while !look().settled {
            sleep(SETTLE_LOOK_WAIT).await;
        }
    };
    timeout(SETTLE_WAIT_MAX, settle).await.ok();
    look()
}
