//! What does a look around say? From the answers of `doctor.sh`.

use events::server::Settings;

use super::{Finding, State};
use crate::script::Answers;

/// The steps of a look around, in their order.
const STEPS: [&str; 7] = ["privilege", "sudo", "account", "home", "policy", "storage", "clock"];
/// Percent of a file system that are in use.
const FULL_PERCENT: u64 = 98;
const NEARLY_FULL_PERCENT: u64 = 90;
/// Certificates are for minutes, and one-time passwords for half a minute.
const CLOCK_OFF_S_MAX: u64 = 60;

pub(super) fn findings(
    answers: &Answers,
    settings: &Settings,
    account: Option<&str>,
    now_s: u64,
) -> Vec<Finding> {
    let mut findings = privilege(answers);
    // how we log in says nothing of another account
    let method = account.is_none().then(|| settings.credential.method.name());
    findings.extend(State::of(answers, now_s).findings(method));
    if answers.one("nologin").is_some() || answers.all("nologin").next().is_some() {
        let said = "/etc/nologin is there: nobody but root may log in";
        findings.push(Finding::failed(
            "policy",
            "logins_disabled",
            said,
            "remove /etc/nologin when the work there is done",
        ));
    }
    findings.extend(storage(answers));
    findings.extend(clock(answers, now_s));
    findings
}

/// What was not looked at is said.
pub(super) fn not_reached(findings: &[Finding]) -> Vec<Finding> {
    let looked = |step: &&str| findings.iter().any(|finding| finding.step == *step);
    STEPS.into_iter().filter(|step| !looked(step)).map(|step| Finding::skipped(step, "not reached")).collect()
}

fn privilege(answers: &Answers) -> Vec<Finding> {
    const NO_SUDO: &str = "install sudo and give the account a line in /etc/sudoers.d, or use root's account";
    let me = answers.one("me").unwrap_or("the account");
    let said = answers.one("root_said").unwrap_or_default();
    match answers.one("root") {
        Some("self") => {
            vec![Finding::ok("privilege", format!("{me} is root")), Finding::ok("sudo", "not needed")]
        }
        Some("sudo") => vec![
            Finding::ok("privilege", format!("{me} may become root")),
            Finding::ok("sudo", "asks for no password"),
        ],
        Some("password") => vec![
            Finding::ok("privilege", format!("{me} may become root")),
            Finding::ok("sudo", "takes the stored password"),
        ],
        _ => {
            let privilege =
                format!("{me} is not root and cannot become it: accounts there cannot be kept from here");
            let (class, sudo, remedy) = if answers.one("sudo").is_none() {
                ("sudo_missing", "sudo is not installed".to_owned(), NO_SUDO.to_owned())
            } else if said.contains("must have a tty") {
                (
                    "sudo_needs_tty",
                    "sudo wants a terminal".to_owned(),
                    format!("`Defaults:{me} !requiretty` in /etc/sudoers.d"),
                )
            } else if said.contains("not in the sudoers")
                || said.contains("may not run")
                || said.contains("not allowed")
            {
                (
                    "sudo_refused",
                    format!("sudo knows no rule for {me}"),
                    format!("`{me} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d"),
                )
            } else {
                let what =
                    format!("`{me} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d, or log in with the password");
                ("sudo_asks", format!("sudo wants a password that is not stored here: {said}"), what)
            };
            vec![
                Finding::warning("privilege", "unprivileged", privilege, remedy.clone()),
                Finding::warning("sudo", class, sudo, remedy),
            ]
        }
    }
}

fn storage(answers: &Answers) -> Vec<Finding> {
    let mut found = Vec::new();
    if answers.one("etc") == Some("read_only") {
        let said = "/etc cannot be written: the file system is read-only";
        let what = "`dmesg | tail` says whether the disk failed; `mount -o remount,rw /` when it did not";
        found.push(Finding::failed("storage", "read_only", said, what));
    }
    let home = answers.one("home_write").and_then(|said| said.strip_prefix("fails"));
    let no_space = home.is_some_and(|said| said.contains("No space left"));
    let mut mounts: Vec<&str> = Vec::new();
    for line in answers.all("disk") {
        let words: Vec<&str> = line.split(' ').collect();
        let [place, free, used, mount] = words.as_slice() else { continue };
        let percent: u64 = used.trim_end_matches('%').parse().unwrap_or_default();
        if mounts.contains(mount) {
            continue;
        }
        mounts.push(mount);
        let said = format!("{mount} (with {place}) is {percent}% full, {free} KiB are free");
        let what = format!("make room: `du -xh {mount} | sort -h | tail`");
        if percent >= FULL_PERCENT {
            found.push(Finding::failed("storage", "disk_full", said, what));
        } else if percent >= NEARLY_FULL_PERCENT {
            found.push(Finding::warning("storage", "disk_nearly_full", said, what));
        }
    }
    let told = found.iter().any(|finding| finding.class == Some("disk_full"));
    if let Some(said) = home.filter(|_| !told) {
        let class = if no_space { "disk_full" } else { "home_unwritable" };
        let what = if no_space {
            "make room, also of inodes (`df -i`)"
        } else {
            "look at its owner, its mode and its mount"
        };
        found.push(Finding::failed(
            "storage",
            class,
            format!("nothing can be written to the home:{said}"),
            what,
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok("storage", "there is room, and it can be written to"));
    }
    found
}

fn clock(answers: &Answers, now_s: u64) -> Option<Finding> {
    let there = answers.number("now")?;
    let off = there.abs_diff(now_s);
    if off <= CLOCK_OFF_S_MAX {
        return Some(Finding::ok("clock", format!("is right within {} s", off.max(1))));
    }
    let said = format!("is {off} s off ours: certificates of minutes are not taken");
    Some(Finding::warning("clock", "clock_off", said, "`timedatectl` there; let it follow a time server"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::doctor::Status;

    fn one(findings: Vec<Finding>, step: &str) -> (Status, Option<&'static str>) {
        let finding = findings.into_iter().find(|finding| finding.step == step).unwrap();
        (finding.status, finding.class)
    }

    #[test]
    fn what_keeps_somebody_from_being_root_is_told_apart() {
        for (text, class) in [
            ("@root\tnone\n", "sudo_missing"),
            ("@root\tnone\n@sudo\tpresent\n@root_said\tsudo: a password is required\n", "sudo_asks"),
            (
                "@root\tnone\n@sudo\tpresent\n@root_said\tsudo: sorry, you must have a tty to run sudo\n",
                "sudo_needs_tty",
            ),
            ("@root\tnone\n@sudo\tpresent\n@root_said\tbob is not in the sudoers file.\n", "sudo_refused"),
        ] {
            assert_eq!(
                one(privilege(&Answers::read(text)), "sudo"),
                (Status::Warning, Some(class)),
                "{text}"
            );
        }
        assert_eq!(one(privilege(&Answers::read("@root\tsudo\n")), "sudo"), (Status::Ok, None));
    }

    #[test]
    fn a_full_disk_is_told_once_a_disk() {
        let text = "@disk\t/home/a 0 100% /\n@disk\t/tmp 0 100% /\n@disk\t/var 500 92% /var\n\
                    @home_write\tfails sh: No space left on device\n";
        let found = storage(&Answers::read(text));
        let classes: Vec<_> = found.iter().map(|finding| finding.class.unwrap()).collect();
        assert_eq!(classes, ["disk_full", "disk_nearly_full"]);
        let inodes = "@disk\t/ 500 50% /\n@home_write\tfails No space left on device\n";
        assert_eq!(one(storage(&Answers::read(inodes)), "storage"), (Status::Failed, Some("disk_full")));
        assert_eq!(
            one(storage(&Answers::read("@etc\tread_only\n")), "storage"),
            (Status::Failed, Some("read_only"))
        );
    }

    #[test]
    fn a_clock_may_be_a_little_off() {
        assert_eq!(clock(&Answers::read("@now\t1030\n"), 1_000).unwrap().status, Status::Ok);
        assert_eq!(clock(&Answers::read("@now\t2000\n"), 1_000).unwrap().class, Some("clock_off"));
        assert_eq!(clock(&Answers::read(""), 1_000), None);
    }
}
