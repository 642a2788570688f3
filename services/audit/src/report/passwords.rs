//! `passwords`: when did an environment get another password, who asked for it, and who was shown one?

use std::collections::BTreeMap;

use events::credential::CredentialEvent;
use events::env::EnvEvent;
use events::ids::TenantId;
use events::{Event, Kind, Recorded};

use super::people::People;
use super::rows::Rows;
use super::{Fold, Report};

pub const REPORT: Report = Report {
    name: "passwords",
    about: "passwords that were issued, reset, put into force and shown",
    version: 1,
    columns: &[
        "tenant",
        "what",
        "time",
        "environment",
        "number",
        "by",
        "person",
        "reason",
        "sequence",
        "event_id",
    ],
    kinds: &[Kind::Credential, Kind::Env, Kind::User, Kind::Token],
    fold: || Box::<Passwords>::default(),
};

#[derive(Default)]
struct Passwords {
    people: People,
    /// How many passwords each environment had that is there.
    numbers: BTreeMap<(TenantId, String), u64>,
}

impl Fold for Passwords {
    fn take(&mut self, event: &Recorded, rows: &mut Rows) {
        self.people.take(event);
        let env = || (event.subject.tenant.clone(), event.subject.id.clone());
        if let Event::Env(EnvEvent::EnvDeleted(_)) = &event.event {
            self.numbers.remove(&env());
        }
        let Event::Credential(credential) = &event.event else { return };
        let mut next = || {
            let number = self.numbers.entry(env()).or_default();
            *number = number.saturating_add(1);
            *number
        };
        let (what, number, reason) = match credential {
            CredentialEvent::PasswordIssued(_) => ("issued", next(), None),
            CredentialEvent::PasswordReset(reset) => ("reset", next(), Some(reset.reason.as_str())),
            CredentialEvent::PasswordApplied(applied) => ("in_force", applied.number, None),
            CredentialEvent::PasswordRevealed(revealed) => ("revealed", revealed.number, None),
            CredentialEvent::KeysAttached(_) => return,
        };
        let people = &self.people;
        rows.event(event.seq, &event.subject.tenant, || {
            vec![
                event.subject.tenant.as_str().into(),
                what.into(),
                event.meta.time.into(),
                event.subject.id.as_str().into(),
                number.into(),
                event.meta.actor.as_str().into(),
                people.person(&event.meta.actor).into(),
                reason.into(),
                event.seq.into(),
                event.meta.id.to_string().into(),
            ]
        });
    }

    fn finish(&mut self, _: &mut Rows) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::credential::{
        KeysAttached, PasswordApplied, PasswordIssued, PasswordReset, PasswordRevealed, SecretRef,
    };
    use events::ids::EnvId;
    use uuid::Uuid;

    use super::super::testing::{ENV, at, cells, columns};
    use super::*;

    #[test]
    fn resets_and_reveals_are_counted_also_from_before_the_range() {
        let secret_ref = SecretRef::password(&EnvId::parse(ENV).unwrap(), Uuid::from_u128(7));
        let credential = |sequence, event: CredentialEvent| at(sequence, Kind::Credential, ENV, event);
        let reset = PasswordReset { secret_ref: secret_ref.clone(), reason: "asked".into() };
        let all = [
            credential(1, PasswordIssued { secret_ref }.into()),
            credential(2, KeysAttached { fingerprints: vec![] }.into()),
            credential(3, reset.into()),
            credential(4, PasswordApplied { number: 2 }.into()),
            credential(5, PasswordRevealed { number: 2 }.into()),
        ];
        let rows = cells(&REPORT, 2, None, &all);
        let seen = columns(&REPORT, &rows, &["what", "number", "reason", "by", "person"]);
        let expected = [
            ["reset", "2", "asked", "user:olga", "olga"].map(str::to_owned),
            ["in_force", "2", "", "user:olga", "olga"].map(str::to_owned),
            ["revealed", "2", "", "user:olga", "olga"].map(str::to_owned),
        ];
        assert_eq!(seen, expected);
        assert_eq!(cells(&REPORT, 1, None, &all).len(), 4);
    }
}
