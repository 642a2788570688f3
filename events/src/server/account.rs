//! May an account on a server be changed, and how did that end? One change at a time, with a deadline and one end.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Server, ServerEvent, ServerRefusal};
use crate::aggregate::Decision;

/// Accounts of one server that are known here.
pub const ACCOUNTS_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum AccountAction {
    /// The account is there, with these keys of ours.
    Push,
    /// Looked at, and left as it is.
    Verify,
    /// These keys take the place of those that we put there.
    Rotate,
    /// Our keys go, and the account if we made it.
    Remove,
}

impl AccountAction {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Verify => "verify",
            Self::Rotate => "rotate",
            Self::Remove => "remove",
        }
    }
}

/// Somebody wants an account of a server changed; how it ends is told by the deadline at the latest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountChangeAsked {
    pub change_id: Uuid,
    pub account: String,
    pub action: AccountAction,
    /// The keys that it shall have of us afterwards, as OpenSSH lines without comments.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<String>,
    pub deadline: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountOutcome {
    Done,
    Failed,
    /// Nobody said how it ended, before the deadline: it may have been done.
    Lost,
}

/// How a change of an account ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountChangeEnded {
    pub change_id: Uuid,
    pub account: String,
    pub action: AccountAction,
    pub outcome: AccountOutcome,
    /// What went wrong: `unprivileged`, `disk_full`, `account_locked`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The account was not there before and was made.
    #[serde(default)]
    pub made: bool,
}

/// An account as far as we know it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// It was there, with our keys, when a change ended well.
    pub there: bool,
    /// We made it.
    pub ours: bool,
    /// Our keys in it.
    pub keys: BTreeSet<String>,
    pub pending: Option<AccountChangeAsked>,
    pub last: Option<AccountChangeEnded>,
}

impl Account {
    pub(super) fn ended(&mut self, ended: &AccountChangeEnded) {
        let asked = self.pending.take();
        if ended.outcome == AccountOutcome::Done {
            match ended.action {
                AccountAction::Push | AccountAction::Rotate => {
                    self.there = true;
                    self.keys = asked.map(|asked| asked.keys).unwrap_or_default();
                }
                AccountAction::Verify => {}
                AccountAction::Remove => (self.there, self.ours, self.keys) = (false, false, BTreeSet::new()),
            }
        }
        // also when it failed later on: then it is ours to take away
        self.ours |= ended.made;
        self.last = Some(ended.clone());
    }
}

pub fn ask(state: &Server, asked: AccountChangeAsked) -> Decision<ServerEvent, ServerRefusal> {
    state.there().ok_or(ServerRefusal::NotFound)?;
    let known = state.accounts.get(&asked.account);
    if let Some(pending) = known.and_then(|account| account.pending.as_ref()) {
        if pending.change_id == asked.change_id {
            return Ok(None);
        }
        return Err(ServerRefusal::AccountBusy { account: asked.account, until: pending.deadline });
    }
    if let Some(last) = known.and_then(|account| account.last.as_ref())
        && last.change_id == asked.change_id
    {
        return Ok(None);
    }
    let ours_to_change = known.is_some_and(|account| account.there || account.ours);
    if asked.action != AccountAction::Push && !ours_to_change {
        return Err(ServerRefusal::AccountUnknown(asked.account));
    }
    if known.is_none() && state.accounts.len() >= ACCOUNTS_MAX {
        return Err(ServerRefusal::TooManyAccounts);
    }
    Ok(Some(asked.into()))
}

/// The first end counts; what is said of a change that has ended is not recorded.
pub fn end(state: &Server, ended: AccountChangeEnded) -> Decision<ServerEvent, ServerRefusal> {
    let pending = state.accounts.get(&ended.account).and_then(|account| account.pending.as_ref());
    Ok(pending.filter(|pending| pending.change_id == ended.change_id).map(|_| ended.into()))
}

/// Of the changes whose time is over the first; called again until there is none.
pub fn expire(state: &Server, now: DateTime<Utc>) -> Decision<ServerEvent, ServerRefusal> {
    let pending = state.accounts.values().filter_map(|account| account.pending.as_ref());
    Ok(pending.into_iter().find(|pending| pending.deadline <= now).map(|pending| {
        let AccountChangeAsked { change_id, account, action, .. } = pending.clone();
        let reason = "nobody said how it ended before its deadline; it may have been done".to_owned();
        let suggestion = "verify the account; repeating a change does no harm".to_owned();
        AccountChangeEnded {
            change_id,
            account,
            action,
            outcome: AccountOutcome::Lost,
            class: Some("lost".to_owned()),
            reason: Some(reason),
            suggestion: Some(suggestion),
            made: false,
        }
        .into()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::server;
    use crate::testing::t;

    fn asked(change: u128, action: AccountAction) -> AccountChangeAsked {
        AccountChangeAsked {
            change_id: Uuid::from_u128(change),
            account: "alice".into(),
            action,
            keys: ["ssh-ed25519 AAAA".to_owned()].into(),
            deadline: t(60),
        }
    }

    fn ended(change: u128, action: AccountAction, outcome: AccountOutcome) -> AccountChangeEnded {
        let change_id = Uuid::from_u128(change);
        AccountChangeEnded {
            change_id,
            account: "alice".into(),
            action,
            outcome,
            class: None,
            reason: None,
            suggestion: None,
            made: outcome == AccountOutcome::Done && action == AccountAction::Push,
        }
    }

    use AccountAction::{Push, Remove, Rotate, Verify};
    use AccountOutcome::{Done, Failed, Lost};

    #[test]
    fn one_change_at_a_time_and_the_same_again_is_nothing() {
        let pending = server(vec![asked(1, Push).into()]);
        assert_eq!(ask(&pending, asked(1, Push)), Ok(None));
        let busy = ServerRefusal::AccountBusy { account: "alice".into(), until: t(60) };
        assert_eq!(ask(&pending, asked(2, Push)), Err(busy));
        let done = server(vec![asked(1, Push).into(), ended(1, Push, Done).into()]);
        assert_eq!(ask(&done, asked(1, Push)), Ok(None), "it ended already");
        assert!(ask(&done, asked(2, Rotate)).unwrap().is_some());
        let of = |account: &str| AccountChangeAsked { account: account.into(), ..asked(2, Push) };
        assert!(ask(&pending, of("bob")).unwrap().is_some());
        let bobs = AccountChangeAsked { action: Verify, ..of("bob") };
        assert_eq!(ask(&done, bobs), Err(ServerRefusal::AccountUnknown("bob".into())));
        let many = (0..ACCOUNTS_MAX)
            .map(|n| AccountChangeAsked { account: format!("a{n}"), ..asked(9, Push) }.into());
        assert_eq!(ask(&server(many.collect()), of("bob")), Err(ServerRefusal::TooManyAccounts));
    }

    #[test]
    fn a_change_has_one_end() {
        let pending = server(vec![asked(1, Push).into()]);
        assert!(end(&pending, ended(1, Push, Done)).unwrap().is_some());
        assert_eq!(end(&pending, ended(2, Push, Done)), Ok(None), "of another change");
        let lost = expire(&pending, t(60)).unwrap().unwrap();
        assert_eq!(expire(&pending, t(59)), Ok(None));
        let over = server(vec![asked(1, Push).into(), lost]);
        assert_eq!(over.accounts["alice"].last.as_ref().unwrap().outcome, Lost);
        assert_eq!(end(&over, ended(1, Push, Done)), Ok(None), "too late");
        assert_eq!(expire(&over, t(99)), Ok(None));
    }

    #[test]
    fn what_is_known_of_an_account_follows_its_changes() {
        let mut past: Vec<ServerEvent> = vec![asked(1, Push).into(), ended(1, Push, Done).into()];
        let pushed = server(past.clone()).accounts["alice"].clone();
        assert!(pushed.there && pushed.ours && pushed.keys.len() == 1);
        let more = AccountChangeAsked { keys: ["ssh-ed25519 BBBB".to_owned()].into(), ..asked(2, Rotate) };
        past.extend([more.into(), ended(2, Rotate, Failed).into()]);
        assert_eq!(server(past.clone()).accounts["alice"].keys, pushed.keys, "it failed");
        past.extend([asked(3, Remove).into(), ended(3, Remove, Done).into()]);
        let gone = server(past).accounts["alice"].clone();
        assert!(!gone.there && !gone.ours && gone.keys.is_empty());
    }
}
