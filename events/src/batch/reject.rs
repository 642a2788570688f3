//! May this person keep a batch from ever beginning that waits for a second one? Not who asked for it, who may call it
//! off.

use super::{Answer, Batch, BatchEvent, BatchRefusal, BatchRejected};
use crate::aggregate::Decision;
use crate::ids::UserName;

pub fn reject(state: &Batch, by: &UserName, reason: Option<String>) -> Decision<BatchEvent, BatchRefusal> {
    match state.asked_of(by) {
        Ok(_) => Ok(Some(BatchRejected { by: by.clone(), reason }.into())),
        Err(BatchRefusal::NotAwaiting(_)) if state.answer == Some(Answer::Rejected) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::testing::{user, waiting};
    use crate::batch::{BatchApproved, BatchExpired};
    use crate::testing::t;

    #[test]
    fn a_second_person_rejects_once_and_what_begins_is_not_rejected() {
        let reason = Some("not on a Friday".to_owned());
        let by_bob = |state: &Batch| reject(state, &user("bob"), reason.clone());
        let rejected: BatchEvent = BatchRejected { by: user("bob"), reason: reason.clone() }.into();
        assert_eq!(by_bob(&waiting(vec![])), Ok(Some(rejected.clone())));
        assert_eq!(reject(&waiting(vec![]), &user("alice"), None), Err(BatchRefusal::OwnRequest));
        assert_eq!(by_bob(&waiting(vec![rejected])), Ok(None));
        let approved = BatchApproved { by: user("carol"), at: t(1) };
        for (past, what) in [(approved.into(), "approved"), (BatchExpired {}.into(), "expired")] {
            assert_eq!(by_bob(&waiting(vec![past])), Err(BatchRefusal::NotAwaiting(what)));
        }
    }
}
