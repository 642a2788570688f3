//! Whose word does a NATS server believe about those who follow by it? For a server that is not started from here.

use crate::settings::{self, BadSetting};

/// Prints what the server is to be given as PORTREEVE_NATS_TAPS_ISSUER.
pub fn print() -> Result<(), BadSetting> {
    let password = settings::needed_secret("PORTREEVE_NATS_PASSWORD_TAPS")?;
    println!("{}", nats::Issuer::of(&password).public());
    Ok(())
}
