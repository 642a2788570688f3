//! Is the outcome of a test worth keeping? If it is about the server as it is now.

use super::{ConnectionTested, Server, ServerEvent, ServerRefusal, Settings};
use crate::aggregate::Decision;

/// `tried`: the settings that were tested.
pub fn tested(
    state: &Server,
    tried: &Settings,
    outcome: ConnectionTested,
) -> Decision<ServerEvent, ServerRefusal> {
    let settings = state.there().ok_or(ServerRefusal::NotFound)?;
    Ok(settings.same_login(tried).then(|| outcome.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerRemoved;
    use crate::server::testing::{self, server, settings};

    #[test]
    fn a_test_of_other_settings_is_an_old_story() {
        let outcome = testing::tested(false);
        assert!(tested(&server(vec![]), &settings(), outcome.clone()).unwrap().is_some());
        let before = Settings { username: "root".into(), ..settings() };
        assert_eq!(tested(&server(vec![]), &before, outcome.clone()), Ok(None));
        let gone = server(vec![ServerRemoved {}.into()]);
        assert_eq!(tested(&gone, &settings(), outcome), Err(ServerRefusal::NotFound));
    }
}
