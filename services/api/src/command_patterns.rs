//! What of commands is said in a grant, how is it read, and how is it shown?

use std::collections::BTreeSet;

use events::access::Commands;
use events::access::pattern::{PATTERN_LENGTH_MAX, Pattern};
use events::access::set_grants::PATTERNS_MAX;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::fields::{self, Fields, Wrong};

/// Patterns are compared with the whole command. A list of denied patterns keeps people from accidents, not from what
/// they want to do: a shell knows many words for one thing. A list of allowed ones does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GrantCommands, example = json!({
    "allow": ["systemctl * nginx", "uptime"], "deny": ["*--force*"], "dangerous": ["systemctl restart *"],
}))]
pub struct CommandsView {
    /// Only what fits one of them is let through; everything is when absent. `*` stands for letters, digits, blanks
    /// and `-_./:=,@+`, so for arguments, and for nothing that a shell reads as more. Several grants add up. At most
    /// 50 patterns of 1 to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    allow: Option<BTreeSet<Pattern>>,
    /// What fits one of them is refused, whatever other grants say; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    deny: Option<BTreeSet<Pattern>>,
    /// What fits one of them waits until another operator or admin approves of it; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    dangerous: Option<BTreeSet<Pattern>>,
}

impl CommandsView {
    /// `None` where nothing is said.
    pub fn of(commands: Commands) -> Option<Self> {
        if commands.is_empty() {
            return None;
        }
        let some = |list: BTreeSet<Pattern>| Some(list).filter(|list| !list.is_empty());
        let Commands { allow, deny, dangerous } = commands;
        Some(Self { allow: some(allow), deny: some(deny), dangerous: some(dangerous) })
    }
}

pub fn read(fields: &mut Fields<'_>) -> Commands {
    let said_of_all = fields.has("allow");
    let mut list = |name| fields.list(name, PATTERNS_MAX, pattern).into_iter().collect::<BTreeSet<_>>();
    let commands = Commands { allow: list("allow"), deny: list("deny"), dangerous: list("dangerous") };
    // an empty list could be meant as "nothing" and would be "everything"
    if said_of_all && commands.allow.is_empty() && !fields.has_errors() {
        let detail = "must have at least one pattern; leave it out to let everything through";
        fields.note("allow", Wrong::new("too_short", detail));
    }
    commands
}

fn pattern(value: &Value) -> Result<Pattern, Wrong> {
    let text = fields::text(1, PATTERN_LENGTH_MAX)(value)?;
    Pattern::parse(text).map_err(|invalid| Wrong::new("malformed", invalid.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn asked(value: Value) -> Result<Commands, (String, &'static str)> {
        let body = json!({ "commands": value });
        let mut fields = Fields::of(&body);
        let commands = fields.object("commands", true, |inner| Some(read(inner)));
        fields
            .finish(commands)
            .map_err(|problem| (problem.errors()[0].field.clone(), problem.errors()[0].code))
    }

    #[test]
    fn patterns_read_as_they_were_written() {
        let said = json!({"allow": ["df *", "uptime"], "dangerous": ["*reboot*"]});
        let view = CommandsView::of(asked(said.clone()).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(view).unwrap(), said);
        assert!(CommandsView::of(asked(json!({})).unwrap()).is_none());
        assert!(CommandsView::of(asked(json!({"deny": []})).unwrap()).is_none());
    }

    #[test]
    fn each_wrong_pattern_is_named() {
        let many: Vec<_> = (0..=PATTERNS_MAX).map(|number| format!("p{number}")).collect();
        for (value, field, code) in [
            (json!({"allow": []}), "commands.allow", "too_short"),
            (json!({"allow": ["a", ""]}), "commands.allow[1]", "too_short"),
            (json!({"deny": ["a\nb"]}), "commands.deny[0]", "malformed"),
            (json!({"dangerous": [7]}), "commands.dangerous[0]", "wrong_type"),
            (json!({"deny": "rm"}), "commands.deny", "wrong_type"),
            (json!({"deny": many}), "commands.deny", "too_long"),
            (json!({"deny": ["x".repeat(201)]}), "commands.deny[0]", "too_long"),
            (json!({"forbid": ["rm"]}), "commands.forbid", "unknown"),
        ] {
            assert_eq!(asked(value.clone()), Err((field.to_owned(), code)), "{value}");
        }
    }
}
