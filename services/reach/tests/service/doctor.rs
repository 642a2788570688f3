//! Does the doctor find what is wrong, where, and say what to do? Each target is a real sshd, broken in one way.

use std::net::UdpSocket;
use std::time::Duration;

use events::ids::ServerId;
use events::server::Settings;
use harness::Sshd;
use harness::sshd::USER;
use reach::{Diagnosis, Finding, Status};
use tokio::io::AsyncReadExt;

use crate::world::{DENY, PASSWORD, WHO, World, cause, tenant};

impl World {
    async fn diagnose(&self, id: &ServerId, account: Option<&str>) -> Diagnosis {
        let diagnosis = self.reach.diagnose(&tenant(), id, account, WHO, &cause()).await.unwrap();
        for finding in &diagnosis.findings {
            let is_wrong = matches!(finding.status, Status::Failed | Status::Warning);
            assert_eq!(
                (finding.class.is_some(), finding.remedy.is_some()),
                (is_wrong, is_wrong),
                "{finding:?}"
            );
        }
        assert_eq!(self.server(id).await.tested.as_ref(), Some(&diagnosis.outcome), "its test is on record");
        diagnosis
    }

    /// By root's account, which may see everything.
    pub async fn with_root(&self, sshd: &Sshd) -> ServerId {
        inside(sshd, &format!("echo root:{PASSWORD} | chpasswd")).await;
        let root = Settings { username: "root".into(), ..Self::settings(sshd.port) };
        self.with_password(PASSWORD, root).await
    }
}

pub async fn inside(sshd: &Sshd, command: &str) {
    sshd.run_inside(&["sh", "-ec", command]).await.unwrap();
}

fn at<'d>(diagnosis: &'d Diagnosis, step: &str) -> Vec<&'d Finding> {
    diagnosis.findings.iter().filter(|finding| finding.step == step).collect()
}

/// What is not as it should be, by step and class.
fn wrong(diagnosis: &Diagnosis) -> Vec<(&'static str, &'static str)> {
    let wrong = diagnosis
        .findings
        .iter()
        .filter(|finding| matches!(finding.status, Status::Failed | Status::Warning));
    wrong.map(|finding| (finding.step, finding.class.unwrap())).collect()
}

fn failed(diagnosis: &Diagnosis) -> Vec<(&'static str, &'static str)> {
    let failed = diagnosis.findings.iter().filter(|finding| finding.status == Status::Failed);
    failed.map(|finding| (finding.step, finding.class.unwrap())).collect()
}

const ROOT: &str = "PermitRootLogin yes";

#[tokio::test]
async fn a_server_that_is_well_is_found_well() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, ROOT).await.unwrap();
    let root = world.with_root(&sshd).await;
    let diagnosis = world.diagnose(&root, Some(USER)).await;
    assert_eq!(failed(&diagnosis), [], "{diagnosis:?}");
    let steps: Vec<_> = diagnosis.findings.iter().map(|finding| finding.step).collect();
    for step in [
        "name",
        "route",
        "port",
        "identification",
        "key_exchange",
        "host_key",
        "authentication",
        "shell",
        "privilege",
        "sudo",
        "account",
        "home",
        "policy",
        "storage",
        "clock",
    ] {
        assert!(steps.contains(&step), "{step}: {steps:?}");
    }
    assert!(at(&diagnosis, "host_key")[0].said.contains("seen first"), "{diagnosis:?}");
    let again = world.diagnose(&root, None).await;
    assert!(again.ok() && at(&again, "host_key")[0].said.contains("the one that is believed"), "{again:?}");
}

/// A connection that sshd has taken: whoever looked before may still count against its limit.
pub async fn let_in(port: u16) -> tokio::net::TcpStream {
    harness::eventually("sshd takes a stranger", Duration::from_secs(10), || async {
        let mut stranger =
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| e.to_string())?;
        let mut said = [0; 4];
        stranger.read_exact(&mut said).await.map_err(|error| error.to_string())?;
        if said == *b"SSH-" { Ok(stranger) } else { Err(format!("{said:?}")) }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn what_stands_in_the_way_is_found_at_its_step() {
    let world = World::start().await;
    let at_port = async |port| {
        let id = world.with_password(PASSWORD, World::settings(port)).await;
        world.diagnose(&id, None).await
    };
    let closed = at_port(harness::free_ports::one().unwrap()).await;
    assert_eq!(wrong(&closed), [("port", "connection_refused")]);
    assert!(at(&closed, "port")[0].remedy.as_ref().unwrap().contains("firewall"));
    assert_eq!(
        (at(&closed, "route")[0].status, at(&closed, "sudo")[0].status),
        (Status::Ok, Status::Skipped)
    );
    let nowhere = Settings { host: "no-such-host.invalid".into(), ..World::settings(22) };
    let nowhere = world.with_password(PASSWORD, nowhere).await;
    assert_eq!(wrong(&world.diagnose(&nowhere, None).await), [("name", "dns_failed")]);

    let full = Sshd::start(PASSWORD, "MaxStartups 1:100:1").await.unwrap();
    let _stranger = let_in(full.port).await;
    let full = at_port(full.port).await;
    assert_eq!(wrong(&full), [("identification", "too_many_connections")]);
    assert!(at(&full, "identification")[0].remedy.as_ref().unwrap().contains("MaxStartups"));

    let locked = Sshd::start(PASSWORD, "").await.unwrap();
    inside(&locked, "usermod --lock developer").await;
    let locked = at_port(locked.port).await;
    assert_eq!(wrong(&locked), [("authentication", "auth_failed")]);
    let remedy = at(&locked, "authentication")[0].remedy.clone().unwrap();
    assert!(["passwd -S", "chage -l", "--account"].iter().all(|what| remedy.contains(what)), "{remedy}");
}

#[tokio::test]
async fn hosts_deny_is_found_by_a_connection_that_is_closed() {
    let world = World::patient().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    inside(&sshd, DENY).await;
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let denied = world.diagnose(&id, None).await;
    assert_eq!(wrong(&denied), [("identification", "reset_in_ident")], "{denied:?}");
    assert!(at(&denied, "identification")[0].remedy.as_ref().unwrap().contains("/etc/hosts.deny"));
}

#[tokio::test]
async fn what_is_wrong_with_an_account_is_seen_by_another() {
    let world = World::start().await;
    for (broken, expected) in [
        ("usermod --lock developer", ("account", "account_locked")),
        ("chage --expiredate 1 developer", ("account", "account_expired")),
        ("chage --lastday 0 developer", ("account", "password_expired")),
        ("usermod --shell /no/such/shell developer", ("account", "shell_missing")),
        ("usermod --shell /usr/sbin/nologin developer", ("account", "shell_unusable")),
        ("rm -rf ~developer", ("home", "home_missing")),
        ("chmod 777 ~developer", ("home", "wrong_modes")),
        ("mkdir ~developer/.ssh; chown nobody ~developer/.ssh", ("home", "wrong_owner")),
        ("userdel --force developer", ("account", "account_missing")),
        ("echo AllowUsers root >> /etc/ssh/sshd_config", ("policy", "sshd_policy")),
        ("mount -o remount,bind,ro /etc", ("storage", "read_only")),
        ("touch /etc/nologin", ("policy", "logins_disabled")),
    ] {
        let sshd = Sshd::start(PASSWORD, ROOT).await.unwrap();
        let root = world.with_root(&sshd).await;
        inside(&sshd, broken).await;
        let diagnosis = world.diagnose(&root, Some(USER)).await;
        assert_eq!(failed(&diagnosis), [expected], "{broken}: {diagnosis:?}");
    }
}

#[tokio::test]
async fn a_full_disk_is_found_by_whoever_lives_on_it() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    inside(&sshd, "mount -t tmpfs -o size=64k,mode=755,uid=$(id -u developer) tmpfs ~developer").await;
    inside(&sshd, "dd if=/dev/zero of=$(echo ~developer)/fill bs=1k 2>/dev/null || true").await;
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let diagnosis = world.diagnose(&id, None).await;
    assert_eq!(failed(&diagnosis), [("storage", "disk_full")], "{diagnosis:?}");
}

#[tokio::test]
async fn how_root_can_be_had_is_found() {
    let world = World::start().await;
    let sudo = async |prepare: &str| {
        let sshd = Sshd::start(PASSWORD, "").await.unwrap();
        inside(&sshd, prepare).await;
        let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
        let diagnosis = world.diagnose(&id, None).await;
        assert!(diagnosis.ok(), "{diagnosis:?}");
        let finding = at(&diagnosis, "sudo")[0].clone();
        (finding.status, finding.class, finding.said)
    };
    let rule = |rule: &str| format!("printf 'developer ALL=(ALL) {rule}\\n' > /etc/sudoers.d/developer");
    let free = sudo(&rule("NOPASSWD: ALL")).await;
    assert!(free.0 == Status::Ok && free.2.contains("no password"), "{free:?}");
    let asks = sudo(&rule("ALL")).await;
    assert!(asks.0 == Status::Ok && asks.2.contains("stored password"), "{asks:?}");
    assert_eq!(sudo("true").await.1, Some("sudo_refused"));
    assert_eq!(sudo("mount --bind /dev/null /usr/bin/sudo").await.1, Some("sudo_missing"));
}

#[tokio::test]
async fn a_login_that_waits_for_names_is_found_slow() {
    // a name server that never answers
    let _silent = UdpSocket::bind("127.0.0.98:53").unwrap();
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let resolver = "nameserver 127.0.0.98\\noptions timeout:2 attempts:1\\n";
    inside(&sshd, &format!(": > /etc/hosts; printf '{resolver}' > /etc/resolv.conf")).await;
    let path = sshd.folder().join("sshd_config");
    let configuration = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, configuration.replace("UseDNS no", "UseDNS yes")).unwrap();
    sshd.reload().await.unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let diagnosis = world.diagnose(&id, None).await;
    let slow = at(&diagnosis, "authentication")[0];
    assert_eq!((slow.status, slow.class), (Status::Warning, Some("slow_authentication")), "{diagnosis:?}");
    assert!(slow.remedy.as_ref().unwrap().contains("UseDNS"));
}
