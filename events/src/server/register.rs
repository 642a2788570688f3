//! May the server be registered? Once under its id.

use super::{Server, ServerEvent, ServerRefusal, ServerRegistered, Settings, Stage};
use crate::aggregate::Decision;

pub fn register(state: &Server, settings: Settings) -> Decision<ServerEvent, ServerRefusal> {
    match state.stage {
        Stage::Absent => Ok(Some(ServerRegistered { settings }.into())),
        Stage::There if state.settings.as_ref() == Some(&settings) => Ok(None),
        Stage::There | Stage::Removed => Err(ServerRefusal::Exists),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerRemoved;
    use crate::server::testing::{server, settings};

    #[test]
    fn a_server_is_registered_once_and_does_not_come_back() {
        assert!(register(&Server::default(), settings()).unwrap().is_some());
        assert_eq!(register(&server(vec![]), settings()), Ok(None));
        let other = Settings { port: 23, ..settings() };
        assert_eq!(register(&server(vec![]), other), Err(ServerRefusal::Exists));
        let gone = server(vec![ServerRemoved {}.into()]);
        assert_eq!(register(&gone, settings()), Err(ServerRefusal::Exists));
    }
}
