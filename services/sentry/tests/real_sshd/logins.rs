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
async fn keys_are_named_and_unknown_keys_are_no_failures() {
    let world = World::start().await;
    let mut policy = world.policy(PASSWORD).await;
    policy.authorized_keys = vec![world.keygen("own").await];
    world.keygen("other").await;
    world.put_in_force(policy).await;
    let login = async |key: &str| output(world.ssh_with(key, world.port).arg("exit 3")).await.status.code();
    assert_eq!(login("other").await, Some(255));
    assert_eq!(login("own").await, Some(3));
    let reports = world.reports("the session is closed", |reports| count(reports, "closed") == 1).await;
    assert_eq!(names(&reports), ["succeeded", "opened", "closed"]);
    let Report::LoginSucceeded { method, key_fingerprint, .. } = &reports[0] else { panic!() };
    let fingerprint = key_fingerprint.as_deref().unwrap_or_default();
    assert!(method == "publickey" && fingerprint.starts_with("SHA256:"), "{reports:?}");
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
