//! Is this worth a fact on the way up? What was not said since the start, as long as it is coming up.

use super::{Env, EnvEvent, EnvProgressed, EnvRefusal};
use crate::aggregate::Decision;

/// Said of one start at most; an engine that goes on talking is not written down.
pub const PROGRESS_MAX: usize = 64;
/// Longest message, in bytes; the rest is cut off.
pub const MESSAGE_LENGTH_MAX: usize = 1000;

/// Several who watch the same engine may all say it: the first is written down.
pub fn progress(state: &Env, mut seen: EnvProgressed) -> Decision<EnvEvent, EnvRefusal> {
    cut(&mut seen.message);
    let said = |known: &EnvProgressed| known.code == seen.code && known.message == seen.message;
    let worth = state.status.is_coming_up()
        && state.progress.len() < PROGRESS_MAX
        && !state.progress.iter().any(said);
    Ok(worth.then(|| seen.into()))
}

/// Within the bound, whole characters, without the one that PostgreSQL cannot hold.
fn cut(message: &mut String) {
    message.retain(|c| c != '\0');
    let mut end = message.len().min(MESSAGE_LENGTH_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::{asked, running};
    use crate::env::{EnvStartRequested, EnvStopped, Phase};
    use crate::testing::{given, t};

    fn pulling(message: &str) -> EnvProgressed {
        EnvProgressed { phase: Phase::Image, code: "pulling".into(), message: message.into(), trouble: false }
    }

    #[test]
    fn the_same_is_said_once_a_start() {
        let mut past = vec![(0, asked().into())];
        let first = progress(&given(past.clone()), pulling("one")).unwrap().unwrap();
        past.push((1, first));
        assert_eq!(progress(&given(past.clone()), pulling("one")), Ok(None));
        assert!(progress(&given(past.clone()), pulling("two")).unwrap().is_some());
        past.push((2, EnvStopped {}.into()));
        assert_eq!(progress(&given(past.clone()), pulling("two")), Ok(None), "nobody waits");
        past.push((3, EnvStartRequested { deadline: t(60) }.into()));
        assert!(progress(&given(past), pulling("one")).unwrap().is_some(), "another start");
        assert_eq!(progress(&given(running()), pulling("one")), Ok(None), "it is up");
    }

    #[test]
    fn an_engine_that_goes_on_talking_is_not_written_down() {
        let mut past = vec![(0, asked().into())];
        for number in 0..PROGRESS_MAX {
            let said = progress(&given(past.clone()), pulling(&format!("{number}"))).unwrap();
            past.push((1, said.expect("within the bound")));
        }
        assert_eq!(progress(&given(past), pulling("more")), Ok(None));
        let long = progress(&given(vec![(0, asked().into())]), pulling(&"ä".repeat(MESSAGE_LENGTH_MAX)));
        let Ok(Some(EnvEvent::EnvProgressed(long))) = long else { panic!("{long:?}") };
        assert_eq!(long.message.len(), MESSAGE_LENGTH_MAX);
    }
}
