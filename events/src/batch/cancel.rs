//! May the batch be called off? Once, as long as it is; what has ended stays as it ended.

use super::{Answer, Batch, BatchCancelled, BatchEvent, BatchRefusal};
use crate::aggregate::Decision;

pub fn cancel(state: &Batch) -> Decision<BatchEvent, BatchRefusal> {
    if state.requested.is_none() {
        return Err(BatchRefusal::NotFound);
    }
    let ended = matches!(state.answer, Some(Answer::Rejected | Answer::Expired));
    Ok((!state.cancelled && !ended).then(|| BatchCancelled {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchExpired;
    use crate::batch::request::request;
    use crate::batch::testing::{asked, waiting};
    use crate::testing::given;

    #[test]
    fn a_batch_is_begun_once_and_called_off_once() {
        let asked = asked(None);
        assert_eq!(cancel(&Batch::default()), Err(BatchRefusal::NotFound));
        let begun = request(&Batch::default(), asked.clone()).unwrap().unwrap();
        let batch = given::<Batch>(vec![(0, begun.clone())]);
        assert_eq!(request(&batch, asked), Ok(None));
        let off = cancel(&batch).unwrap().unwrap();
        assert_eq!(cancel(&given::<Batch>(vec![(0, begun), (1, off)])), Ok(None));
    }

    #[test]
    fn what_waits_for_a_second_person_is_called_off_too() {
        let off = cancel(&waiting(vec![])).unwrap().unwrap();
        assert_eq!(waiting(vec![off]).waits_for(), None);
        assert_eq!(cancel(&waiting(vec![BatchExpired {}.into()])), Ok(None), "it has ended");
    }
}
