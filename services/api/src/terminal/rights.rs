//! May everybody stay who is in? What happens rings; then the log is asked anew. A sweep does the same for the bell
//! that never rang.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use events::access::may::rights;
use events::access::{Access, Right};
use events::aggregate::Refusal;
use events::env::allow_list::is_allowed;
use events::env::{Env, EnvEvent, Status};
use events::ids::{EnvId, ServerId};
use events::login::come_in::stay;
use events::server::{Server, ServerEvent};
use events::session::Place;
use events::sign_in::SignInEvent;
use events::tenant::{Tenant, TenantEvent};
use events::token::TokenEvent;
use events::user::UserEvent;
use events::{Event, Recorded};
use nats::LogError;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::access::Caller;
use crate::app::App;
use crate::auth::{SIGNED_OUT, by_actor};
use crate::problem::Problem;
use crate::terminal::failure::Failure;
use crate::terminal::people::Person;
use crate::terminal::run_shell::not_running;
use crate::terminal::shell::{How, Shell};

const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Until shutdown.
pub async fn keep_checking(app: App, shutdown: CancellationToken) {
    let mut live = app.live.listen().receiver;
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let happened = tokio::select! {
            event = live.recv() => match event {
                Ok(event) => Some(event),
                // something was missed: it may have been about any of them
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            },
            _ = sweep.tick() => None,
            () = shutdown.cancelled() => return,
        };
        let is_concerned = |shell: &Arc<Shell>| happened.as_ref().is_none_or(|event| concerns(event, shell));
        for shell in app.terminals.all().into_iter().filter(is_concerned) {
            look(&app, &shell).await;
        }
    }
}

/// Whoever may not be at this shell any more is out, or it ends.
pub async fn look(app: &App, shell: &Shell) {
    if let Err(problem) = check(app, shell).await {
        // the log is away: the next bell or the sweep asks again
        tracing::debug!(session.id = %shell.visit.session, code = problem.code(), "not checked");
    }
}

fn concerns(event: &Recorded, shell: &Arc<Shell>) -> bool {
    let (visit, subject) = (&shell.visit, &event.subject);
    let here = subject.tenant == visit.tenant;
    let somebody = |is: &dyn Fn(&Person) -> bool| is(&shell.holder()) || shell.persons().iter().any(is);
    match &event.event {
        Event::Env(
            EnvEvent::PodLost(_)
            | EnvEvent::EnvFailed(_)
            | EnvEvent::EnvStopped(_)
            | EnvEvent::EnvDeleted(_)
            | EnvEvent::AllowListSet(_),
        ) => here && visit.place.env().is_some_and(|env| subject.id == env.as_str()),
        Event::Server(ServerEvent::ServerRemoved(_) | ServerEvent::ServerChanged(_)) => {
            here && visit.place.server().is_some_and(|server| subject.id == server.as_str())
        }
        Event::Access(_) => here && visit.place.server().is_some(),
        Event::Tenant(TenantEvent::TenantAllowListSet(_)) => here,
        Event::User(UserEvent::UserDisabled(_)) => somebody(&|person| person.user.as_str() == subject.id),
        Event::Token(TokenEvent::TokenRevoked(_)) => {
            let actor = format!("token:{}", subject.id);
            somebody(&|person| person.actor == actor)
        }
        Event::SignIn(SignInEvent::SignedOut(_)) => {
            somebody(&|person| person.sign_in.as_ref().is_some_and(|own| own.as_str() == subject.id))
        }
        Event::Env(
            EnvEvent::EnvRequested(_)
            | EnvEvent::PortBound(_)
            | EnvEvent::PodCreated(_)
            | EnvEvent::PodReady(_)
            | EnvEvent::EnvProgressed(_)
            | EnvEvent::EnvStopRequested(_)
            | EnvEvent::EnvStartRequested(_)
            | EnvEvent::EnvDeleteRequested(_)
            | EnvEvent::EnvEndsSoon(_)
            | EnvEvent::JobMarked(_),
        )
        | Event::Tenant(TenantEvent::TenantRegistered(_) | TenantEvent::TenantRecordingSet(_))
        | Event::User(UserEvent::UserRegistered(_))
        | Event::SignIn(SignInEvent::SignedIn(_) | SignInEvent::SignInsRefused(_))
        | Event::Token(TokenEvent::TokenIssued(_))
        | Event::Quota(_)
        | Event::Port(_)
        | Event::Credential(_)
        | Event::SshKey(_)
        | Event::Login(_)
        | Event::Session(_)
        | Event::Relay(_)
        | Event::Batch(_)
        | Event::Command(_)
        | Event::Schedule(_)
        | Event::Subscription(_)
        | Event::Server(
            ServerEvent::ServerRegistered(_)
            | ServerEvent::HostKeyPinned(_)
            | ServerEvent::HostKeyChangeSeen(_)
            | ServerEvent::HostKeyAccepted(_)
            | ServerEvent::ConnectionTested(_)
            | ServerEvent::FactsGathered(_)
            | ServerEvent::AccountChangeAsked(_)
            | ServerEvent::AccountChangeEnded(_),
        )
        | Event::NatsTap(_)
        | Event::Request(_) => false,
    }
}

async fn check(app: &App, shell: &Shell) -> Result<(), Problem> {
    if let Some(failure) = put_out(app, &shell.holder()).await? {
        let reason = failure.code;
        shell.end(How::Failed(failure), reason);
        return Ok(());
    }
    match &shell.visit.place {
        Place::Env(id) => check_in_environment(app, shell, id).await,
        Place::Server(id) => check_on_server(app, shell, id).await,
    }
}

async fn check_in_environment(app: &App, shell: &Shell, id: &EnvId) -> Result<(), Problem> {
    let env = app.log.load::<Env>(&shell.visit.tenant, id.as_str()).await?.state;
    let tenant = tenant(app, shell).await?;
    match env.status {
        // what is under way ends the connection itself, when it is so far
        Status::Running | Status::Stopping | Status::Deleting => {}
        Status::Absent
        | Status::Creating
        | Status::Starting
        | Status::Stopped
        | Status::Failed
        | Status::Deleted => {
            let (failure, reason) = not_running(env.status);
            shell.end(How::Failed(failure), reason);
            return Ok(());
        }
    }
    let gone = gone(app, shell).await?;
    shell.dismiss(|person, _| {
        let ip = person.ip;
        if let Some((_, failure)) = gone.iter().find(|(gone, _)| gone.comes_as(person)) {
            Some(failure.clone())
        } else {
            let refused = stay(&env, &tenant, ip).err();
            refused.map(|refusal| Failure::new(refusal.code(), format!("{refusal} any more")))
        }
    });
    Ok(())
}

/// The owner's shell ends with their grant; guests leave with theirs.
async fn check_on_server(app: &App, shell: &Shell, id: &ServerId) -> Result<(), Problem> {
    let visit = &shell.visit;
    let server = app.log.load::<Server>(&visit.tenant, id.as_str()).await?.state;
    let Some(settings) = server.there() else {
        let removed = Failure::new("server_removed", "the server was removed");
        shell.end(How::Failed(removed), "server_removed");
        return Ok(());
    };
    let access = app.log.load::<Access>(&visit.tenant, visit.tenant.as_str()).await?.state;
    let tenant = tenant(app, shell).await?;
    let mut out = gone(app, shell).await?;
    let holder = shell.holder();
    for person in shell.persons().into_iter().chain([shell.holder()]) {
        let Some(caller) = known(app, &person).await? else { continue };
        let may = rights(&access, caller.person(), id, settings, Utc::now());
        if !may.contains(&Right::Terminal) {
            out.push((person, no_grant()));
        }
    }
    if out.iter().any(|(person, _)| person.comes_as(&holder)) {
        shell.end(How::Failed(no_grant()), "grant_ended");
        return Ok(());
    }
    shell.dismiss(|person, _| {
        let ip = person.ip;
        if let Some((_, failure)) = out.iter().find(|(out, _)| out.comes_as(person)) {
            Some(failure.clone())
        } else if !is_allowed(&tenant.allow_list, ip) {
            let why = format!("the tenant lets nobody in from {ip} any more");
            Some(Failure::new("address_not_allowed", why))
        } else {
            None
        }
    });
    Ok(())
}

fn no_grant() -> Failure {
    Failure::new("forbidden", "a terminal on this server is not granted any more")
}

/// Guests who may be nowhere any more, and why.
async fn gone(app: &App, shell: &Shell) -> Result<Vec<(Person, Failure)>, Problem> {
    let holder = shell.holder();
    let mut gone = Vec::new();
    for person in shell.persons().into_iter().filter(|person| !person.comes_as(&holder)) {
        if let Some(failure) = put_out(app, &person).await? {
            gone.push((person, failure));
        }
    }
    Ok(gone)
}

/// Who somebody is, if they may still act.
async fn known(app: &App, person: &Person) -> Result<Option<Caller>, Problem> {
    match by_actor(app, &person.actor, person.sign_in.as_ref()).await {
        Ok(caller) => Ok(Some(caller)),
        Err(problem) if ["unauthorized", SIGNED_OUT].contains(&problem.code()) => Ok(None),
        Err(problem) => Err(problem),
    }
}

async fn tenant(app: &App, shell: &Shell) -> Result<Tenant, LogError> {
    let id = &shell.visit.tenant;
    Ok(app.log.load::<Tenant>(id, id.as_str()).await?.state)
}

/// Why somebody may not be there any more, whatever the environment says.
async fn put_out(app: &App, person: &Person) -> Result<Option<Failure>, Problem> {
    match by_actor(app, &person.actor, person.sign_in.as_ref()).await {
        Ok(_) => Ok(None),
        Err(problem) if problem.code() == SIGNED_OUT => {
            Ok(Some(Failure::new(SIGNED_OUT, "you signed out, which ends what the sign-in opened")))
        }
        Err(problem) if problem.code() == "unauthorized" => {
            Ok(Some(Failure::new("unauthorized", "the token was revoked or the user shut out")))
        }
        Err(problem) => Err(problem),
    }
}
