//! May the server be removed? Once.

use super::{Server, ServerEvent, ServerRefusal, ServerRemoved, Stage};
use crate::aggregate::Decision;

pub fn remove(state: &Server) -> Decision<ServerEvent, ServerRefusal> {
    match state.stage {
        Stage::There => Ok(Some(ServerRemoved {}.into())),
        Stage::Removed => Ok(None),
        Stage::Absent => Err(ServerRefusal::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::server;

    #[test]
    fn a_server_goes_once() {
        assert_eq!(remove(&Server::default()), Err(ServerRefusal::NotFound));
        let event = remove(&server(vec![])).unwrap().unwrap();
        let gone = server(vec![event]);
        assert_eq!(remove(&gone), Ok(None));
        assert!(gone.there().is_none());
    }
}
