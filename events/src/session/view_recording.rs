//! May a recording be shown? When there is one; each showing is a fact.

use super::{RecordingViewed, Session, SessionEvent, SessionRefusal};
use crate::aggregate::Decision;

pub fn view_recording(state: &Session, number: u32) -> Decision<SessionEvent, SessionRefusal> {
    let recording = state.recordings.get(&number).ok_or(SessionRefusal::NoRecording)?;
    Ok(Some(RecordingViewed { place: recording.place.clone(), recording: number }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EnvId;
    use crate::session::Recording;
    use crate::testing::t;
    use uuid::Uuid;

    #[test]
    fn each_showing_is_a_fact_of_its_own() {
        let place = EnvId::from_seed(&Uuid::nil()).into();
        let (sha256, mut session) = (String::new(), Session::default());
        assert_eq!(view_recording(&session, 1), Err(SessionRefusal::NoRecording));
        session
            .recordings
            .insert(1, Recording { place, started_at: t(0), chunks: 0, bytes: 0, sha256, end: None });
        for _ in 0..2 {
            assert!(view_recording(&session, 1).unwrap().is_some());
        }
    }
}
