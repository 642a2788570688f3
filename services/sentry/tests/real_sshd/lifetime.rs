//! What survives, and what ends, when the sentry starts, stops, or is killed?

use std::time::{Duration, Instant};

use kit::sentry_protocol::Report;
use nix::sys::signal::{Signal, kill};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::world::{PASSWORD, SOON, World, count, names, output, until};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_before_a_policy_is_in_force_and_soon_after() {
    let mut world = World::prepare().await;
    world.start_sentry();
    let (status, body) = until("the health port answers", SOON, async || match world.healthz().await {
        (0, error) => Err(error),
        answered => Ok(answered),
    })
    .await;
    assert_eq!((status, body.contains("\"policy_version\":null")), (503, true), "{body}");
    assert!(TcpStream::connect(("127.0.0.1", world.port)).await.is_err());
    let policy = world.policy(PASSWORD).await;
    world.put_in_force(policy).await;
    assert!(output(world.ssh(PASSWORD, "127.0.0.1").arg("true")).await.status.success());
    until("health is good", SOON, async || match world.healthz().await {
        (200, body) if body.contains("\"policy_version\":\"v1\"") && body.contains("\"sessions\":0") => {
            Ok(())
        }
        other => Err(other),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_environment_accepts_within_a_second() {
    let mut world = World::prepare().await;
    world.control.set(world.policy(PASSWORD).await);
    let begun = Instant::now();
    world.start_sentry();
    until("it accepts", SOON, async || {
        TcpStream::connect(("127.0.0.1", world.port)).await.map_err(|_| world.log())
    })
    .await;
    let fresh = begun.elapsed();
    // namespaces, mounts and useradd of the test are in it; the sentry's own part is a tenth of this
    eprintln!("from nothing to an open port, namespaces and account included: {fresh:?}");
    assert!(fresh < Duration::from_secs(5), "{fresh:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_survives_kill_9_and_an_absent_control_plane() {
    let mut world = World::start().await;
    let session = world.long_session("127.0.0.1").await;
    world.reports("the first session is open", |reports| count(reports, "opened") == 1).await;
    world.control.go_away();
    assert!(output(world.ssh(PASSWORD, "127.0.0.1").arg("true")).await.status.success());
    assert!(!output(world.ssh("wrong", "127.0.0.1").arg("true")).await.status.success());
    until("five reports wait", SOON, async || match world.healthz().await {
        (200, body) if body.contains("\"spool_pending\":4") => Ok(()),
        other => Err(other),
    })
    .await;
    kill(world.sentry_pid(), Signal::SIGKILL).unwrap();
    world.sentry_ended().await;
    drop(session);

    // without a control plane the cached policy lets people in, after a while
    world.start_sentry();
    until("the cached policy is in force", SOON, async || match world.healthz().await {
        (200, _) => Ok(()),
        other => Err((other, world.log())),
    })
    .await;
    assert!(output(world.ssh(PASSWORD, "127.0.0.1").arg("true")).await.status.success());
    assert_eq!(world.control.reports().len(), 2, "the control plane has heard nothing yet");

    world.control.come_back();
    let reports = world.reports("everything arrives", |reports| count(reports, "closed") == 3).await;
    assert_eq!(
        names(&reports),
        [
            "succeeded",
            "opened", // the long session
            "succeeded",
            "opened",
            "closed",
            "failed", // while the control plane was away
            "closed", // the long one, interrupted
            "succeeded",
            "opened",
            "closed", // after the restart
        ]
    );
    let Report::SessionClosed { reason, session_id, .. } = &reports[6] else { panic!() };
    let Report::SessionOpened { session_id: long, .. } = &reports[1] else { panic!() };
    assert_eq!((reason.as_str(), session_id), ("interrupted", long));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_sessions_with_records() {
    let mut world = World::start().await;
    let mut sessions = [world.long_session("127.0.0.1").await, world.long_session("127.0.0.2").await];
    let begun = Instant::now();
    kill(world.sentry_pid(), Signal::SIGTERM).unwrap();
    let status = world.sentry_ended().await;
    assert_eq!(status.code(), Some(0), "{}", world.log());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    for session in &mut sessions {
        tokio::time::timeout(SOON, session.wait()).await.expect("clients notice").unwrap();
    }
    // flushed before the end: nothing to wait for
    let reports = world.control.reports();
    assert_eq!(count(&reports, "opened"), 2);
    let reasons: Vec<_> = reports
        .iter()
        .filter_map(|report| match report {
            Report::SessionClosed { reason, bytes_in, .. } => Some((reason.as_str(), *bytes_in > 1000)),
            Report::LoginSucceeded { .. }
            | Report::LoginFailed { .. }
            | Report::LoginsRefused { .. }
            | Report::InnerOpened { .. }
            | Report::SessionOpened { .. } => None,
        })
        .collect();
    assert_eq!(reasons, [("environment_stopped", true); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_is_a_closed_session() {
    let world = World::start().await;
    let mut session = world.long_session("127.0.0.1").await;
    let pid = session.id().unwrap();
    // sshpass has a child: the client itself, which gets no chance to say goodbye
    let client = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    kill(nix::unistd::Pid::from_raw(client.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    session.wait().await.unwrap();
    let reports = world.reports("it is closed", |reports| count(reports, "closed") == 1).await;
    let Some(Report::SessionClosed { reason, bytes_in, bytes_out, .. }) = reports.last() else { panic!() };
    assert_eq!(reason, "connection_lost");
    assert!(*bytes_in > 1000 && *bytes_out > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn process_1_buries_orphans_and_keeps_the_status_of_its_own() {
    let world = World::start().await;
    const ORPHANS: &str = "for n in $(seq 300); do (sleep 0.0$((n % 10)) &) ; done";
    assert!(output(world.ssh(PASSWORD, "127.0.0.1").arg(ORPHANS)).await.status.success());
    // meanwhile sessions come and go, and each is seen to end
    for _ in 0..5 {
        let seen = output(world.ssh(PASSWORD, "127.0.0.1").arg("(sleep 0.01 &); exit 7")).await;
        assert_eq!(seen.status.code(), Some(7));
    }
    until("no zombies", SOON, async || {
        let seen = output(world.ssh(PASSWORD, "127.0.0.1").arg("ps -eo ppid,stat,args")).await;
        let text = String::from_utf8_lossy(&seen.stdout).into_owned();
        let of_sentry = |line: &&str| line.trim_start().starts_with("1 Z");
        if seen.status.success() && text.lines().filter(of_sentry).count() == 0 { Ok(()) } else { Err(text) }
    })
    .await;
    world
        .reports("every session is closed", |reports| {
            count(reports, "closed") >= 7 && count(reports, "closed") == count(reports, "opened")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_descriptors_is_survived() {
    let world = World::start().await;
    let limit = async |limit: &str| {
        let pid = world.sentry_pid().to_string();
        let mut prlimit = Command::new("prlimit");
        assert!(output(prlimit.args(["--pid", &pid, limit])).await.status.success());
    };
    limit("--nofile=32:1024").await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(("127.0.0.1", world.port)).await.unwrap());
    }
    for address in 2..6 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, address], 0).into()).unwrap();
        idle.push(socket.connect(([127, 0, 0, 1], world.port).into()).await.unwrap());
    }
    until("it is noticed", SOON, async || match world.log() {
        log if log.contains("cannot accept connections") || log.contains("cannot start sshd") => Ok(()),
        log => Err(log),
    })
    .await;
    drop(idle);
    limit("--nofile=1024:1024").await;
    until("people come in again", SOON, async || {
        let seen = output(world.ssh(PASSWORD, "127.0.0.9").arg("true")).await;
        if seen.status.success() { Ok(()) } else { Err((seen, world.log())) }
    })
    .await;
}
