//! Do forwards lead where they should, whatever the entrance? Ports and Unix sockets both ways, SOCKS, an
//! agent, and jumps.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use harness::ssh::output;
use harness::{Ssh, Sshd, eventually, free_ports};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::Command;

use crate::world::DONE_AT_MOST;

/// Where the environment's end of `-R` listens; nobody else is there.
const REMOTE_PORT: u16 = 47_001;
const REMOTE_SOCKET: &str = "/tmp/forwarded.sock";
/// Forwarded connections that are open at once.
const AT_ONCE: usize = 200;
const ROUND_TRIP_BYTES: usize = 1 << 20;

/// `key` opens the account inside and the door.
pub async fn forwards(door: &Ssh, folder: &Path, key: &Path) -> anyhow::Result<()> {
    ports_and_sockets(door, folder).await.context("-L, -R, -D")?;
    agent(door, folder, key).await.context("-A")?;
    jumps(door, folder, key).await.context("-J")?;
    without_a_shell(door).await.context("-W")
}

/// A server on this machine that sends back what it gets, until the end.
async fn echo() -> anyhow::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
        }
    });
    Ok((address, serving))
}

/// All that is sent comes back, after the end of what is sent.
async fn round_trip(stream: impl AsyncRead + AsyncWrite, bytes: usize) -> anyhow::Result<()> {
    let (read, write) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
    let mut came = Vec::new();
    let (mut read, mut write) = (std::pin::pin!(read), std::pin::pin!(write));
    let both = async {
        tokio::try_join!(
            async {
                write.write_all(&sent).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut came)
        )
    };
    tokio::time::timeout(DONE_AT_MOST, both).await.context("too long")??;
    ensure!(came == sent, "{} bytes came back of {bytes}, or others", came.len());
    Ok(())
}

async fn ports_and_sockets(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    let (echo, serving) = echo().await?;
    let (port, other, socks) = (free_ports::one()?, free_ports::one()?, free_ports::one()?);
    let socket = folder.join("local.sock");
    let mut ssh = door.program("ssh");
    ssh.args(["-N", "-o", "ExitOnForwardFailure=yes"]);
    ssh.args(["-R", &format!("{REMOTE_PORT}:{echo}"), "-R", &format!("{REMOTE_SOCKET}:{echo}")]);
    ssh.args(["-L", &format!("{port}:127.0.0.1:{REMOTE_PORT}"), "-L", &format!("{other}:{REMOTE_SOCKET}")]);
    ssh.args(["-L", &format!("{}:127.0.0.1:{REMOTE_PORT}", socket.display()), "-D", &socks.to_string()]);
    let staying = ssh.arg(door.at()).spawn()?;
    eventually("a forward answers", DONE_AT_MOST, || async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        round_trip(stream, 1).await.map_err(|error| format!("{error:#}"))
    })
    .await?;
    let local = |port| TcpStream::connect(("127.0.0.1", port));
    round_trip(local(port).await?, ROUND_TRIP_BYTES).await.context("port to port")?;
    round_trip(local(other).await?, ROUND_TRIP_BYTES).await.context("port to socket")?;
    round_trip(UnixStream::connect(&socket).await?, ROUND_TRIP_BYTES).await.context("socket to port")?;
    let mut by_socks = local(socks).await?;
    by_socks.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1]).await?;
    by_socks.write_all(&REMOTE_PORT.to_be_bytes()).await?;
    let mut answer = [0; 12];
    by_socks.read_exact(&mut answer).await?;
    ensure!(answer[..4] == [5, 0, 5, 0], "{answer:?}");
    round_trip(by_socks, ROUND_TRIP_BYTES).await.context("SOCKS")?;
    // many at once, each with a word of its own
    let mut open = Vec::new();
    for _ in 0..AT_ONCE {
        open.push(local(port).await?);
    }
    let trips = open.into_iter().map(|stream| round_trip(stream, 1000));
    futures_util::future::try_join_all(trips).await.context("many at once")?;
    drop(staying);
    serving.abort();
    Ok(())
}

async fn agent(door: &Ssh, folder: &Path, key: &Path) -> anyhow::Result<()> {
    let socket = folder.join("agent.sock");
    let mut agent = Command::new("ssh-agent");
    let running =
        agent.args(["-D", "-a"]).arg(&socket).kill_on_drop(true).stdout(std::process::Stdio::null());
    let running = running.spawn()?;
    eventually("the agent takes the key", DONE_AT_MOST, || async {
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket);
        output(add).await.and_then(harness::ssh::Output::expect_success).map_err(|error| format!("{error:#}"))
    })
    .await?;
    let mut ssh = door.program("ssh");
    ssh.arg("-A").arg(door.at()).arg("ssh-add -L").env("SSH_AUTH_SOCK", &socket);
    let listed = output(ssh).await?.expect_success()?;
    let public = std::fs::read_to_string(key.with_extension("pub"))?;
    let public = public.split(' ').nth(1).context("a public key")?;
    ensure!(listed.contains(public), "{listed}");
    drop(running);
    Ok(())
}

/// Through the environment to its own port, and to the environment through another server.
async fn jumps(door: &Ssh, folder: &Path, key: &Path) -> anyhow::Result<()> {
    let config = folder.join("config");
    let by_key = |ssh: &Ssh| Ssh { proof: harness::Proof::Key(key.to_owned()), ..ssh.clone() };
    let at = |host: &str, port, user: &str| Ssh {
        host: host.to_owned(),
        port,
        user: user.to_owned(),
        ..by_key(door)
    };
    let bastion = Sshd::start("unused-Password-1", "AuthorizedKeysFile {folder}/keys").await?;
    std::fs::copy(key.with_extension("pub"), bastion.folder().join("keys"))?;
    let text = format!(
        "Host door\n{}Host inside\nProxyJump door\n{}Host bastion\n{}Host behind\nProxyJump bastion\n{}",
        by_key(door).lines(),
        at("127.0.0.1", 22, "developer").lines(),
        at("127.0.0.1", bastion.port, harness::sshd::USER).lines(),
        by_key(door).lines(),
    );
    std::fs::write(&config, text)?;
    for host in ["inside", "behind"] {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&config).arg(host).arg("whoami").env_remove("SSH_AUTH_SOCK");
        assert_eq!(output(ssh).await?.expect_success().context(host)?.trim(), "developer");
    }
    Ok(())
}

async fn without_a_shell(door: &Ssh) -> anyhow::Result<()> {
    let through = |place: &str| {
        let mut ssh = door.program("ssh");
        ssh.args(["-W", place]).arg(door.at());
        output(ssh)
    };
    let greeting = through("127.0.0.1:22").await?;
    ensure!(greeting.stdout.starts_with("SSH-2.0-OpenSSH"), "{greeting:?}");
    let nobody = through("127.0.0.1:1").await?;
    ensure!(!nobody.success && nobody.stderr.contains("forwarding failed"), "{nobody:?}");
    Ok(())
}
