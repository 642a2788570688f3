//! Do other people's clients get in and work, whatever the entrance? paramiko, asyncssh, PuTTY's, and the ways
//! of editors.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use harness::ssh::{Output, fed, output};
use harness::{Proof, Ssh, free_ports};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::world::DONE_AT_MOST;

/// Debian's, which has Debian's paramiko.
const PYTHON: &str = "/usr/bin/python3";

/// `door` opens with a password.
pub async fn programs(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    python(door, include_str!("paramiko_client.py")).await.context("paramiko")?;
    python(door, include_str!("asyncssh_client.py")).await.context("asyncssh")?;
    putty(door, folder).await.context("PuTTY's programs")?;
    python(door, include_str!("jetbrains_client.py")).await.context("JetBrains Gateway's way")?;
    editor(door).await.context("VS Code's way")
}

fn password(door: &Ssh) -> anyhow::Result<&str> {
    match &door.proof {
        Proof::Password(password) => Ok(password),
        Proof::Key(_) => anyhow::bail!("the door has no password"),
    }
}

/// One of the scripts beside this file; it prints "all" at its end.
pub async fn python(door: &Ssh, script: &str) -> anyhow::Result<()> {
    let mut command = Command::new(PYTHON);
    command.args(["-c", script, &door.host, &door.port.to_string(), &door.user]);
    command.env("PYTHONPATH", harness::programs::tools().join("python"));
    door.lend(&mut command);
    let said = output(command).await?.expect_success()?;
    ensure!(said.trim() == "all", "{said}");
    Ok(())
}

async fn putty(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    let mut scan = Command::new("bash");
    let keys = folder.join("scanned");
    let line = format!(
        "ssh-keyscan -t ed25519 -p {} {} 2>/dev/null >{file} && ssh-keygen -lf {file} | cut -d' ' -f2",
        door.port,
        door.host,
        file = keys.display()
    );
    scan.arg("-c").arg(line);
    let fingerprint = output(scan).await?.expect_success()?;
    let putty = |program: &str| {
        let mut command = Command::new(program);
        command.args(["-batch", "-P", &door.port.to_string(), "-hostkey", fingerprint.trim()]);
        // it keeps host keys and seeds there
        command.env("HOME", folder);
        door.lend(&mut command);
        anyhow::Ok((command, password(door)?))
    };
    let (mut plink, password) = putty("plink")?;
    plink.args(["-pw", password, &door.at(), "cat; exit 4"]);
    let said: Output = fed(plink, b"by plink").await?;
    ensure!(said.code == Some(4) && said.stdout == "by plink", "{said:?}");
    let (there, back) = (folder.join("putty"), folder.join("putty-back"));
    std::fs::write(&there, "by pscp".repeat(100_000))?;
    let copies = [
        (there.display().to_string(), door.place("/tmp/putty")),
        (door.place("/tmp/putty"), back.display().to_string()),
    ];
    for (from, to) in copies {
        let (mut pscp, password) = putty("pscp")?;
        pscp.args(["-q", "-pw", password, &from, &to]);
        output(pscp).await?.expect_success()?;
    }
    ensure!(std::fs::read(&there)? == std::fs::read(&back)?, "other bytes came back");
    // FileZilla's way, whose sftp is this program: nothing but sftp on the connection
    let (mut psftp, password) = putty("psftp")?;
    psftp.args(["-pw", password, &door.at()]);
    let script = format!(
        "cd /tmp\nput {} by-psftp\nren by-psftp of-psftp\nget of-psftp {}\nls\nquit\n",
        there.display(),
        back.display()
    );
    let listed = fed(psftp, script.as_bytes()).await?.expect_success()?;
    ensure!(listed.contains("of-psftp"), "{listed}");
    ensure!(std::fs::read(&there)? == std::fs::read(&back)?, "other bytes came back");
    Ok(())
}

/// VS Code's pattern: `ssh -T -D port host bash`, a script as its input that starts a server and says
/// where it listens; then the editor comes to it by SOCKS.
async fn editor(door: &Ssh) -> anyhow::Result<()> {
    let socks = free_ports::one()?;
    let mut ssh = door.program("ssh");
    ssh.args(["-T", "-D", &socks.to_string()]).arg(door.at()).arg("bash");
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = ssh.spawn()?;
    let mut input = running.stdin.take().context("piped")?;
    let script = "cd $(mktemp -d); echo served >page\n\
        python3 -u -m http.server --bind 127.0.0.1 0 2>/dev/null | sed -un 's/.* port \\([0-9]*\\) .*/listeningOn=\\1/p'\n";
    input.write_all(script.as_bytes()).await?;
    let mut lines = BufReader::new(running.stdout.take().context("piped")?).lines();
    let served = async {
        let line = lines.next_line().await?.context("it said nothing")?;
        let port: u16 = line.trim().strip_prefix("listeningOn=").context(line.clone())?.parse()?;
        let mut stream = TcpStream::connect(("127.0.0.1", socks)).await?;
        stream.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1]).await?;
        stream.write_all(&port.to_be_bytes()).await?;
        stream.read_exact(&mut [0; 12]).await?;
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        ensure!(page.starts_with("HTTP/1.0 200") && page.ends_with("served\n"), "{page}");
        anyhow::Ok(())
    };
    tokio::time::timeout(DONE_AT_MOST, served).await.context("too long")?
}
