//! May the relay be registered? Once per request, because its key is shown once.

use super::{Relay, RelayEvent, RelayRefusal, RelayRegistered};
use crate::aggregate::Decision;

pub fn register(state: &Relay, asked: RelayRegistered) -> Decision<RelayEvent, RelayRefusal> {
    match &state.settings {
        None => Ok(Some(asked.into())),
        Some(_) if state.digest == asked.digest => Ok(None),
        Some(_) => Err(RelayRefusal::ShownBefore),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::testing::registered;
    use crate::testing::given;

    #[test]
    fn a_key_is_made_once() {
        assert!(register(&Relay::default(), registered("a")).unwrap().is_some());
        let there = given::<Relay>(vec![(0, registered("a").into())]);
        assert_eq!(register(&there, registered("a")), Ok(None));
        assert_eq!(register(&there, registered("b")), Err(RelayRefusal::ShownBefore));
    }
}
