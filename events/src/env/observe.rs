//! What does an observation of the engine mean for the environment?

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Env, EnvEvent, EnvFailed, EnvRefusal, InnerDoor, Phase, PodCreated, PodLost, PodReady, Status, deadlines,
};
use crate::aggregate::Decision;

/// Lost more often than this within [`LOSS_WINDOW_S`], it is failed instead of started again.
pub const LOSSES_MAX: usize = 3;
pub const LOSS_WINDOW_S: i64 = 600;

fn not_waiting(state: &Env) -> EnvRefusal {
    EnvRefusal::WrongStatus { status: state.status.name(), needs: "creating or starting" }
}

/// The container was made.
pub fn created(state: &Env, created: PodCreated) -> Decision<EnvEvent, EnvRefusal> {
    if !state.status.is_coming_up() {
        Err(not_waiting(state))
    } else if state.engine_ref.as_ref() == Some(&created.engine_ref) {
        Ok(None)
    } else {
        Ok(Some(created.into()))
    }
}

/// The environment's sentry says that it accepts connections. Said again while it runs, it is news only
/// when the inner door is another one than before: nobody finds the way in by the old address.
pub fn ready(state: &Env, inner: Option<InnerDoor>) -> Decision<EnvEvent, EnvRefusal> {
    let moved = state.status == Status::Running && inner.is_some() && inner != state.inner;
    if state.status.is_coming_up() || moved {
        Ok(Some(PodReady { inner }.into()))
    } else if state.status == Status::Running {
        Ok(None)
    } else {
        Err(not_waiting(state))
    }
}

/// A running environment was seen not running at `seen_at`. Whoever saw it before it got ready again,
/// and says so late or for a second time, tells an old story.
pub fn lost(state: &Env, reason: &str, seen_at: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    if state.status != Status::Running || state.ready_at.is_some_and(|ready_at| ready_at >= seen_at) {
        return Ok(None);
    }
    let since = seen_at - TimeDelta::seconds(LOSS_WINDOW_S);
    let recent = state.losses.iter().filter(|at| **at > since).count();
    Ok(Some(if recent < LOSSES_MAX {
        PodLost { reason: reason.to_owned(), deadline: deadlines::start(seen_at) }.into()
    } else {
        EnvFailed {
            phase: Phase::Run,
            code: "crash_loop".to_owned(),
            reason: format!(
                "it ended {} times within {} minutes and is not started again; last: {reason}",
                recent + 1,
                LOSS_WINDOW_S / 60
            ),
        }
        .into()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::{asked, running};
    use crate::testing::{given, t};

    #[test]
    fn ready_counts_only_while_coming_up() {
        let coming = given::<Env>(vec![(0, asked().into())]);
        assert_eq!(ready(&coming, None), Ok(Some(PodReady::default().into())));
        assert_eq!(ready(&given(running()), None), Ok(None));
        assert!(ready(&Env::default(), None).is_err());
    }

    #[test]
    fn an_inner_door_that_moved_is_said_again_and_is_known_only_while_it_runs() {
        let door = |last: u8| InnerDoor {
            addr: std::net::SocketAddr::from(([10, 88, 0, last], 2022)),
            host_key: "ssh-ed25519 AAAA".into(),
        };
        let mut past = vec![(0, asked().into())];
        past.push((2, ready(&given(past.clone()), Some(door(5))).unwrap().unwrap()));
        let there = given::<Env>(past.clone());
        assert_eq!(there.inner, Some(door(5)));
        assert_eq!(ready(&there, Some(door(5))), Ok(None), "known");
        assert_eq!(ready(&there, None), Ok(None), "nothing better is known");
        let moved = ready(&there, Some(door(6))).unwrap().unwrap();
        past.push((3, moved));
        assert_eq!(given::<Env>(past.clone()).inner, Some(door(6)));
        past.push((4, lost(&given(past.clone()), "killed", t(4)).unwrap().unwrap()));
        assert_eq!(given::<Env>(past).inner, None, "what was lost is not to be reached");
    }

    #[test]
    fn a_lost_environment_is_started_again_three_times_then_failed() {
        let mut past = running();
        for second in [10, 20, 30] {
            let event = lost(&given(past.clone()), "killed", t(second)).unwrap().unwrap();
            assert!(matches!(event, EnvEvent::PodLost(_)), "{event:?}");
            past.push((second, event));
            past.push((second + 1, PodReady::default().into()));
        }
        let event = lost(&given(past.clone()), "killed", t(40)).unwrap().unwrap();
        assert!(matches!(&event, EnvEvent::EnvFailed(failed) if failed.code == "crash_loop"), "{event:?}");
        let later = lost(&given(past), "killed", t(40 + LOSS_WINDOW_S)).unwrap().unwrap();
        assert!(matches!(later, EnvEvent::PodLost(_)), "the window has passed");
    }

    #[test]
    fn a_loss_seen_before_it_got_ready_is_an_old_story() {
        let running = given::<Env>(running());
        assert_eq!(running.ready_at, Some(t(2)));
        assert_eq!(lost(&running, "killed", t(2)), Ok(None));
        assert!(lost(&running, "killed", t(3)).unwrap().is_some());
    }
}
