//! How does an account on a server become what it shall be? Asked for in the log first, with a deadline; done by one
//! script that may run twice; looked at as the doctor looks; and ended by exactly one event.

use chrono::{DateTime, Utc};
use events::Cause;
use events::ids::{ServerId, TenantId};
use events::server::account::{ask, end, expire};
use events::server::{
    AccountAction, AccountChangeAsked, AccountChangeEnded, AccountOutcome, Method, Server, ServerRefusal,
};
use nats::DecideError;
use std::collections::BTreeSet;
use tokio::time::timeout;

use crate::connect::{Who, index, own};
use crate::doctor::{ACCOUNT_STATE, Finding, State, Status, now};
use crate::script::{Answers, Given, run};
use crate::{Reach, ReachError};

const SCRIPT: &str = include_str!("shell/account.sh");
/// Changes of one server that are ended in one go.
const EXPIRED_MAX: usize = 256;

/// How an account shall be.
#[derive(Debug, Clone, Default)]
pub struct AccountWish {
    pub account: String,
    /// OpenSSH lines without comments.
    pub keys: BTreeSet<String>,
    /// Groups there that it shall be in, besides those that it is in.
    pub groups: BTreeSet<String>,
    pub shell: Option<String>,
    /// Whether it may become root without a password; as it is when absent.
    pub sudo: Option<bool>,
    /// With the account its home, if we made it.
    pub remove_home: bool,
}

/// What shall be done with it, and until when.
#[derive(Debug, Clone)]
pub struct AccountOrder {
    pub action: AccountAction,
    pub wish: AccountWish,
    pub deadline: DateTime<Utc>,
}

/// A change that has ended.
#[derive(Debug, Clone)]
pub struct AccountChanged {
    pub ended: AccountChangeEnded,
    /// What is wrong with the account, or would be one day.
    pub findings: Vec<Finding>,
    /// Last sequence of the server.
    pub seq: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("{0}")]
    Refused(ServerRefusal),
    #[error(transparent)]
    Reach(#[from] ReachError),
}

impl From<DecideError<ServerRefusal>> for AccountError {
    fn from(error: DecideError<ServerRefusal>) -> Self {
        match error {
            DecideError::Refused(refusal) => Self::Refused(refusal),
            DecideError::Contended { .. } => Self::Reach(ReachError::Contended),
            DecideError::Log(error) => Self::Reach(ReachError::Log(error)),
        }
    }
}

impl Reach {
    /// Ends by the deadline, whatever the server does. A repeated command is told how the first one ended.
    pub async fn change_account(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        order: &AccountOrder,
        who: Who<'_>,
        cause: &Cause,
    ) -> Result<AccountChanged, AccountError> {
        let AccountOrder { action, wish, deadline } = order;
        self.expire_accounts(tenant, id, cause).await?;
        let own = own(cause);
        let change_id = own.command;
        let asked = AccountChangeAsked {
            change_id,
            account: wish.account.clone(),
            action: *action,
            keys: wish.keys.clone(),
            deadline: *deadline,
        };
        let rule = |server: &Server| ask(server, asked.clone());
        let decided =
            self.log.decide::<Server, _>(tenant, id.as_str(), &own, index::ACCOUNT_ASKED, rule).await?;
        if let Some(changed) = ended_as(&decided.state, &wish.account, change_id, decided.seq) {
            return Ok(changed);
        }
        let known = decided.state.accounts.get(&wish.account).cloned().unwrap_or_default();
        let left = (*deadline - Utc::now()).to_std().unwrap_or_default();
        let doing = Box::pin(self.do_it(tenant, id, order, known.ours, who, &own));
        let (done, findings) = match timeout(left, doing).await {
            Ok(done) => done?,
            Err(_) => (Done::lost("timed_out", too_late()), Vec::new()),
        };
        let ended = AccountChangeEnded {
            change_id,
            account: wish.account.clone(),
            action: *action,
            outcome: done.outcome,
            class: done.class,
            reason: done.reason,
            suggestion: done.suggestion,
            made: done.made,
        };
        let rule = |server: &Server| end(server, ended.clone());
        let decided =
            self.log.decide::<Server, _>(tenant, id.as_str(), &own, index::ACCOUNT_ENDED, rule).await?;
        // somebody else may have ended it: then that is how it ended
        let told = ended_as(&decided.state, &wish.account, change_id, decided.seq);
        Ok(told.map_or(AccountChanged { ended, findings: Vec::new(), seq: decided.seq }, |changed| {
            AccountChanged { findings, ..changed }
        }))
    }

    /// Ends the changes of a server whose time is over.
    pub async fn expire_accounts(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        cause: &Cause,
    ) -> Result<(), AccountError> {
        for round in 0..EXPIRED_MAX {
            let now = Utc::now();
            let rule = |server: &Server| expire(server, now);
            let name = format!("expire {now} {round}");
            let own = Cause { command: uuid::Uuid::new_v5(&cause.command, name.as_bytes()), ..cause.clone() };
            let decided =
                self.log.decide::<Server, _>(tenant, id.as_str(), &own, index::ACCOUNT_ENDED, rule).await?;
            if decided.appended.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn do_it(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        order: &AccountOrder,
        ours: bool,
        who: Who<'_>,
        own: &Cause,
    ) -> Result<(Done, Vec<Finding>), ReachError> {
        let AccountOrder { action, wish, deadline } = order;
        let tried = self.go_and_try(tenant, id, who, own).await?;
        if let Some(trouble) = &tried.trouble {
            tried.leave().await;
            let done = Done::failed(trouble.class, trouble.reason.clone(), trouble.suggestion.clone());
            return Ok((done, Vec::new()));
        }
        let Some(inside) = &tried.inside else { return Err(ReachError::NotFound) };
        let password = match tried.settings.credential.method {
            Method::Password => self.stored(&tried.settings).await?,
            Method::PrivateKey | Method::Certificate => None,
        };
        let lines = |set: &BTreeSet<String>, between: &str| {
            set.iter().map(String::as_str).collect::<Vec<_>>().join(between)
        };
        let (keys, groups) = (lines(&wish.keys, "\n"), lines(&wish.groups, " "));
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        let variables = vec![
            ("account", wish.account.as_str()),
            ("action", action.name()),
            ("keys", &keys),
            ("groups", &groups),
            ("login_shell", wish.shell.as_deref().unwrap_or_default()),
            ("sudo", wish.sudo.map_or("", yes)),
            ("ours", yes(ours)),
            ("remove_home", yes(wish.remove_home)),
        ];
        let given = Given { password, root: true, variables };
        let left = (*deadline - Utc::now()).to_std().unwrap_or_default();
        let answers = run(inside, &[ACCOUNT_STATE, SCRIPT], given, left).await;
        tried.leave().await;
        Ok(match answers {
            Ok(answers) => judge(*action, wish, &answers),
            // begun, and nobody knows how far it came
            Err(trouble) if matches!(trouble.class, "script_timeout" | "connection_lost") => {
                (Done::lost(trouble.class, trouble.reason), Vec::new())
            }
            Err(trouble) => (Done::failed(trouble.class, trouble.reason, trouble.suggestion), Vec::new()),
        })
    }
}

const VERIFY: &str = "verify the account; repeating a change does no harm";

fn too_late() -> String {
    "the server did not come to an end before the deadline".to_owned()
}

/// How a change ended, as its event tells it.
struct Done {
    outcome: AccountOutcome,
    class: Option<String>,
    reason: Option<String>,
    suggestion: Option<String>,
    made: bool,
}

impl Done {
    fn lost(class: &str, reason: String) -> Self {
        Self { outcome: AccountOutcome::Lost, ..Self::failed(class, reason, VERIFY.to_owned()) }
    }

    fn failed(class: &str, reason: String, suggestion: String) -> Self {
        let outcome = AccountOutcome::Failed;
        Self {
            outcome,
            class: Some(class.to_owned()),
            reason: Some(reason),
            suggestion: Some(suggestion),
            made: false,
        }
    }
}

fn ended_as(server: &Server, account: &str, change: uuid::Uuid, seq: u64) -> Option<AccountChanged> {
    let last = server.accounts.get(account)?.last.as_ref().filter(|last| last.change_id == change)?;
    Some(AccountChanged { ended: last.clone(), findings: Vec::new(), seq })
}

/// What the script could not do comes first; then what the account looks like now.
fn judge(action: AccountAction, wish: &AccountWish, answers: &Answers) -> (Done, Vec<Finding>) {
    let made = answers.one("made") == Some("yes");
    if let Some((class, said)) = answers.one("failed").map(|said| said.split_once(' ').unwrap_or((said, "")))
    {
        let reason = format!("{}: {said}", class.replace('_', " "));
        return (Done { made, ..Done::failed(class, reason, remedy(class).to_owned()) }, Vec::new());
    }
    let done = Done { outcome: AccountOutcome::Done, class: None, reason: None, suggestion: None, made };
    let marked: BTreeSet<&str> = answers.all("marked").collect();
    let state = State::of(answers, now());
    if action == AccountAction::Remove {
        let done = if marked.is_empty() {
            done
        } else {
            let reason = "keys of ours are still there".to_owned();
            Done::failed("keys_left", reason, "look at authorized_keys there".to_owned())
        };
        return (done, Vec::new());
    }
    let findings = state.findings(Some("private_key"));
    if let Some(failed) = findings.iter().find(|finding| finding.status == Status::Failed) {
        let class = failed.class.unwrap_or("failed");
        let suggestion = failed.remedy.clone().unwrap_or_default();
        return (Done { made, ..Done::failed(class, failed.said.clone(), suggestion) }, findings);
    }
    let wanted: BTreeSet<&str> = wish.keys.iter().map(String::as_str).collect();
    if marked != wanted {
        let (has, wants) = (marked.len(), wanted.len());
        let reason =
            format!("its authorized_keys has {has} keys of ours, not the {wants} that it shall have");
        return (Done { made, ..Done::failed("keys_differ", reason, "push it again".to_owned()) }, findings);
    }
    (done, findings)
}

fn remedy(class: &str) -> &'static str {
    match class {
        "unprivileged" => {
            "let the server's own account become root: `NOPASSWD: ALL` in /etc/sudoers.d, or log in as root"
        }
        "read_only" => "`dmesg | tail` says whether the disk failed; `mount -o remount,rw /` when it did not",
        "disk_full" => "make room there: `df -h`, `df -i`",
        "sudo_missing" => "install sudo there, or push the account without it",
        "group_missing" => "make the group there (groupadd), or leave it out",
        "account_in_use" => "end its processes there: `loginctl terminate-user`, `pkill -u`",
        "not_a_folder" | "not_a_file" => "somebody put a link there: remove it if it is not meant",
        "home_unusable" => "give the account a home of its own (usermod -d)",
        _ => "look at the machine's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = "@entry\talice:x:1000:1000:Alice:/home/alice:/bin/bash\n@shell\tpresent\n\
        @home\tdrwxr-xr-x 1000 1000\n@ssh\tdrwx------ 1000 1000\n@keys\t-rw------- 1000 1000\n@shadow\tnone 19900 99999 -\n";

    fn judged(action: AccountAction, more: &str) -> (AccountOutcome, Option<String>) {
        let wish = AccountWish {
            account: "alice".into(),
            keys: ["ssh-ed25519 A".to_owned()].into(),
            ..AccountWish::default()
        };
        let (done, _) = judge(action, &wish, &Answers::read(&format!("{WELL}{more}")));
        (done.outcome, done.class)
    }

    #[test]
    fn a_change_is_done_when_the_account_is_as_it_shall_be() {
        use AccountAction::{Push, Remove, Verify};
        let failed = |class: &str| (AccountOutcome::Failed, Some(class.to_owned()));
        assert_eq!(judged(Push, "@marked\tssh-ed25519 A\n"), (AccountOutcome::Done, None));
        assert_eq!(judged(Push, ""), failed("keys_differ"));
        assert_eq!(judged(Verify, "@marked\tssh-ed25519 B\n"), failed("keys_differ"));
        assert_eq!(judged(Push, "@failed\tdisk_full no space\n"), failed("disk_full"));
        assert_eq!(judged(Push, "@marked\tssh-ed25519 A\n@shadow\tlocked 1 - -\n"), failed("account_locked"));
        assert_eq!(judged(Remove, ""), (AccountOutcome::Done, None));
        assert_eq!(judged(Remove, "@marked\tssh-ed25519 A\n"), failed("keys_left"));
    }
}
