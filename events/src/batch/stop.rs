//! May the rest of a batch be left undone? When as many of its commands went wrong as its owner set.

use super::{Batch, BatchEvent, BatchRefusal, BatchStopped};
use crate::aggregate::Decision;

/// `failures`: commands that ended otherwise than with exit code 0, those called off aside.
pub fn stop(state: &Batch, failures: u32) -> Decision<BatchEvent, BatchRefusal> {
    let requested = state.requested.as_ref().ok_or(BatchRefusal::NotFound)?;
    let over = state.cancelled || state.stopped;
    Ok((requested.is_over_at(failures) && !over).then(|| BatchStopped { failures }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchCancelled;
    use crate::batch::testing::asked;
    use crate::testing::given;

    #[test]
    fn a_batch_stops_once_and_only_where_its_owner_set_how_much_may_go_wrong() {
        let limited = || BatchEvent::from(asked(Some(2)));
        let batch = given::<Batch>(vec![(0, limited())]);
        assert_eq!(stop(&batch, 1), Ok(None));
        let stopped = stop(&batch, 2).unwrap().unwrap();
        assert_eq!(stopped, BatchStopped { failures: 2 }.into());
        assert_eq!(stop(&given::<Batch>(vec![(0, limited()), (1, stopped)]), 3), Ok(None));
        assert_eq!(stop(&given::<Batch>(vec![(0, limited()), (1, BatchCancelled {}.into())]), 3), Ok(None));
        assert_eq!(stop(&given::<Batch>(vec![(0, asked(None).into())]), 99), Ok(None));
        assert_eq!(stop(&Batch::default(), 2), Err(BatchRefusal::NotFound));
    }
}
