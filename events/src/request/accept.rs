//! Does the key stand for this request? The first one to use it decides.

use super::{Request, RequestAccepted, RequestEvent, RequestRefusal};
use crate::aggregate::Decision;

pub fn accept(state: &Request, asked: RequestAccepted) -> Decision<RequestEvent, RequestRefusal> {
    match &state.accepted {
        None => Ok(Some(asked.into())),
        Some(there) if *there == asked => Ok(None),
        Some(_) => Err(RequestRefusal::KeyReused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;

    #[test]
    fn a_key_stands_for_one_request() {
        let asked = |fingerprint: &str| RequestAccepted { fingerprint: fingerprint.into() };
        let taken = given::<Request>(vec![(0, asked("a").into())]);
        assert_eq!(accept(&taken, asked("a")), Ok(None));
        assert_eq!(accept(&taken, asked("b")), Err(RequestRefusal::KeyReused));
    }
}
