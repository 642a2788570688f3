//! How is a terminal's recording told? It starts while the session is open, grows, and ends once.

use super::{RecordingEnded, RecordingKept, RecordingStarted, Session, SessionEvent, SessionRefusal, Stage};
use crate::aggregate::Decision;

/// Recorded terminals of one session; further ones are not recorded.
pub const RECORDINGS_MAX: usize = 1_000;

pub fn start(state: &Session, started: RecordingStarted) -> Decision<SessionEvent, SessionRefusal> {
    if state.recordings.contains_key(&started.recording) {
        return Ok(None);
    }
    match &state.stage {
        Stage::Absent => Err(SessionRefusal::NotFound),
        Stage::Closed => Err(SessionRefusal::Ended),
        Stage::Open(_) if state.recordings.len() >= RECORDINGS_MAX => Err(SessionRefusal::TooManyRecordings),
        Stage::Open(_) => Ok(Some(started.into())),
    }
}

/// Also after the session's end: what was shown before it may be stored late.
pub fn keep(state: &Session, kept: RecordingKept) -> Decision<SessionEvent, SessionRefusal> {
    let recording = state.recordings.get(&kept.recording).ok_or(SessionRefusal::NoRecording)?;
    let grows = recording.end.is_none() && kept.chunks > recording.chunks && kept.bytes > recording.bytes;
    Ok(grows.then(|| kept.into()))
}

pub fn end(state: &Session, ended: RecordingEnded) -> Decision<SessionEvent, SessionRefusal> {
    let recording = state.recordings.get(&ended.recording).ok_or(SessionRefusal::NoRecording)?;
    Ok(recording.end.is_none().then(|| ended.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EnvId;
    use crate::login::Entrance;
    use crate::session::{Place, SessionClosed, SessionOpened};
    use crate::testing::{given, t};
    use uuid::Uuid;

    fn place() -> Place {
        EnvId::from_seed(&Uuid::nil()).into()
    }

    fn opened() -> SessionEvent {
        let (ip, user, method) = ([192, 0, 2, 1].into(), "alice".into(), "password".into());
        let entrance = Entrance::Gateway;
        SessionOpened { place: place(), ip, entrance, user, method, client: None, at: t(0) }.into()
    }

    fn closed() -> SessionEvent {
        let reason = "client_left".into();
        SessionClosed { place: place(), bytes_in: 0, bytes_out: 0, reason, at: t(9) }.into()
    }

    fn started(recording: u32) -> RecordingStarted {
        let (user, entrance) = ("alice".into(), Entrance::Gateway);
        RecordingStarted { place: place(), recording, user, entrance, cols: 80, rows: 24, at: t(1) }
    }

    fn kept(chunks: u32) -> RecordingKept {
        let bytes = u64::from(chunks) * 100;
        RecordingKept { place: place(), recording: 1, chunks, bytes, sha256: format!("{chunks}") }
    }

    fn ended() -> RecordingEnded {
        RecordingEnded {
            place: place(),
            recording: 1,
            chunks: 3,
            bytes: 300,
            sha256: "3".into(),
            duration_ms: 8_000,
            lost_bytes: 0,
            complete: true,
            at: t(9),
        }
    }

    #[test]
    fn a_recording_starts_once_in_an_open_session() {
        assert_eq!(start(&Session::default(), started(1)), Err(SessionRefusal::NotFound));
        let open = given::<Session>(vec![(0, opened())]);
        let first = start(&open, started(1)).unwrap().unwrap();
        let one = given::<Session>(vec![(0, opened()), (1, first)]);
        assert_eq!(start(&one, started(1)), Ok(None), "the same again");
        assert!(start(&one, started(2)).unwrap().is_some(), "another terminal");
        let over = given::<Session>(vec![(0, opened()), (9, closed())]);
        assert_eq!(start(&over, started(1)), Err(SessionRefusal::Ended));
    }

    #[test]
    fn a_session_has_a_bounded_number_of_recordings() {
        let numbers = 1..=u32::try_from(RECORDINGS_MAX).unwrap();
        let past = std::iter::once(opened()).chain(numbers.map(|number| started(number).into()));
        let full = given::<Session>(past.map(|event| (0, event)).collect());
        assert_eq!(start(&full, started(0)), Err(SessionRefusal::TooManyRecordings));
    }

    #[test]
    fn a_recording_grows_and_ends_once_also_after_its_session() {
        assert_eq!(keep(&Session::default(), kept(1)), Err(SessionRefusal::NoRecording));
        assert_eq!(end(&Session::default(), ended()), Err(SessionRefusal::NoRecording));
        let past = vec![(0, opened()), (1, started(1).into()), (2, kept(2).into()), (9, closed())];
        let late = given::<Session>(past.clone());
        assert_eq!(keep(&late, kept(2)), Ok(None), "it was told");
        assert!(keep(&late, kept(3)).unwrap().is_some());
        let last = end(&late, ended()).unwrap().unwrap();
        let over = given::<Session>(past.into_iter().chain([(10, last)]).collect());
        assert_eq!(end(&over, ended()), Ok(None));
        assert_eq!(keep(&over, kept(4)), Ok(None));
        let recording = &over.recordings[&1];
        assert_eq!((recording.chunks, recording.bytes, &recording.sha256[..]), (3, 300, "3"));
        assert!(recording.end.is_some_and(|end| end.complete));
    }
}
