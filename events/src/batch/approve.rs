//! May this person let a batch begin that waits for a second one? Not who asked for it, and not after its time; what
//! was approved stays so.

use chrono::{DateTime, Utc};

use super::{Answer, Batch, BatchApproved, BatchEvent, BatchRefusal};
use crate::aggregate::Decision;
use crate::ids::UserName;

pub fn approve(state: &Batch, by: &UserName, now: DateTime<Utc>) -> Decision<BatchEvent, BatchRefusal> {
    match state.asked_of(by) {
        Ok(asked) if now >= asked.until => Err(BatchRefusal::NotAwaiting(Answer::Expired.name())),
        Ok(_) => Ok(Some(BatchApproved { by: by.clone(), at: now }.into())),
        Err(BatchRefusal::NotAwaiting(_)) if state.answer == Some(Answer::Approved) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::testing::{asked, user, waiting};
    use crate::batch::{BatchCancelled, BatchExpired, BatchRejected};
    use crate::testing::{given, t};

    fn by_bob(state: &Batch, second: i64) -> Decision<BatchEvent, BatchRefusal> {
        approve(state, &user("bob"), t(second))
    }

    #[test]
    fn a_second_person_approves_once_and_in_time() {
        let batch = waiting(vec![]);
        let approved: BatchEvent = BatchApproved { by: user("bob"), at: t(99) }.into();
        assert_eq!(by_bob(&batch, 99), Ok(Some(approved.clone())));
        assert_eq!(by_bob(&batch, 100), Err(BatchRefusal::NotAwaiting("expired")));
        assert_eq!(approve(&batch, &user("alice"), t(1)), Err(BatchRefusal::OwnRequest));
        let begun = waiting(vec![approved]);
        assert_eq!((by_bob(&begun, 1), begun.waits_for()), (Ok(None), None));
        assert_eq!(approve(&begun, &user("carol"), t(999)), Ok(None), "it is approved");
        assert_eq!(approve(&begun, &user("alice"), t(1)), Err(BatchRefusal::OwnRequest));
    }

    #[test]
    fn what_has_an_answer_or_needs_none_is_not_approved() {
        let rejected = BatchRejected { by: user("bob"), reason: None };
        for (past, what) in [
            (rejected.into(), "rejected"),
            (BatchExpired {}.into(), "expired"),
            (BatchCancelled {}.into(), "cancelled"),
        ] {
            assert_eq!(by_bob(&waiting(vec![past]), 1), Err(BatchRefusal::NotAwaiting(what)));
        }
        let at_once = given::<Batch>(vec![(0, asked(None).into())]);
        assert_eq!(by_bob(&at_once, 1), Err(BatchRefusal::NotAwaiting("begun without")));
        assert_eq!(by_bob(&Batch::default(), 1), Err(BatchRefusal::NotFound));
    }
}
