//! Where does a sentry run in these tests? As process 1 of its own process namespace, with copies of
//! /etc and /run over the real ones in its own mount namespace, and real sshd on free ports.

use std::fmt::Debug;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kit::sentry_protocol::{Policy, Report};
use tokio::process::{Child, Command};

use crate::control_plane::{ControlPlane, TOKEN};

pub const PASSWORD: &str = "Right-Pass-1";
/// The environment that the sentry guards.
pub const ENV: &str = "env-testtesttest";
const COMMAND_WAIT_MAX: Duration = Duration::from_secs(60);

/// Until `look` finds something, at most this long; then what was last seen is said.
pub async fn until<T, S: Debug>(
    what: &str,
    most: Duration,
    mut look: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if begun.elapsed() > most => {
                panic!("{what}: not within {most:?}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

pub const SOON: Duration = Duration::from_secs(20);

pub struct World {
    pub dir: tempfile::TempDir,
    pub control: ControlPlane,
    pub port: u16,
    pub inner_port: u16,
    pub health: u16,
    pub sentry: Option<Child>,
    version: AtomicUsize,
}

impl World {
    /// A world with a policy; the sentry accepts.
    pub async fn start() -> Self {
        Self::start_telling_refusals(3600).await
    }

    /// ... and says every so many seconds whom it turned away.
    pub async fn start_telling_refusals(every_s: u64) -> Self {
        let world = Self::prepare().await;
        std::fs::write(world.path("start.sh"), world.script(every_s)).unwrap();
        world.control.set(world.policy(PASSWORD).await);
        let mut world = world;
        world.start_sentry();
        world.is_applied().await;
        world
    }

    pub async fn prepare() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make namespaces and accounts: run them as root"
        );
        for (program, package) in [
            ("/usr/sbin/sshd", "openssh-server"),
            ("/usr/bin/sshpass", "sshpass"),
            ("/usr/bin/openssl", "openssl"),
        ] {
            assert!(Path::new(program).exists(), "{program} is missing: apt-get install {package}");
        }
        let dir = tempfile::tempdir().unwrap();
        // others (the account, sshd without privileges) must be able to pass
        run("chmod", &["755", dir.path().to_str().unwrap()]).await;
        for name in ["home", "state", "work"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        run("cp", &["-a", "/etc", dir.path().join("etc").to_str().unwrap()]).await;
        let control = ControlPlane::start(dir.path());
        let world = Self {
            dir,
            control,
            port: free_port(),
            inner_port: free_port(),
            health: free_port(),
            sentry: None,
            version: AtomicUsize::new(0),
        };
        std::fs::write(world.path("sshd_config"), world.sshd_config()).unwrap();
        std::fs::write(world.path("start.sh"), world.script(3600)).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sshd_config(&self) -> String {
        let keys = self.path("state/ssh");
        let keys = keys.display();
        format!(
            "HostKey {keys}/ssh_host_ed25519_key\nHostKey {keys}/ssh_host_ecdsa_key\n\
             AllowUsers developer\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\nUsePAM no\n\
             AuthorizedKeysFile /etc/portreeve/authorized_keys/%u\n\
             MaxAuthTries 6\nLoginGraceTime 60\nSubsystem sftp internal-sftp\nPrintMotd no\nPrintLastLog no\nUseDNS no\n"
        )
    }

    fn script(&self, refusals_every_s: u64) -> String {
        let dir = self.dir.path().display();
        let (port, inner, health) = (self.port, self.inner_port, self.health);
        let sentry = env!("CARGO_BIN_EXE_sentry");
        format!(
            "set -e\nmount --bind {dir}/etc /etc\nmount -t tmpfs tmpfs /run\n\
             grep -q ^developer: /etc/passwd || useradd --create-home --home-dir {dir}/home/developer --shell /bin/bash developer\n\
             export PORTREEVE_CONTROL_URL=unix:{dir}/control.sock PORTREEVE_ENV_ID={ENV} PORTREEVE_SENTRY_TOKEN={TOKEN}\n\
             exec {sentry} --listen 127.0.0.1:{port},[::1]:{port} \
             --inner-listen 127.0.0.1:{inner} --refusals-every-s {refusals_every_s} --health 127.0.0.1:{health} --state-dir {dir}/state \
             --sshd-config {dir}/sshd_config --owned-dirs {dir}/work/code,{dir}/work/output \
             --jupyter {dir}/work/jupyter --jupyter-dir {dir}/work\n"
        )
    }

    pub fn start_sentry(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("sentry.log")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash"])
            .arg(self.path("start.sh"))
            .stdin(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.sentry = Some(child.unwrap());
    }

    /// The sentry's process id, seen from here.
    pub fn sentry_pid(&self) -> nix::unistd::Pid {
        let unshare = self.sentry.as_ref().unwrap().id().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        nix::unistd::Pid::from_raw(children.trim().parse().unwrap())
    }

    pub async fn sentry_ended(&mut self) -> std::process::ExitStatus {
        let mut sentry = self.sentry.take().unwrap();
        tokio::time::timeout(SOON, sentry.wait()).await.expect("the sentry ends").unwrap()
    }

    pub async fn policy(&self, password: &str) -> Policy {
        let hash = run("openssl", &["passwd", "-6", password]).await;
        Policy {
            version: format!("v{}", self.version.fetch_add(1, Ordering::Relaxed) + 1),
            password_hash: String::from_utf8(hash.stdout).unwrap().trim().into(),
            authorized_keys: vec![],
            allow_list: vec![],
            lockouts: vec![],
            failures: vec![],
            forgiven: vec![],
            user_ca: None,
            jupyter: None,
            ends_soon: None,
        }
    }

    /// Sets a policy and waits until the sentry says that it is in force.
    pub async fn put_in_force(&self, policy: Policy) {
        self.control.set(policy);
        self.is_applied().await;
    }

    async fn is_applied(&self) {
        let version = format!("v{}", self.version.load(Ordering::Relaxed));
        let what = format!("{version} is applied");
        until(&what, SOON, async || match self.control.applied() {
            applied if applied.contains(&version) => Ok(()),
            applied => Err((applied, self.log())),
        })
        .await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("sentry.log")).unwrap_or_default()
    }

    /// A key pair under this name, and its public line.
    pub async fn keygen(&self, name: &str) -> String {
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", self.path(name).to_str().unwrap()]).await;
        std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    /// A key under this name with a certificate of the CA for this principal; `validity` as ssh-keygen reads it.
    pub async fn certify(&self, name: &str, ca: &str, key_id: &str, principal: &str, validity: &str) {
        self.keygen(name).await;
        let (ca, public) = (self.path(ca), self.path(&format!("{name}.pub")));
        let (ca, public) = (ca.to_str().unwrap(), public.to_str().unwrap());
        run("ssh-keygen", &["-q", "-s", ca, "-I", key_id, "-n", principal, "-V", validity, public]).await;
    }

    /// `ssh` with this key alone.
    pub fn ssh_with(&self, key: &str, port: u16) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(self.options()).args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i"]);
        ssh.arg(self.path(key)).args(["-p", &port.to_string(), "developer@127.0.0.1"]);
        ssh.stdin(Stdio::null()).kill_on_drop(true);
        ssh
    }

    /// `ssh` with a password, from an address of this machine.
    pub fn ssh(&self, password: &str, from: &str) -> Command {
        self.ssh_as("developer", password, from)
    }

    pub fn ssh_as(&self, user: &str, password: &str, from: &str) -> Command {
        let mut command = Command::new("sshpass");
        command.args(["-p", password, "ssh", "-b", from]).args(self.options());
        command.args(["-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password"]);
        command.args(["-p", &self.port.to_string(), "-l", user, "127.0.0.1"]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// `ssh` that types the same wrong password until it is shown the door.
    pub fn guesser(&self, from: &str) -> Command {
        let mut command = Command::new("setsid");
        command.args(["--wait", "ssh", "-b", from]).args(self.options());
        command.args(["-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password"]);
        command.args(["-o", "NumberOfPasswordPrompts=6", "-p", &self.port.to_string()]);
        command.args(["developer@127.0.0.1", "true"]);
        command.env("SSH_ASKPASS", "/bin/pwd").env("SSH_ASKPASS_REQUIRE", "force");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub fn options(&self) -> [&'static str; 10] {
        [
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=20",
        ]
    }

    /// Waits for reports that satisfy `enough`.
    pub async fn reports(&self, what: &str, enough: impl Fn(&[Report]) -> bool) -> Vec<Report> {
        until(what, SOON, async || match self.control.reports() {
            reports if enough(&reports) => Ok(reports),
            reports => Err((reports, self.log())),
        })
        .await
    }

    /// A session is open and its command runs: it has said so.
    pub async fn long_session(&self, from: &str) -> Child {
        use tokio::io::AsyncReadExt;
        let mut ssh = self.ssh(PASSWORD, from);
        ssh.args(["echo ready; exec sleep 1000"]).stdout(Stdio::piped());
        let mut ssh = ssh.spawn().unwrap();
        let mut ready = [0; 6];
        let read = ssh.stdout.as_mut().unwrap().read_exact(&mut ready);
        tokio::time::timeout(SOON, read).await.expect("a session within time").expect("a session");
        ssh
    }

    pub async fn healthz(&self) -> (u16, String) {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/healthz", self.health)).await;
        match answer {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            Err(error) => (0, error.to_string()),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the sentry's log\n{}", self.log());
        }
    }
}

pub async fn output(command: &mut Command) -> Output {
    tokio::time::timeout(COMMAND_WAIT_MAX, command.output()).await.expect("a command ends").unwrap()
}

async fn run(program: &str, args: &[&str]) -> Output {
    let output = output(Command::new(program).args(args)).await;
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.local_addr().unwrap().port()
}

/// How a report is called in a list.
pub fn name(report: &Report) -> &'static str {
    match report {
        Report::LoginSucceeded { .. } => "succeeded",
        Report::LoginFailed { .. } => "failed",
        Report::LoginsRefused { .. } => "refused",
        Report::SessionOpened { .. } => "opened",
        Report::InnerOpened { .. } => "inner",
        Report::SessionClosed { .. } => "closed",
    }
}

pub fn names(reports: &[Report]) -> Vec<&'static str> {
    reports.iter().map(name).collect()
}

pub fn count(reports: &[Report], wanted: &str) -> usize {
    reports.iter().filter(|report| name(report) == wanted).count()
}
