//! Which events does a stream show? What was asked for, of what the reader may see.

use std::collections::{BTreeSet, HashMap, HashSet};

use events::batch::{Batch, BatchRequested};
use events::command::Command;
use events::env::Env;
use events::ids::{BatchId, CommandId, EnvId, TenantId, UserName};
use events::schedule::Schedule;
use events::session::{Place, SessionEvent, SessionOpened};
use events::ssh_key::SshKeyEvent;
use events::subscription::Filter;
use events::token::Token;
use events::user::{Role, User};
use events::{Event, Kind, Recorded, Subject};

use crate::access::{Caller, Whose};
use crate::app::App;
use crate::problem::Problem;

/// Owners a stream remembers; beyond, it looks them up again.
const OWNERS_KEPT: usize = 10_000;

/// What was asked for; an empty set means any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    pub kinds: BTreeSet<Kind>,
    pub types: BTreeSet<String>,
    /// Id of the aggregate.
    pub id: Option<String>,
}

enum Span {
    /// All that the caller may see and wants.
    Wanted(Wanted),
    /// The progress of one environment that the caller may see.
    Environment(TenantId, EnvId),
    /// The progress of one batch that the caller may see, with the names of its commands.
    Batch(TenantId, BatchId, HashSet<String>),
    /// What a subscription in the caller's name tells.
    Subscription(Filter),
}

pub struct Scope {
    caller: Caller,
    span: Span,
    owners: HashMap<(Kind, String), Whose>,
}

/// The kinds whose subject is the environment itself.
const OF_ENVIRONMENT: [Kind; 3] = [Kind::Env, Kind::Credential, Kind::Login];
/// The kinds that live under the system's tenant and name theirs inside.
const OF_SYSTEM: [Kind; 2] = [Kind::User, Kind::Token];
/// Of these no subscription tells: credentials and the digests of taps' passwords stay here, what became of a delivery
/// would be the next one, and the others lie under no tenant.
const NEVER_SUBSCRIBED: [Kind; 6] =
    [Kind::Credential, Kind::Subscription, Kind::Port, Kind::User, Kind::Token, Kind::NatsTap];

impl Scope {
    pub fn wanted(caller: Caller, wanted: Wanted) -> Self {
        Self { caller, span: Span::Wanted(wanted), owners: HashMap::new() }
    }

    pub fn environment(caller: Caller, tenant: TenantId, env: EnvId) -> Self {
        Self { caller, span: Span::Environment(tenant, env), owners: HashMap::new() }
    }

    pub fn batch(caller: Caller, tenant: TenantId, id: BatchId, requested: &BatchRequested) -> Self {
        let name = |server| String::from(CommandId::of(&id, server, requested.at));
        let commands = requested.servers.iter().map(name).collect();
        Self { caller, span: Span::Batch(tenant, id, commands), owners: HashMap::new() }
    }

    /// Of the caller's own tenant, whatever the caller sees besides.
    pub fn subscription(caller: Caller, filter: Filter) -> Self {
        Self { caller, span: Span::Subscription(filter), owners: HashMap::new() }
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The subjects to read from the log: everything that could be shown, none of them twice.
    pub fn subjects(&self) -> Vec<String> {
        match &self.span {
            Span::Environment(tenant, env) => {
                let own = OF_ENVIRONMENT.map(|kind| Subject::new(tenant.clone(), kind, env.as_str()));
                let mut subjects: Vec<_> = own.iter().map(Subject::to_string).collect();
                subjects.push(format!("ev.{tenant}.{}.*", Kind::Session.wire_name()));
                subjects
            }
            Span::Batch(tenant, id, _) => vec![
                Subject::new(tenant.clone(), Kind::Batch, id.as_str()).to_string(),
                format!("ev.{tenant}.{}.*", Kind::Command.wire_name()),
            ],
            Span::Subscription(filter) => {
                let tenant = &self.caller.tenant;
                if filter.kinds.is_empty() {
                    return vec![format!("ev.{tenant}.*.*")];
                }
                filter.kinds.iter().map(|kind| format!("ev.{tenant}.{kind}.*")).collect()
            }
            Span::Wanted(wanted) => self.subjects_wanted(wanted),
        }
    }

    fn subjects_wanted(&self, wanted: &Wanted) -> Vec<String> {
        let id = wanted.id.as_ref().map_or_else(|| "*".to_owned(), |id| token(id));
        let wants = |kind: Kind| wanted.kinds.is_empty() || wanted.kinds.contains(&kind);
        let tenant = match self.caller.role {
            Role::Admin => "*".to_owned(),
            Role::Operator | Role::Developer | Role::Auditor | Role::Enroller => {
                self.caller.tenant.to_string()
            }
        };
        let mut subjects = Vec::new();
        if wanted.kinds.is_empty() {
            subjects.push(format!("ev.{tenant}.*.{id}"));
        }
        for kind in &wanted.kinds {
            subjects.push(format!("ev.{tenant}.{}.{id}", kind.wire_name()));
        }
        if self.caller.role == Role::Auditor && !self.caller.tenant.is_system() {
            let of_system = OF_SYSTEM.into_iter().filter(|kind| wants(*kind));
            subjects
                .extend(of_system.map(|kind| format!("ev.{}.{}.{id}", TenantId::system(), kind.wire_name())));
        }
        subjects
    }

    /// Whether the stream shows this event.
    pub async fn shows(&mut self, app: &App, event: &Recorded) -> Result<bool, Problem> {
        match &self.span {
            Span::Environment(tenant, env) => Ok(of_environment(event, tenant, env)),
            Span::Batch(tenant, id, commands) => Ok(of_batch(event, tenant, id, commands)),
            Span::Subscription(filter) => Ok(of_subscription(&self.caller, filter, event)),
            Span::Wanted(wanted) if !wants(wanted, event) => Ok(false),
            Span::Wanted(_) if self.caller.role == Role::Admin => Ok(true),
            Span::Wanted(_) => {
                let whose = self.whose(app, event).await?;
                Ok(self.caller.sees_event(event.subject.kind, &whose))
            }
        }
    }

    /// Whose event it is; remembered, because an owner never changes.
    async fn whose(&mut self, app: &App, event: &Recorded) -> Result<Whose, Problem> {
        let tenant = &event.subject.tenant;
        let foreign = !tenant.is_system() && *tenant != self.caller.tenant;
        if foreign || (!tenant.is_system() && self.caller.role != Role::Developer) {
            return Ok(Whose { tenant: Some(tenant.clone()), owner: None });
        }
        let (kind, id) = match &event.event {
            Event::SshKey(key) => {
                return Ok(Whose { tenant: Some(tenant.clone()), owner: Some(key_owner(key)) });
            }
            Event::Session(session) => match place_of(session) {
                Place::Env(env) => (Kind::Env, env.to_string()),
                // a server is nobody's own
                Place::Server(_) => return Ok(Whose { tenant: Some(tenant.clone()), owner: None }),
            },
            Event::Env(_) | Event::Credential(_) | Event::Login(_) => (Kind::Env, event.subject.id.clone()),
            Event::User(_) => (Kind::User, event.subject.id.clone()),
            Event::Batch(_) => (Kind::Batch, event.subject.id.clone()),
            Event::Command(_) => (Kind::Command, event.subject.id.clone()),
            Event::Schedule(_) => (Kind::Schedule, event.subject.id.clone()),
            Event::Token(_) => (Kind::Token, event.subject.id.clone()),
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::SignIn(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Relay(_)
            | Event::Subscription(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {
                return Ok(Whose { tenant: Some(tenant.clone()), owner: None });
            }
            Event::Port(_) => return Ok(Whose::default()),
        };
        if let Some(known) = self.owners.get(&(kind, id.clone())) {
            return Ok(known.clone());
        }
        let whose = look_up(app, tenant, kind, &id).await?;
        if self.owners.len() >= OWNERS_KEPT {
            self.owners.clear();
        }
        self.owners.insert((kind, id), whose.clone());
        Ok(whose)
    }
}

async fn look_up(app: &App, tenant: &TenantId, kind: Kind, id: &str) -> Result<Whose, Problem> {
    Ok(match kind {
        Kind::User => {
            let user = app.log.load::<User>(tenant, id).await?.state;
            let tenant = user.registered.map(|registered| registered.tenant);
            Whose { tenant, owner: UserName::parse(id).ok() }
        }
        Kind::Token => match app.log.load::<Token>(tenant, id).await?.state.issued {
            Some(issued) => Whose { tenant: Some(issued.tenant), owner: Some(issued.owner) },
            None => Whose::default(),
        },
        Kind::Batch => of_batch_owner(app, tenant, id).await?,
        Kind::Command => match app.log.load::<Command>(tenant, id).await?.state.asked {
            Some(asked) => of_batch_owner(app, tenant, asked.batch.as_str()).await?,
            None => Whose { tenant: Some(tenant.clone()), owner: None },
        },
        Kind::Schedule => {
            let set = app.log.load::<Schedule>(tenant, id).await?.state.set;
            Whose { tenant: Some(tenant.clone()), owner: set.map(|set| set.by) }
        }
        Kind::Env
        | Kind::Tenant
        | Kind::Quota
        | Kind::Port
        | Kind::Credential
        | Kind::SshKey
        | Kind::Login
        | Kind::Session
        | Kind::SignIn
        | Kind::Server
        | Kind::Access
        | Kind::Relay
        | Kind::Subscription
        | Kind::NatsTap
        | Kind::Request => {
            let env = app.log.load::<Env>(tenant, id).await?.state;
            Whose { tenant: Some(tenant.clone()), owner: env.owner().cloned() }
        }
    })
}

/// Who wanted it run.
async fn of_batch_owner(app: &App, tenant: &TenantId, id: &str) -> Result<Whose, Problem> {
    let batch = app.log.load::<Batch>(tenant, id).await?.state;
    Ok(Whose { tenant: Some(tenant.clone()), owner: batch.requested.map(|requested| requested.by) })
}

/// An id as it stands in a subject.
fn token(id: &str) -> String {
    let subject = Subject::new(TenantId::system(), Kind::Env, id).to_string();
    subject.rsplit('.').next().unwrap_or_default().to_owned()
}

fn wants(wanted: &Wanted, event: &Recorded) -> bool {
    (wanted.kinds.is_empty() || wanted.kinds.contains(&event.subject.kind))
        && (wanted.types.is_empty() || wanted.types.contains(event.event.event_type()))
        && wanted.id.as_ref().is_none_or(|id| *id == event.subject.id)
}

fn of_environment(event: &Recorded, tenant: &TenantId, env: &EnvId) -> bool {
    event.subject.tenant == *tenant
        && match &event.event {
            Event::Session(session) => place_of(session).env() == Some(env),
            Event::Env(_) | Event::Credential(_) | Event::Login(_) => event.subject.id == env.as_str(),
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Port(_)
            | Event::SshKey(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::SignIn(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::NatsTap(_)
            | Event::Request(_) => false,
        }
}

fn of_batch(event: &Recorded, tenant: &TenantId, id: &BatchId, commands: &HashSet<String>) -> bool {
    event.subject.tenant == *tenant
        && match event.subject.kind {
            Kind::Batch => event.subject.id == id.as_str(),
            Kind::Command => commands.contains(&event.subject.id),
            Kind::Tenant
            | Kind::Quota
            | Kind::Env
            | Kind::Port
            | Kind::Credential
            | Kind::SshKey
            | Kind::Login
            | Kind::Session
            | Kind::Server
            | Kind::Access
            | Kind::Relay
            | Kind::Schedule
            | Kind::Subscription
            | Kind::User
            | Kind::SignIn
            | Kind::Token
            | Kind::NatsTap
            | Kind::Request => false,
        }
}

fn of_subscription(caller: &Caller, filter: &Filter, event: &Recorded) -> bool {
    event.subject.tenant == caller.tenant && tells_of(caller, event.subject.kind) && filter.wants(event)
}

/// Operators and admins, who set subscriptions, see a tenant's things whoever owns them.
pub fn tells_of(caller: &Caller, kind: Kind) -> bool {
    let whose = Whose { tenant: Some(caller.tenant.clone()), owner: None };
    !NEVER_SUBSCRIBED.contains(&kind) && caller.sees_event(kind, &whose)
}

/// What a subscription in the caller's name leaves out.
pub fn kinds_hidden(caller: &Caller) -> Vec<&'static str> {
    let hidden = Kind::ALL.iter().filter(|kind| !tells_of(caller, **kind));
    hidden.map(|kind| kind.wire_name()).collect()
}

fn place_of(session: &SessionEvent) -> &Place {
    match session {
        SessionEvent::SessionOpened(SessionOpened { place, .. }) => place,
        SessionEvent::SessionClosed(closed) => &closed.place,
        SessionEvent::RecordingStarted(started) => &started.place,
        SessionEvent::RecordingKept(kept) => &kept.place,
        SessionEvent::RecordingEnded(ended) => &ended.place,
        SessionEvent::RecordingViewed(viewed) => &viewed.place,
        SessionEvent::SessionShared(shared) => &shared.place,
        SessionEvent::SessionUnshared(unshared) => &unshared.place,
        SessionEvent::SessionJoined(joined) => &joined.place,
        SessionEvent::SessionLeft(left) => &left.place,
    }
}

fn key_owner(key: &SshKeyEvent) -> UserName {
    match key {
        SshKeyEvent::SshKeyAdded(added) => added.owner.clone(),
        SshKeyEvent::SshKeyRemoved(removed) => removed.owner.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller {
            actor: "user:me".to_owned(),
            owner: UserName::parse("me").unwrap(),
            tenant: TenantId::parse("a").unwrap(),
            role,
            sign_in: None,
        }
    }

    fn subjects(role: Role, wanted: Wanted) -> Vec<String> {
        Scope::wanted(caller(role), wanted).subjects()
    }

    #[test]
    fn a_subscription_tells_of_its_tenant_alone_and_never_of_credentials() {
        let event = |tenant: &str, event: Event| Recorded {
            seq: 1,
            subject: Subject::new(TenantId::parse(tenant).unwrap(), event.kind(), "one"),
            meta: events::Cause::new(uuid::Uuid::nil(), "user:me").meta(0, chrono::Utc::now()),
            event,
        };
        let of_tenant = || -> Event {
            let registered = events::tenant::TenantRegistered { name: "A".to_owned() };
            events::tenant::TenantEvent::from(registered).into()
        };
        let of_credential = || -> Event {
            let revealed = events::credential::KeysAttached { fingerprints: vec![] };
            events::credential::CredentialEvent::from(revealed).into()
        };
        let of_request = || -> Event {
            let accepted = events::request::RequestAccepted { fingerprint: String::new() };
            events::request::RequestEvent::from(accepted).into()
        };
        for role in [Role::Admin, Role::Operator] {
            let told = |event: &Recorded| of_subscription(&caller(role), &Filter::default(), event);
            assert!(told(&event("a", of_tenant())), "{role:?}");
            assert!(!told(&event("b", of_tenant())), "{role:?}");
            assert!(!told(&event("a", of_credential())), "{role:?}");
            assert!(!tells_of(&caller(role), Kind::NatsTap), "{role:?}");
            assert_eq!(told(&event("a", of_request())), role == Role::Admin, "{role:?}");
        }
        let kinds = Filter { kinds: ["env".to_owned(), "login".to_owned()].into(), ..Filter::default() };
        let scope = Scope::subscription(caller(Role::Admin), kinds);
        assert_eq!(scope.subjects(), ["ev.a.env.*", "ev.a.login.*"]);
    }

    #[test]
    fn a_stream_reads_only_subjects_that_it_could_show() {
        assert_eq!(subjects(Role::Admin, Wanted::default()), ["ev.*.*.*"]);
        assert_eq!(subjects(Role::Developer, Wanted::default()), ["ev.a.*.*"]);
        assert_eq!(
            subjects(Role::Auditor, Wanted::default()),
            ["ev.a.*.*", "ev._sys.user.*", "ev._sys.token.*"]
        );
        let wanted =
            Wanted { kinds: [Kind::Env, Kind::User].into(), id: Some("a.b".to_owned()), ..Wanted::default() };
        assert_eq!(subjects(Role::Admin, wanted.clone()), ["ev.*.env.a=2eb", "ev.*.user.a=2eb"]);
        let audited = subjects(Role::Auditor, wanted);
        assert_eq!(audited, ["ev.a.env.a=2eb", "ev.a.user.a=2eb", "ev._sys.user.a=2eb"]);
    }
}
