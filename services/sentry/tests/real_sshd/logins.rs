//! Are logins and sessions reported as they were?

use kit::sentry_protocol::Report;
use tokio::process::Command;

use crate::world::{PASSWORD, World, count, names, output};

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_file_is_a_session_with_its_bytes() {
    const FILE_BYTES: u64 = 1 << 20;
    let world = World::start().await;
    let file = world.path("file");
    std::fs::write(&file, vec![7; FILE_BYTES as usize]).unwrap();
    let mut scp = Command::new("sshpass");
    scp.args(["-p", PASSWORD, "scp", "-P", &world.port.to_string()]).args(world.options());
    scp.args(["-o", "PubkeyAuthentication=no"]).arg(&file).arg("developer@127.0.0.1:copy");
    let copied = output(&mut scp).await;
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(std::fs::metadata(world.path("home/developer/copy")).unwrap().len(), FILE_BYTES);

    let reports = world.reports("the session is closed", |reports| count(reports, "closed") == 1).await;
    assert_eq!(names(&reports), ["succeeded", "opened", "closed"]);
    let Report::LoginSucceeded { ip, user, method, session_id, .. } = &reports[0] else { panic!() };
    assert_eq!(
        (ip.to_string().as_str(), user.as_str(), method.as_str()),
        ("127.0.0.1", "developer", "password")
    );
    let Report::SessionClosed { session_id: closed, bytes_in, bytes_out, reason } = &reports[2] else {
        panic!()
    };
    assert_eq!((closed, reason.as_str()), (session_id, "client_left"));
    assert!((FILE_BYTES..FILE_BYTES + FILE_BYTES / 20).contains(bytes_in), "{bytes_in}");
    assert!((2_000..100_000).contains(bytes_out), "{bytes_out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_certificates_are_named_and_unknown_keys_are_no_failures() {
    let world = World::start().await;
    for key in ["ca", "own", "other", "certified"] {
        let path = world.path(key);
        let made =
            output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path)).await;
        assert!(made.status.success());
    }
    let mut sign = Command::new("ssh-keygen");
    sign.arg("-q").arg("-s").arg(world.path("ca"));
    sign.args(["-I", "ses-abcdefghijkl/alice", "-n", "developer", "-V", "+5m"])
        .arg(world.path("certified.pub"));
    assert!(output(&mut sign).await.status.success());
    let line = |key: &str| std::fs::read_to_string(world.path(key)).unwrap().trim().to_owned();
    let mut policy = world.policy(PASSWORD).await;
    policy.authorized_keys = vec![line("own.pub")];
    policy.user_ca = Some(line("ca.pub"));
    world.put_in_force(policy).await;

    let login = async |key: &str| {
        let mut ssh = Command::new("ssh");
        ssh.args(world.options()).args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i"]);
        ssh.arg(world.path(key)).args(["-p", &world.port.to_string(), "developer@127.0.0.1", "exit 3"]);
        output(&mut ssh).await.status.code()
    };
    assert_eq!(login("other").await, Some(255));
    assert_eq!(login("own").await, Some(3));
    assert_eq!(login("certified").await, Some(3));
    let reports = world.reports("two sessions are closed", |reports| count(reports, "closed") == 2).await;
    assert_eq!(count(&reports, "failed"), 0);
    let logins: Vec<_> = reports
        .iter()
        .filter_map(|report| match report {
            Report::LoginSucceeded { method, key_fingerprint, session_id, .. } => {
                Some((method.as_str(), key_fingerprint.as_deref().unwrap_or_default(), session_id.as_str()))
            }
            Report::LoginFailed { .. }
            | Report::LoginsRefused { .. }
            | Report::SessionOpened { .. }
            | Report::SessionClosed { .. } => None,
        })
        .collect();
    assert_eq!((logins[0].0, logins[1].0), ("publickey", "certificate"));
    assert!(logins.iter().all(|login| login.1.starts_with("SHA256:")), "{logins:?}");
    assert_eq!(logins[1].2, "ses-abcdefghijkl", "the certificate says for which session it was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_why() {
    let world = World::start().await;
    for user in ["developer", "nobody-here", "root", "x from 1.2.3.4 port 5 ssh2"] {
        let mut ssh = world.ssh_as(user, "wrong", "127.0.0.1");
        ssh.arg("true");
        assert!(!output(&mut ssh).await.status.success());
    }
    let reports = world.reports("four failures", |reports| reports.len() == 4).await;
    let seen: Vec<_> = reports
        .iter()
        .map(|report| {
            let Report::LoginFailed { user, class, method, .. } = report else { panic!("{report:?}") };
            format!("{user}: {class} by {method}")
        })
        .collect();
    assert_eq!(
        seen,
        [
            "developer: wrong_password by password",
            "nobody-here: unknown_user by password",
            "root: unknown_user by password",
            "x from 1.2.3.4 port 5 ssh2: unknown_user by password",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_comes_in_too() {
    let world = World::start().await;
    let mut ssh = Command::new("sshpass");
    ssh.args(["-p", PASSWORD, "ssh"]).args(world.options()).args(["-o", "PubkeyAuthentication=no"]);
    ssh.args(["-p", &world.port.to_string(), "developer@::1", "true"]);
    let seen = output(&mut ssh).await;
    assert!(seen.status.success(), "{seen:?}");
    let reports = world.reports("the session is closed", |reports| count(reports, "closed") == 1).await;
    let Report::LoginSucceeded { ip, .. } = &reports[0] else { panic!() };
    assert_eq!(ip.to_string(), "::1");
}
