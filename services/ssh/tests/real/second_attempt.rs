//! May a client try a second time? paramiko asks for the service again before it does.

use tokio::process::Command;

use crate::world::{PASSWORD, World, output};

const SCRIPT: &str = r#"
import sys, paramiko
transport = paramiko.Transport(("127.0.0.1", int(sys.argv[1])))
transport.start_client(timeout=20)
transport.auth_timeout = 20
try:
    transport.auth_password("anybody", "wrong")
except paramiko.AuthenticationException:
    pass
transport.auth_password("anybody", sys.argv[2])
channel = transport.open_session()
channel.exec_command("echo second")
print(channel.makefile().read().decode().strip())
"#;

#[tokio::test]
async fn paramiko_gets_in_at_its_second_attempt() {
    let world = World::start().await;
    let port = world.relay().await.to_string();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT, &port, PASSWORD]);
    let output = output(command).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "second", "{errors}");
}
