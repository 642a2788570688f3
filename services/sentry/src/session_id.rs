//! What is a session called? `ses-` and 12 lower-case base32 characters.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const PREFIX: &str = "ses-";
const CHARACTERS: usize = 12;

/// 60 random bits.
pub fn generate() -> String {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    // bytes 6 and 8 hold the version and variant of a UUID
    let random = bytes.iter().enumerate().filter(|(at, _)| !matches!(at, 6 | 8)).map(|(_, byte)| byte);
    let characters = random.take(CHARACTERS).map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    PREFIX.chars().chain(characters).collect()
}

/// The session that a certificate of the gateway or the web terminal was made for:
/// its key id is `<session id>/<user>`.
pub fn from_key_id(key_id: &str) -> Option<String> {
    let id = key_id.split('/').next()?;
    let characters = id.strip_prefix(PREFIX)?;
    let well_formed = characters.len() == CHARACTERS && characters.bytes().all(|b| ALPHABET.contains(&b));
    well_formed.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_well_formed_and_differ() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        assert_eq!(from_key_id(&one), Some(one.clone()));
        assert_eq!(from_key_id("ses-abcdefghijkl/alice"), Some("ses-abcdefghijkl".into()));
        for other in ["", "alice", "ses-42/alice", "ses-ABCDEFGHIJKL", "ses-abcdefghijkl0"] {
            assert_eq!(from_key_id(other), None, "{other}");
        }
    }
}
