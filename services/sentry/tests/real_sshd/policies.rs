//! Does a policy bind at the moment it is said to be in force?

use std::os::unix::fs::PermissionsExt;

use kit::sentry_protocol::{Jupyter, Report};

use crate::world::{PASSWORD, SOON, World, count, output, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_the_only_one() {
    let world = World::start().await;
    assert!(output(world.ssh(PASSWORD, "127.0.0.1").arg("true")).await.status.success());
    let policy = world.policy("Another-Pass-2").await;
    world.put_in_force(policy).await;
    assert!(!output(world.ssh(PASSWORD, "127.0.0.1").arg("true")).await.status.success());
    assert!(output(world.ssh("Another-Pass-2", "127.0.0.1").arg("true")).await.status.success());
    let cache = world.path("state/policy.json");
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o600);
    let log = world.log();
    assert!(!log.contains("$6$") && !log.contains(crate::control_plane::TOKEN), "a secret was logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_longer_allowed_is_sent_away() {
    let world = World::start().await;
    let mut session = world.long_session("127.0.0.3").await;
    let mut policy = world.policy(PASSWORD).await;
    policy.allow_list = vec!["127.0.0.2/32".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    world.put_in_force(policy).await;
    tokio::time::timeout(SOON, session.wait()).await.expect("the session is ended").unwrap();
    let reports = world.reports("it is closed", |reports| count(reports, "closed") == 1).await;
    let Some(Report::SessionClosed { reason, bytes_in, bytes_out, .. }) = reports.last() else { panic!() };
    assert_eq!(reason, "address_not_allowed");
    assert!(*bytes_in > 1000 && *bytes_out > 1000);
    assert!(!output(world.ssh(PASSWORD, "127.0.0.3").arg("true")).await.status.success());
    assert!(output(world.ssh(PASSWORD, "127.0.0.2").arg("true")).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyter_runs_as_the_account_while_it_is_wanted() {
    let world = World::start().await;
    let (program, ran) = (world.path("work/jupyter"), world.path("work/output/ran"));
    let script = format!(
        "#!/bin/sh\necho \"$$ $(id -un) $JUPYTER_TOKEN $PORTREEVE_SENTRY_TOKEN $*\" >>{}\nexec sleep 1000\n",
        ran.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut policy = world.policy(PASSWORD).await;
    policy.jupyter = Some(Jupyter { token: "tok-1".into(), base_url: Some("/jupyter/env-x/".into()) });
    world.put_in_force(policy).await;
    let lines = async |wanted: usize| {
        until("JupyterLab runs", SOON, async || match std::fs::read_to_string(&ran) {
            Ok(text) if text.lines().count() >= wanted => Ok(text),
            other => Err((other, world.log())),
        })
        .await
    };
    let first = lines(1).await;
    assert!(first.contains(" developer tok-1  lab --no-browser --ServerApp.ip=0.0.0.0"), "{first}");
    assert!(first.trim_end().ends_with(" --ServerApp.base_url=/jupyter/env-x/"), "{first}");
    let pid = first.split(' ').next().unwrap();
    assert!(output(world.ssh(PASSWORD, "127.0.0.1").arg(format!("kill {pid}"))).await.status.success());
    let second = lines(2).await;

    let policy = world.policy(PASSWORD).await;
    world.put_in_force(policy).await;
    let pid = second.lines().last().unwrap().split(' ').next().unwrap();
    until("JupyterLab is stopped", SOON, async || {
        let seen = output(world.ssh(PASSWORD, "127.0.0.1").arg(format!("kill -0 {pid}"))).await;
        if seen.status.success() { Err(seen) } else { Ok(()) }
    })
    .await;
}
