//! How do people at a terminal learn that the environment ends soon? A line on every terminal of the account.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use chrono::{DateTime, Utc};
use kit::sentry_protocol::EndsSoon;
use nix::libc;
use nix::unistd::User;

const TERMINALS: &str = "/dev/pts";

/// What stands there.
fn line(soon: &EndsSoon, now: DateTime<Utc>) -> String {
    let minutes = ((soon.at - now).num_seconds().max(0) + 59) / 60;
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    let at = soon.at.format("%H:%M:%S UTC");
    let what = match soon.idle {
        true => "nobody has used this environment for a while: it is stopped (files stay)",
        false => "the time of this environment ends: it is deleted with its files",
    };
    let how = if soon.idle { "; use it, or mark a job, to keep it running" } else { "" };
    format!("\r\nPortreeve: {what} in {minutes} {unit}, at {at}{how}.\r\n")
}

/// Writes to whom it can; a terminal whose reader has stopped is passed over.
pub fn tell(soon: &EndsSoon, account: &str, now: DateTime<Utc>) -> usize {
    let Some(user) = User::from_name(account).ok().flatten() else { return 0 };
    tell_in(Path::new(TERMINALS), user.uid.as_raw(), &line(soon, now))
}

fn tell_in(terminals: &Path, uid: u32, text: &str) -> usize {
    let Ok(entries) = fs::read_dir(terminals) else { return 0 };
    let theirs = entries.flatten().filter(|entry| {
        entry.metadata().is_ok_and(|meta| meta.uid() == uid && meta.file_type().is_char_device())
    });
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    theirs
        .filter(|entry| {
            options.open(entry.path()).and_then(|mut file| file.write_all(text.as_bytes())).is_ok()
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_when_and_what_helps() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let soon = |idle| EndsSoon { at: now + chrono::TimeDelta::seconds(241), idle };
        let idle = line(&soon(true), now);
        assert!(idle.contains("is stopped (files stay) in 5 minutes, at 22:17:21 UTC; use it"), "{idle}");
        let ttl = line(&soon(false), now);
        assert!(ttl.contains("is deleted with its files in 5 minutes, at 22:17:21 UTC."), "{ttl}");
    }
}
