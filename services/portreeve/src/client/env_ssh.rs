//! `portreeve env ssh`: a shell in the environment, with this machine's own ssh.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use super::env::Named;
use super::http::Http;
use super::{ClientError, table};

/// Log in with the system's ssh; words after `--` go to it
#[derive(Debug, clap::Args)]
pub struct SshArgs {
    #[command(flatten)]
    env: Named,
    /// Options of ssh and a command to run
    #[arg(last = true)]
    words: Vec<String>,
}

impl SshArgs {
    /// Becomes ssh. With sshpass installed the password is given to it, otherwise it is shown.
    pub async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        let id = self.env.id(http).await?;
        let path = format!("/api/environments/{id}/ssh");
        let access = http.get(&path, &[]).await?;
        if json {
            table::print_json(&access);
            return Ok(());
        }
        let text = |name: &str| access.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let host = text("ssh_host").ok_or_else(|| http.unreadable(&path, "there is no ssh_host"))?;
        let user = text("ssh_username").ok_or_else(|| http.unreadable(&path, "there is no ssh_username"))?;
        let port = access.get("ssh_port").and_then(Value::as_u64);
        let port = port.ok_or_else(|| http.unreadable(&path, "there is no port yet"))?;
        let password = text("ssh_password");

        let mut command = match password.filter(|_| installed("sshpass")) {
            Some(password) => {
                let mut sshpass = Command::new("sshpass");
                sshpass.env("SSHPASS", password).args(["-e", "ssh"]);
                sshpass
            }
            None => {
                if let Some(password) = password {
                    eprintln!("password, if you are asked: {password}");
                }
                Command::new("ssh")
            }
        };
        // Ports are used again by other environments: the host's name is the environment's.
        command.args(["-p", &port.to_string(), "-o", &format!("HostKeyAlias={id}")]);
        command.args(["-o", "StrictHostKeyChecking=accept-new"]);
        let (options, remote) = split(&self.words);
        command.args(options).arg(format!("{user}@{host}")).args(remote);
        let program = command.get_program().to_string_lossy().into_owned();
        Err(ClientError::Io { what: format!("run {program}"), source: command.exec() })
    }
}

/// Options come before the host, the command after it. An option's value is one word with it (`-Lx`).
fn split(words: &[String]) -> (&[String], &[String]) {
    let first = words.iter().position(|word| !word.starts_with('-')).unwrap_or(words.len());
    words.split_at(first)
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_command_are_told_apart() {
        let words = ["-v", "-L8000:localhost:80", "ls", "-l"].map(str::to_owned);
        let (options, remote) = split(&words);
        assert_eq!(options, &words[..2]);
        assert_eq!(remote, &words[2..]);
        assert_eq!(split(&[]), (&[][..], &[][..]));
    }
}
