//! May the relay have another key? The one before counts until the overlap is over, and no key before that one.

use chrono::{DateTime, Utc};

use super::{Relay, RelayEvent, RelayKeyRotated, RelayRefusal};
use crate::aggregate::Decision;

pub fn rotate_key(
    state: &Relay,
    digest: &str,
    previous_until: DateTime<Utc>,
) -> Decision<RelayEvent, RelayRefusal> {
    state.there().ok_or(RelayRefusal::NotFound)?;
    if state.digest == digest {
        return Ok(None);
    }
    Ok(Some(RelayKeyRotated { digest: digest.to_owned(), previous_until }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::RelayRevoked;
    use crate::relay::testing::registered;
    use crate::testing::{given, t};

    #[test]
    fn a_revoked_relay_gets_no_key() {
        assert_eq!(rotate_key(&Relay::default(), "b", t(9)), Err(RelayRefusal::NotFound));
        let there = given::<Relay>(vec![(0, registered("a").into())]);
        assert!(rotate_key(&there, "b", t(9)).unwrap().is_some());
        let gone = given::<Relay>(vec![(0, registered("a").into()), (1, RelayRevoked {}.into())]);
        assert_eq!(rotate_key(&gone, "b", t(9)), Err(RelayRefusal::NotFound));
    }
}
