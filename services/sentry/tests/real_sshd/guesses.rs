//! How many passwords can an address try?

use chrono::{TimeDelta, Utc};
use kit::sentry_protocol::{Failure, Forgiven, Lockout, Report};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::{PASSWORD, SOON, World, count, output};

const TRIES_MAX: usize = 5;

/// What a raw connection is told before it is closed.
async fn greeting(world: &World) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let mut text = [0; 200];
    let bytes = tokio::time::timeout(SOON, stream.read(&mut text)).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&text[..bytes]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifth_failure_closes_the_address_until_it_is_forgiven() {
    let mut world = World::start().await;
    // a connection that says nothing could still make a try, so it takes one of the five
    let idle = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let seen = output(&mut world.guesser("127.0.0.1")).await;
    let denied = String::from_utf8_lossy(&seen.stderr).matches("Permission denied").count();
    assert!(denied < TRIES_MAX, "{seen:?}");
    world.reports("four failures", |reports| count(reports, "failed") == TRIES_MAX - 1).await;
    drop(idle);
    output(&mut world.guesser("127.0.0.1")).await;
    let reports = world.reports("the fifth failure", |reports| count(reports, "failed") >= TRIES_MAX).await;
    assert_eq!(reports.len(), TRIES_MAX);

    let told = greeting(&world).await;
    assert!(told.starts_with("Portreeve: this address is closed for another 30 minutes"), "{told}");
    assert!(
        !output(world.ssh(PASSWORD, "127.0.0.1").arg("true")).await.status.success(),
        "also with the password"
    );
    assert!(output(world.ssh(PASSWORD, "127.0.0.2").arg("true")).await.status.success(), "others come in");

    nix::sys::signal::kill(world.sentry_pid(), nix::sys::signal::Signal::SIGKILL).unwrap();
    world.sentry_ended().await;
    let policy = world.policy(PASSWORD).await;
    world.control.set(policy.clone());
    world.start_sentry();
    world.put_in_force(policy).await;
    assert!(greeting(&world).await.starts_with("Portreeve:"), "a restart does not open it");

    let mut policy = world.policy(PASSWORD).await;
    policy.forgiven = vec![Forgiven { ip: "127.0.0.1".parse().unwrap(), at: Utc::now() }];
    world.put_in_force(policy).await;
    assert!(output(world.ssh(PASSWORD, "127.0.0.1").arg("true")).await.status.success(), "forgiven");
    assert_eq!(count(&world.control.reports(), "failed"), TRIES_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_guessers_at_once_make_five_tries_together() {
    let world = World::start().await;
    let guessers: Vec<_> = (0..20).map(|_| world.guesser("127.0.0.1")).collect();
    let running: Vec<_> = guessers
        .into_iter()
        .map(|mut guesser| tokio::spawn(async move { output(&mut guesser).await }))
        .collect();
    let mut denied = 0;
    for guesser in running {
        let seen = guesser.await.unwrap();
        denied += String::from_utf8_lossy(&seen.stderr).matches("Permission denied").count();
    }
    // from both sides: what clients were answered, and what was reported
    assert!(denied <= TRIES_MAX, "{denied} tries were answered");
    let reports = world.reports("five failures", |reports| reports.len() >= TRIES_MAX).await;
    assert_eq!((reports.len(), count(&reports, "failed")), (TRIES_MAX, TRIES_MAX), "{}", world.log());
    assert!(greeting(&world).await.starts_with("Portreeve:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_people_behind_one_address_wait_for_their_turn() {
    let world = World::start().await;
    let logins: Vec<_> = (0..8)
        .map(|_| {
            let mut ssh = world.ssh(PASSWORD, "127.0.0.1");
            ssh.arg("true");
            tokio::spawn(async move { output(&mut ssh).await })
        })
        .collect();
    for login in logins {
        let seen = login.await.unwrap();
        assert!(seen.status.success(), "{seen:?}");
    }
    world.reports("eight sessions", |reports| count(reports, "closed") == 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_log_closed_stays_out() {
    let world = World::start().await;
    let mut policy = world.policy(PASSWORD).await;
    let until = Utc::now() + TimeDelta::minutes(10);
    policy.lockouts = vec![Lockout { ip: "127.0.0.1".parse().unwrap(), until }];
    world.put_in_force(policy).await;
    let told = greeting(&world).await;
    assert!(told.contains("another 10 minutes"), "{told}");
    assert!(output(world.ssh(PASSWORD, "127.0.0.2").arg("true")).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_other_entrances_leave_fewer_here() {
    let world = World::start().await;
    let mut policy = world.policy(PASSWORD).await;
    let failure =
        |n: i64| Failure { ip: "127.0.0.1".parse().unwrap(), at: Utc::now() - TimeDelta::minutes(n) };
    policy.failures = (1..=4).map(failure).collect();
    world.put_in_force(policy).await;
    let seen = output(&mut world.guesser("127.0.0.1")).await;
    let denied = String::from_utf8_lossy(&seen.stderr).matches("Permission denied").count();
    assert!(denied <= 1, "{seen:?}");
    assert!(greeting(&world).await.starts_with("Portreeve: this address is closed"));
    world.reports("one failure", |reports| count(reports, "failed") == 1).await;
    assert!(output(world.ssh(PASSWORD, "127.0.0.2").arg("true")).await.status.success(), "others come in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_a_closed_door_is_told_in_summaries() {
    const FLOOD: u64 = 400;
    let world = World::start_telling_refusals(1).await;
    let mut policy = world.policy(PASSWORD).await;
    let until = Utc::now() + TimeDelta::minutes(10);
    policy.lockouts = vec![Lockout { ip: "127.0.0.1".parse().unwrap(), until }];
    world.put_in_force(policy).await;
    for _ in 0..FLOOD {
        drop(TcpStream::connect(("127.0.0.1", world.port)).await.unwrap());
    }
    let counted = |reports: &[Report]| -> u64 {
        let count = |report: &Report| {
            let Report::LoginsRefused { ip, count, from, to } = report else { panic!("{report:?}") };
            assert!(ip.to_string() == "127.0.0.1" && from <= to);
            *count
        };
        reports.iter().map(count).sum()
    };
    let reports = world.reports("all are counted", |reports| counted(reports) == FLOOD).await;
    assert!(reports.len() <= 20, "{} summaries of {FLOOD} refusals", reports.len());
}
