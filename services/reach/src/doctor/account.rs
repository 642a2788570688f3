//! What is true of an account there, and what is wrong with it? From the answers of `account_state.sh`.

use super::Finding;
use crate::script::Answers;

/// The step of all that is said here.
const STEP: &str = "account";
const HOME: &str = "home";
const POLICY: &str = "policy";

/// What `passwd` says of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: String,
    pub uid: String,
    pub gid: String,
    pub home: String,
    pub shell: String,
}

/// A file or folder as `ls -ldn` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `drwxr-xr-x`
    pub mode: String,
    pub uid: String,
}

impl Seen {
    fn others_write(&self) -> bool {
        let at = |at| self.mode.as_bytes().get(at) == Some(&b'w');
        at(5) || at(8)
    }

    fn others_read(&self) -> bool {
        let at = |at| self.mode.as_bytes().get(at) == Some(&b'r');
        at(4) || at(7)
    }
}

/// An account as it was found.
pub(crate) struct State<'a> {
    answers: &'a Answers,
    pub entry: Option<Entry>,
    /// Days since 1970.
    today: u64,
}

impl<'a> State<'a> {
    pub fn of(answers: &'a Answers, now_s: u64) -> Self {
        Self { answers, entry: answers.one("entry").and_then(entry), today: now_s / 86_400 }
    }

    fn seen(&self, key: &str) -> Option<Seen> {
        let mut words = self.answers.one(key)?.split(' ');
        let mode = words.next().filter(|mode| mode.len() >= 10 && !mode.starts_with("unknown"))?;
        Some(Seen { mode: mode.to_owned(), uid: words.next()?.to_owned() })
    }

    fn is_missing(&self, key: &str) -> bool {
        self.answers.one(key) == Some("missing")
    }

    fn policy(&self, keyword: &str) -> impl Iterator<Item = &str> {
        self.answers
            .all("sshd")
            .filter_map(move |line| line.split_once(' ').filter(|(name, _)| *name == keyword))
            .map(|(_, value)| value)
    }

    /// All that keeps it from being used, by keys or passwords.
    pub fn findings(&self, method: Option<&str>) -> Vec<Finding> {
        let Some(entry) = &self.entry else {
            let said = "there is no such account";
            return vec![Finding::failed(
                STEP,
                "account_missing",
                said,
                "make it: useradd -m, or push it from here",
            )];
        };
        let mut findings = self.login(entry);
        if findings.is_empty() {
            let said = format!("{} (uid {}) is open, its shell is {}", entry.name, entry.uid, entry.shell);
            findings.push(Finding::ok(STEP, said));
        }
        let home = self.home(entry);
        if home.is_empty() {
            findings.push(Finding::ok(
                HOME,
                format!("{} belongs to it, and nobody else may write there", entry.home),
            ));
        }
        findings.extend(home);
        findings.extend(self.policies(entry, method));
        findings
    }

    fn login(&self, entry: &Entry) -> Vec<Finding> {
        let mut found = Vec::new();
        let name = &entry.name;
        let shadow: Vec<&str> = self.answers.one("shadow").unwrap_or_default().split(' ').collect();
        if let [kind, changed, days_max, expires] = shadow.as_slice() {
            if *kind == "locked" {
                let said = format!("{name} is locked (its password begins with an exclamation mark)");
                let what = format!(
                    "`usermod -U {name}`, or `usermod -p '*' {name}` if it shall have keys and no password"
                );
                found.push(Finding::failed(STEP, "account_locked", said, what));
            }
            if expires.parse().is_ok_and(|expires: u64| expires <= self.today) {
                let said = format!("{name} has expired");
                found.push(Finding::failed(STEP, "account_expired", said, format!("`chage -E -1 {name}`")));
            }
            let changed_days = changed.parse::<u64>().ok();
            let over = changed_days.zip(days_max.parse::<u64>().ok());
            if changed_days == Some(0) || over.is_some_and(|(changed, days)| changed + days < self.today) {
                let said = format!("the password of {name} has expired");
                let what =
                    format!("set a new one (`passwd {name}`), or end its expiry: `chage -M -1 -d -1 {name}`");
                found.push(Finding::failed(STEP, "password_expired", said, what));
            }
        }
        match self.answers.one("shell") {
            Some("missing") => {
                let said = format!("the shell of {name}, {}, is not there", entry.shell);
                found.push(Finding::failed(
                    STEP,
                    "shell_missing",
                    said,
                    format!("`usermod -s /bin/sh {name}`"),
                ));
            }
            Some("not_executable") => {
                let said = format!("the shell of {name}, {}, cannot be executed", entry.shell);
                found.push(Finding::failed(
                    STEP,
                    "shell_missing",
                    said,
                    format!("`usermod -s /bin/sh {name}`"),
                ));
            }
            _ if entry.shell.ends_with("/nologin") || entry.shell.ends_with("/false") => {
                let said = format!("the shell of {name}, {}, lets nobody in", entry.shell);
                found.push(Finding::failed(
                    STEP,
                    "shell_unusable",
                    said,
                    format!("`usermod -s /bin/sh {name}`"),
                ));
            }
            _ => {}
        }
        found
    }

    fn home(&self, entry: &Entry) -> Vec<Finding> {
        let (name, home) = (&entry.name, &entry.home);
        if self.is_missing("home") {
            let said = format!("the home of {name}, {home}, is not there");
            let what = format!("`mkdir -m 700 {home} && chown {name}: {home}`");
            return vec![Finding::failed(HOME, "home_missing", said, what)];
        }
        let mut found = Vec::new();
        let strict = self.policy("strictmodes").next() != Some("no");
        let folder = format!("{home}/.ssh");
        let file = format!("{folder}/authorized_keys");
        for (key, path) in [("home", home), ("ssh", &folder), ("keys", &file)] {
            // a link's own mode says nothing
            let Some(seen) = self.seen(key).filter(|seen| !seen.mode.starts_with('l')) else { continue };
            let mode = if key == "keys" { "600" } else { "700" };
            if seen.uid != entry.uid && seen.uid != "0" {
                let said = format!("{path} belongs to uid {}, not to {name}", seen.uid);
                let what = format!("`chown {name}: {path}`");
                found.push(Finding::failed(HOME, "wrong_owner", said, what));
            } else if seen.others_write() {
                let said =
                    format!("others may write to {path} ({}), so sshd believes no key in it", seen.mode);
                let what = format!("`chmod go-w {path}`");
                let of = if strict { Finding::failed } else { Finding::warning };
                found.push(of(HOME, "wrong_modes", said, what));
            } else if key != "home" && seen.others_read() && key == "ssh" {
                let said = format!("others may look into {path} ({})", seen.mode);
                found.push(Finding::warning(HOME, "open_modes", said, format!("`chmod {mode} {path}`")));
            }
        }
        found
    }

    fn policies(&self, entry: &Entry, method: Option<&str>) -> Vec<Finding> {
        if self.answers.all("sshd").next().is_none() {
            return vec![Finding::skipped(POLICY, "what sshd allows is for root to see")];
        }
        let name = &entry.name;
        let groups: Vec<&str> = self.answers.one("account_groups").unwrap_or_default().split(' ').collect();
        let listed = |keyword: &str, names: &[&str]| {
            let patterns: Vec<&str> = self.policy(keyword).flat_map(|value| value.split(' ')).collect();
            let hit = patterns.iter().any(|pattern| {
                let pattern = pattern.split('@').next().unwrap_or_default();
                names.iter().any(|name| glob(pattern, name))
            });
            (!patterns.is_empty()).then_some(hit)
        };
        let own = [name.as_str()];
        let refused = [
            ("AllowUsers", listed("allowusers", &own) == Some(false)),
            ("DenyUsers", listed("denyusers", &own) == Some(true)),
            ("AllowGroups", listed("allowgroups", &groups) == Some(false)),
            ("DenyGroups", listed("denygroups", &groups) == Some(true)),
        ];
        let says = |keyword: &str, value: &str| self.policy(keyword).any(|said| said == value);
        let mut found: Vec<_> = refused
            .into_iter()
            .filter(|(_, refused)| *refused)
            .map(|(keyword, _)| {
                let said = format!("{keyword} in sshd_config keeps {name} out");
                let what = format!("change {keyword} in /etc/ssh/sshd_config, then `systemctl reload ssh`");
                Finding::failed(POLICY, "sshd_policy", said, what)
            })
            .collect();
        if entry.uid == "0" && says("permitrootlogin", "no") {
            let said = "PermitRootLogin is no";
            found.push(Finding::failed(
                POLICY,
                "sshd_policy",
                said,
                "use another account with sudo, or PermitRootLogin prohibit-password",
            ));
        }
        if method == Some("password") && says("passwordauthentication", "no") {
            let said = "PasswordAuthentication is no";
            found.push(Finding::failed(POLICY, "sshd_policy", said, "use a key or a certificate"));
        }
        if method.is_some_and(|method| method != "password") && says("pubkeyauthentication", "no") {
            found.push(Finding::failed(POLICY, "sshd_policy", "PubkeyAuthentication is no", "set it to yes"));
        }
        if let Some(command) = self.policy("forcecommand").next().filter(|command| *command != "none") {
            let said = format!("ForceCommand gives it {command:?} whatever is asked for");
            found.push(Finding::warning(
                POLICY,
                "sshd_policy",
                said,
                "take ForceCommand away for this account",
            ));
        }
        if says("usedns", "yes") {
            let said = "UseDNS is yes: each login waits for a reverse lookup";
            found.push(Finding::warning(POLICY, "use_dns", said, "set UseDNS no in sshd_config"));
        }
        if found.is_empty() {
            let bound = self.policy("maxstartups").next().unwrap_or("unknown");
            found.push(Finding::ok(POLICY, format!("sshd lets {name} in; MaxStartups is {bound}")));
        }
        found
    }
}

fn entry(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
    let of = |text: &str| text.to_owned();
    Some(Entry { name: of(name), uid: of(uid), gid: of(gid), home: of(home), shell: of(shell) })
}

/// `*` and `?`, as sshd's lists have them.
fn glob(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    let Some((first, others)) = pattern.split_once('*') else {
        return pattern.len() == text.len()
            && pattern.bytes().zip(text.bytes()).all(|(p, c)| p == b'?' || p == c);
    };
    match rest.strip_prefix(first) {
        Some(after) => rest = after,
        None => return false,
    }
    (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(others, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    const DAY: u64 = 86_400;

    fn classes(text: &str) -> Vec<(&'static str, Option<&'static str>)> {
        let answers = Answers::read(text);
        let state = State::of(&answers, 20_000 * DAY);
        let findings = state.findings(Some("password"));
        findings
            .into_iter()
            .filter(|finding| finding.status == Status::Failed)
            .map(|finding| (finding.step, finding.class))
            .collect()
    }

    const WELL: &str = "@entry\talice:x:1000:1000:Alice:/home/alice:/bin/bash\n@shell\tpresent\n\
        @home\tdrwxr-xr-x 1000 1000\n@ssh\tdrwx------ 1000 1000\n@keys\t-rw------- 1000 1000\n\
        @shadow\tset 19900 99999 -\n@account_groups\talice staff\n@sshd\tallowgroups st*\n";

    #[test]
    fn what_is_well_is_found_well() {
        assert_eq!(classes(WELL), []);
        assert_eq!(classes(&format!("{WELL}@home\tlrwxrwxrwx 0 0\n")), []);
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_class() {
        for (more, expected) in [
            ("@entry\t\n", ("account", "account_missing")),
            ("@shadow\tlocked 19900 99999 -\n", ("account", "account_locked")),
            ("@shadow\tset 19900 99999 19999\n", ("account", "account_expired")),
            ("@shadow\tset 0 99999 -\n", ("account", "password_expired")),
            ("@shadow\tset 19000 90 -\n", ("account", "password_expired")),
            ("@shell\tmissing\n", ("account", "shell_missing")),
            (
                "@entry\talice:x:1000:1000:Alice:/home/alice:/usr/sbin/nologin\n",
                ("account", "shell_unusable"),
            ),
            ("@home\tmissing\n", ("home", "home_missing")),
            ("@home\tdrwxrwxr-x 1000 1000\n", ("home", "wrong_modes")),
            ("@ssh\tdrwx------ 1001 1000\n", ("home", "wrong_owner")),
            ("@keys\t-rw-rw-rw- 1000 1000\n", ("home", "wrong_modes")),
            ("@sshd\tallowusers bob\n", ("policy", "sshd_policy")),
            ("@sshd\tdenygroups staff\n", ("policy", "sshd_policy")),
            ("@sshd\tpasswordauthentication no\n", ("policy", "sshd_policy")),
        ] {
            assert_eq!(classes(&format!("{WELL}{more}")), [(expected.0, Some(expected.1))], "{more}");
        }
    }

    #[test]
    fn patterns_match_as_in_sshd() {
        for (pattern, text, expected) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a?c", "abc", true),
            ("*", "", true),
            ("a*d", "abc", false),
            ("ab", "abc", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
