//! Is an environment stopped when nobody uses it, and only then?

use std::process::Stdio;
use std::time::Duration;

use chrono::Utc;
use events::env::{EnvEvent, RequestCause, Status, job};
use events::{Event, ids::EnvId};
use harness::{Proof, Ssh, eventually};
use secrecy::ExposeSecret;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::stand::{Stand, eventually_true};

/// Given to each: a warning after half of it, which is later than a sentry takes to say who came.
const IDLE_S: u64 = 60;
/// A sentry says every 25 seconds when it was used last.
const STOPPED_WITHIN: Duration = Duration::from_secs(150);

async fn said(stand: &Stand, env: &EnvId) -> Vec<String> {
    let events = stand.events().await.into_iter().filter(|event| event.subject.id == env.as_str());
    let words = events.filter_map(|event| match event.event {
        Event::Env(EnvEvent::EnvEndsSoon(soon)) if soon.at.is_some() => Some("warned".to_owned()),
        Event::Env(EnvEvent::EnvEndsSoon(_)) => Some("taken back".to_owned()),
        Event::Env(EnvEvent::EnvStopRequested(asked)) => Some(asked.cause.name().to_owned()),
        _ => None,
    });
    words.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_silent_is_warned_and_stopped_and_who_works_or_marked_a_job_is_not() {
    let stand = Stand::with_sweep(8, 3600).await;
    let limited = || stand.request(|asked| asked.idle_s = Some(IDLE_S));
    let (silent, marked, busy) = (limited().await, limited().await, limited().await);
    let port = stand.running(&silent).await;
    stand.running(&marked).await;
    stand.ask(&marked, |state| job::mark(state, 3600, "training", Utc::now())).await;

    // an open connection with a terminal is no use of it, and is where the warning is read
    let password = stand.password(&silent).await;
    let mut watcher = Command::new("sshpass");
    watcher.args(["-e", "ssh", "-tt", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no"]);
    watcher.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-p", &port.to_string()]);
    watcher.args(["developer@127.0.0.1", "sleep 1000"]).env("SSHPASS", password.expose_secret());
    watcher.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut watcher = watcher.spawn().unwrap();

    // somebody who works: some output every second
    let (port, password) = (stand.running(&busy).await, stand.password(&busy).await);
    let proof = Proof::Password(password.expose_secret().to_owned());
    let ssh = Ssh { user: "developer".into(), host: "127.0.0.1".into(), port, proof, from: None };
    let mut worker = ssh.stay("while sleep 0.5; do head -c 400 /dev/urandom; done").unwrap();

    eventually("the silent one is stopped", STOPPED_WITHIN, || async {
        let state = stand.env(&silent).await;
        if state.status == Status::Stopped { Ok(()) } else { Err(format!("{:?}", state.status)) }
    })
    .await
    .unwrap();
    let story = said(&stand, &silent).await;
    assert_eq!(story, ["warned".to_owned(), RequestCause::Idle.name().to_owned()], "{story:?}");
    let mut text = String::new();
    let read = watcher.stdout.take().unwrap().read_to_string(&mut text).await;
    assert!(text.contains("Portreeve: nobody has used this environment"), "{read:?}: {text}");

    for env in [&marked, &busy] {
        assert_eq!(stand.env(env).await.status, Status::Running);
        assert!(!said(&stand, env).await.contains(&"idle".to_owned()));
    }
    // and when the work is over, it is its turn
    worker.kill().await.unwrap();
    eventually("the busy one is stopped", STOPPED_WITHIN, || async {
        let state = stand.env(&busy).await;
        if state.status == Status::Stopped { Ok(()) } else { Err(format!("{:?}", state.status)) }
    })
    .await
    .unwrap();
    assert_eq!(stand.env(&marked).await.status, Status::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_after_the_warning_keeps_it() {
    let stand = Stand::with_sweep(4, 3600).await;
    let env = stand.request(|asked| asked.idle_s = Some(IDLE_S)).await;
    let port = stand.running(&env).await;
    eventually("it is warned", STOPPED_WITHIN, || async {
        let said = said(&stand, &env).await;
        if said == ["warned"] { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await
    .unwrap();
    let password = stand.password(&env).await;
    let proof = Proof::Password(password.expose_secret().to_owned());
    let ssh = Ssh { user: "developer".into(), host: "127.0.0.1".into(), port, proof, from: None };
    let mut worker = ssh.stay("while sleep 0.5; do head -c 400 /dev/urandom; done").unwrap();
    eventually_true("the warning is taken back", || async {
        said(&stand, &env).await == ["warned", "taken back"]
    })
    .await;
    assert_eq!(stand.env(&env).await.status, Status::Running);
    worker.kill().await.unwrap();
}
