//! Who gets in, and what is the class of each way not to?

use std::io::Write;

use ssh::channel::{Exit, Output, Terminal};
use ssh::client::{ConnectError, Limits, Login, connect};
use ssh::keys::{KeyPair, PublicLine};

use crate::world::{ENV, PASSWORD, World, secret};

#[tokio::test]
async fn a_certificate_of_our_authority_opens_a_shell_and_runs_commands() {
    let world = World::start().await;
    let connection = world.connect().await;
    let channel = connection.command(b"echo out; echo err >&2; exit 7", None).await.unwrap();
    let mut seen = Vec::new();
    while let Some(output) = channel.next().await.unwrap() {
        seen.push(output);
    }
    assert!(seen.contains(&Output::Data("out\n".into())), "{seen:?}");
    assert!(seen.contains(&Output::ErrorData("err\n".into())), "{seen:?}");
    assert!(seen.contains(&Output::Exit(Exit::Status(7))), "{seen:?}");
    let terminal = Terminal { name: "xterm-256color".into(), columns: 80, rows: 24 };
    let (reader, writer) = connection.shell(&terminal).await.unwrap().split();
    writer.resize(101, 33).await.unwrap();
    writer.data("stty size; exit 3\n").await.unwrap();
    let mut text = Vec::new();
    let mut exit = None;
    while let Some(output) = reader.next().await.unwrap() {
        match output {
            Output::Data(bytes) | Output::ErrorData(bytes) => text.extend_from_slice(&bytes),
            Output::Exit(ended) => exit = Some(ended),
            Output::Eof => {}
        }
    }
    assert!(String::from_utf8_lossy(&text).contains("33 101"), "{}", String::from_utf8_lossy(&text));
    assert_eq!(exit, Some(Exit::Status(3)));
    assert!(world.sshd.log().contains("ses-abcdefghijkl/alice"), "sshd's log names the session");
}

#[tokio::test]
async fn each_way_not_to_get_in_has_its_class() {
    let world = World::start().await;
    let limits = Limits { banner: std::time::Duration::from_millis(300), ..Limits::default() };
    let class = async |target: &ssh::client::Target, login: &Login| {
        connect(target, login, &limits).await.map(drop).map_err(|error| error.class())
    };
    let password = Login::Password(secret(PASSWORD));
    assert_eq!(class(&world.target(), &password).await, Ok(()));
    assert_eq!(class(&world.target(), &Login::Password(secret("wrong"))).await, Err("auth_failed"));
    assert_eq!(class(&world.target(), &world.certificate("env-another12345")).await, Err("auth_failed"));
    assert_eq!(class(&world.target(), &world.certificate(ENV)).await, Ok(()));
    let other_key = PublicLine::read(&KeyPair::generate().unwrap().public_line()).unwrap();
    let target = ssh::client::Target { host_key: Some(other_key), ..world.target() };
    assert_eq!(class(&target, &password).await, Err("host_key_mismatch"));
    let refused = ssh::client::Target { port: harness::free_ports::one().unwrap(), ..world.target() };
    assert_eq!(class(&refused, &password).await, Err("connection_refused"));
    let nowhere = ssh::client::Target { host: "no-such-host.invalid".into(), ..world.target() };
    assert_eq!(class(&nowhere, &password).await, Err("dns_failed"));
    for (says, expected) in [
        (&b"Exceeded MaxStartups\r\n"[..], "too_many_connections"),
        (&b"HTTP/1.1 400 no\r\n"[..], "not_ssh"),
        (&b""[..], "reset_in_ident"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(says).unwrap();
        });
        let target = ssh::client::Target { port, ..world.target() };
        assert_eq!(class(&target, &password).await, Err(expected));
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ssh::client::Target { port: silent.local_addr().unwrap().port(), ..world.target() };
    let error = connect(&target, &password, &limits).await.unwrap_err();
    assert!(matches!(error, ConnectError::BannerTimeout { .. }), "{error}");
}
