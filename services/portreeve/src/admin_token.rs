//! What does the first administrator's token say? It derives from the master key: nothing is opened and
//! nobody is asked, so it can be read beside any service that holds the key.

use secrecy::ExposeSecret;

use crate::settings::BadSetting;
use crate::standalone::needed_master_keys;

/// Prints it on standard output, revoked or not.
pub fn print() -> Result<(), BadSetting> {
    println!("{}", api::administrator_token(&needed_master_keys()?).expose_secret());
    Ok(())
}
