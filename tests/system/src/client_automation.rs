//! Do programs that run commands for people get through, whatever the entrance? Ansible, with its modules
//! and with bare commands, over its shared connections.

use std::path::Path;

use anyhow::{Context, ensure};
use harness::ssh::output;
use harness::{Proof, Ssh, programs};
use tokio::process::Command;

/// Debian's, for which deploy/dev/tools.sh chose Ansible's release.
const PYTHON: &str = "/usr/bin/python3";
/// Hosts of one play that are one environment: connections at once.
const HOSTS: usize = 4;

/// `door` opens with a key.
pub async fn automation(door: &Ssh, folder: &Path) -> anyhow::Result<()> {
    let Proof::Key(key) = &door.proof else { anyhow::bail!("the door has no key") };
    let mut inventory = String::new();
    for n in 0..HOSTS {
        inventory += &format!(
            "env{n} ansible_host={} ansible_port={} ansible_user={} ansible_ssh_private_key_file={}\n",
            door.host,
            door.port,
            door.user,
            key.display()
        );
    }
    std::fs::write(folder.join("inventory"), inventory)?;
    // no settings but those given here
    std::fs::write(folder.join("ansible.cfg"), "[defaults]\n")?;
    let said = ansible(folder, "raw", "echo raw of $(id -un)").await.context("raw")?;
    ensure!(said.matches("raw of developer").count() == HOSTS, "{said}");
    let said = ansible(folder, "ping", "").await.context("ping")?;
    ensure!(said.matches("\"ping\": \"pong\"").count() == HOSTS, "{said}");
    // its way with files: a temporary folder, sftp, a module that compares, become
    std::fs::write(folder.join("src"), "by ansible\n".repeat(10_000))?;
    let copy = format!("src={}/src dest=/root/by-ansible mode=0600", folder.display());
    let said = ansible(folder, "copy", &copy).await.context("copy")?;
    ensure!(said.matches("SUCCESS").count() + said.matches("CHANGED").count() == HOSTS, "{said}");
    let said = ansible(folder, "command", "sha256sum /root/by-ansible").await.context("command")?;
    let mut own = Command::new("sha256sum");
    let own = output({
        own.arg(folder.join("src"));
        own
    });
    let own = own.await?.expect_success()?;
    let own = own.split(' ').next().context("no sum")?;
    ensure!(said.matches(own).count() == HOSTS, "{said}");
    Ok(())
}

async fn ansible(folder: &Path, module: &str, arguments: &str) -> anyhow::Result<String> {
    let tools = programs::tools();
    let mut ansible = Command::new(PYTHON);
    ansible.args(["-m", "ansible", "adhoc", "all", "--inventory"]).arg(folder.join("inventory"));
    ansible.args(["--module-name", module, "--args", arguments, "--forks", &HOSTS.to_string()]);
    if ["copy", "command"].contains(&module) {
        ansible.arg("--become");
    }
    let python = [tools.join("ansible"), tools.join("python")].map(|path| path.display().to_string());
    ansible.env("PYTHONPATH", python.join(":")).env("PYTHONWARNINGS", "ignore");
    ansible.env("HOME", folder).env("ANSIBLE_HOME", folder.join("ansible")).env("LC_ALL", "C.UTF-8");
    ansible.env("ANSIBLE_CONFIG", folder.join("ansible.cfg")).env("ANSIBLE_HOST_KEY_CHECKING", "false");
    ansible.env("ANSIBLE_NOCOLOR", "1").env("ANSIBLE_PYTHON_INTERPRETER", "auto_silent");
    ansible.env("ANSIBLE_SSH_ARGS", "-F /dev/null -o ControlMaster=auto -o ControlPersist=10s -o IdentitiesOnly=yes -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR");
    ansible.current_dir(folder).stdin(std::process::Stdio::null()).env_remove("SSH_AUTH_SOCK");
    let output = output(ansible).await?;
    ensure!(output.success, "{}{}", output.stdout, output.stderr);
    Ok(output.stdout)
}
