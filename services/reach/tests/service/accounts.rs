//! Does an account become what it shall be, whatever it was, and is it told when it does not? Real servers.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use events::ids::ServerId;
use events::server::{AccountAction, AccountChangeAsked, AccountOutcome, Server, ServerEvent, account};
use events::{Cause, Event};
use harness::Sshd;
use nats::{Start, Tailed};
use reach::{AccountChanged, AccountError, AccountOrder, AccountWish};
use ssh::client::{Limits, Login, Target, connect};
use ssh::keys::KeyPair;

use crate::doctor::inside;
use crate::world::{PASSWORD, WHO, World, cause, tenant};

const ROOT: &str = "PermitRootLogin yes\nAuthorizedKeysFile .ssh/authorized_keys";

/// A key that somebody has, and its line.
fn key() -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let line = key.public_line().split(' ').take(2).collect::<Vec<_>>().join(" ");
    (key, line)
}

fn wish(account: &str, line: &str) -> AccountWish {
    AccountWish { account: account.into(), keys: [line.to_owned()].into(), ..AccountWish::default() }
}

impl World {
    async fn change(&self, id: &ServerId, action: AccountAction, wish: &AccountWish) -> AccountChanged {
        let deadline = Utc::now() + TimeDelta::seconds(40);
        let order = AccountOrder { action, wish: wish.clone(), deadline };
        self.reach.change_account(&tenant(), id, &order, WHO, &cause()).await.unwrap()
    }

    /// How it went: `done`, or the class.
    async fn outcome(&self, id: &ServerId, action: AccountAction, wish: &AccountWish) -> String {
        let ended = self.change(id, action, wish).await.ended;
        let failed = ended.outcome != AccountOutcome::Done;
        assert_eq!(
            (ended.class.is_some(), ended.reason.is_some(), ended.suggestion.is_some()),
            (failed, failed, failed)
        );
        assert_eq!(
            self.server(id).await.accounts[&wish.account].last.as_ref(),
            Some(&ended),
            "it is on record"
        );
        ended.class.unwrap_or_else(|| "done".to_owned())
    }

    /// How often a change was asked for, and how often one ended.
    async fn asked_and_ended(&self) -> (usize, usize) {
        let head = self.log.head().await.unwrap();
        let mut tail = self.log.tail(Start::Sequence(1), Vec::new());
        let (mut asked, mut ended) = (0, 0);
        while tail.position() <= head {
            for tailed in tail.next_chunk(500, Duration::from_secs(5)).await.unwrap() {
                let Tailed::Event(recorded) = tailed else { continue };
                let Event::Server(event) = recorded.event else { continue };
                asked += usize::from(matches!(event, ServerEvent::AccountChangeAsked(_)));
                ended += usize::from(matches!(event, ServerEvent::AccountChangeEnded(_)));
            }
        }
        (asked, ended)
    }
}

async fn gets_in(sshd: &Sshd, user: &str, key: &KeyPair) -> bool {
    let (host, user) = ("127.0.0.1".to_owned(), user.to_owned());
    let target = Target { host, port: sshd.port, user, host_key: None, through: None };
    connect(&target, &Login::Key(key.clone()), &Limits::default()).await.is_ok()
}

/// With the strictness that servers have.
async fn strict() -> Sshd {
    let sshd = Sshd::start(PASSWORD, ROOT).await.unwrap();
    let path = sshd.folder().join("sshd_config");
    let configuration = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, configuration.replace("StrictModes no", "StrictModes yes")).unwrap();
    // whose folder the tests' own is does not count
    inside(&sshd, "mount -t tmpfs -o mode=755 tmpfs /home; useradd -D -b /home").await;
    sshd.reload().await.unwrap();
    sshd
}

use AccountAction::{Push, Remove, Rotate, Verify};

#[tokio::test]
async fn an_account_comes_is_verified_gets_other_keys_and_goes() {
    let world = World::start().await;
    let sshd = strict().await;
    let id = world.with_root(&sshd).await;
    let ((first, first_line), (second, second_line)) = (key(), key());
    let mut asked = wish("alice", &first_line);
    asked.sudo = Some(true);
    let made = world.change(&id, Push, &asked).await;
    assert!(made.ended.outcome == AccountOutcome::Done && made.ended.made, "{made:?}");
    assert!(gets_in(&sshd, "alice", &first).await, "{}", sshd.log());
    let again = world.change(&id, Push, &asked).await;
    assert!(again.ended.outcome == AccountOutcome::Done && !again.ended.made, "{again:?}");
    inside(
        &sshd,
        "test $(grep -c . ~alice/.ssh/authorized_keys) = 1; test -s /etc/sudoers.d/portreeve-alice",
    )
    .await;
    assert_eq!(world.outcome(&id, Verify, &wish("alice", &first_line)).await, "done");
    // a key of somebody else stays
    inside(&sshd, "echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPg other' >> ~alice/.ssh/authorized_keys")
        .await;
    assert_eq!(world.outcome(&id, Rotate, &wish("alice", &second_line)).await, "done");
    assert!(gets_in(&sshd, "alice", &second).await && !gets_in(&sshd, "alice", &first).await);
    inside(&sshd, "grep -q other ~alice/.ssh/authorized_keys").await;
    assert_eq!(world.outcome(&id, Verify, &wish("alice", &first_line)).await, "keys_differ");
    let gone = AccountWish { account: "alice".into(), remove_home: true, ..AccountWish::default() };
    assert_eq!(world.outcome(&id, Remove, &gone).await, "done");
    inside(&sshd, "! getent passwd alice; test ! -e /home/alice; test ! -e /etc/sudoers.d/portreeve-alice")
        .await;
    let (asked, ended) = world.asked_and_ended().await;
    assert_eq!(asked, ended, "each change has one end");
}

#[tokio::test]
async fn an_account_that_was_there_is_corrected_and_stays() {
    let world = World::start().await;
    let sshd = strict().await;
    let id = world.with_root(&sshd).await;
    let (key, line) = key();
    for (name, broken) in [
        (
            "modes",
            "chmod 777 ~modes; mkdir -m 777 ~modes/.ssh; : > ~modes/.ssh/authorized_keys; chmod 666 ~modes/.ssh/authorized_keys",
        ),
        ("owners", "chown -R nobody: ~owners; mkdir -p ~owners/.ssh; chown -R nobody ~owners/.ssh"),
        ("nohome", "rm -rf ~nohome"),
        ("linked", "mkdir ~linked/.ssh; chown linked: ~linked/.ssh"),
    ] {
        inside(&sshd, &format!("useradd -m -s /bin/sh {name}; usermod -p '*' {name}; {broken}")).await;
        let before = world.outcome(&id, Push, &wish(name, &line)).await;
        assert_eq!(before, "done", "{broken}");
        assert!(gets_in(&sshd, name, &key).await, "{broken}: {}", sshd.log());
        let gone = AccountWish { account: name.into(), ..AccountWish::default() };
        assert_eq!(world.outcome(&id, Remove, &gone).await, "done");
        inside(&sshd, &format!("getent passwd {name}; ! grep -q portreeve ~{name}/.ssh/authorized_keys"))
            .await;
        assert!(!gets_in(&sshd, name, &key).await);
    }
}

#[tokio::test]
async fn each_broken_target_has_its_class_and_nothing_is_half_done() {
    let world = World::start().await;
    let (_, line) = key();
    for (broken, expected) in [
        ("usermod --lock developer", "account_locked"),
        ("chage --expiredate 1 developer", "account_expired"),
        ("usermod --shell /no/such/shell developer", "shell_missing"),
        ("usermod --shell /usr/sbin/nologin developer", "shell_unusable"),
        ("mount -o remount,bind,ro /etc", "read_only"),
        ("echo DenyUsers developer >> /etc/ssh/sshd_config", "sshd_policy"),
        // usermod refuses while anybody on this machine has the same number
        ("sed -i '/^developer:/s#:[^:]*:\\([^:]*\\)$#:/usr:\\1#' /etc/passwd", "home_unusable"),
        ("mkdir ~developer/.ssh; ln -s /etc/shadow ~developer/.ssh/authorized_keys", "not_a_file"),
        ("ln -s /root ~developer/.ssh", "not_a_folder"),
        (
            "mount -t tmpfs -o size=64k tmpfs ~developer; dd if=/dev/zero of=$(echo ~developer)/fill bs=1k || true",
            "disk_full",
        ),
    ] {
        let sshd = Sshd::start(PASSWORD, ROOT).await.unwrap();
        let id = world.with_root(&sshd).await;
        inside(&sshd, "cp -a /etc/shadow /tmp/shadow-$$; rm /tmp/shadow-$$").await;
        inside(&sshd, broken).await;
        assert_eq!(world.outcome(&id, Push, &wish("developer", &line)).await, expected, "{broken}");
        inside(&sshd, "! grep -q portreeve /etc/shadow").await;
    }
}

#[tokio::test]
async fn whoever_cannot_become_root_is_told() {
    let world = World::start().await;
    let (_, line) = key();
    let sshd = Sshd::start(PASSWORD, ROOT).await.unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    assert_eq!(world.outcome(&id, Push, &wish("alice", &line)).await, "unprivileged");
    // with the stored password for sudo, and without one
    for rule in ["ALL", "NOPASSWD: ALL"] {
        inside(&sshd, &format!("echo 'developer ALL=(ALL) {rule}' > /etc/sudoers.d/developer")).await;
        assert_eq!(world.outcome(&id, Push, &wish("alice", &line)).await, "done", "{rule}");
    }
    drop(sshd);
    assert_eq!(world.outcome(&id, Push, &wish("alice", &line)).await, "connection_refused");
}

#[tokio::test]
async fn a_change_ends_by_its_deadline_once() {
    let world = World::start().await;
    let (_, line) = key();
    let sshd = Sshd::start(PASSWORD, ROOT).await.unwrap();
    let id = world.with_root(&sshd).await;
    // who looks a name up there waits for ever
    inside(&sshd, "printf '#!/bin/sh\\nsleep 60\\n' > /run/slow; chmod 755 /run/slow; mount --bind /run/slow /usr/bin/getent").await;
    let deadline = Utc::now() + TimeDelta::seconds(4);
    let order = AccountOrder { action: Push, wish: wish("alice", &line), deadline };
    let tenant = tenant();
    let change = async |order: &AccountOrder, cause: &Cause| {
        world.reach.change_account(&tenant, &id, order, WHO, cause).await
    };
    let cause = cause();
    let ended = change(&order, &cause).await.unwrap();
    assert!(Utc::now() < deadline + TimeDelta::seconds(3));
    assert_eq!(ended.ended.outcome, AccountOutcome::Lost, "{ended:?}");
    let again = change(&order, &cause).await.unwrap();
    assert_eq!(again.ended, ended.ended, "the same command is told the same");

    // one whose process is gone: nobody else may begin before its time is over
    let asked = AccountChangeAsked {
        change_id: uuid::Uuid::new_v4(),
        account: "bob".into(),
        action: Push,
        keys: [line.clone()].into(),
        deadline: Utc::now() + TimeDelta::seconds(2),
    };
    let rule = |server: &Server| account::ask(server, asked.clone());
    world.log.decide::<Server, _>(&tenant, id.as_str(), &crate::world::cause(), 0, rule).await.unwrap();
    let order = AccountOrder { wish: wish("bob", &line), ..order };
    let busy = change(&order, &crate::world::cause()).await;
    assert!(
        matches!(&busy, Err(AccountError::Refused(refusal)) if refusal.to_string().contains("bob")),
        "{busy:?}"
    );
    harness::eventually("its time is over", Duration::from_secs(10), async || {
        world
            .reach
            .expire_accounts(&tenant, &id, &crate::world::cause())
            .await
            .map_err(|error| error.to_string())?;
        let last = world.server(&id).await.accounts["bob"].last.clone();
        last.filter(|last| last.outcome == AccountOutcome::Lost)
            .map(drop)
            .ok_or_else(|| "it is pending".to_owned())
    })
    .await
    .unwrap();
    let (asked, ended) = world.asked_and_ended().await;
    assert_eq!(asked, ended);
}
