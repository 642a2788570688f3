//! What does a password that we make look like, and how does somebody check it who need not know it?
//! 20 characters of four classes, safe to paste anywhere; an Argon2id hash beside it.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};

/// Characters of a generated password.
pub const PASSWORD_LENGTH: usize = 20;

/// Work of a hash. Its cost guards passwords that people chose; ours has about 119 bits, which nobody
/// guesses at any speed, and each guess at the gateway costs the gateway this: milliseconds.
const HASH_MEMORY_KIB: u32 = 4096;
const HASH_PASSES: u32 = 1;
const HASH_LANES: u32 = 1;

/// One of each is always there. Left out: quotes, backslash, dollar, backtick, blanks and whatever
/// else a shell or a URL reads in its own way, and letters that look like digits.
const CLASSES: [&[u8]; 4] =
    [b"abcdefghijkmnopqrstuvwxyz", b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"23456789", b"-_.+=:@,"];

/// A new password. `fill` is the source of chance, for example `getrandom::fill`; its error is
/// handed on.
pub fn generate<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<SecretString, E> {
    // below(n) takes 64 random bits modulo n: the bias is less than one in 2^57
    let mut below = |n: usize| -> Result<usize, E> {
        let mut bytes = [0_u8; 8];
        fill(&mut bytes)?;
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        Ok(usize::try_from(u64::from_le_bytes(bytes) % n).unwrap_or(0))
    };
    let all = CLASSES.concat();
    let mut password = Vec::with_capacity(PASSWORD_LENGTH);
    for class in CLASSES {
        password.push(class[below(class.len())?]);
    }
    while password.len() < PASSWORD_LENGTH {
        password.push(all[below(all.len())?]);
    }
    for last in (1..password.len()).rev() {
        password.swap(last, below(last + 1)?);
    }
    // a leading sign would read as an option where the password is an argument
    if let Some(first) = password.iter().position(u8::is_ascii_alphanumeric) {
        password.swap(0, first);
    }
    Ok(SecretString::from(password.into_iter().map(char::from).collect::<String>()))
}

/// The password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("the parameters of the hash are not possible")]
    Parameters(#[source] argon2::Error),
    #[error("the password could not be hashed")]
    Hash(#[source] argon2::password_hash::Error),
}

/// The Argon2id PHC string of a password that [`generate`] made. Blocks for milliseconds.
pub fn argon2id(password: &SecretString) -> Result<SecretString, HashError> {
    let parameters =
        Params::new(HASH_MEMORY_KIB, HASH_PASSES, HASH_LANES, None).map_err(HashError::Parameters)?;
    let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password(password.expose_secret().as_bytes())
        .map_err(HashError::Hash)?;
    Ok(SecretString::from(hashed.to_string()))
}

/// Whether this is the password of a PHC string, by the parameters that stand in it. Blocks as long.
pub fn is_of_hash(password: &SecretString, phc: &SecretString) -> bool {
    PasswordHash::new(phc.expose_secret()).is_ok_and(|hash| {
        Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn every_password_has_all_classes_and_nothing_that_needs_quoting() {
        let mut seen = BTreeSet::new();
        for _ in 0..2_000 {
            let password = generate(getrandom::fill).unwrap();
            let password = password.expose_secret();
            assert_eq!(password.len(), PASSWORD_LENGTH);
            for class in CLASSES {
                assert!(password.bytes().any(|byte| class.contains(&byte)), "{password}");
            }
            assert!(!password.contains(['"', '\'', '\\', '$', '`', ' ', '!', '%', '/']), "{password}");
            assert!(password.starts_with(|c: char| c.is_ascii_alphanumeric()), "{password}");
            assert!(seen.insert(password.to_owned()), "{password} came twice");
        }
    }

    #[test]
    fn a_password_is_of_its_own_hash_only() {
        let [one, other] = [generate(getrandom::fill).unwrap(), generate(getrandom::fill).unwrap()];
        let hash = argon2id(&one).unwrap();
        assert!(hash.expose_secret().starts_with("$argon2id$v=19$m=4096,t=1,p=1$"));
        assert!(is_of_hash(&one, &hash) && !is_of_hash(&other, &hash));
        assert_ne!(hash.expose_secret(), argon2id(&one).unwrap().expose_secret(), "salted");
        assert!(!is_of_hash(&one, &"no hash".into()));
    }

    #[test]
    fn without_chance_there_is_no_password() {
        assert_eq!(generate(|_| Err("no chance")).err(), Some("no chance"));
    }
}
