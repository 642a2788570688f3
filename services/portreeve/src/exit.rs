//! What does each exit status mean?

/// Everything asked for was done.
pub const OK: u8 = 0;
/// Refused, or something broke; the reason is on standard error.
pub const FAILED: u8 = 1;
/// What was asked about cannot be read.
pub const UNREADABLE: u8 = 2;
/// The command line or the configuration cannot be meant (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;
