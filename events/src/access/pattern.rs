//! Does a command fit a pattern? The whole text of both is compared; `*` stands for anything, or, where the pattern
//! is one that lets commands through, for nothing that a shell reads as more than arguments.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest pattern, in characters.
pub const PATTERN_LENGTH_MAX: usize = 200;
/// Beside letters and digits, what `*` stands for in a pattern that lets commands through. Everything else may begin
/// another command, be replaced by something else, or hide the rest of the pattern: in one shell or another these
/// are line ends, `; & | < > ( ) { } [ ] ? * $ % # ! ~ ^`, backquotes, quotes and backslashes.
const HARMLESS: &str = " \t-_./:=,@+";

/// 1 to 200 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has 1 to {PATTERN_LENGTH_MAX} characters, and no control characters")]
pub struct InvalidPattern;

impl Pattern {
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidPattern> {
        let text = text.into();
        let fits = (1..=PATTERN_LENGTH_MAX).contains(&text.chars().count());
        if fits && !text.chars().any(char::is_control) { Ok(Self(text)) } else { Err(InvalidPattern) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is about this command; `*` stands for anything, line ends included.
    pub fn is_about(&self, command: &str) -> bool {
        fits(&self.0, command, |_| true)
    }

    /// Whether it lets this command through; `*` stands for arguments and parts of them.
    pub fn lets_through(&self, command: &str) -> bool {
        fits(&self.0, command, |text| text.chars().all(is_harmless))
    }
}

fn is_harmless(c: char) -> bool {
    c.is_alphanumeric() || HARMLESS.contains(c)
}

/// Blanks and line ends around a command are no part of it.
///
/// What is between two stars is looked for where it comes first: what is left over for the stars later would only be
/// more, so no other choice fits where this one does not. It takes time as the command is long, whatever the pattern.
fn fits(pattern: &str, command: &str, stands_for: impl Fn(&str) -> bool) -> bool {
    let command = command.trim_matches([' ', '\t', '\n']);
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == command };
    let Some(mut left) = command.strip_prefix(first) else { return false };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in between.split('*') {
        match left.split_once(part) {
            Some((skipped, after)) if stands_for(skipped) => left = after,
            Some(_) | None => return false,
        }
    }
    left.strip_suffix(last).is_some_and(stands_for)
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;
    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_is_short_and_visible() {
        for wrong in ["", "a\nb", "a\u{1b}b", &"x".repeat(PATTERN_LENGTH_MAX + 1)] {
            assert_eq!(Pattern::parse(wrong), Err(InvalidPattern), "{wrong:?}");
        }
        assert!(Pattern::parse("ü".repeat(PATTERN_LENGTH_MAX)).is_ok());
    }

    #[test]
    fn the_whole_text_is_compared() {
        for (text, command, about) in [
            ("uptime", "uptime", true),
            ("uptime", " uptime\n", true),
            ("uptime", "uptime -p", false),
            ("uptime", "sudo uptime", false),
            ("*", "", true),
            ("*rm*-rf*", "cd /\nrm  -rf .", true),
            ("*rm*-rf*", "rm -r", false),
            ("rm *", "rm", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*b", "ab", false),
            ("*a*b*", "ba", false),
            ("**x**", "x", true),
        ] {
            assert_eq!(pattern(text).is_about(command), about, "{text:?} and {command:?}");
        }
    }

    #[test]
    fn what_lets_through_lets_arguments_through_and_nothing_beside() {
        let status = pattern("systemctl status *");
        for good in
            ["systemctl status nginx", "systemctl status getty@tty1.service nginx", "systemctl status ü"]
        {
            assert!(status.lets_through(good), "{good:?}");
        }
        for bad in [
            "systemctl status x; rm -rf /",
            "systemctl status x\nrm -rf /",
            "systemctl status x\r\nrm",
            "systemctl status x && id",
            "systemctl status x | sh",
            "systemctl status $(id)",
            "systemctl status `id`",
            "systemctl status x > /etc/passwd",
            "systemctl status 'x",
            "systemctl status x \\",
            "systemctl status {a,b}",
            "systemctl status x\u{a0}y",
        ] {
            assert!(!status.lets_through(bad), "{bad:?}");
            assert!(status.is_about(bad), "{bad:?}");
        }
        assert!(!pattern("rsync * --dry-run").lets_through("rsync a b # --dry-run"), "hides the rest");
        assert!(pattern("uptime; df -h *").lets_through("uptime; df -h /"), "what it says itself, it says");
        assert!(pattern("a*b;c*d").lets_through("a1b;c2d"));
    }

    fn near() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just('a'), Just('b'), Just(';'), Just('\n'), Just(' ')], 0..12)
            .prop_map(String::from_iter)
    }

    /// What it means, slowly: each star tries everything.
    fn slowly(pattern: &[char], text: &[char], star: &dyn Fn(char) -> bool) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len())
                .take_while(|&length| length == 0 || star(text[length - 1]))
                .any(|length| slowly(rest, &text[length..], star)),
            Some((first, rest)) => text.first() == Some(first) && slowly(rest, &text[1..], star),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn it_fits_as_if_each_star_tried_everything(
            parts in prop::collection::vec("[ab;]{0,3}", 1..5),
            command in near(),
        ) {
            let text = parts.join("*");
            prop_assume!(!text.is_empty());
            let pattern = pattern(&text);
            let pieces: Vec<char> = text.chars().collect();
            let trimmed: Vec<char> = command.trim_matches([' ', '\t', '\n']).chars().collect();
            prop_assert_eq!(pattern.is_about(&command), slowly(&pieces, &trimmed, &|_| true));
            prop_assert_eq!(pattern.lets_through(&command), slowly(&pieces, &trimmed, &is_harmless));
        }

        /// Whatever is in a command and not in the pattern itself cannot be more than arguments.
        #[test]
        fn no_star_lets_a_metacharacter_through(
            before in "[a-z ]{0,5}", after in "[a-z ]{0,5}",
            one in any::<String>(), other in any::<String>(),
            meta in prop::sample::select("\n\r;&|<>`$(){}[]*?#!~^%\"'\\".chars().collect::<Vec<_>>()),
        ) {
            let text = format!("x{before}*{after}x");
            let command = format!("x{before}{one}{meta}{other}{after}x");
            prop_assert!(!pattern(&text).lets_through(&command));
            prop_assert!(pattern(&text).is_about(&command));
        }
    }
}
