//! Has each way not to get in its class, at its step? For each a target that behaves so.

use std::io::Write;
use std::net::TcpListener;

use events::ids::RelayId;
use events::server::{Method, Settings};
use harness::Sshd;
use tokio::net::TcpSocket;

use crate::doctor::let_in;
use crate::world::{DENY, PASSWORD, World, said};

/// Somebody who says this and then ends, or stays silent.
fn speaker(words: &'static [u8], stays: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((mut socket, _)) = listener.accept() {
            socket.write_all(words).ok();
            if stays {
                kept.push(socket);
            }
        }
    });
    port
}

#[tokio::test]
async fn what_stands_in_the_way_before_a_login() {
    let world = World::start().await;
    let at = async |port: u16| {
        let id = world.with_password(PASSWORD, World::settings(port)).await;
        world.class(&id).await
    };
    let free = harness::free_ports::one().unwrap();
    assert_eq!(at(free).await, said("connection_refused", "network"));
    let nowhere = Settings { host: "no-such-host.invalid".into(), ..World::settings(22) };
    let nowhere = world.with_password(PASSWORD, nowhere).await;
    assert_eq!(world.class(&nowhere).await, said("dns_failed", "network"));
    assert_eq!(at(speaker(b"", true)).await, said("banner_timeout", "identification"));
    assert_eq!(at(speaker(b"HTTP/1.1 400 no\r\n", false)).await, said("not_ssh", "identification"));
    assert_eq!(at(speaker(b"", false)).await, said("reset_in_ident", "identification"));
    assert_eq!(at(speaker(b"SSH-2.0-stalls\r\n", true)).await, said("kex_timeout", "key_exchange"));
    // a full queue of connections that nobody accepts: the kernel answers no further one
    let full = TcpSocket::new_v4().unwrap();
    full.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let full = full.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(tokio::spawn(tokio::net::TcpStream::connect(address)));
    }
    harness::eventually("the queue is full", std::time::Duration::from_secs(5), async || {
        let connected = waiting.iter().filter(|waiting| waiting.is_finished()).count();
        if connected >= 2 { Ok(()) } else { Err(format!("{connected} are in")) }
    })
    .await
    .unwrap();
    assert_eq!(at(address.port()).await, said("connect_timeout", "network"));
}

#[tokio::test]
async fn what_an_sshd_says_before_a_login() {
    let world = World::start().await;
    let cbc = world.class_at(PASSWORD, "Ciphers aes128-cbc", &[]).await;
    assert_eq!(cbc, said("kex_failed", "key_exchange"));
    let sshd = Sshd::start(PASSWORD, "MaxStartups 1:100:1").await.unwrap();
    let _stranger = let_in(sshd.port).await;
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    assert_eq!(world.class(&id).await, said("too_many_connections", "identification"));
}

#[tokio::test]
async fn whom_hosts_deny_names_is_turned_away() {
    let world = World::patient().await;
    let denied = world.class_at(PASSWORD, "", &[&["sh", "-ec", DENY]]).await;
    assert_eq!(denied, said("reset_in_ident", "identification"));
}

#[tokio::test]
async fn whom_an_sshd_does_not_let_in() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let id = world.with_password("wrong", World::settings(sshd.port)).await;
    assert_eq!(world.class(&id).await, said("auth_failed", "authentication"));
    let capital = Settings { username: "Developer".into(), ..World::settings(sshd.port) };
    let tested = world.test(&world.with_password(PASSWORD, capital).await).await;
    assert_eq!(tested.class.as_deref(), Some("auth_failed"));
    assert!(tested.suggestion.as_deref().unwrap().contains("\"developer\""), "{tested:?}");
    assert!(tested.identification.unwrap().starts_with("SSH-2.0-OpenSSH"));
    let nobody = Settings { username: "nobody-here".into(), ..World::settings(sshd.port) };
    let nobody = world.with_password(PASSWORD, nobody).await;
    assert_eq!(world.class(&nobody).await, said("auth_failed", "authentication"));
    for inside in [
        &["usermod", "--lock", "developer"][..],
        &["chage", "--expiredate", "0", "developer"],
        &["usermod", "--shell", "/no/such/shell", "developer"],
    ] {
        let refused = world.class_at(PASSWORD, "", &[inside]).await;
        assert_eq!(refused, said("auth_failed", "authentication"), "{inside:?}");
    }
    let keys_only = world.class_at(PASSWORD, "Match all\nPasswordAuthentication no", &[]).await;
    assert_eq!(keys_only, said("auth_method_unavailable", "authentication"));
    let once = world.class_at("wrong", "MaxAuthTries 1", &[]).await;
    assert_eq!(once, said("too_many_auth", "authentication"));
}

#[tokio::test]
async fn what_is_wrong_with_a_shell() {
    let world = World::start().await;
    let none = world.class_at(PASSWORD, "Match all\nMaxSessions 0", &[]).await;
    assert_eq!(none, said("channel_refused", "shell"));
    let nologin = [&["usermod", "--shell", "/usr/sbin/nologin", "developer"][..]];
    assert_eq!(world.class_at(PASSWORD, "", &nologin).await, said("shell_unusable", "shell"));
    let forced = world.class_at(PASSWORD, "ForceCommand /no/such/program", &[]).await;
    assert_eq!(forced, said("command_not_found", "shell"));
}

#[tokio::test]
async fn what_is_missing_on_our_side() {
    let world = World::start().await;
    let id = world.with_password(PASSWORD, World::settings(22)).await;
    let secret = world.server(&id).await.settings.unwrap().credential.secret.unwrap();
    world.vault.remove(&secret).await.unwrap();
    assert_eq!(world.class(&id).await, said("credential_missing", "preparation"));
    let relay = Some(RelayId::parse("rel-abcdefghijkl").unwrap());
    let behind = Settings { relay, ..World::settings(22) };
    let behind = world.register(Method::Certificate, "", behind).await;
    assert_eq!(world.class(&behind).await, said("relay_unavailable", "preparation"));
}
