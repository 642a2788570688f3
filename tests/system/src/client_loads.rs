//! Does a connection carry much, in every way that people load it, whatever the entrance, and without filling the
//! memory of who leads it on? Sizes fit a suite; CONTRIBUTING.md says how the whole load is run.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::Ssh;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::client_commands::master;
use crate::memory::Peak;

/// Each way.
const MEGABYTES: u64 = 200;
/// A flood carries so much before it is interrupted.
const FLOOD_MEGABYTES: u64 = 300;
/// ... and this long after that the prompt is there, on a busy machine.
const PROMPT_WITHIN: Duration = Duration::from_secs(5);
const ONE_BYTE_WRITES: u64 = 1_000_000;
/// Bytes between two exchanges of keys.
const REKEY: &str = "RekeyLimit=16M";
const REKEY_BYTES: u64 = 16 << 20;
const LOAD_AT_MOST: Duration = Duration::from_secs(900);
/// However much passes, so much more memory is enough for who leads it on.
const MEMORY_MIB_MAX: u64 = 64;

fn size(variable: &str, usual: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}: {text:?} is no number")),
        Err(_) => Ok(usual),
    }
}

/// `name` is for the figures; `product` is the process that leads the connection on.
pub async fn loads(door: &Ssh, name: &str, folder: &Path, product: u32) -> anyhow::Result<()> {
    let bytes = size("PORTREEVE_LOAD_MB", MEGABYTES)? * 1_000_000;
    let stream = Stream::of(bytes).await?;
    let begin = || Load::of(name, product);
    let load = begin()?;
    stream.up(door).await.context("up")?;
    load.ended("up", bytes)?;
    let load = begin()?;
    stream.down(door).await.context("down")?;
    load.ended("down", bytes)?;
    let load = begin()?;
    stream.both(door, "").await.context("both at once")?;
    load.ended("both at once", bytes)?;
    let load = begin()?;
    stream.rekeying(door).await.context("new keys under load")?;
    load.ended("both at once with new keys each 16 MiB", bytes)?;
    let load = begin()?;
    stream.beside_a_stalled_one(door, folder).await.context("beside a channel that nobody reads")?;
    load.ended("both at once beside a channel that nobody reads", bytes)?;
    let load = begin()?;
    small_writes(door).await.context("a million writes")?;
    load.ended("a million writes each way", ONE_BYTE_WRITES)?;
    let load = begin()?;
    let (bytes, waited) = interrupted(door).await.context("a flood and Ctrl-C")?;
    load.ended("a flood", bytes)?;
    println!("{name}: the prompt {:.3} s after Ctrl-C", waited.as_secs_f64());
    Ok(())
}

/// One of them, and what it takes.
struct Load<'a> {
    name: &'a str,
    began: Instant,
    peak: Peak,
}

impl<'a> Load<'a> {
    fn of(name: &'a str, product: u32) -> anyhow::Result<Self> {
        Ok(Self { name, began: Instant::now(), peak: Peak::from_now(product)? })
    }

    fn ended(self, what: &str, bytes: u64) -> anyhow::Result<()> {
        let (took, grown) = (self.began.elapsed().as_secs_f64(), self.peak.grown_mib()?);
        let rate = bytes as f64 / 1e6 / took;
        println!("{}: {what} {took:.2} s, {rate:.0} MB/s, at most {grown} MiB more memory", self.name);
        ensure!(grown <= MEMORY_MIB_MAX, "{what}: {grown} MiB more memory");
        Ok(())
    }
}

/// Bytes that both ends can make and nobody can guess, and their digest.
struct Stream {
    bytes: u64,
    make: String,
    digest: String,
}

impl Stream {
    async fn of(bytes: u64) -> anyhow::Result<Self> {
        let make = format!(
            "openssl enc -aes-128-ctr -nosalt -K 000102030405060708090a0b0c0d0e0f -iv 00 </dev/zero 2>/dev/null | head -c {bytes}"
        );
        let digest = bash(None, &format!("({make}) | sha256sum")).await?.0;
        ensure!(digest.len() > 64, "{digest}");
        Ok(Self { bytes, make, digest })
    }

    async fn up(&self, door: &Ssh) -> anyhow::Result<()> {
        let came = bash(Some(door), &format!("({}) | {} sha256sum", self.make, at(door, ""))).await?.0;
        ensure!(came == self.digest, "other bytes arrived: {came}");
        Ok(())
    }

    async fn down(&self, door: &Ssh) -> anyhow::Result<()> {
        let came = bash(Some(door), &format!("{} '{}' | sha256sum", at(door, ""), self.make)).await?.0;
        ensure!(came == self.digest, "other bytes arrived: {came}");
        Ok(())
    }

    /// Also what the client said beside it.
    async fn both(&self, door: &Ssh, options: &str) -> anyhow::Result<String> {
        let line = format!("({}) | {} cat | sha256sum", self.make, at(door, options));
        let (came, said) = bash(Some(door), &line).await?;
        ensure!(came == self.digest, "other bytes came back: {came}");
        Ok(said)
    }

    /// Both ways on a connection where another command's output is not read.
    async fn beside_a_stalled_one(&self, door: &Ssh, folder: &Path) -> anyhow::Result<()> {
        let (control, master) = master(door, &folder.join("stalled")).await?;
        let option = format!("-o {control}");
        let mut stalled = door.program("ssh");
        stalled.args(["-o", &control]).arg(door.at()).arg("yes").stdout(Stdio::piped());
        let mut stalled = stalled.spawn()?;
        // it has begun
        let began = stalled.stdout.as_mut().context("piped")?.read_u8();
        tokio::time::timeout(LOAD_AT_MOST, began).await.context("it says nothing")??;
        self.both(door, &option).await?;
        ensure!(stalled.try_wait()?.is_none(), "the command that nobody reads has ended");
        drop(master);
        Ok(())
    }

    async fn rekeying(&self, door: &Ssh) -> anyhow::Result<()> {
        let said = self.both(door, &format!("-v -o {REKEY}")).await?;
        let exchanges = said.matches("SSH2_MSG_KEXINIT sent").count() as u64;
        let expected = self.bytes / REKEY_BYTES / 2;
        ensure!(exchanges > expected, "{exchanges} exchanges of keys, more than {expected} were expected");
        Ok(())
    }
}

/// ssh to the environment, for a line of a shell.
fn at(door: &Ssh, options: &str) -> String {
    format!("{} {options} {}", door.words(), door.at())
}

/// Standard output and error of a pipe that ends well as a whole.
async fn bash(door: Option<&Ssh>, line: &str) -> anyhow::Result<(String, String)> {
    let mut bash = Command::new("bash");
    // `head` has enough before `openssl` has
    bash.arg("-c").arg(format!("{line}; ended=\"${{PIPESTATUS[*]}}\"; echo \"$ended\" >&2"));
    bash.stdin(Stdio::null()).kill_on_drop(true);
    if let Some(door) = door {
        door.lend(&mut bash);
    }
    let done = tokio::time::timeout(LOAD_AT_MOST, bash.output()).await.context("too long")??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, error) = (text(done.stdout), text(done.stderr));
    let ended = error.lines().last().unwrap_or_default();
    // 141: a writer whose reader had enough
    ensure!(ended.split(' ').all(|code| ["0", "141"].contains(&code)), "ended with {ended}: {error}");
    Ok((out, error))
}

/// Programs that write a byte at a time, both ways.
async fn small_writes(door: &Ssh) -> anyhow::Result<()> {
    let one_by_one =
        format!("import os\nfor n in range({ONE_BYTE_WRITES}): os.write(1, b\"%c\" % (n % 251))\n");
    let count = "import sys, hashlib; d = sys.stdin.buffer.read(); \
                 print(len(d), d == bytes(n % 251 for n in range(len(d))))";
    let expected = format!("{ONE_BYTE_WRITES} True");
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &one_by_one)?;
    let (local, ssh) = (format!("/usr/bin/python3 {}", file.path().display()), at(door, ""));
    let up = bash(Some(door), &format!("{local} | {ssh} \"python3 -c '{count}'\"")).await?.0;
    ensure!(up.trim() == expected, "up: {up}");
    door.copy_in(file.path(), "/tmp/one-by-one.py").await?.expect_success()?;
    let line = format!("{ssh} python3 /tmp/one-by-one.py | /usr/bin/python3 -c '{count}'");
    let down = bash(Some(door), &line).await?.0;
    ensure!(down.trim() == expected, "down: {down}");
    Ok(())
}

/// `cat` of something endless in a terminal, until the person has had enough: how much came, and how long the
/// prompt took.
async fn interrupted(door: &Ssh) -> anyhow::Result<(u64, Duration)> {
    let flood = size("PORTREEVE_FLOOD_MB", FLOOD_MEGABYTES)? * 1_000_000;
    let mut ssh = door.program("ssh");
    ssh.arg("-tt").arg(door.at()).arg("PS1='the-prompt> ' bash --norc --noprofile -i");
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut ssh = ssh.spawn()?;
    let mut keys = ssh.stdin.take().context("piped")?;
    let mut screen = ssh.stdout.take().context("piped")?;
    let until_prompt = async |screen: &mut tokio::process::ChildStdout| {
        let (mut tail, mut part) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let n = screen.read(&mut part).await?;
            ensure!(n > 0, "the terminal ended");
            tail.extend_from_slice(&part[..n]);
            if tail.windows(11).any(|words| words == b"the-prompt>") {
                return anyhow::Ok(());
            }
            tail.drain(..tail.len().saturating_sub(32));
        }
    };
    tokio::time::timeout(LOAD_AT_MOST, until_prompt(&mut screen)).await.context("no first prompt")??;
    keys.write_all(b"cat /dev/zero\n").await?;
    let (mut bytes, mut part) = (0, vec![0; 1 << 16]);
    while bytes < flood {
        let n = tokio::time::timeout(LOAD_AT_MOST, screen.read(&mut part)).await.context("it stalls")??;
        ensure!(n > 0, "the terminal ended");
        bytes += n as u64;
    }
    let pressed = Instant::now();
    keys.write_all(&[3]).await?;
    let prompt = tokio::time::timeout(PROMPT_WITHIN, until_prompt(&mut screen)).await;
    prompt.with_context(|| format!("no prompt within {PROMPT_WITHIN:?} of Ctrl-C"))??;
    Ok((bytes, pressed.elapsed()))
}
