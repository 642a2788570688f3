//! How does a test get real containers? A `podman system service` of its own, with the settings that
//! `portreeve up` uses; what a test leaves behind is removed by its labels.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::child::Child;
use crate::eventually::eventually;
use crate::programs;

const UP_AT_MOST: Duration = Duration::from_secs(30);
/// The image that `deploy/image/build.sh` makes.
pub const IMAGE: &str = "portreeve/env:dev";
pub const IMAGE_JUPYTER: &str = "portreeve/env-jupyter:dev";

pub struct RealEngine {
    folder: tempfile::TempDir,
    process: Child,
}

/// Runs podman with the project's settings.
pub fn podman(arguments: &[&str]) -> anyhow::Result<std::process::Output> {
    let mut command = Command::new(programs::installed("podman")?);
    command.args(arguments).env("CONTAINERS_CONF", containers_conf());
    command.output().context("cannot run podman")
}

fn containers_conf() -> PathBuf {
    programs::repository().join("deploy/dev/containers.conf")
}

pub fn has_image(image: &str) -> bool {
    podman(&["image", "inspect", image]).is_ok_and(|output| output.status.success())
}

impl RealEngine {
    pub async fn start() -> anyhow::Result<Self> {
        if !has_image(IMAGE) {
            bail!(
                "the image {IMAGE} is missing: make build (or deploy/image/build.sh --sentry target/debug/sentry)"
            );
        }
        let folder = tempfile::Builder::new().prefix("engine-").tempdir()?;
        let socket = folder.path().join("engine.sock");
        let program = programs::installed("podman")?;
        let process = Child::start(program, &folder.path().join("log"), |command| {
            command.args(["system", "service", "--time=0"]).arg(format!("unix://{}", socket.display()));
            command.env("CONTAINERS_CONF", containers_conf());
        })?;
        let engine = Self { folder, process };
        eventually("podman answers", UP_AT_MOST, || async {
            tokio::net::UnixStream::connect(engine.folder.path().join("engine.sock")).await.map(drop)
        })
        .await
        .with_context(|| engine.process.log_tail())?;
        Ok(engine)
    }

    /// For `--container-host`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("engine.sock").display())
    }

    /// Containers of the environments given, running or not, as `podman ps` shows them.
    pub fn containers(&self) -> anyhow::Result<Vec<Value>> {
        let output = podman(&["ps", "--all", "--format", "json"])?;
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).context("podman ps")?;
        Ok(all)
    }

    pub fn volumes(&self) -> anyhow::Result<Vec<String>> {
        let output = podman(&["volume", "ls", "--format", "{{.Name}}"])?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

/// Names of the volumes of an installation.
pub fn volumes_of(instance: &str) -> anyhow::Result<Vec<String>> {
    let label = format!("label=portreeve.instance={instance}");
    let output = podman(&["volume", "ls", "--quiet", "--filter", &label])?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Removes containers and volumes of an installation by its name, whatever state they are in.
pub fn remove_leftovers(instance: &str) {
    let filter = |kind: &[&str]| {
        let label = format!("label=portreeve.instance={instance}");
        let mut arguments = kind.to_vec();
        arguments.extend(["--filter", &label]);
        podman(&arguments)
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    };
    for id in filter(&["ps", "--all", "--quiet"]).lines() {
        let _gone = podman(&["rm", "--force", "--time", "0", id]);
    }
    for name in filter(&["volume", "ls", "--quiet"]).lines() {
        let _gone = podman(&["volume", "rm", "--force", name]);
    }
}
