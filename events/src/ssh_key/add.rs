//! May the person add this key? Once under one name.

use super::{SshKey, SshKeyAdded, SshKeyEvent, SshKeyRefusal};
use crate::aggregate::Decision;

pub fn add(state: &SshKey, asked: SshKeyAdded) -> Decision<SshKeyEvent, SshKeyRefusal> {
    match &state.added {
        None => Ok(Some(asked.into())),
        Some(there) if *there == asked => Ok(None),
        Some(there) => Err(SshKeyRefusal::Exists(there.name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserName;
    use crate::ssh_key::remove::remove;
    use crate::testing::given;

    fn key(name: &str) -> SshKeyAdded {
        SshKeyAdded {
            owner: UserName::parse("alice").unwrap(),
            name: name.into(),
            public_key: "ssh-ed25519 AAAA".into(),
            fingerprint: "SHA256:x".into(),
        }
    }

    #[test]
    fn a_key_is_added_once_and_may_come_back() {
        let there = given::<SshKey>(vec![(0, key("laptop").into())]);
        assert_eq!(add(&there, key("laptop")), Ok(None));
        assert_eq!(add(&there, key("desk")), Err(SshKeyRefusal::Exists("laptop".into())));
        let gone = given::<SshKey>(vec![(0, key("laptop").into()), (1, remove(&there).unwrap().unwrap())]);
        assert_eq!(remove(&gone), Ok(None));
        assert!(add(&gone, key("desk")).unwrap().is_some());
        assert_eq!(remove(&SshKey::default()), Err(SshKeyRefusal::NotFound));
    }
}
