//! Is this login new? A report that came before is not recorded again.

use super::{Login, LoginEvent, LoginFailed, LoginRefusal, LoginSucceeded, LoginsRefused, SpoolPosition};
use crate::aggregate::Decision;

pub fn succeeded(state: &Login, login: LoginSucceeded) -> Decision<LoginEvent, LoginRefusal> {
    Ok(is_new(state, login.reported.as_ref()).then(|| login.into()))
}

pub fn failed(state: &Login, login: LoginFailed) -> Decision<LoginEvent, LoginRefusal> {
    Ok(is_new(state, login.reported.as_ref()).then(|| login.into()))
}

pub fn refused(state: &Login, refused: LoginsRefused) -> Decision<LoginEvent, LoginRefusal> {
    Ok(is_new(state, refused.reported.as_ref()).then(|| refused.into()))
}

fn is_new(state: &Login, reported: Option<&SpoolPosition>) -> bool {
    reported.is_none_or(|position| {
        state.recorded.get(&position.spool).is_none_or(|newest| position.number > *newest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::Entrance;
    use crate::testing::{given, t};

    #[test]
    fn a_repeated_report_is_not_a_second_failure() {
        let report = |number| LoginFailed {
            ip: "203.0.113.9".parse().unwrap(),
            user: "developer".into(),
            method: "password".into(),
            class: "wrong_password".into(),
            entrance: Entrance::DirectPort,
            at: t(0),
            reported: Some(SpoolPosition { spool: "s".into(), number }),
        };
        let state = given::<Login>(vec![(0, report(7).into())]);
        assert_eq!(failed(&state, report(7)), Ok(None));
        assert!(failed(&state, report(8)).unwrap().is_some());
    }

    #[test]
    fn a_summary_of_refusals_is_recorded_once_and_is_no_failure() {
        let ip = "203.0.113.9".parse().unwrap();
        let report = |number| LoginsRefused {
            ip,
            entrance: Entrance::DirectPort,
            count: 900,
            from: t(0),
            to: t(59),
            reported: Some(SpoolPosition { spool: "s".into(), number }),
        };
        let first = refused(&Login::default(), report(7)).unwrap().unwrap();
        let state = given::<Login>(vec![(60, first)]);
        assert_eq!(refused(&state, report(7)), Ok(None));
        assert_eq!(state.attempts.count(ip, t(60)), 0);
    }
}
