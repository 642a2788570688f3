//! Do commands, shells and pipes behave in an environment as on one's own machine, whatever the entrance?

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use harness::Ssh;
use harness::ssh::{fed, output};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// Commands on one shared connection, each with an exit code of its own.
const CODES: i32 = 20;
/// Each way, at the same time.
const BIG_BYTES: usize = 100 << 20;

pub async fn commands(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    codes_and_outputs(door).await.context("codes and outputs")?;
    terminal(door).await.context("a terminal")?;
    pipes(door).await.context("pipes")?;
    shared(door, folder).await.context("a shared connection")?;
    big(door, folder).await.context("100 MB each way")
}

async fn codes_and_outputs(door: &Ssh) -> anyhow::Result<()> {
    let output = door.run("echo out; echo err >&2; exit 7").await?;
    assert_eq!((output.code, output.stdout.trim(), output.stderr.trim()), (Some(7), "out", "err"));
    assert_eq!(door.run("no-such-program").await?.code, Some(127));
    assert_eq!(door.run("kill -TERM $$").await?.code, Some(255), "ended by a signal");
    Ok(())
}

async fn terminal(door: &Ssh) -> anyhow::Result<()> {
    let mut shell = door.program("ssh");
    shell.arg("-tt").arg(door.at());
    let output = fed(shell, b"tty; echo $((6 * 7)); exit 3\n").await?;
    ensure!(output.code == Some(3) && output.stdout.contains("/dev/pts/"), "{output:?}");
    ensure!(output.stdout.contains("42"), "{output:?}");
    Ok(())
}

async fn pipes(door: &Ssh) -> anyhow::Result<()> {
    let ssh = |remote: &str| {
        let mut command = door.program("ssh");
        command.arg(door.at()).arg(remote);
        command
    };
    let lines: Vec<u8> = (0..20_000).flat_map(|n: u32| format!("{n}\n").into_bytes()).collect();
    // our end of input, not the end of the command
    let counted = fed(ssh("wc -l; echo and more"), &lines).await?.expect_success()?;
    assert_eq!(counted.split_whitespace().collect::<Vec<_>>(), ["20000", "and", "more"]);
    // the end of output, not of input
    let quiet = fed(ssh("exec >&- 2>&-; test $(wc -l 2>/dev/null) = 20000 && exit 5"), &lines).await?;
    assert_eq!(quiet.code, Some(5));
    // a command that does not read what it gets
    assert_eq!(fed(ssh("exit 6"), &lines).await?.code, Some(6));
    // a reader that has enough
    let mut enough = Command::new("bash");
    enough.arg("-c").arg(format!("{} {} yes | head -1", door.words(), door.at()));
    door.lend(&mut enough);
    assert_eq!(output(enough).await?.expect_success()?.trim(), "y");
    Ok(())
}

/// A connection that further commands share: the options for those, and its own process.
pub async fn master(door: &Ssh, path: &Path) -> anyhow::Result<(String, Child)> {
    let control = format!("ControlPath={}", path.display());
    let mut master = door.program("ssh");
    master.arg("-M").args(["-o", &control]).arg(door.at()).arg("echo up; exec sleep 1000");
    let mut master = master.stdout(Stdio::piped()).spawn()?;
    let mut up = [0; 3];
    let ready = master.stdout.as_mut().context("piped")?.read_exact(&mut up);
    tokio::time::timeout(crate::world::DONE_AT_MOST, ready).await.context("the master is not up")??;
    Ok((control, master))
}

async fn shared(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    let (control, master) = master(door, &folder.join("shared")).await?;
    let ssh = |remote: &str| {
        let mut command = door.program("ssh");
        command.args(["-o", &control]).arg(door.at()).arg(remote);
        command
    };
    // nobody reads what this one says
    let stalled = ssh("yes").stdout(Stdio::piped()).spawn()?;
    let mut codes = Vec::new();
    for code in 0..CODES {
        codes.push(output(ssh(&format!("echo {code}; exit {code}"))).await?.code);
    }
    assert_eq!(codes, (0..CODES).map(Some).collect::<Vec<_>>());
    drop((stalled, master));
    Ok(())
}

async fn big(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    let (there, back) = (folder.join("there"), folder.join("back"));
    let bytes: Vec<u8> = (0..BIG_BYTES as u32 / 4)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(7).to_le_bytes())
        .collect();
    std::fs::write(&there, &bytes)?;
    let mut cat = door.program("ssh");
    cat.arg(door.at()).arg("cat").stdin(File::open(&there)?).stdout(File::create(&back)?);
    let status =
        tokio::time::timeout(crate::world::DONE_AT_MOST, cat.status()).await.context("too long")??;
    ensure!(status.success(), "{status}");
    let came = std::fs::read(&back)?;
    ensure!(came == bytes, "{} bytes came back of {}, or others", came.len(), bytes.len());
    std::fs::remove_file(&there)?;
    std::fs::remove_file(&back)?;
    Ok(())
}
