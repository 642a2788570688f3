//! Does a program in an environment get a window on one's own screen, whatever the entrance? `ssh -X`, with a
//! real X server and a real client of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use harness::Ssh;
use harness::ssh::{fed, output};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::world::DONE_AT_MOST;

/// The client, put into the environment with its libraries: people install theirs with apt.
const CLIENT: &str = "/usr/bin/xdpyinfo";

pub async fn windows(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    let screen = Screen::start(folder).await.context("Xvfb")?;
    bring_client(door).await.context("the X client")?;
    let look = "LD_LIBRARY_PATH=/tmp/x11 /tmp/x11/xdpyinfo";
    for option in ["-X", "-Y"] {
        let mut ssh = door.program("ssh");
        ssh.arg(option).arg(door.at()).arg(format!("echo \"at $DISPLAY\"; {look}"));
        screen.lend(&mut ssh);
        let shown = output(ssh).await?.expect_success().context(option)?;
        ensure!(shown.contains("at localhost:1"), "{option}: {shown}");
        ensure!(shown.contains("vendor string:    The X.Org Foundation"), "{option}: {shown}");
        ensure!(shown.contains("dimensions:    173x91 pixels"), "{option}: another screen: {shown}");
    }
    let mut without = door.program("ssh");
    without.arg("-x").arg(door.at()).arg(format!("echo \"at [$DISPLAY]\"; {look}"));
    screen.lend(&mut without);
    let told = output(without).await?;
    ensure!(!told.success && told.stdout.trim() == "at []", "{told:?}");
    Ok(())
}

async fn bring_client(door: &Ssh) -> anyhow::Result<()> {
    let own = "libc.so|libm.so|ld-linux|linux-vdso|libdl.so|libpthread.so|librt.so";
    let mut pack = Command::new("bash");
    pack.arg("-c").arg(format!(
        "set -o pipefail; ldd {CLIENT} | grep -Ev '{own}' | sed -n 's/.*=> \\(\\/[^ ]*\\).*/\\1/p' |
         tar --create --dereference --transform 's|.*/||' --files-from=- {CLIENT}"
    ));
    let packed = tokio::time::timeout(DONE_AT_MOST, pack.stderr(Stdio::null()).output()).await??;
    ensure!(packed.status.success(), "{CLIENT} is missing: deploy/dev/tools.sh installs it");
    let mut unpack = door.program("ssh");
    unpack.arg(door.at()).arg("mkdir -p /tmp/x11 && tar -xC /tmp/x11");
    fed(unpack, &packed.stdout).await?.expect_success().map(drop)
}

/// An X server without a screen, which lets nobody in without its cookie.
struct Screen {
    _server: Child,
    display: String,
    authority: PathBuf,
}

impl Screen {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let authority = folder.join("xauthority");
        let cookie = output(Command::new("mcookie")).await?.expect_success()?;
        let add = |display: String| {
            let mut xauth = Command::new("xauth");
            xauth.args(["-q", "-f"]).arg(&authority).args(["add", &display, ".", cookie.trim()]);
            output(xauth)
        };
        add(":0".to_owned()).await?.expect_success()?;
        let mut server = Command::new("Xvfb");
        server.args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "173x91x24", "-auth"]);
        server.arg(&authority).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.kill_on_drop(true).spawn().context("deploy/dev/tools.sh installs it")?;
        let mut lines = BufReader::new(server.stdout.take().context("piped")?).lines();
        let number = tokio::time::timeout(DONE_AT_MOST, lines.next_line()).await.context("too long")??;
        let display = format!(":{}", number.context("it ended")?.trim());
        add(display.clone()).await?.expect_success()?;
        Ok(Self { _server: server, display, authority })
    }

    fn lend(&self, command: &mut Command) {
        command.env("DISPLAY", &self.display).env("XAUTHORITY", &self.authority);
    }
}
