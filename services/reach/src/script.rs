//! How is something asked of a machine that has nothing but a POSIX shell? By a script; answers are lines of its own
//! form, bounded in time and size.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use ssh::channel::{Channel, Exit, Lost, Output};

use crate::inside::Inside;
use crate::trouble::Trouble;

/// Of what a script says, so much is looked at.
const SAID_BYTES_MAX: usize = 256 << 10;
/// Of what it says when it fails, so much is repeated.
const REPEATED_CHARACTERS_MAX: usize = 200;
const PRELUDE: &str = include_str!("shell/prelude.sh");

/// What a script may use besides itself.
#[derive(Default)]
pub(crate) struct Given<'g> {
    /// For sudo, if it asks.
    pub password: Option<SecretString>,
    /// Whether it is worth asking for root.
    pub root: bool,
    /// Further variables.
    pub variables: Vec<(&'static str, &'g str)>,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) exit: Option<Exit>,
}

/// The answers of a script, by their keys.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Answers(BTreeMap<String, Vec<String>>);

impl Answers {
    pub fn read(text: &str) -> Self {
        let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            if let Some((key, value)) = line.strip_prefix('@').and_then(|line| line.split_once('\t')) {
                answers.entry(key.to_owned()).or_default().push(value.trim().to_owned());
            }
        }
        Self(answers)
    }

    /// The newest answer, unless it is empty.
    pub fn one(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.last().map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        self.one(key)?.parse().ok()
    }

    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }
}

/// All that a channel brings until it ends.
pub(crate) async fn collect(channel: &Channel) -> Result<Said, Lost> {
    let mut said = Said { out: Vec::new(), err: Vec::new(), exit: None };
    let keep = |into: &mut Vec<u8>, bytes: &[u8]| {
        let room = SAID_BYTES_MAX.saturating_sub(into.len());
        into.extend_from_slice(&bytes[..bytes.len().min(room)]);
    };
    while let Some(output) = channel.next().await? {
        match output {
            Output::Data(bytes) => keep(&mut said.out, &bytes),
            Output::ErrorData(bytes) => keep(&mut said.err, &bytes),
            Output::Exit(exit) => said.exit = Some(exit),
            Output::Eof => {}
        }
    }
    Ok(said)
}

/// Runs a script, which must say `done` at its end. Where a record would show it no password is in it.
pub(crate) async fn run(
    inside: &Inside,
    parts: &[&str],
    mut given: Given<'_>,
    wait: Duration,
) -> Result<Answers, Trouble> {
    given.password = given.password.filter(|_| inside.keeps_secrets());
    let said = inside.script(&script(parts, &given), wait).await?;
    let answers = Answers::read(&String::from_utf8_lossy(&said.out));
    if answers.one("done").is_none() {
        let text = String::from_utf8_lossy(&said.err);
        let text: String = text.trim().chars().take(REPEATED_CHARACTERS_MAX).collect();
        let reason = format!("the machine's /bin/sh did not come to the end of its script; it said {text:?}");
        return Err(Trouble::at_shell(
            "script_failed",
            reason,
            "look whether /bin/sh there is a POSIX shell",
        ));
    }
    Ok(answers)
}

fn script(parts: &[&str], given: &Given<'_>) -> SecretString {
    let empty = SecretString::from(String::new());
    let password = given.password.as_ref().unwrap_or(&empty).expose_secret();
    let root = if given.root { "yes" } else { "no" };
    let mut text = format!("password={}\nwant_root={root}\naccount=''\n", quoted(password));
    for (name, value) in &given.variables {
        text.push_str(&format!("{name}={}\n", quoted(value)));
    }
    text.push_str(PRELUDE);
    for part in parts {
        text.push_str(part);
    }
    SecretString::from(text)
}

/// As one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_stand_among_other_words() {
        let answers = Answers::read("Welcome!\n@a\t1\n@b\tx y \n@a\t2\n@empty\t\nno@c\t3\n");
        assert_eq!(
            (answers.number("a"), answers.one("b"), answers.one("empty")),
            (Some(2), Some("x y"), None)
        );
        assert_eq!(answers.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(answers.one("c"), None);
    }

    #[test]
    fn no_value_gets_out_of_its_quotes() {
        for value in ["", "a b", "it's", "'; rm -rf /; '", "$(id)", "`id`", "\\", "two\nlines"] {
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf %s {}", quoted(value))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), value);
        }
    }
}
