//! What does a person see at a terminal, and what of it was recorded?

use std::process::Stdio;

use anyhow::{Context, ensure};
use harness::{Api, Ssh};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::world::{DONE_AT_MOST, until_listed};

/// A shell at a terminal of the person's own, so that sizes are real.
pub struct Shell {
    process: Child,
    input: ChildStdin,
    shown: String,
    output: ChildStdout,
}

impl Shell {
    pub fn open(door: &Ssh) -> anyhow::Result<Self> {
        // `script` gives ssh a terminal, whose size `stty` sets
        let mut ssh = door.program("ssh");
        ssh.arg("-tt").arg(door.at());
        let line = line_of(ssh.as_std());
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &format!("stty cols 90 rows 28; exec {line}"), "/dev/null"]);
        for (name, value) in ssh.as_std().get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("TERM", "xterm-256color").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("script is of util-linux")?;
        let input = process.stdin.take().context("piped")?;
        let output = process.stdout.take().context("piped")?;
        Ok(Self { process, input, shown: String::new(), output })
    }

    pub async fn types(&mut self, text: &str) -> anyhow::Result<()> {
        self.input.write_all(text.as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    pub async fn shows(&mut self, text: &str) -> anyhow::Result<()> {
        let until = async {
            let mut bytes = [0; 4096];
            while !self.shown.contains(text) {
                let n = self.output.read(&mut bytes).await?;
                ensure!(n > 0, "it ended");
                self.shown.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            Ok(())
        };
        let seen = tokio::time::timeout(DONE_AT_MOST, until).await.context("too long");
        seen.and_then(|seen| seen).with_context(|| format!("no {text:?} in {:?}", self.shown))
    }

    pub async fn ends(&mut self) -> anyhow::Result<()> {
        tokio::time::timeout(DONE_AT_MOST, self.process.wait()).await.context("it goes on")??;
        Ok(())
    }
}

fn line_of(command: &std::process::Command) -> String {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', "'\\''"));
    std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect::<Vec<_>>().join(" ")
}

/// The tenant's wish.
pub async fn record(api: &Api, enabled: bool) -> anyhow::Result<()> {
    api.put("/api/tenants/default/recording", &json!({"enabled": enabled})).await?.expect(200)?;
    Ok(())
}

pub async fn recordings(
    api: &Api,
    env: &str,
    what: &str,
    holds: impl Fn(&[Value]) -> bool,
) -> anyhow::Result<Vec<Value>> {
    until_listed(api, &format!("/api/environments/{env}/recordings"), what, holds).await
}

/// Header and events of a recording, each line read as a player would.
pub async fn cast(api: &Api, recording: &Value) -> anyhow::Result<(Value, Vec<Value>)> {
    let id = recording["recording_id"].as_str().context("an id")?;
    let answer = api.get(&format!("/api/recordings/{id}")).await?.expect(200)?;
    ensure!(answer.content_type == "application/x-asciicast", "{}", answer.content_type);
    let text = answer.body.as_str().context("lines")?.to_owned();
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let mut lines = lines.with_context(|| text.clone())?;
    let header = lines.remove(0);
    ensure!(header["version"] == 2, "{header}");
    Ok((header, lines))
}

/// Everything of one kind, `o` for output.
pub fn said(events: &[Value], code: &str) -> String {
    events.iter().filter(|event| event[1] == code).filter_map(|event| event[2].as_str()).collect()
}
