//! Do files get in and out, whatever the entrance? scp in both its protocols, sftp, rsync and git.

use std::path::Path;

use anyhow::{Context, ensure};
use harness::Ssh;
use harness::ssh::output;
use tokio::process::Command;

/// `place` is a folder in the environment that nobody else uses.
pub async fn files(door: &Ssh, folder: &Path, place: &str) -> anyhow::Result<()> {
    door.run(&format!("mkdir -p {place}")).await?.expect_success()?;
    scp(door, folder, place, &[]).await.context("scp")?;
    scp(door, folder, place, &["-O"]).await.context("scp -O")?;
    sftp(door, folder, place).await.context("sftp")?;
    rsync(door, folder, place).await.context("rsync")?;
    git(door, folder, place).await.context("git")
}

fn some_bytes() -> Vec<u8> {
    (0..500_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

async fn scp(door: &Ssh, folder: &Path, place: &str, options: &[&str]) -> anyhow::Result<()> {
    let (there, back) = (folder.join("scp"), folder.join("scp-back"));
    std::fs::write(&there, some_bytes())?;
    let mut copy_in = door.program("scp");
    copy_in.args(options).arg(&there).arg(door.place(&format!("{place}/scp")));
    output(copy_in).await?.expect_success()?;
    let mut copy_out = door.program("scp");
    copy_out.args(options).arg(door.place(&format!("{place}/scp"))).arg(&back);
    output(copy_out).await?.expect_success()?;
    ensure!(std::fs::read(&back)? == some_bytes(), "other bytes came back");
    Ok(std::fs::remove_file(&back)?)
}

async fn sftp(door: &Ssh, folder: &Path, place: &str) -> anyhow::Result<()> {
    let (there, back) = (folder.join("sftp"), folder.join("sftp-back"));
    std::fs::write(&there, some_bytes())?;
    let (there, shown) = (there.display(), back.display());
    let script = format!(
        "put {there} {place}/sftp\nrename {place}/sftp {place}/renamed\nls {place}\nget {place}/renamed {shown}\n"
    );
    ensure!(door.sftp(&script).await?.expect_success()?.contains("renamed"), "it is not listed");
    ensure!(std::fs::read(&back)? == some_bytes(), "other bytes came back");
    Ok(())
}

async fn rsync(door: &Ssh, folder: &Path, place: &str) -> anyhow::Result<()> {
    let (there, back) = (folder.join("tree"), folder.join("tree-back"));
    std::fs::create_dir_all(there.join("sub"))?;
    for n in 0..100 {
        std::fs::write(there.join("sub").join(n.to_string()), format!("file {n}").repeat(n))?;
    }
    let rsync = |from: String, to: String| {
        let mut command = Command::new("rsync");
        command.args(["-a", "-e", &door.words(), &from, &to]);
        door.lend(&mut command);
        command
    };
    let remote = door.place(&format!("{place}/tree/"));
    output(rsync(format!("{}/", there.display()), remote.clone())).await?.expect_success()?;
    output(rsync(remote, format!("{}/", back.display()))).await?.expect_success()?;
    let mut compare = Command::new("diff");
    compare.arg("-r").arg(&there).arg(&back);
    output(compare).await?.expect_success().map(drop)
}

async fn git(door: &Ssh, folder: &Path, place: &str) -> anyhow::Result<()> {
    door.run(&format!("git init -q --bare {place}/repo.git")).await?.expect_success()?;
    let url = format!("ssh://{}:{}{place}/repo.git", door.at(), door.port);
    let (own, clone) = (folder.join("own"), folder.join("clone"));
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(arguments);
        command.env("GIT_SSH_COMMAND", door.words()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        door.lend(&mut command);
        output(command)
    };
    let (own, clone) = (own.display().to_string(), clone.display().to_string());
    git(&["init", "-q", "-b", "main", &own]).await?.expect_success()?;
    std::fs::write(format!("{own}/file"), some_bytes())?;
    git(&["-C", &own, "add", "file"]).await?.expect_success()?;
    git(&["-C", &own, "commit", "-q", "-m", "one"]).await?.expect_success()?;
    git(&["-C", &own, "push", "-q", &url, "main"]).await?.expect_success()?;
    git(&["clone", "-q", "-b", "main", &url, &clone]).await?.expect_success()?;
    ensure!(std::fs::read(format!("{clone}/file"))? == some_bytes(), "other bytes came back");
    Ok(())
}
