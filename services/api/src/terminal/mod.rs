//! How does a browser get a shell? One file a question.
//!
//! `knock` reads what somebody brings, `admission` says whether they may, `open_shell` and `server_shell` get in, `run_shell` keeps the
//! shell, `client` serves one connection to it, `share` lets others in. What a shell is: `shell`, `people`,
//! `shared_shell`. `shells` has them all, `rights` asks again whether everybody may stay. Both protocols are in
//! `wire`, every failure in `failure`.

pub mod admission;
pub mod client;
pub mod failure;
pub mod input;
pub mod knock;
pub mod open_shell;
pub mod origin;
pub mod people;
pub mod rights;
pub mod ring;
pub mod run_shell;
pub mod server_shell;
pub mod share;
pub mod shared_shell;
pub mod shell;
pub mod shells;
pub mod tickets;
pub mod utf8_tail;
pub mod wire;

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use events::ids::{EnvId, ServerId, ShareId};
use events::session::Place;

use crate::app::App;
use crate::terminal::failure::Failure;
use crate::terminal::knock::{Knock, Visitor};
use crate::terminal::people::Seated;
use crate::terminal::share::Guest;
use crate::terminal::shell::{How, Shell};
use crate::terminal::tickets::Opens;

/// A connection that wants a shell of its own in this environment, new or one to come back to.
pub async fn to_environment(app: &App, mut socket: WebSocket, knock: Knock, id: &str) {
    let entering = enter_environment(app, &mut socket, knock, id);
    let entered = app.shutdown.run_until_cancelled(Box::pin(entering)).await;
    settle(app, socket, entered).await;
}

/// The same on this server.
pub async fn to_server(app: &App, mut socket: WebSocket, knock: Knock, id: &str) {
    let entering = enter_server(app, &mut socket, knock, id);
    let entered = app.shutdown.run_until_cancelled(Box::pin(entering)).await;
    settle(app, socket, entered).await;
}

async fn settle(app: &App, socket: WebSocket, entered: Option<Result<Seated, Failure>>) {
    match entered.unwrap_or_else(|| Err(restarting())) {
        Ok(seated) => {
            let _of_no_interest = serve(app, socket, seated).await;
        }
        Err(failure) => refuse(socket, &failure).await,
    }
}

async fn enter_environment(
    app: &App,
    socket: &mut WebSocket,
    knock: Knock,
    id: &str,
) -> Result<Seated, Failure> {
    let correlation = knock.correlation.clone();
    let env = EnvId::parse(id).map_err(|_| Failure::new("not_found", "there is no such environment"))?;
    let visitor = knock.visitor(app, &Opens::Environment(env)).await?;
    let found = admission::to_environment(app, &visitor.caller, visitor.ip, id).await?;
    if visitor.asked.session.is_some() {
        return come_back(app, socket, &visitor, &found.id.into()).await;
    }
    let shell = open_shell::open(app, socket, &visitor, &found, &correlation).await?;
    sit_down(socket, &visitor, &shell).await
}

async fn enter_server(app: &App, socket: &mut WebSocket, knock: Knock, id: &str) -> Result<Seated, Failure> {
    let correlation = knock.correlation.clone();
    let server = ServerId::parse(id).map_err(|_| Failure::new("not_found", "there is no such server"))?;
    let visitor = knock.visitor(app, &Opens::Server(server)).await?;
    let found = server_shell::admit(app, &visitor, id).await?;
    if visitor.asked.session.is_some() {
        return come_back(app, socket, &visitor, &found.id.into()).await;
    }
    let shell = server_shell::open(app, socket, &visitor, &found, &correlation).await?;
    sit_down(socket, &visitor, &shell).await
}

/// The owner of a new shell.
async fn sit_down(socket: &mut WebSocket, visitor: &Visitor, shell: &Arc<Shell>) -> Result<Seated, Failure> {
    let seated = shell.seat_owner(visitor.person(), visitor.protocol, None, true)?;
    if let Err(failure) = begin(socket, &seated).await {
        // nobody knows of it, so nobody will come back
        shell.end(How::Failed(failure.clone()), "client_left");
        return Err(failure);
    }
    Ok(seated)
}

/// The owner of a shell that is there.
async fn come_back(
    app: &App,
    socket: &mut WebSocket,
    visitor: &Visitor,
    place: &Place,
) -> Result<Seated, Failure> {
    let session = visitor.asked.session.as_ref();
    let known = session.and_then(|session| app.terminals.of_owner(session, &visitor.caller.owner));
    let shell = known
        .filter(|shell| shell.visit.place == *place)
        .ok_or_else(|| Failure::new("session_unknown", "this shell has ended, or it runs elsewhere"))?;
    let back_at = visitor.asked.offset;
    let seated = shell.seat_owner(visitor.person(), visitor.protocol, back_at, false)?;
    begin_or_leave(socket, seated, visitor).await
}

async fn begin_or_leave(
    socket: &mut WebSocket,
    seated: Seated,
    visitor: &Visitor,
) -> Result<Seated, Failure> {
    if let Err(failure) = begin(socket, &seated).await {
        seated.shell.stand_up(seated.seat, false);
        return Err(failure);
    }
    if let Some(size) = visitor.asked.size {
        seated.shell.resize(seated.seat, size).await;
    }
    Ok(seated)
}

/// Says which shell it is, and where its output begins.
async fn begin(socket: &mut WebSocket, seated: &Seated) -> Result<(), Failure> {
    let session = wire::session(seated.shell.visit.session.as_str(), seated.from);
    let sent = socket.send(session).await;
    sent.map_err(|_| Failure::new("client_silent", "the connection broke as the terminal began"))
}

/// A connection that wants to look at, or into, somebody else's shell.
pub async fn to_share(app: &App, mut socket: WebSocket, knock: Knock, id: &str) {
    let entering = enter_share(app, &mut socket, knock, id);
    let entered = app.shutdown.run_until_cancelled(Box::pin(entering)).await;
    match entered.unwrap_or_else(|| Err(restarting())) {
        Ok((guest, seated)) => {
            let departure = serve(app, socket, seated).await;
            share::left(app, guest, &departure).await;
        }
        Err(failure) => refuse(socket, &failure).await,
    }
}

async fn enter_share(
    app: &App,
    socket: &mut WebSocket,
    knock: Knock,
    id: &str,
) -> Result<(Guest, Seated), Failure> {
    let correlation = knock.correlation.clone();
    let ended = || Failure::new("share_ended", "this share is unknown or over");
    let share = ShareId::parse(id).map_err(|_| ended())?;
    let visitor = knock.visitor(app, &Opens::Share(share.clone())).await?;
    let (guest, seated) = share::enter(app, &visitor, &share, &correlation).await?;
    // a socket that is gone already is found to be so when it is served
    begin(socket, &seated).await.ok();
    Ok((guest, seated))
}

async fn serve(app: &App, socket: WebSocket, seated: Seated) -> client::Departure {
    app.metrics.terminal_clients.inc();
    let shell = Arc::clone(&seated.shell);
    // what happened before they sat there rang for nobody
    let (departure, ()) = tokio::join!(Box::pin(client::serve(socket, seated)), rights::look(app, &shell));
    app.metrics.terminal_clients.dec();
    departure
}

async fn refuse(socket: WebSocket, failure: &Failure) {
    tracing::debug!(code = failure.code, reason = failure.reason, "a terminal was refused");
    client::refuse(socket, failure).await;
}

fn restarting() -> Failure {
    Failure::new("server_restarting", "the server is being restarted")
}
