//! Is the first host key believed, and no other until somebody says so?

use events::server::host_key::{accept, shown};
use events::server::{HostKey, Server};
use harness::Sshd;
use reach::ReachError;
use ssh::keys::{KeyPair, PublicLine};

use crate::world::{PASSWORD, WHO, World, cause, said, tenant};

fn another() -> HostKey {
    let line = KeyPair::generate().unwrap().public_line();
    HostKey { fingerprint: PublicLine::read(&line).unwrap().fingerprint(), line }
}

#[tokio::test]
async fn the_first_key_is_pinned_and_a_change_waits_for_somebody() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let real = PublicLine::read(&sshd.host_key().unwrap()).unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    assert_eq!(world.class(&id).await, said("ok", "shell"));
    assert_eq!(world.server(&id).await.host_key.unwrap().line, real.line());

    // another one was pinned before: what the machine shows now is a change
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let real = PublicLine::read(&sshd.host_key().unwrap()).unwrap();
    let changed = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let settings = world.server(&changed).await.settings.unwrap();
    let pinned = another();
    let rule = |server: &Server| shown(server, &settings, &pinned);
    world.log.decide::<Server, _>(&tenant(), changed.as_str(), &cause(), 0, rule).await.unwrap();
    assert_eq!(world.class(&changed).await, said("host_key_mismatch", "host_key"));
    let tested = world.test(&changed).await;
    let reason = tested.reason.unwrap();
    assert!(reason.contains(&pinned.fingerprint) && reason.contains(&real.fingerprint()), "{reason}");
    let server = world.server(&changed).await;
    assert_eq!(server.host_key, Some(pinned), "seeing is not believing");
    assert_eq!(server.host_key_seen.unwrap().line, real.line());
    assert!(!sshd.log().contains("password for"), "nothing secret was sent to it: {}", sshd.log());

    let rule = |server: &Server| accept(server, &real.fingerprint());
    world.log.decide::<Server, _>(&tenant(), changed.as_str(), &cause(), 0, rule).await.unwrap();
    assert_eq!(world.class(&changed).await, said("ok", "shell"));
}

#[tokio::test]
async fn a_wrong_password_pins_the_key_all_the_same() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let id = world.with_password("wrong", World::settings(sshd.port)).await;
    assert_eq!(world.class(&id).await, said("auth_failed", "authentication"));
    assert!(world.server(&id).await.host_key.is_some());
}

#[tokio::test]
async fn a_key_of_another_kind_beside_the_pinned_one_is_no_change() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "HostKey {folder}/ecdsa").await.unwrap();
    let key = sshd.folder().join("ecdsa").display().to_string();
    sshd.run_inside(&["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", &key]).await.unwrap();
    let path = sshd.folder().join("sshd_config");
    let both = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{both}\nHostKeyAlgorithms ecdsa-sha2-nistp256\n")).unwrap();
    sshd.reload().await.unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    assert_eq!(world.class(&id).await, said("ok", "shell"));
    let kind = async |id| world.server(id).await.host_key.unwrap().line.split(' ').next().unwrap().to_owned();
    assert_eq!(kind(&id).await, "ecdsa-sha2-nistp256");
    // now it has an ed25519 key as well, which whoever knows neither takes first
    std::fs::write(&path, both).unwrap();
    sshd.reload().await.unwrap();
    let fresh = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    assert_eq!(world.class(&fresh).await, said("ok", "shell"));
    assert_eq!(kind(&fresh).await, "ssh-ed25519");
    assert_eq!(world.class(&id).await, said("ok", "shell"));
    assert!(world.server(&id).await.host_key_seen.is_none());
}

#[tokio::test]
async fn of_two_that_come_first_both_believe_the_same_key() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let settings = world.server(&id).await.settings.unwrap();
    let tenant = tenant();
    let cause = cause();
    let connecting = world.reach.connect(&tenant, &id, WHO, &cause);
    let pinning = async {
        let key = another();
        let rule = |server: &Server| shown(server, &settings, &key);
        world.log.decide::<Server, _>(&tenant, id.as_str(), &crate::world::cause(), 0, rule).await.unwrap();
    };
    let (connected, ()) = tokio::join!(connecting, pinning);
    match connected {
        Err(ReachError::Trouble(trouble)) => assert_eq!(trouble.class, "host_key_mismatch"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a key that is not the pinned one was believed"),
    }
}
