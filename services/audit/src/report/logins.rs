//! `logins`: who was not let in, which addresses were closed, and who opened them again? To environments by SSH, and to
//! the control plane. What came too often to be worth an event each time is a row with its count.

use events::login::LoginEvent;
use events::sign_in::{RefusalClass, SignInEvent, SignInsRefused};
use events::{Event, Kind, Recorded};

use super::rows::{Cell, Row, Rows};
use super::{Fold, Report};

pub const REPORT: Report = Report {
    name: "logins",
    about: "failed logins, refusals and lockouts",
    version: 1,
    columns: &[
        "tenant", "what", "time", "until", "on", "who", "address", "entrance", "method", "class", "count",
        "by", "sequence",
    ],
    kinds: &[Kind::Login, Kind::SignIn],
    fold: || Box::new(Logins),
};

/// Each row is one event; nothing is kept.
struct Logins;

/// What is the same in all of them stands beside.
#[derive(Default)]
struct Told {
    what: &'static str,
    time: Option<Cell>,
    until: Option<Cell>,
    who: Option<String>,
    address: Option<String>,
    entrance: Option<&'static str>,
    method: Option<String>,
    class: Option<String>,
    count: Option<u64>,
}

impl Fold for Logins {
    fn take(&mut self, event: &Recorded, rows: &mut Rows) {
        let told = if let Event::Login(login) = &event.event {
            of_login(login)
        } else if let Event::SignIn(SignInEvent::SignInsRefused(refused)) = &event.event {
            Some(of_sign_ins(refused))
        } else {
            None
        };
        if let Some(told) = told {
            rows.event(event.seq, &event.subject.tenant, || row(event, told));
        }
    }

    fn finish(&mut self, _: &mut Rows) {}
}

fn of_login(login: &LoginEvent) -> Option<Told> {
    match login {
        LoginEvent::LoginFailed(failed) => Some(Told {
            what: "login_failed",
            time: Some(failed.at.into()),
            who: Some(failed.user.clone()),
            address: Some(failed.ip.to_string()),
            entrance: Some(failed.entrance.name()),
            method: Some(failed.method.clone()),
            class: Some(failed.class.clone()),
            count: Some(1),
            ..Told::default()
        }),
        LoginEvent::LoginsRefused(refused) => Some(Told {
            what: "logins_refused",
            time: Some(refused.from.into()),
            until: Some(refused.to.into()),
            address: Some(refused.ip.to_string()),
            entrance: Some(refused.entrance.name()),
            count: Some(refused.count),
            ..Told::default()
        }),
        LoginEvent::LoginLocked(locked) => Some(Told {
            what: "locked",
            until: Some(locked.until.into()),
            address: Some(locked.ip.to_string()),
            ..Told::default()
        }),
        LoginEvent::LoginUnlocked(unlocked) => Some(Told {
            what: "unlocked",
            address: Some(unlocked.ip.map_or_else(|| "every address".to_owned(), |ip| ip.to_string())),
            ..Told::default()
        }),
        LoginEvent::LoginSucceeded(_) => None,
    }
}

fn of_sign_ins(refused: &SignInsRefused) -> Told {
    Told {
        what: "sign_ins_refused",
        time: Some(refused.from.into()),
        until: Some(refused.to.into()),
        who: refused.user.as_ref().map(ToString::to_string),
        address: Some(refused.ip.to_string()),
        entrance: Some("control_plane"),
        class: Some(class(refused.class).to_owned()),
        count: Some(refused.count),
        ..Told::default()
    }
}

/// As it is on the wire.
fn class(class: RefusalClass) -> &'static str {
    match class {
        RefusalClass::WrongPassword => "wrong_password",
        RefusalClass::UnknownUser => "unknown_user",
        RefusalClass::UserDisabled => "user_disabled",
        RefusalClass::TokenRefused => "token_refused",
        RefusalClass::TooManyAttempts => "too_many_attempts",
    }
}

fn row(event: &Recorded, told: Told) -> Row {
    // of a sign-in the subject is nothing that somebody wanted to get into
    let on = (event.subject.kind == Kind::Login).then_some(event.subject.id.as_str());
    vec![
        event.subject.tenant.as_str().into(),
        told.what.into(),
        told.time.unwrap_or_else(|| event.meta.time.into()),
        told.until.unwrap_or(Cell::Nothing),
        on.into(),
        told.who.into(),
        told.address.into(),
        told.entrance.into(),
        told.method.into(),
        told.class.into(),
        told.count.into(),
        event.meta.actor.as_str().into(),
        event.seq.into(),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::login::{Entrance, LoginFailed, LoginLocked, LoginUnlocked, LoginsRefused};

    use super::super::testing::{ENV, at, cells, columns, shown, t};
    use super::*;

    fn story() -> Vec<Recorded> {
        let ip = "203.0.113.9".parse().unwrap();
        let login = |sequence, event: LoginEvent| at(sequence, Kind::Login, ENV, event);
        let failed = LoginFailed {
            ip,
            user: "developer".into(),
            method: "password".into(),
            class: "wrong_password".into(),
            entrance: Entrance::Gateway,
            at: t(0),
            reported: None,
        };
        let entrance = Entrance::DirectPort;
        let refused = LoginsRefused { ip, entrance, count: 70, from: t(3), to: t(60), reported: None };
        let sign_ins = SignInsRefused {
            user: None,
            ip,
            class: RefusalClass::UnknownUser,
            count: 9,
            from: t(4),
            to: t(5),
        };
        let sign_ins = SignInEvent::SignInsRefused(sign_ins);
        vec![
            login(1, failed.into()),
            login(2, LoginLocked { ip, until: t(1800) }.into()),
            login(3, refused.into()),
            at(4, Kind::SignIn, "sgn-abcdefghijkl", sign_ins),
            login(5, LoginUnlocked { ip: None }.into()),
        ]
    }

    #[test]
    fn each_is_told_with_where_from_and_how_often() {
        let rows = cells(&REPORT, 1, None, &story());
        let seen = columns(&REPORT, &rows, &["what", "on", "entrance", "count", "until", "sequence"]);
        let expected = [
            ["login_failed", ENV, "gateway", "1", "", "1"].map(str::to_owned),
            ["locked", ENV, "", "", shown(1800).as_str(), "2"].map(str::to_owned),
            ["logins_refused", ENV, "direct_port", "70", shown(60).as_str(), "3"].map(str::to_owned),
            ["sign_ins_refused", "", "control_plane", "9", shown(5).as_str(), "4"].map(str::to_owned),
            ["unlocked", ENV, "", "", "", "5"].map(str::to_owned),
        ];
        assert_eq!(seen, expected);
        assert_eq!(columns(&REPORT, &rows, &["address"])[4], ["every address"]);
    }

    #[test]
    fn only_what_happened_in_the_range_and_in_the_tenant() {
        let sequences =
            |from, tenant| columns(&REPORT, &cells(&REPORT, from, tenant, &story()), &["sequence"]).concat();
        assert_eq!(sequences(3, None), ["3", "4", "5"]);
        assert_eq!(sequences(1, Some("acme")).len(), 5);
        assert!(sequences(1, Some("other")).is_empty());
    }
}
