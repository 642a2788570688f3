//! How does a shell on a server come about? The way that its test goes, then on record, then it runs.

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use events::access::Right;
use events::env::allow_list::is_allowed;
use events::ids::SessionId;
use events::tenant::Tenant;
use kit::error::chain;
use reach::{ReachError, Trouble, Who};
use uuid::Uuid;

use crate::app::App;
use crate::correlation::Correlation;
use crate::idempotency::fresh_cause;
use crate::problem::Problem;
use crate::server::{Found, find};
use crate::terminal::admission::needs_log;
use crate::terminal::failure::Failure;
use crate::terminal::knock::Visitor;
use crate::terminal::open_shell::{Lines, Reached, is_recorded, run};
use crate::terminal::shell::Shell;

/// Who is granted a terminal there, from an address that the tenant admits.
pub async fn admit(app: &App, visitor: &Visitor, id: &str) -> Result<Found, Failure> {
    needs_log(app)?;
    visitor.caller.may_write()?;
    let found = find(app, &visitor.caller, id).await?;
    found.needs(&[Right::Terminal])?;
    let tenant = app.log.load::<Tenant>(&found.tenant, found.tenant.as_str()).await.map_err(Problem::from)?;
    if !is_allowed(&tenant.state.allow_list, visitor.ip) {
        let why = format!("the tenant lets nobody in from {}", visitor.ip);
        return Err(Failure::new("address_not_allowed", why));
    }
    Ok(found)
}

pub async fn open(
    app: &App,
    socket: &mut WebSocket,
    visitor: &Visitor,
    found: &Found,
    correlation: &Correlation,
) -> Result<Arc<Shell>, Failure> {
    let reach = found.reach(app, &visitor.caller).await?;
    let place = app.terminals.place(&visitor.caller.owner)?;
    let mut lines = Lines(socket);
    let settings = &found.settings;
    lines.say(&format!("Connecting to {} ({})...", settings.name, settings.host)).await?;
    let session = SessionId::from_seed(&Uuid::new_v4());
    let cause = fresh_cause(&visitor.caller, correlation);
    let who = Who { session: session.as_str(), user: visitor.caller.owner.as_str() };
    let reaching = reach.connect(&found.tenant, &found.id, who, &cause);
    let (reached, is_recorded) =
        tokio::join!(Box::pin(reaching), is_recorded(app, &found.tenant, found.id.as_str()));
    let reached = reached.map_err(|error| {
        tracing::warn!(server.id = %found.id, error = chain(&error), "a terminal found no way in");
        Failure::from(error)
    })?;
    let reached = Reached {
        tenant: found.tenant.clone(),
        at: found.id.clone().into(),
        session,
        connection: reached.connection,
        is_recorded: is_recorded?,
        place,
    };
    run(app, lines, visitor, reached, correlation).await
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let Trouble { class, reason, suggestion, retryable, .. } = trouble;
        Self::upstream(class, reason, suggestion, retryable)
    }
}

impl From<ReachError> for Failure {
    fn from(error: ReachError) -> Self {
        match error {
            ReachError::Trouble(trouble) => trouble.into(),
            error @ (ReachError::NotFound
            | ReachError::Log(_)
            | ReachError::Contended
            | ReachError::Vault(_)
            | ReachError::Authority(_)
            | ReachError::Certify(_)
            | ReachError::Stored(_)) => Problem::from(error).into(),
        }
    }
}
