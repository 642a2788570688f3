//! Is the time over in which a second person could have approved of a batch?

use chrono::{DateTime, Utc};

use super::{Batch, BatchEvent, BatchExpired, BatchRefusal};
use crate::aggregate::Decision;

pub fn expire(state: &Batch, now: DateTime<Utc>) -> Decision<BatchEvent, BatchRefusal> {
    let over = state.waits_for().is_some_and(|asked| now >= asked.until);
    Ok(over.then(|| BatchExpired {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::testing::{user, waiting};
    use crate::batch::{BatchApproved, BatchCancelled};
    use crate::testing::t;

    #[test]
    fn what_nobody_answered_ends_by_its_time() {
        assert_eq!(expire(&waiting(vec![]), t(99)), Ok(None));
        assert_eq!(expire(&waiting(vec![]), t(100)), Ok(Some(BatchExpired {}.into())));
        let approved = BatchApproved { by: user("bob"), at: t(1) };
        for past in [approved.into(), BatchCancelled {}.into(), BatchExpired {}.into()] {
            assert_eq!(expire(&waiting(vec![past]), t(100)), Ok(None));
        }
        assert_eq!(expire(&Batch::default(), t(100)), Ok(None));
    }
}
