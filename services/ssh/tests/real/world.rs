//! Where does a test take place? A real sshd that trusts a certificate authority of ours, and a relay to it.

use std::time::Duration;

use harness::Sshd;
use harness::sshd::USER;
use secrecy::SecretString;
use ssh::ca::{Holder, UserCa};
use ssh::client::{Limits, Login, Target};
use ssh::keys::{KeyPair, PublicLine};
use ssh::server::{Event, Server};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedSender;

pub const PASSWORD: &str = "Right-Pass-1";
pub const ENV: &str = "env-abcdefghijkl";
/// Whoever says so is told to go, and why.
pub const CLOSED: &str = "closed";
pub const WHY: &str = "closed for another 30 minutes";
pub const SOON: Duration = Duration::from_secs(60);

pub struct World {
    pub sshd: Sshd,
    pub ca: UserCa,
}

impl World {
    pub async fn start() -> Self {
        let ca = UserCa::generate().unwrap();
        let more = "TrustedUserCAKeys {folder}/ca.pub\nAuthorizedPrincipalsFile {folder}/principals";
        let sshd = Sshd::start(PASSWORD, more).await.unwrap();
        std::fs::write(sshd.folder().join("ca.pub"), format!("{}\n", ca.public_line())).unwrap();
        std::fs::write(sshd.folder().join("principals"), format!("{ENV}\n")).unwrap();
        Self { sshd, ca }
    }

    pub fn target(&self) -> Target {
        Target {
            host: "127.0.0.1".into(),
            port: self.sshd.port,
            user: USER.into(),
            host_key: Some(PublicLine::read(&self.sshd.host_key().unwrap()).unwrap()),
            through: None,
        }
    }

    pub fn certificate(&self, principal: &str) -> Login {
        let holder = Holder { principal, session: "ses-abcdefghijkl", user: "alice" };
        Login::Certificate(self.ca.certify(&holder, std::time::SystemTime::now()).unwrap())
    }

    pub async fn connect(&self) -> ssh::client::Connection {
        ssh::client::connect(&self.target(), &self.certificate(ENV), &Limits::default()).await.unwrap()
    }

    /// A gateway in miniature: takes [`PASSWORD`] from anybody and relays. Answers its port.
    pub async fn relay(&self) -> u16 {
        self.relay_watched(None).await
    }

    /// The same, and somebody is told what terminals show: each thing as `{:?}` writes it.
    pub async fn relay_watched(&self, told: Option<UnboundedSender<String>>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server::new(&KeyPair::generate().unwrap());
        let (target, login) = (self.target(), self.certificate(ENV));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(server.clone(), socket, target.clone(), login.clone(), told.clone()));
            }
        });
        port
    }
}

async fn serve(
    server: Server,
    socket: tokio::net::TcpStream,
    target: Target,
    login: Login,
    told: Option<UnboundedSender<String>>,
) {
    use secrecy::ExposeSecret;
    let Ok(mut incoming) = server.greet(socket).await else { return };
    while let Some(event) = incoming.next().await {
        match event {
            Event::Password { user, answer, .. } if user == CLOSED => answer.go(WHY),
            Event::Password { password, answer, .. } if password.expose_secret() == PASSWORD => answer.yes(),
            Event::Password { answer, .. }
            | Event::KeyOffered { answer, .. }
            | Event::KeyProven { answer, .. } => answer.no(),
            Event::LetIn { client } => {
                match incoming.connect(&target, &login, &Limits::default(), &client).await {
                    Ok(upstream) => {
                        if let Some(told) = told {
                            incoming.watch_terminals(Box::new(move |seen| {
                                told.send(format!("{seen:?}")).ok();
                            }));
                        }
                        incoming.relay(&upstream).await;
                    }
                    Err(error) => incoming.explain(&error.reason(), SOON).await,
                }
                return;
            }
        }
    }
}

/// `ssh` with the password.
pub fn ssh(port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new("sshpass");
    command.args(["-p", PASSWORD, "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no"]);
    command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "UpdateHostKeys=yes"]);
    command.args(["-o", "PreferredAuthentications=password", "-p", &port.to_string()]);
    command.args(arguments).kill_on_drop(true);
    command
}

pub async fn output(mut command: Command) -> std::process::Output {
    tokio::time::timeout(SOON, command.output()).await.expect("a command ends").unwrap()
}

pub fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}
