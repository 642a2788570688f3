//! What does a person see and do in the browser? `tests/browser/run.mjs` with a real Chromium, against
//! an installation on the real engine.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use harness::real_engine::{IMAGE_JUPYTER, has_image};
use harness::{RealEngine, Sshd, programs};
use tokio::process::Command;

use system::world::World;

/// From the sign-in to the last look, on a busy machine; alone it takes some minutes.
const STORY_AT_MOST: Duration = Duration::from_secs(480);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_in_the_browser() {
    let world = World::on_real().await.unwrap();
    world.blame(day(&world).await).unwrap();
}

/// Of root on the machine on which accounts are made.
const PASSWORD: &str = "Right-Pass-1";

async fn day(world: &World<RealEngine>) -> anyhow::Result<()> {
    ensure!(has_image(IMAGE_JUPYTER), "{IMAGE_JUPYTER} is missing: make build");
    let folder = programs::repository().join("tests/browser");
    ensure!(
        folder.join("node_modules/.installed").is_file(),
        "tests/browser/node_modules is missing: tests/browser/install.sh installs it"
    );
    let machine = Sshd::start(PASSWORD, "PermitRootLogin yes").await?;
    let root = format!("echo root:{PASSWORD} | chpasswd; mount -t tmpfs tmpfs /home");
    machine.run_inside(&["sh", "-ec", &root]).await?;
    let mut command = Command::new(programs::tool("node/bin/node")?);
    command.arg("run.mjs").current_dir(folder).kill_on_drop(true).stdin(Stdio::null());
    command.env("PORTREEVE_URL", world.installation.url());
    command.env("PORTREEVE_TOKEN", world.installation.admin_token()?);
    command.env("PORTREEVE_MACHINE", format!("127.0.0.1:{}", machine.port));
    command.env("PORTREEVE_MACHINE_PASSWORD", PASSWORD);
    let done = tokio::time::timeout(STORY_AT_MOST, command.output()).await;
    let output = done
        .with_context(|| format!("not done within {} s", STORY_AT_MOST.as_secs()))?
        .context("cannot start node")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    println!("{said}");
    Ok(())
}
