//! What does a password that we make look like? 20 characters of four classes, safe to paste anywhere.

use secrecy::SecretString;

/// Characters of a generated password.
pub const PASSWORD_LENGTH: usize = 20;

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
    fn without_chance_there_is_no_password() {
        assert_eq!(generate(|_| Err("no chance")).err(), Some("no chance"));
    }
}
