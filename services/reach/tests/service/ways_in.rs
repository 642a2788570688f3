//! Does each kind of credential open a server, and does a repeated test happen once?

use events::server::Method;
use harness::Sshd;
use reach::ReachError;
use secrecy::ExposeSecret;
use ssh::ca::Holder;
use ssh::channel::Output;
use ssh::client::{Limits, Login, Target, connect};
use ssh::keys::KeyPair;

use crate::world::{PASSWORD, WHO, World, cause, said, tenant};

#[tokio::test]
async fn a_password_a_key_and_a_certificate_open_a_server() {
    let world = World::start().await;
    let more = "TrustedUserCAKeys {folder}/ca.pub\nAuthorizedKeysFile {folder}/keys";
    let sshd = Sshd::start(PASSWORD, more).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let authority = world.reach.authority().await.unwrap().public_line();
    std::fs::write(sshd.folder().join("keys"), format!("{}\n", key.public_line())).unwrap();
    std::fs::write(sshd.folder().join("ca.pub"), format!("{authority}\n")).unwrap();
    let key = key.to_text().unwrap();
    for (method, secret) in
        [(Method::Password, PASSWORD), (Method::PrivateKey, key.expose_secret()), (Method::Certificate, "")]
    {
        let id = world.register(method, secret, World::settings(sshd.port)).await;
        assert_eq!(world.class(&id).await, said("ok", "shell"), "{method:?}: {}", sshd.log());
        let reached = world.reach.connect(&tenant(), &id, WHO, &cause()).await.unwrap();
        let channel = reached.connection.command(b"id -un", None).await.unwrap();
        assert_eq!(channel.next().await.unwrap(), Some(Output::Data("developer\n".into())));
    }
    assert!(sshd.log().contains("ses-abcdefghijkl/alice"), "the server's log names the session");
    assert_eq!(world.reach.authority().await.unwrap().public_line(), authority, "there is one");
}

#[tokio::test]
async fn a_certificate_is_for_the_registered_account_alone() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "TrustedUserCAKeys {folder}/ca.pub").await.unwrap();
    let authority = world.reach.authority().await.unwrap();
    std::fs::write(sshd.folder().join("ca.pub"), format!("{}\n", authority.public_line())).unwrap();
    sshd.run_inside(&["useradd", "--shell", "/bin/bash", "another"]).await.unwrap();
    let holder = Holder { principal: "developer", session: WHO.session, user: WHO.user };
    let key = authority.certify(&holder, std::time::SystemTime::now()).unwrap();
    let as_user = async |user: &str| {
        let (host, user) = ("127.0.0.1".to_owned(), user.to_owned());
        let target = Target { host, port: sshd.port, user, host_key: None, through: None };
        let login = Login::Certificate(key.clone());
        connect(&target, &login, &Limits::default()).await.map(drop).map_err(|error| error.class())
    };
    assert_eq!(as_user("developer").await, Ok(()));
    assert_eq!(as_user("another").await, Err("auth_failed"));
}

#[tokio::test]
async fn a_repeated_test_is_told_how_it_went_the_first_time() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let cause = cause();
    let first = world.reach.test(&tenant(), &id, WHO, &cause).await.unwrap();
    assert!(first.outcome.ok);
    drop(sshd);
    let again = world.reach.test(&tenant(), &id, WHO, &cause).await.unwrap();
    assert_eq!(again.outcome, first.outcome, "nobody went there a second time");
    assert!(!world.test(&id).await.ok);
    let unknown = events::ids::ServerId::from_seed(&uuid::Uuid::nil());
    let error = world.reach.test(&tenant(), &unknown, WHO, &crate::world::cause()).await.unwrap_err();
    assert!(matches!(error, ReachError::NotFound), "{error}");
}
