//! Is a session still there? Its other end sends every line back.

use std::process::Stdio;

use anyhow::{Context, ensure};
use harness::Ssh;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};

use crate::world::DONE_AT_MOST;

pub struct Talk {
    pub process: tokio::process::Child,
    input: tokio::process::ChildStdin,
    lines: Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Talk {
    pub fn start(door: &Ssh) -> anyhow::Result<Self> {
        let mut ssh = door.program("ssh");
        ssh.arg(door.at()).arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = ssh.spawn()?;
        let input = process.stdin.take().context("piped")?;
        let lines = BufReader::new(process.stdout.take().context("piped")?).lines();
        Ok(Self { process, input, lines })
    }

    pub async fn says(&mut self, word: &str) -> anyhow::Result<()> {
        self.input.write_all(format!("{word}\n").as_bytes()).await?;
        let line = tokio::time::timeout(DONE_AT_MOST, self.lines.next_line()).await.context("too long")??;
        ensure!(line.as_deref() == Some(word), "{line:?}");
        Ok(())
    }
}
