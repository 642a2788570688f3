//! Who comes in by the inner door, and what is known of them afterwards?

use std::process::Stdio;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use kit::sentry_protocol::{Lockout, Report};
use nix::sys::signal::{Signal, kill};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::world::{ENV, PASSWORD, SOON, World, count, names, output, until};

const SESSION: &str = "ses-abcdefghijkl";
/// The sentry gives an entrance 20 seconds to say itself how a session ended.
const CLOSED_WITHIN: Duration = Duration::from_secs(40);

/// A world whose sentry trusts the CA `ca`, with the key `certified`, as the gateway makes one.
async fn with_ca() -> World {
    let world = World::start().await;
    let mut policy = world.policy(PASSWORD).await;
    policy.user_ca = Some(world.keygen("ca").await);
    policy.authorized_keys = vec![world.keygen("own").await];
    world.certify("certified", "ca", &format!("{SESSION}/alice"), ENV, "-1m:+3m").await;
    world.put_in_force(policy).await;
    world
}

/// A session of the gateway that has said so; its client is ours to kill.
async fn inner_session(world: &World) -> Child {
    let mut ssh = world.ssh_with("certified", world.inner_port);
    let mut ssh = ssh.args(["echo ready; exec sleep 1000"]).stdout(Stdio::piped()).spawn().unwrap();
    let read = async { ssh.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).await };
    tokio::time::timeout(SOON, read).await.expect("a session within time").expect("a session");
    ssh
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_our_ca_for_this_environment_opens_it_and_nothing_else_does() {
    let world = with_ca().await;
    world.keygen("foreign-ca").await;
    let key_id = format!("{SESSION}/alice");
    for (name, ca, principal, validity) in [
        ("for-another", "ca", "env-aaaaaaaaaaaa", "-1m:+3m"),
        ("for-the-account", "ca", "developer", "-1m:+3m"),
        ("expired", "ca", ENV, "-9m:-6m"),
        ("foreign", "foreign-ca", ENV, "-1m:+3m"),
    ] {
        world.certify(name, ca, &key_id, principal, validity).await;
        let seen = output(world.ssh_with(name, world.inner_port).arg("true")).await;
        assert_eq!(seen.status.code(), Some(255), "{name}: {seen:?}");
    }
    let inner = async |key: &str| output(world.ssh_with(key, world.inner_port).arg("exit 3")).await;
    assert_eq!(inner("own").await.status.code(), Some(255), "attached keys are for the port");
    let mut password = Command::new("sshpass");
    password.args(["-p", PASSWORD, "ssh"]).args(world.options());
    password.args(["-o", "PubkeyAuthentication=no", "-p", &world.inner_port.to_string()]);
    let seen = output(password.args(["developer@127.0.0.1", "true"])).await;
    assert_eq!(seen.status.code(), Some(255), "a password opens nothing here: {seen:?}");
    assert_eq!(inner("certified").await.status.code(), Some(3), "{}", world.log());

    let outer = async |key: &str| output(world.ssh_with(key, world.port).arg("exit 3")).await.status.code();
    assert_eq!(outer("certified").await, Some(255), "the port trusts no certificate");
    assert_eq!(outer("own").await, Some(3));
    let reports = world.reports("the port's session", |reports| count(reports, "closed") == 1).await;
    assert_eq!(names(&reports), ["inner", "succeeded", "opened", "closed"], "no failure, no second record");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_let_in_at_an_entrance_is_not_asked_again() {
    let world = with_ca().await;
    let mut policy = world.policy(PASSWORD).await;
    policy.user_ca = Some(std::fs::read_to_string(world.path("ca.pub")).unwrap().trim().to_owned());
    let until = Utc::now() + TimeDelta::minutes(10);
    policy.lockouts = vec![Lockout { ip: "127.0.0.1".parse().unwrap(), until }];
    policy.allow_list = vec!["192.0.2.0/24".parse().unwrap()];
    world.put_in_force(policy).await;
    assert_eq!(
        output(world.ssh_with("certified", world.inner_port).arg("exit 3")).await.status.code(),
        Some(3)
    );
    assert_eq!(output(world.ssh_with("certified", world.port).arg("exit 3")).await.status.code(), Some(255));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_key_is_the_one_that_the_door_shows() {
    let world = with_ca().await;
    let mut scan = Command::new("ssh-keyscan");
    scan.args(["-t", "ed25519", "-p", &world.inner_port.to_string(), "127.0.0.1"]);
    let shown = String::from_utf8(output(&mut scan).await.stdout).unwrap();
    let shown = shown.lines().find(|line| !line.starts_with('#')).unwrap().split_once(' ').unwrap().1;
    let wanted = (Some(shown.to_owned()), Some(shown.to_owned()));
    until(
        "it is said with the policy in force and with the request for the next",
        SOON,
        async || match world.control.host_keys() {
            said if said == wanted => Ok(()),
            said => Err(said),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_else_closes_is_closed() {
    let world = with_ca().await;
    let mut ssh = inner_session(&world).await;
    ssh.kill().await.unwrap();
    let reports = until("it is closed", CLOSED_WITHIN, async || match world.control.reports() {
        reports if count(&reports, "closed") == 1 => Ok(reports),
        reports => Err((reports, world.log())),
    })
    .await;
    assert_eq!(names(&reports), ["inner", "closed"]);
    let Report::SessionClosed { session_id, reason, bytes_in, bytes_out } = &reports[1] else { panic!() };
    assert_eq!((session_id.as_str(), reason.as_str()), (SESSION, "interrupted"));
    assert!(*bytes_in > 1000 && *bytes_out > 1000, "{bytes_in} {bytes_out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_entrance_and_a_killed_sentry_closes_at_its_next_start() {
    let mut world = with_ca().await;
    let first = inner_session(&world).await;
    kill(world.sentry_pid(), Signal::SIGTERM).unwrap();
    assert_eq!(world.sentry_ended().await.code(), Some(0), "{}", world.log());
    drop(first);
    let reports = world.control.reports();
    let Some(Report::SessionClosed { session_id, reason, .. }) = reports.last() else {
        panic!("{reports:?}")
    };
    assert_eq!((session_id.as_str(), reason.as_str()), (SESSION, "environment_stopped"));

    let mut policy = world.policy(PASSWORD).await;
    policy.user_ca = Some(std::fs::read_to_string(world.path("ca.pub")).unwrap().trim().to_owned());
    world.control.set(policy.clone());
    world.start_sentry();
    world.put_in_force(policy).await;
    let second = inner_session(&world).await;
    world.reports("the second is known", |reports| count(reports, "inner") == 2).await;
    kill(world.sentry_pid(), Signal::SIGKILL).unwrap();
    world.sentry_ended().await;
    drop(second);
    world.start_sentry();
    let reports = world.reports("the second is closed", |reports| count(reports, "closed") == 2).await;
    let Some(Report::SessionClosed { reason, .. }) = reports.last() else { panic!("{reports:?}") };
    assert_eq!(reason, "interrupted");
}
