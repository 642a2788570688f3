//! Are an environment's files as good as one's own, whatever the entrance? Mounted by sshfs, and in the ways of
//! programs that open sftp before anything else: lftp, PuTTY's psftp (what FileZilla is made of), WinSCP's.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use harness::ssh::output;
use harness::{Proof, Ssh, eventually};
use tokio::process::{Child, Command};

use crate::world::DONE_AT_MOST;

const BYTES: usize = 5 << 20;
/// Small files, as a checked-out repository has them.
const MANY: usize = 200;

/// `place` is a folder in the environment that nobody else uses. `door` opens with a password.
pub async fn mounts(door: &Ssh, folder: &Path, place: &str) -> anyhow::Result<()> {
    door.run(&format!("mkdir -p {place}")).await?.expect_success()?;
    sshfs(door, folder, place).await.context("sshfs")?;
    lftp(door, folder, place).await.context("lftp")
}

fn some_bytes() -> Vec<u8> {
    (0..BYTES as u32 / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Taken away again however the test ends.
struct Mount {
    point: PathBuf,
    process: Child,
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut unmount = std::process::Command::new("fusermount3");
        unmount.args(["-uzq"]).arg(&self.point).status().ok();
    }
}

async fn sshfs(door: &Ssh, folder: &Path, place: &str) -> anyhow::Result<()> {
    ensure!(Path::new("/dev/fuse").exists(), "this kernel has no /dev/fuse: modprobe fuse");
    let point = folder.join("mounted");
    std::fs::create_dir(&point)?;
    door.run(&format!("echo mounted >{place}/mark")).await?.expect_success()?;
    let mut sshfs = Command::new("sshfs");
    sshfs.arg("-f").arg("-o").arg(format!("ssh_command={}", door.words()));
    sshfs.arg(door.place(place)).arg(&point).stderr(Stdio::null()).stdout(Stdio::null());
    door.lend(&mut sshfs);
    let process = sshfs.spawn().context("deploy/dev/tools.sh installs it")?;
    let mut mount = Mount { point: point.clone(), process };
    let mark = point.join("mark");
    eventually("it is mounted", DONE_AT_MOST, || async {
        tokio::fs::read_to_string(&mark).await.map_err(|error| error.to_string())
    })
    .await?;
    // a file system may keep whoever asks
    let used = tokio::task::spawn_blocking(move || use_folder(&point));
    tokio::time::timeout(DONE_AT_MOST, used).await.context("it hangs")???;
    let sum = door.run(&format!("cd {place} && ls many | wc -l && cat moved | sha256sum")).await?;
    let mut own = Command::new("sha256sum");
    own.stdin(Stdio::piped());
    let own = harness::ssh::fed(own, &some_bytes()).await?.expect_success()?;
    ensure!(sum.expect_success()? == format!("{MANY}\n{own}"), "the environment has other files");
    let mut unmount = Command::new("fusermount3");
    unmount.arg("-u").arg(&mount.point);
    output(unmount).await?.expect_success()?;
    let ended = tokio::time::timeout(DONE_AT_MOST, mount.process.wait()).await;
    ensure!(ended.context("sshfs goes on")??.success());
    Ok(())
}

fn use_folder(point: &Path) -> anyhow::Result<()> {
    std::fs::write(point.join("file"), some_bytes())?;
    std::fs::rename(point.join("file"), point.join("moved"))?;
    ensure!(std::fs::read(point.join("moved"))? == some_bytes(), "other bytes came back");
    std::fs::create_dir(point.join("many"))?;
    for n in 0..MANY {
        std::fs::write(point.join("many").join(n.to_string()), n.to_string())?;
    }
    for n in 0..MANY {
        ensure!(std::fs::read_to_string(point.join("many").join(n.to_string()))? == n.to_string());
    }
    std::os::unix::fs::symlink("moved", point.join("link"))?;
    ensure!(std::fs::metadata(point.join("link"))?.len() == BYTES as u64);
    std::fs::remove_file(point.join("link"))?;
    ensure!(std::fs::metadata(point.join("nothing")).is_err());
    Ok(())
}

async fn lftp(door: &Ssh, folder: &Path, place: &str) -> anyhow::Result<()> {
    let Proof::Password(password) = &door.proof else { anyhow::bail!("the door has no password") };
    let (there, back) = (folder.join("lftp"), folder.join("lftp-back"));
    std::fs::create_dir_all(there.join("sub"))?;
    std::fs::write(there.join("sub/file"), some_bytes())?;
    // it answers the question for the password by itself
    let words = door.words().trim_start_matches("sshpass -e ").replacen("ssh ", "ssh -a -x ", 1);
    let script = format!(
        "set sftp:connect-program '{words}'; set net:max-retries 1; set net:timeout 30;
         open -u {},{password} sftp://{}:{};
         mirror -R {} {place}/tree; mirror --parallel=4 {place}/tree {}; cls {place}/tree/sub; bye",
        door.user,
        door.host,
        door.port,
        there.display(),
        back.display()
    );
    let mut lftp = Command::new("lftp");
    lftp.args(["--norc", "-c", &script]).stdin(Stdio::null()).env("HOME", folder);
    let listed = output(lftp).await?.expect_success()?;
    ensure!(listed.contains("sub/file"), "{listed}");
    ensure!(std::fs::read(back.join("sub/file"))? == some_bytes(), "other bytes came back");
    Ok(())
}
