//! Who was connected, from when to when, how much went through, and which terminals were recorded?

pub mod close;
pub mod join;
pub mod open;
pub mod record;
pub mod share;
pub mod view_recording;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::SessionEvent;
use crate::ids::{EnvId, ServerId, ShareId};
use crate::login::Entrance;

/// Where a session takes place: `"env": "env-..."` or `"server": "srv-..."`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In an environment of ours.
    Env(EnvId),
    /// On a server of somebody's own.
    Server(ServerId),
}

impl Place {
    pub fn env(&self) -> Option<&EnvId> {
        match self {
            Self::Env(env) => Some(env),
            Self::Server(_) => None,
        }
    }

    pub fn server(&self) -> Option<&ServerId> {
        match self {
            Self::Server(server) => Some(server),
            Self::Env(_) => None,
        }
    }
}

/// The id of either.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(env) => f.write_str(env.as_str()),
            Self::Server(server) => f.write_str(server.as_str()),
        }
    }
}

impl From<EnvId> for Place {
    fn from(env: EnvId) -> Self {
        Self::Env(env)
    }
}

impl From<ServerId> for Place {
    fn from(server: ServerId) -> Self {
        Self::Server(server)
    }
}

/// Somebody is connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionOpened {
    #[serde(flatten)]
    pub place: Place,
    pub ip: IpAddr,
    pub entrance: Entrance,
    pub user: String,
    pub method: String,
    /// What connected: the identification of an SSH client, or a browser's user agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub at: DateTime<Utc>,
}

/// The connection ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionClosed {
    #[serde(flatten)]
    pub place: Place,
    /// Bytes from the person to the environment.
    pub bytes_in: u64,
    /// Bytes from the environment to the person.
    pub bytes_out: u64,
    /// `client_left`, `environment_stopped`, `interrupted`, ...
    pub reason: String,
    pub at: DateTime<Utc>,
}

/// A terminal of the session is being recorded. Its output lies outside of the log, sealed, in chunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingStarted {
    #[serde(flatten)]
    pub place: Place,
    /// Terminals of one session are counted from 1.
    pub recording: u32,
    pub user: String,
    pub entrance: Entrance,
    pub cols: u32,
    pub rows: u32,
    pub at: DateTime<Utc>,
}

/// So much of a recording is stored; told from time to time, so that a crash leaves a verifiable beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingKept {
    #[serde(flatten)]
    pub place: Place,
    pub recording: u32,
    /// Chunks from the first on.
    pub chunks: u32,
    /// Bytes of the asciicast in them.
    pub bytes: u64,
    /// SHA-256 of these bytes, hexadecimal.
    pub sha256: String,
}

/// A recording ended; what is stored of it is this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingEnded {
    #[serde(flatten)]
    pub place: Place,
    pub recording: u32,
    pub chunks: u32,
    /// Bytes of the asciicast.
    pub bytes: u64,
    /// SHA-256 of the asciicast, hexadecimal.
    pub sha256: String,
    pub duration_ms: u64,
    /// Bytes of output that are not in it.
    pub lost_bytes: u64,
    /// All that the terminal showed is in it.
    pub complete: bool,
    pub at: DateTime<Utc>,
}

/// Somebody was shown a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingViewed {
    #[serde(flatten)]
    pub place: Place,
    pub recording: u32,
}

/// What a guest of somebody's shell may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareMode {
    /// See what is on the screen.
    View,
    /// Type as well.
    Write,
}

impl ShareMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Write => "write",
        }
    }
}

/// The person whose shell it is lets others in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionShared {
    #[serde(flatten)]
    pub place: Place,
    pub share: ShareId,
    pub mode: ShareMode,
    pub expires_at: DateTime<Utc>,
}

/// Nobody comes in by this share any more, and who was in is out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionUnshared {
    #[serde(flatten)]
    pub place: Place,
    pub share: ShareId,
    /// `revoked` or `expired`.
    pub reason: String,
}

/// A guest came into somebody's shell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionJoined {
    #[serde(flatten)]
    pub place: Place,
    pub share: ShareId,
    /// The so-manieth guest of this session, from 1.
    pub guest: u64,
    pub user: String,
    pub mode: ShareMode,
    pub ip: IpAddr,
    /// The browser's user agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// A guest left; at the latest when the session ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionLeft {
    #[serde(flatten)]
    pub place: Place,
    pub share: ShareId,
    pub guest: u64,
    /// `left`, `connection_lost`, `revoked`, `expired`, ...
    pub reason: String,
}

/// What is true of an open session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// By which others may come in, until when.
    pub shares: BTreeMap<ShareId, DateTime<Utc>>,
    /// Who came in and is there.
    pub guests: BTreeMap<u64, ShareId>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Absent,
    Open(Open),
    Closed,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    pub stage: Stage,
    /// Its recorded terminals by their number.
    pub recordings: BTreeMap<u32, Recording>,
}

/// One recorded terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    pub place: Place,
    pub started_at: DateTime<Utc>,
    /// Chunks and bytes that the log vouches for, and their digest (empty while there are none).
    pub chunks: u32,
    pub bytes: u64,
    pub sha256: String,
    pub end: Option<RecordingEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingEnd {
    pub complete: bool,
    pub at: DateTime<Utc>,
}

impl Aggregate for Session {
    type Event = SessionEvent;

    fn evolve(&mut self, event: &SessionEvent, _: DateTime<Utc>) {
        match event {
            SessionEvent::SessionOpened(_) => self.stage = Stage::Open(Open::default()),
            SessionEvent::SessionClosed(_) => self.stage = Stage::Closed,
            SessionEvent::RecordingStarted(started) => {
                let recording = Recording {
                    place: started.place.clone(),
                    started_at: started.at,
                    chunks: 0,
                    bytes: 0,
                    sha256: String::new(),
                    end: None,
                };
                self.recordings.insert(started.recording, recording);
            }
            SessionEvent::RecordingKept(kept) => {
                if let Some(recording) = self.recordings.get_mut(&kept.recording) {
                    (recording.chunks, recording.bytes) = (kept.chunks, kept.bytes);
                    recording.sha256.clone_from(&kept.sha256);
                }
            }
            SessionEvent::RecordingEnded(ended) => {
                if let Some(recording) = self.recordings.get_mut(&ended.recording) {
                    (recording.chunks, recording.bytes) = (ended.chunks, ended.bytes);
                    recording.sha256.clone_from(&ended.sha256);
                    recording.end = Some(RecordingEnd { complete: ended.complete, at: ended.at });
                }
            }
            SessionEvent::RecordingViewed(_) => {}
            SessionEvent::SessionShared(shared) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.shares.insert(shared.share.clone(), shared.expires_at);
                }
            }
            SessionEvent::SessionUnshared(unshared) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.shares.remove(&unshared.share);
                }
            }
            SessionEvent::SessionJoined(joined) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.guests.insert(joined.guest, joined.share.clone());
                }
            }
            SessionEvent::SessionLeft(left) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.guests.remove(&left.guest);
                }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    #[error("there is no such session")]
    NotFound,
    #[error("there is no such recording")]
    NoRecording,
    #[error("a session has at most {} recordings", record::RECORDINGS_MAX)]
    TooManyRecordings,
    #[error("the session has ended")]
    Ended,
    #[error("the share has ended")]
    ShareEnded,
    #[error("a session has at most {} shares; end one first", share::SHARES_MAX)]
    TooManyShares,
}

impl Refusal for SessionRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound | Self::NoRecording => "not_found",
            Self::Ended => "session_ended",
            Self::TooManyRecordings => "too_many_recordings",
            Self::ShareEnded => "share_ended",
            Self::TooManyShares => "too_many_shares",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use uuid::Uuid;

    use super::*;
    use crate::testing::t;

    /// When the shares of these stories end.
    pub const SHARE_ENDS_S: i64 = 3_600;

    fn place() -> Place {
        EnvId::from_seed(&Uuid::nil()).into()
    }

    fn ip() -> IpAddr {
        "203.0.113.9".parse().unwrap()
    }

    fn share(number: u128) -> ShareId {
        ShareId::from_seed(&Uuid::from_u128(number))
    }

    pub fn opened() -> SessionEvent {
        SessionOpened {
            place: place(),
            ip: ip(),
            entrance: Entrance::WebTerminal,
            user: "alice".into(),
            method: "session".into(),
            client: None,
            at: t(0),
        }
        .into()
    }

    pub fn shared(number: u128) -> SessionShared {
        let (share, expires_at) = (share(number), t(SHARE_ENDS_S));
        SessionShared { place: place(), share, mode: ShareMode::View, expires_at }
    }

    pub fn unshared(number: u128) -> SessionUnshared {
        SessionUnshared { place: place(), share: share(number), reason: "revoked".into() }
    }

    pub fn at(stage: Stage) -> Session {
        Session { stage, ..Session::default() }
    }

    pub fn joined(number: u128, guest: u64) -> SessionJoined {
        let (share, user, mode) = (share(number), "bob".into(), ShareMode::View);
        SessionJoined { place: place(), share, guest, user, mode, ip: ip(), client: None }
    }

    pub fn left(number: u128, guest: u64) -> SessionLeft {
        SessionLeft { place: place(), share: share(number), guest, reason: "left".into() }
    }
}
