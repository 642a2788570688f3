//! How does a shell come about? Through the environment's inner door, then on record, then it runs.

use axum::extract::ws::WebSocket;
use entrance::visit::Visit;
use entrance::way_in::WayInError;
use events::ids::{SessionId, TenantId};
use events::login::Entrance;
use events::session;
use kit::error::chain;
use nats::RecordingId;
use reach::Trouble;
use ssh::channel::{Channel, ChannelError, Terminal};
use ssh::client::{Connection, Limits, connect};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use crate::app::App;
use crate::correlation::Correlation;
use crate::environment::Found;
use crate::idempotency::fresh_cause;
use crate::terminal::admission::is_running;
use crate::terminal::failure::Failure;
use crate::terminal::input::input;
use crate::terminal::knock::{SIZE_DEFAULT, Visitor};
use crate::terminal::run_shell::Running;
use crate::terminal::shell::Shell;
use crate::terminal::shells::Place;
use crate::terminal::wire::{self, Size};

/// What the shell takes the terminal for.
const TERMINAL: &str = "xterm-256color";
/// An environment is near.
const LIMITS: Limits = Limits {
    name: Duration::from_secs(1),
    connect: Duration::from_secs(5),
    banner: Duration::from_secs(5),
    kex: Duration::from_secs(10),
    auth: Duration::from_secs(10),
};

/// The person reads how far it is.
pub(super) struct Lines<'s>(pub(super) &'s mut WebSocket);

impl Lines<'_> {
    pub(super) async fn say(&mut self, line: &str) -> Result<(), Failure> {
        let sent = self.0.send(wire::status_line(line)).await;
        sent.map_err(|_| Failure::new("client_silent", "the connection broke while the terminal was opened"))
    }
}

pub async fn open(
    app: &App,
    socket: &mut WebSocket,
    visitor: &Visitor,
    found: &Found,
    correlation: &Correlation,
) -> Result<Arc<Shell>, Failure> {
    is_running(found)?;
    let place = app.terminals.place(&visitor.caller.owner)?;
    let mut lines = Lines(socket);
    let name = found.env.requested.as_ref().map_or("", |requested| requested.name.as_str());
    lines.say(&format!("Connecting to {name} ({})...", found.id)).await?;
    let session = SessionId::from_seed(&Uuid::new_v4());
    let (connection, is_recorded) = tokio::try_join!(
        reach(app, visitor, found, &session),
        is_recorded(app, &found.tenant, found.id.as_str())
    )?;
    let (tenant, at) = (found.tenant.clone(), found.id.clone().into());
    run(app, lines, visitor, Reached { tenant, at, session, connection, is_recorded, place }, correlation)
        .await
}

/// A way in that is there, to an environment or a server.
pub(super) struct Reached {
    pub tenant: TenantId,
    pub at: session::Place,
    pub session: SessionId,
    pub connection: Connection,
    pub is_recorded: bool,
    /// Among the shells that may be there.
    pub place: Place,
}

/// A terminal and a shell, then on record; from then on it lives by itself.
pub(super) async fn run(
    app: &App,
    mut lines: Lines<'_>,
    visitor: &Visitor,
    reached: Reached,
    correlation: &Correlation,
) -> Result<Arc<Shell>, Failure> {
    let Reached { tenant, at, session, connection, is_recorded, place } = reached;
    lines.say("SSH connection established, starting the terminal...").await?;
    let size = visitor.asked.size.unwrap_or(SIZE_DEFAULT);
    let terminal = Terminal { name: TERMINAL.to_owned(), columns: size.cols, rows: size.rows };
    let channel = connection.shell(&terminal).await.map_err(|error| refused(&at, &error))?;
    let visit = Visit {
        tenant,
        place: at,
        session,
        ip: visitor.ip,
        entrance: Entrance::WebTerminal,
        user: visitor.caller.owner.to_string(),
        method: visitor.method.to_owned(),
        key_fingerprint: None,
        client: visitor.client.clone(),
        cause: fresh_cause(&visitor.caller, correlation),
    };
    if let Err(error) = app.terminals.visits.opened(&visit).await {
        let (place, session) = (&visit.place, &visit.session);
        tracing::error!(place.id = %place, session.id = %session, error, "a terminal cannot be recorded");
        return Err(Failure::new("log_unavailable", "sessions cannot be recorded at the moment"));
    }
    let (giving, taking) = input();
    let recorder = is_recorded.then(|| app.terminals.recorders.start(recorded(&visit, size)));
    let shell = Shell::new(visit, visitor.person(), size, giving, recorder);
    let Channel { reader, writer } = channel;
    let running = Running { shell: Arc::clone(&shell), connection, reader, writer, place };
    running.start(app, taking);
    lines.say("Terminal ready").await?;
    Ok(shell)
}

/// `place` is for our log.
pub(super) async fn is_recorded(app: &App, tenant: &TenantId, place: &str) -> Result<bool, Failure> {
    app.terminals.recorders.are_asked_for(tenant).await.map_err(|error| {
        tracing::warn!(place.id = place, error = chain(&error), "a terminal cannot be opened");
        Failure::new("log_unavailable", "it is not known whether terminals are to be recorded")
    })
}

fn recorded(visit: &Visit, size: Size) -> recorder::Terminal {
    let Visit { tenant, place, session, user, entrance, .. } = visit;
    recorder::Terminal {
        id: RecordingId { tenant: tenant.clone(), session: session.clone(), number: 1 },
        title: format!("{user} in {place}"),
        place: place.clone(),
        user: user.clone(),
        entrance: *entrance,
        cols: size.cols,
        rows: size.rows,
        term: TERMINAL.to_owned(),
    }
}

async fn reach(
    app: &App,
    visitor: &Visitor,
    found: &Found,
    session: &SessionId,
) -> Result<Connection, Failure> {
    let name = visitor.caller.owner.as_str();
    let way = app.terminals.way_in.find(&found.tenant, &found.id, session, name).await;
    let (target, login) = way.map_err(|error| no_way(&error, found))?;
    connect(&target, &login, &LIMITS).await.map_err(|error| {
        tracing::warn!(env.id = %found.id, error = chain(&error), "a terminal found no way in");
        Failure::from(&error)
    })
}

fn no_way(error: &WayInError, found: &Found) -> Failure {
    let code = match error {
        WayInError::NotRunning(_) => "environment_not_running",
        WayInError::NoInnerDoor => "environment_unreachable",
        WayInError::Log(_) | WayInError::Vault(_) => "log_unavailable",
        WayInError::NoAuthority
        | WayInError::Authority(_)
        | WayInError::Certify(_)
        | WayInError::HostKey(_) => "internal",
    };
    tracing::warn!(env.id = %found.id, error = chain(error), "a terminal found no way in");
    Failure::new(code, error.to_string())
}

fn refused(at: &session::Place, error: &ChannelError) -> Failure {
    match at {
        session::Place::Env(_) => {
            Failure::new("environment_unreachable", format!("the environment opens no terminal: {error}"))
        }
        session::Place::Server(_) => Trouble::from(error).into(),
    }
}
