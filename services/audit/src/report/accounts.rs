//! Which accounts are on which servers because they were pushed from here, with which keys? Told by how changes ended.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64, BASE64_NOPAD};
use events::Recorded;
use events::server::{AccountAction, AccountChangeEnded, AccountOutcome, ServerEvent, Settings};

use super::access::Key;
use super::intervals::{Held, Intervals};
use super::rows::Rows;
use super::{grants, words};
use crate::chain::sha256;

/// The servers that are there, and what is asked of their accounts.
#[derive(Default)]
pub struct Accounts {
    servers: BTreeMap<String, Settings>,
    /// The keys of a change that has not ended, by server and account.
    asked: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Accounts {
    pub fn take(&mut self, held: &mut Intervals<Key>, event: &Recorded, said: &ServerEvent, rows: &mut Rows) {
        let server = event.subject.id.clone();
        match said {
            ServerEvent::ServerRegistered(registered) => {
                self.servers.insert(server, registered.settings.clone());
            }
            ServerEvent::ServerChanged(changed) => {
                let before = self.servers.insert(server, changed.settings.clone());
                // another machine: what was pushed is not there
                if before.is_some_and(|before| !before.same_place(&changed.settings)) {
                    gone(held, event, rows);
                }
            }
            ServerEvent::ServerRemoved(_) => {
                self.servers.remove(&server);
                gone(held, event, rows);
                grants::server_removed(held, event, rows);
            }
            ServerEvent::AccountChangeAsked(asked) => {
                self.asked.insert((server, asked.account.clone()), asked.keys.clone());
            }
            ServerEvent::AccountChangeEnded(ended) => {
                let is_there = self.servers.contains_key(&server);
                let keys = self.asked.remove(&(server, ended.account.clone())).unwrap_or_default();
                if is_there {
                    changed(held, event, ended, &keys, rows);
                }
            }
            ServerEvent::HostKeyPinned(_)
            | ServerEvent::HostKeyChangeSeen(_)
            | ServerEvent::HostKeyAccepted(_)
            | ServerEvent::ConnectionTested(_)
            | ServerEvent::FactsGathered(_) => {}
        }
    }
}

fn gone(held: &mut Intervals<Key>, event: &Recorded, rows: &mut Rows) {
    let server = &event.subject.id;
    let first = Key::Account(server.clone(), String::new());
    let belongs = |key: &Key| matches!(key, Key::Account(on, _) if on == server);
    held.end_those(&first, belongs, |_| false, event, rows);
}

fn changed(
    held: &mut Intervals<Key>,
    event: &Recorded,
    ended: &AccountChangeEnded,
    keys: &BTreeSet<String>,
    rows: &mut Rows,
) {
    let key = Key::Account(event.subject.id.clone(), ended.account.clone());
    let sure = match (ended.action, ended.outcome) {
        (AccountAction::Remove, AccountOutcome::Done) => return held.end(&key, event, rows),
        (AccountAction::Push | AccountAction::Rotate, AccountOutcome::Done) => "",
        // whoever reads who had access wants to know of what may have been
        (AccountAction::Push | AccountAction::Rotate, AccountOutcome::Lost) => {
            "; it may be there: nobody knows"
        }
        (AccountAction::Push | AccountAction::Rotate, AccountOutcome::Failed) if ended.made => {
            "; made, then the change failed"
        }
        (AccountAction::Push | AccountAction::Rotate, AccountOutcome::Failed)
        | (AccountAction::Verify, AccountOutcome::Done | AccountOutcome::Failed | AccountOutcome::Lost)
        | (AccountAction::Remove, AccountOutcome::Failed | AccountOutcome::Lost) => return,
    };
    let keys = words::joined(keys.iter().map(|line| fingerprint(line)));
    let account = Held {
        tenant: event.subject.tenant.clone(),
        what: "account",
        who: format!("account {}", ended.account),
        on: format!("server {}", event.subject.id),
        may: "log_in".to_owned(),
        detail: format!("{keys}{sure}"),
        from: None,
        until: None,
    };
    held.begin(key, account, event, rows);
}

/// `SHA256:...` of an OpenSSH line; a line that is none as it stands.
fn fingerprint(line: &str) -> String {
    let key = line.split(' ').nth(1).and_then(|key| BASE64.decode(key.as_bytes()).ok());
    key.map_or_else(|| line.to_owned(), |key| format!("SHA256:{}", BASE64_NOPAD.encode(&sha256(&key))))
}

#[cfg(test)]
mod tests {
    use events::Kind;
    use events::server::{
        AccountChangeAsked, Credential, Method, ServerChanged, ServerRegistered, ServerRemoved,
    };
    use uuid::Uuid;

    use super::super::access::REPORT;
    use super::super::testing::{SERVER, at, cells, columns, t};
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const FINGERPRINT: &str = "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ";

    fn settings(host: &str) -> Settings {
        Settings {
            name: "web one".into(),
            host: host.into(),
            port: 22,
            username: "deploy".into(),
            credential: Credential { method: Method::Certificate, secret: None },
            zone: None,
            relay: None,
            groups: BTreeSet::new(),
            labels: BTreeMap::new(),
        }
    }

    fn server(sequence: u64, event: impl Into<ServerEvent>) -> Recorded {
        let event: ServerEvent = event.into();
        at(sequence, Kind::Server, SERVER, event)
    }

    /// Asked for, and ended so.
    fn change(sequence: u64, action: AccountAction, outcome: AccountOutcome) -> [Recorded; 2] {
        let (change_id, account) = (Uuid::from_u128(sequence.into()), "alice".to_owned());
        let keys = BTreeSet::from([KEY.to_owned()]);
        let asked = AccountChangeAsked { change_id, account: account.clone(), action, keys, deadline: t(99) };
        let ended = AccountChangeEnded {
            change_id,
            account,
            action,
            outcome,
            class: None,
            reason: None,
            suggestion: None,
            made: false,
        };
        [server(sequence, asked), server(sequence + 1, ended)]
    }

    fn told(all: &[Recorded]) -> Vec<Vec<String>> {
        let rows = cells(&REPORT, 1, None, all);
        columns(&REPORT, &rows, &["who", "detail", "began_sequence", "ended_sequence"])
    }

    #[test]
    fn an_account_is_there_from_its_push_to_its_removal() {
        let mut all = vec![server(1, ServerRegistered { settings: settings("10.0.0.1") })];
        all.extend(change(2, AccountAction::Push, AccountOutcome::Failed));
        all.extend(change(4, AccountAction::Push, AccountOutcome::Done));
        all.extend(change(6, AccountAction::Verify, AccountOutcome::Done));
        all.extend(change(8, AccountAction::Remove, AccountOutcome::Lost));
        assert_eq!(told(&all), [["account alice", FINGERPRINT, "5", ""]]);
        all.extend(change(10, AccountAction::Remove, AccountOutcome::Done));
        assert_eq!(told(&all), [["account alice", FINGERPRINT, "5", "11"]]);
    }

    #[test]
    fn what_may_be_there_is_told_and_ends_with_the_machine() {
        let mut all = vec![server(1, ServerRegistered { settings: settings("10.0.0.1") })];
        all.extend(change(2, AccountAction::Push, AccountOutcome::Lost));
        all.push(server(4, ServerChanged { settings: settings("10.0.0.2") }));
        all.extend(change(5, AccountAction::Push, AccountOutcome::Done));
        all.push(server(7, ServerRemoved {}));
        let unsure = format!("{FINGERPRINT}; it may be there: nobody knows");
        let expected =
            [["account alice", unsure.as_str(), "3", "4"], ["account alice", FINGERPRINT, "6", "7"]];
        assert_eq!(told(&all), expected);
    }
}
