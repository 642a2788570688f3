//! Can the server be used? Reached as everybody reaches it, then its shell is asked to answer; recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::ids::{ServerId, TenantId};
use events::server::{ConnectionTested, Server, ServerEvent, ServerRefusal, Settings, test::tested};
use events::{Cause, Decision, Event};
use ssh::channel::Exit;
use ssh::client::Connection;
use tokio::time::timeout;

use crate::connect::{Learnt, Way, Who, index, own};
use crate::courier::Visit;
use crate::inside::Inside;
use crate::script::collect;
use crate::trouble::{Step, Trouble};
use crate::{By, Reach, ReachError};

/// The longest that a shell may take to answer.
const SHELL_WAIT: Duration = Duration::from_secs(8);
/// A test as a whole; the steps' limits add up to more.
pub(crate) const WHOLE_MAX: Duration = Duration::from_secs(18);
/// Of what a shell says instead of the answer, so much is repeated.
const SAID_CHARACTERS_MAX: usize = 200;

/// How a test went.
#[derive(Debug, Clone)]
pub struct Tested {
    pub outcome: ConnectionTested,
    /// Last sequence of the server.
    pub seq: u64,
}

impl Reach {
    /// A repeated command is told how it went the first time.
    pub async fn test(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        who: Who<'_>,
        cause: &Cause,
    ) -> Result<Tested, ReachError> {
        let own = own(cause);
        if let Some(before) = self.told_before(tenant, id, &own).await? {
            return Ok(before);
        }
        let began = Instant::now();
        let trying = Box::pin(self.go_and_try(tenant, id, who, &own));
        let tried = match timeout(WHOLE_MAX, trying).await {
            Ok(tried) => tried?,
            Err(_) => self.too_slow(tenant, id).await?,
        };
        let outcome = tried.outcome(began);
        tried.leave().await;
        let seq = self.record(tenant, id, &own, &tried, &outcome).await?;
        Ok(Tested { outcome, seq })
    }

    async fn told_before(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        own: &Cause,
    ) -> Result<Option<Tested>, ReachError> {
        let nothing = |_: &Server| -> Decision<ServerEvent, ServerRefusal> { Ok(None) };
        let found = self.log.decide::<Server, _>(tenant, id.as_str(), own, index::TESTED, nothing).await?;
        let Some(recorded) = found.appended else { return Ok(None) };
        #[allow(clippy::wildcard_enum_match_arm)] // this command appends nothing else at this index
        match recorded.event {
            Event::Server(ServerEvent::ConnectionTested(outcome)) => {
                Ok(Some(Tested { outcome, seq: found.seq }))
            }
            _ => Ok(None),
        }
    }

    pub(crate) async fn go_and_try(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        who: Who<'_>,
        own: &Cause,
    ) -> Result<Tried, ReachError> {
        if let By::Courier(courier) = &self.by {
            let visit = Visit { courier: Arc::clone(courier), own: own.clone() };
            return self.try_by(tenant, id, visit).await;
        }
        let way = self.go(tenant, id, who, own).await?;
        let step = way.step();
        let Way { settings, outcome, learnt } = way;
        Ok(match outcome {
            Ok(connection) => {
                let trouble = try_shell(&connection, own).await.err();
                let inside = Some(Inside::Login(connection));
                Tried { settings, step: Step::Shell, trouble, learnt, inside, is_by_courier: false }
            }
            Err(trouble) => {
                let trouble = Some(trouble);
                Tried { settings, step, trouble, learnt, inside: None, is_by_courier: false }
            }
        })
    }

    async fn try_by(&self, tenant: &TenantId, id: &ServerId, visit: Visit) -> Result<Tried, ReachError> {
        let there = Tried { is_by_courier: true, ..self.untried(tenant, id).await? };
        Ok(match visit.test().await {
            Ok(()) => Tried { inside: Some(Inside::Courier(visit)), ..there },
            Err(trouble) => Tried { step: trouble.step, trouble: Some(trouble), ..there },
        })
    }

    /// As if the whole had taken too long.
    pub(crate) async fn too_slow(&self, tenant: &TenantId, id: &ServerId) -> Result<Tried, ReachError> {
        let trouble = Trouble::timed_out(WHOLE_MAX.as_secs());
        let step = trouble.step;
        Ok(Tried { step, trouble: Some(trouble), ..self.untried(tenant, id).await? })
    }

    /// As if it had gone well, without going there: for what was done before.
    pub(crate) async fn untried(&self, tenant: &TenantId, id: &ServerId) -> Result<Tried, ReachError> {
        let server = self.log.load::<Server>(tenant, id.as_str()).await.map_err(ReachError::Log)?;
        let settings = server.state.there().ok_or(ReachError::NotFound)?.clone();
        let learnt = Learnt::default();
        Ok(Tried { settings, step: Step::Shell, trouble: None, learnt, inside: None, is_by_courier: false })
    }

    /// Recorded if it is about the server as it is now; answers its last sequence.
    pub(crate) async fn record(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        own: &Cause,
        tried: &Tried,
        outcome: &ConnectionTested,
    ) -> Result<u64, ReachError> {
        let rule = |server: &Server| tested(server, &tried.settings, outcome.clone());
        let decided = self.log.decide::<Server, _>(tenant, id.as_str(), own, index::TESTED, rule).await?;
        Ok(decided.seq)
    }
}

/// A way in that was tried, with its shell.
pub(crate) struct Tried {
    pub settings: Settings,
    /// How far it came.
    pub step: Step,
    pub trouble: Option<Trouble>,
    pub learnt: Learnt,
    /// Still open.
    pub inside: Option<Inside>,
    /// A relay of others went, and says little of the way.
    pub is_by_courier: bool,
}

impl Tried {
    pub fn outcome(&self, began: Instant) -> ConnectionTested {
        let (class, reason, suggestion) = match &self.trouble {
            None => (None, None, None),
            Some(Trouble { class, reason, suggestion, .. }) => {
                (Some((*class).to_owned()), Some(reason.clone()), Some(suggestion.clone()))
            }
        };
        ConnectionTested {
            host: self.settings.host.clone(),
            port: self.settings.port,
            username: self.settings.username.clone(),
            ok: class.is_none(),
            class,
            reason,
            suggestion,
            step: self.step.name().to_owned(),
            identification: self.learnt.identification.clone(),
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Says good-bye; it may be gone already.
    pub async fn leave(&self) {
        if let Some(inside) = &self.inside {
            inside.leave().await;
        }
    }
}

/// Whether the account's shell runs a command and gives back what it says.
async fn try_shell(connection: &Connection, own: &Cause) -> Result<(), Trouble> {
    let word = format!("portreeve-{}", own.command.simple());
    let asking = ask_shell(connection, &word);
    match timeout(SHELL_WAIT, asking).await {
        Ok(answered) => answered,
        Err(_) => {
            let reason = format!("the shell did not answer within {} s", SHELL_WAIT.as_secs());
            let what = "look at what the account's start-up files wait for (.bashrc, .profile)";
            Err(Trouble::at_shell("shell_timeout", reason, what))
        }
    }
}

async fn ask_shell(connection: &Connection, word: &str) -> Result<(), Trouble> {
    let command = format!("echo {word}");
    let channel =
        connection.command(command.as_bytes(), None).await.map_err(|error| Trouble::from(&error))?;
    let said = collect(&channel).await.map_err(|lost| {
        let reason = format!("the connection broke while the shell was asked: {}", lost.why);
        Trouble::at_shell("connection_lost", reason, "look at the server's log")
    })?;
    let text = format!("{}{}", String::from_utf8_lossy(&said.out), String::from_utf8_lossy(&said.err));
    if text.contains(word) { Ok(()) } else { Err(unusable(&text, said.exit.as_ref())) }
}

fn unusable(said: &str, exit: Option<&Exit>) -> Trouble {
    let text: String = said.trim().chars().take(SAID_CHARACTERS_MAX).collect();
    let ended = match exit {
        Some(Exit::Status(code)) => format!("ended with {code}"),
        Some(Exit::Signal { name, .. }) => format!("was ended by SIG{name}"),
        None => "ended without a word".to_owned(),
    };
    if matches!(exit, Some(Exit::Status(127))) {
        let reason = format!("the shell knows no command echo; it said {text:?}");
        return Trouble::at_shell("command_not_found", reason, "give the account an ordinary shell");
    }
    if text.contains("assword change required") || text.contains("assword has expired") {
        let reason = format!("the account's password has expired; the server said {text:?}");
        let what = "set a new password there (passwd), or end its expiry (chage --maxdays -1)";
        return Trouble::at_shell("password_expired", reason, what);
    }
    let reason = format!("the account's shell answers no command: it said {text:?} and {ended}");
    Trouble::at_shell(
        "shell_unusable",
        reason,
        "give the account a shell that runs commands (not nologin or false), and no ForceCommand",
    )
}
