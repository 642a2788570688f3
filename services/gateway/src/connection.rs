//! What happens to one connection? It says who it is, proves it, and leads on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entrance::visit::Visits;
use entrance::way_in::WayIn;
use events::env::Env;
use events::ids::TenantId;
use events::login::Login;
use events::login::come_in::{AddressRefusal, closed_text, come_in};
use events::tenant::Tenant;
use kit::error::chain;
use nats::Log;
use recorder::Recorders;
use secrecy::SecretString;
use ssh::keys::PublicLine;
use ssh::server::{Answer, Event, Incoming, Server};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{AttemptError, Attempts, From, Verdict};
use crate::directory::Directory;
use crate::door::{Door, Place};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::who::{self, Who};

/// From the connection to being let in.
const GRACE: Duration = Duration::from_secs(60);
/// Wrong passwords of one connection, whatever they are for.
const WRONG_MAX: usize = 5;
/// For an environment that the directory does not know yet.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
const MISNAMED: &str =
    "the user name here is an environment's id, as in ssh env-...@host; `+name` may follow it";

/// What all connections share.
pub struct Gateway {
    pub attempts: Attempts,
    pub directory: Arc<Directory>,
    pub log: Log,
    pub way_in: WayIn,
    pub visits: Visits,
    pub recorders: Recorders,
    pub server: Server,
    pub metrics: Metrics,
    pub door: Door,
    /// As they are now.
    pub settings: watch::Receiver<Settings>,
    /// Ends sessions that are still there when the time to drain is over.
    pub cut: CancellationToken,
    pub sessions: TaskTracker,
}

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub who: Who,
    pub tenant: TenantId,
    pub ip: IpAddr,
    pub method: &'static str,
    pub key_fingerprint: Option<String>,
}

/// What a question comes to.
enum Outcome {
    /// `None`: the key may be used; nothing is proven yet.
    Yes(Option<Admitted>),
    No,
    Closed(DateTime<Utc>),
    /// No environment can have this name, as everybody may know.
    Misnamed,
}

/// What is behind a user name, for this address.
enum Sought {
    Found(Box<Found>),
    /// No environment, or not from here.
    Nobodys,
    /// The address is closed until then.
    Closed(DateTime<Utc>),
}

/// An environment that this address may connect to.
struct Found {
    who: Who,
    tenant: TenantId,
    env: Env,
}

impl Gateway {
    pub async fn serve(self: Arc<Self>, socket: TcpStream, ip: IpAddr, place: Place) {
        let _counted = Counted::new(&self.metrics.connections);
        let greeted = async {
            let mut incoming = match self.server.greet(socket).await {
                Ok(incoming) => incoming,
                Err(error) => {
                    tracing::debug!(%ip, error = chain(&error), "a connection that was none");
                    return None;
                }
            };
            let admitted = self.admit(&mut incoming, ip).await;
            admitted.map(|(admitted, client)| (incoming, admitted, client))
        };
        let greeted = tokio::time::timeout(GRACE, greeted).await;
        drop(place);
        if let Ok(Some((incoming, admitted, client))) = greeted {
            self.lead_on(incoming, admitted, client).await;
        }
    }

    /// Answers questions until somebody is let in; also what the client says it is.
    async fn admit(&self, incoming: &mut Incoming, ip: IpAddr) -> Option<(Admitted, String)> {
        let mut admitted = None;
        let mut wrong = 0;
        while let Some(event) = incoming.next().await {
            let (answer, outcome) = match event {
                Event::LetIn { client } => return admitted.map(|admitted| (admitted, client)),
                Event::Password { user, password, answer } => {
                    let outcome = self.password(&user, password, ip).await;
                    wrong += usize::from(matches!(outcome, Ok(Outcome::No)));
                    (answer, outcome)
                }
                Event::KeyOffered { user, key, answer } => (answer, self.key(&user, &key, ip, false).await),
                Event::KeyProven { user, key, answer } => (answer, self.key(&user, &key, ip, true).await),
            };
            let last = wrong >= WRONG_MAX;
            if !self.answer(answer, outcome, &mut admitted, ip, last) {
                incoming.gone().await;
                return None;
            }
        }
        None
    }

    /// Answers one question; `false` when the client was told to go. `last`: it has no more questions.
    fn answer(
        &self,
        answer: Answer,
        outcome: Result<Outcome, AttemptError>,
        admitted: &mut Option<Admitted>,
        ip: IpAddr,
        last: bool,
    ) -> bool {
        let (named, why) = match outcome {
            Ok(Outcome::Yes(proven)) => {
                if let Some(proven) = proven {
                    self.metrics.login("let_in");
                    *admitted = Some(proven);
                }
                answer.yes();
                return true;
            }
            Ok(Outcome::No) if !last => {
                self.metrics.login("refused");
                answer.no();
                return true;
            }
            Ok(Outcome::No) => ("refused", "too many wrong passwords".to_owned()),
            Ok(Outcome::Closed(until)) => ("closed", closed_text(until, Utc::now())),
            Ok(Outcome::Misnamed) => ("misnamed", MISNAMED.to_owned()),
            Err(error) => {
                tracing::error!(%ip, error = chain(&error), "a login cannot be checked");
                ("unknown", "logins cannot be checked at the moment; try again in a minute".to_owned())
            }
        };
        self.metrics.login(named);
        answer.go(&why);
        false
    }

    async fn password(
        &self,
        user: &str,
        password: SecretString,
        ip: IpAddr,
    ) -> Result<Outcome, AttemptError> {
        let Some(who) = who::parse(user) else { return Ok(Outcome::Misnamed) };
        let found = match self.find(who, ip).await? {
            Sought::Found(found) => found,
            Sought::Closed(until) => return Ok(Outcome::Closed(until)),
            Sought::Nobodys => {
                self.attempts.nobody(password).await?;
                return Ok(Outcome::No);
            }
        };
        let from = From { tenant: &found.tenant, who: &found.who, ip };
        Ok(match self.attempts.password(from, password).await? {
            Verdict::Right => Outcome::Yes(Some(found.admitted(ip, "password", None))),
            Verdict::Wrong => Outcome::No,
            Verdict::Closed(until) => Outcome::Closed(until),
        })
    }

    async fn key(
        &self,
        user: &str,
        key: &PublicLine,
        ip: IpAddr,
        proven: bool,
    ) -> Result<Outcome, AttemptError> {
        let Some(who) = who::parse(user) else { return Ok(Outcome::Misnamed) };
        let found = match self.find(who, ip).await? {
            Sought::Found(found) => found,
            Sought::Closed(until) => return Ok(Outcome::Closed(until)),
            Sought::Nobodys => return Ok(Outcome::No),
        };
        if !self.keys(&found).iter().any(|known| known.is_same_key(key)) {
            return Ok(Outcome::No);
        }
        let admitted = proven.then(|| found.admitted(ip, "publickey", Some(key.fingerprint())));
        Ok(Outcome::Yes(admitted))
    }

    /// The keys that came with the environment, and its owner's.
    fn keys(&self, found: &Found) -> Vec<PublicLine> {
        let own = found.env.requested.iter().flat_map(|requested| requested.ssh_public_keys.clone());
        let owner = found.env.owner().map(|owner| self.directory.keys_of(&found.tenant, owner));
        let lines = own.chain(owner.into_iter().flatten());
        lines.filter_map(|line| PublicLine::read(&line).ok()).collect()
    }

    async fn find(&self, who: Who, ip: IpAddr) -> Result<Sought, AttemptError> {
        let tenant = match self.directory.tenant_of(&who.env) {
            Some(tenant) => tenant,
            None => {
                let head = self.log.head().await?;
                self.directory.wait_for(head, CATCH_UP_MAX).await;
                let Some(tenant) = self.directory.tenant_of(&who.env) else { return Ok(Sought::Nobodys) };
                tenant
            }
        };
        let (env, owner, login) = tokio::try_join!(
            self.log.load::<Env>(&tenant, who.env.as_str()),
            self.log.load::<Tenant>(&tenant, tenant.as_str()),
            self.log.load::<Login>(&tenant, who.env.as_str()),
        )?;
        let (env, now) = (env.state, Utc::now());
        if !env.exists() {
            return Ok(Sought::Nobodys);
        }
        Ok(match come_in(&env, &owner.state, &login.state, ip, now) {
            Ok(()) => Sought::Found(Box::new(Found { who, tenant, env })),
            Err(AddressRefusal::NotAllowed { .. }) => {
                self.metrics.refused("address");
                tracing::debug!(env.id = %who.env, %ip, "refused: not in the allow-list");
                Sought::Nobodys
            }
            Err(AddressRefusal::Locked { until }) => {
                self.attempts.turned_away(From { tenant: &tenant, who: &who, ip }, now);
                Sought::Closed(until)
            }
        })
    }
}

impl Found {
    fn admitted(&self, ip: IpAddr, method: &'static str, key_fingerprint: Option<String>) -> Admitted {
        Admitted { who: self.who.clone(), tenant: self.tenant.clone(), ip, method, key_fingerprint }
    }
}

/// Counts while it is held.
pub struct Counted(prometheus_client::metrics::gauge::Gauge);

impl Counted {
    pub fn new(gauge: &prometheus_client::metrics::gauge::Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
