//! How do others come into somebody's shell? By a share that its owner made; every coming and going is on
//! record.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::Cause;
use events::env::Env;
use events::ids::ShareId;
use events::session::join::{join, leave};
use events::session::share::{share, unshare};
use events::session::{
    Place, Session, SessionJoined, SessionLeft, SessionShared, SessionUnshared, ShareMode,
};
use uuid::Uuid;

use crate::app::App;
use crate::correlation::Correlation;
use crate::idempotency::{fresh_cause, index};
use crate::problem::Problem;
use crate::terminal::admission;
use crate::terminal::client::Departure;
use crate::terminal::failure::Failure;
use crate::terminal::knock::Visitor;
use crate::terminal::people::Seated;
use crate::terminal::server_shell;
use crate::terminal::shared_shell::Share;
use crate::terminal::shell::Shell;

/// That somebody left is said so often at most; the end of the session says it too.
const LEFT_TRIES_MAX: usize = 5;
const LEFT_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Which of the events of a guest's command.
const JOINED: u32 = 0;
const LEFT: u32 = 1;

/// From now until then whoever knows the share may come in. Answers the position in the log.
pub async fn open(
    app: &App,
    shell: &Shell,
    id: &ShareId,
    mode: ShareMode,
    expires_at: DateTime<Utc>,
    cause: &Cause,
) -> Result<u64, Problem> {
    let visit = &shell.visit;
    let shared = SessionShared { place: visit.place.clone(), share: id.clone(), mode, expires_at };
    let rule = |state: &Session| share(state, shared.clone());
    let decided =
        app.log.decide::<Session, _>(&visit.tenant, visit.session.as_str(), cause, index::FIRST, rule);
    let decided = decided.await?;
    shell.share(id.clone(), Share::new(mode, expires_at));
    Ok(decided.seq)
}

/// Whoever is in is out at once; then it is recorded.
pub async fn close(app: &App, shell: &Shell, id: &ShareId, cause: &Cause) -> Result<u64, Problem> {
    shell.close_share(id, "revoked");
    let recorded = record_end(app, shell, id, "revoked", cause).await;
    shell.share_end_recorded(id, recorded.is_ok());
    recorded
}

async fn record_end(
    app: &App,
    shell: &Shell,
    id: &ShareId,
    reason: &str,
    cause: &Cause,
) -> Result<u64, Problem> {
    let visit = &shell.visit;
    let unshared =
        SessionUnshared { place: visit.place.clone(), share: id.clone(), reason: reason.to_owned() };
    let rule = |state: &Session| unshare(state, unshared.clone());
    let decided =
        app.log.decide::<Session, _>(&visit.tenant, visit.session.as_str(), cause, index::FIRST, rule);
    Ok(decided.await?.seq)
}

/// Ends the shares whose time is over, and records ends that could not be recorded before.
pub fn end_those_over(app: &App, shell: &Arc<Shell>, now: DateTime<Utc>) {
    for (id, reason) in shell.shares_to_end(now) {
        shell.close_share(&id, reason);
        let (app, shell) = (app.clone(), Arc::clone(shell));
        app.terminals.under_way.clone().spawn(async move {
            let cause = Cause::new(Uuid::now_v7(), "service:api");
            let recorded = record_end(&app, &shell, &id, reason, &cause).await;
            if let Err(problem) = &recorded {
                let session = &shell.visit.session;
                tracing::warn!(session.id = %session, code = problem.code(), "the end of a share is not recorded yet");
            }
            shell.share_end_recorded(&id, recorded.is_ok());
        });
    }
}

/// A guest, and what their leaving is recorded with.
pub struct Guest {
    shell: Arc<Shell>,
    seat: u64,
    mode: ShareMode,
    share: ShareId,
    cause: Cause,
}

/// Somebody of the same tenant who knows the share comes in.
pub async fn enter(
    app: &App,
    visitor: &Visitor,
    id: &ShareId,
    correlation: &Correlation,
) -> Result<(Guest, Seated), Failure> {
    admission::needs_log(app)?;
    let unknown = || Failure::new("share_ended", "this share is unknown or over");
    let shell = app.terminals.by_share(id).ok_or_else(unknown)?;
    if visitor.caller.tenant != shell.visit.tenant {
        return Err(unknown());
    }
    let visit = &shell.visit;
    match &visit.place {
        Place::Env(id) => {
            let env = app.log.load::<Env>(&visit.tenant, id.as_str()).await.map_err(Problem::from)?.state;
            admission::from_address(app, &visit.tenant, id, &env, visitor.ip).await?;
        }
        // an owner may show what they do there only to whom the server is open as well
        Place::Server(id) => {
            server_shell::admit(app, visitor, id.as_str()).await?;
        }
    }
    let back_at = visitor.asked.offset;
    let (seated, mode) = shell.seat_guest(visitor.person(), id, visitor.protocol, back_at, Utc::now())?;
    let cause = fresh_cause(&visitor.caller, correlation);
    let guest = Guest { shell, seat: seated.seat, mode, share: id.clone(), cause };
    match joined(app, visitor, &guest).await {
        Ok(()) => Ok((guest, seated)),
        Err(failure) => {
            guest.shell.stand_up(guest.seat, true);
            Err(failure)
        }
    }
}

async fn joined(app: &App, visitor: &Visitor, guest: &Guest) -> Result<(), Failure> {
    if guest.mode == ShareMode::Write {
        visitor.caller.may_write()?;
    }
    let visit = &guest.shell.visit;
    let fact = SessionJoined {
        place: visit.place.clone(),
        share: guest.share.clone(),
        guest: guest.seat,
        user: visitor.caller.owner.to_string(),
        mode: guest.mode,
        ip: visitor.ip,
        client: visitor.client.clone(),
    };
    let rule = |state: &Session| join(state, fact.clone(), Utc::now());
    let (session, cause) = (visit.session.as_str(), &guest.cause);
    let decided = app.log.decide::<Session, _>(&visit.tenant, session, cause, JOINED, rule).await;
    decided.map(drop).map_err(|error| Problem::from(error).into())
}

/// Recorded, if the log takes it within a while.
pub async fn left(app: &App, guest: Guest, departure: &Departure) {
    let Guest { shell, seat, share, cause, .. } = guest;
    let visit = &shell.visit;
    let reason = departure.reason.to_owned();
    let fact = SessionLeft { place: visit.place.clone(), share, guest: seat, reason };
    for _ in 0..LEFT_TRIES_MAX {
        let rule = |state: &Session| leave(state, fact.clone());
        let session = visit.session.as_str();
        let decided = app.log.decide::<Session, _>(&visit.tenant, session, &cause, LEFT, rule).await;
        let Err(error) = decided else { return };
        let (problem, session) = (Problem::from(error), &visit.session);
        tracing::warn!(session.id = %session, code = problem.code(), "a guest's leaving is not recorded yet");
        tokio::time::sleep(LEFT_AGAIN_AFTER).await;
    }
}
