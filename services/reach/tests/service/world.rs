//! Where does a test take place? A nats-server with log and vault, and servers that are registered there.

use std::time::Duration;

use events::Cause;
use events::credential::SecretRef;
use events::ids::{ServerId, TenantId};
use events::server::register::register;
use events::server::{ConnectionTested, Credential, Method, Server, Settings};
use harness::Sshd;
use harness::nats::{NatsServer, password_of};
use harness::sshd::USER;
use nats::{Log, MasterKeys, Vault};
use reach::{LIMITS, Reach, ReachError, Who};
use secrecy::SecretString;
use ssh::client::Limits;
use uuid::Uuid;

pub const PASSWORD: &str = "Right-Pass-1";
pub const WHO: Who<'_> = Who { session: "ses-abcdefghijkl", user: "alice" };

pub struct World {
    pub log: Log,
    pub vault: Vault,
    pub reach: Reach,
    keys: MasterKeys,
    _nats: NatsServer,
}

pub fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn cause() -> Cause {
    Cause::new(Uuid::now_v7(), "user:alice")
}

impl World {
    pub async fn start() -> Self {
        let nats = NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap();
        let config = |user: &str| nats::Config {
            url: nats.url(),
            user: user.to_owned(),
            password: SecretString::from(password_of(user)),
            name: user.to_owned(),
        };
        nats::connect(&config("setup")).await.unwrap().setup(1).await.unwrap();
        let connection = nats::connect(&config("api")).await.unwrap();
        let (keys, _) = MasterKeys::generate().unwrap();
        let (log, vault) = (connection.log(), connection.vault(keys.clone()));
        // nobody here is far away; what stays silent is not waited for
        let short = Duration::from_millis(500);
        let limits = Limits { connect: short, banner: short, kex: Duration::from_secs(2), ..LIMITS };
        let reach = Reach::with_limits(log.clone(), vault.clone(), &keys, limits);
        Self { log, vault, reach, keys, _nats: nats }
    }

    /// One that waits as long as the product does.
    pub async fn patient() -> Self {
        let world = Self::start().await;
        Self { reach: Reach::new(world.log.clone(), world.vault.clone(), &world.keys), ..world }
    }

    /// With what [`Sshd`]'s account has.
    pub fn settings(port: u16) -> Settings {
        Settings {
            name: "target".into(),
            host: "127.0.0.1".into(),
            port,
            username: USER.into(),
            credential: Credential { method: Method::Certificate, secret: None },
            zone: None,
            relay: None,
            groups: [].into(),
            labels: [].into(),
        }
    }

    pub async fn register(&self, method: Method, secret: &str, settings: Settings) -> ServerId {
        let id = ServerId::from_seed(&Uuid::new_v4());
        let mut credential = Credential { method, secret: None };
        if method != Method::Certificate {
            let name = SecretRef::server_login(&id, Uuid::now_v7());
            self.vault.put(&name, &SecretString::from(secret)).await.unwrap();
            credential.secret = Some(name);
        }
        let settings = Settings { credential, ..settings };
        let rule = |server: &Server| register(server, settings.clone());
        self.log.decide::<Server, _>(&tenant(), id.as_str(), &cause(), 0, rule).await.unwrap();
        id
    }

    pub async fn with_password(&self, password: &str, settings: Settings) -> ServerId {
        self.register(Method::Password, password, settings).await
    }

    pub async fn server(&self, id: &ServerId) -> Server {
        self.log.load::<Server>(&tenant(), id.as_str()).await.unwrap().state
    }

    pub async fn test(&self, id: &ServerId) -> ConnectionTested {
        let tested = self.reach.test(&tenant(), id, WHO, &cause()).await.unwrap();
        assert_eq!(self.server(id).await.tested.as_ref(), Some(&tested.outcome), "it is on record");
        tested.outcome
    }

    /// `ok`, or class and step; the test and a connection say the same.
    pub async fn class(&self, id: &ServerId) -> (String, String) {
        let tested = self.test(id).await;
        let said = tested.class.unwrap_or_else(|| "ok".to_owned());
        if tested.step != "shell" {
            match self.reach.connect(&tenant(), id, WHO, &cause()).await {
                Err(ReachError::Trouble(trouble)) => {
                    assert_eq!((trouble.class, trouble.step.name()), (&said[..], &tested.step[..]));
                    assert!(!trouble.suggestion.is_empty());
                }
                Err(error) => panic!("{error}"),
                Ok(_) => panic!("the test says {said}, and one gets in"),
            }
        }
        assert_eq!(tested.ok, said == "ok");
        assert_eq!((tested.reason.is_some(), tested.suggestion.is_some()), (!tested.ok, !tested.ok));
        (said, tested.step)
    }

    /// The class of a test at a target with this configuration, after these commands inside.
    pub async fn class_at(
        &self,
        password: &str,
        configuration: &str,
        inside: &[&[&str]],
    ) -> (String, String) {
        let sshd = Sshd::start(PASSWORD, configuration).await.unwrap();
        for command in inside {
            sshd.run_inside(command).await.unwrap();
        }
        let id = self.with_password(password, Self::settings(sshd.port)).await;
        self.class(&id).await
    }
}

/// Turns everybody away before it says who it is. Whom it refuses libwrap also asks names of: from a file, here.
pub const DENY: &str =
    "sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf; echo 'sshd: ALL' > /etc/hosts.deny";

pub fn said(class: &str, step: &str) -> (String, String) {
    (class.to_owned(), step.to_owned())
}
