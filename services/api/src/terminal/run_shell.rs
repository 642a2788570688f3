//! How does a shell live and end? Its output is read while somebody keeps up with it; its end is recorded, and kept
//! for an owner who is on the way back.

use std::time::Duration;

use chrono::Utc;
use entrance::visit;
use events::env::{Env, Status};
use ssh::channel::{ChannelReader, ChannelWriter, Exit, Lost, Output};
use ssh::client::Connection;
use std::sync::Arc;
use tokio::time::Instant;

use crate::app::App;
use crate::terminal::failure::Failure;
use crate::terminal::input::Taking;
use crate::terminal::share;
use crate::terminal::shell::{GIVEN_UP, GRACE, How, Shell};
use crate::terminal::shells::Place;

/// How exact the limits of a shell's life are.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// The log may say this late why an environment's connection broke.
const ASK_WHY_MAX: Duration = Duration::from_secs(2);
/// The longest that saying good-bye to an environment takes.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// A recording is told before the session's end when it is stored by then; else it follows.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);

/// A shell with its way to the environment.
pub struct Running {
    pub shell: Arc<Shell>,
    pub connection: Connection,
    pub reader: ChannelReader,
    pub writer: ChannelWriter,
    /// Among the shells that may be there.
    pub place: Place,
}

impl Running {
    /// From now on it can be found, and lives by itself.
    pub fn start(self, app: &App, taking: Taking) {
        app.terminals.add(&self.shell);
        let app = app.clone();
        app.terminals.under_way.clone().spawn(async move {
            let shell = Arc::clone(&self.shell);
            Box::pin(self.live(&app, taking)).await;
            app.terminals.remove(&shell);
        });
    }

    async fn live(self, app: &App, taking: Taking) {
        let Self { shell, connection, reader, writer, place } = self;
        let handing_on = tokio::spawn(taking.hand_on(writer.clone()));
        app.metrics.terminal_shells.inc();
        follow(app, &shell, &reader).await;
        app.metrics.terminal_shells.dec();
        handing_on.abort();
        let farewell = async {
            // either may be gone already
            writer.close().await.ok();
            connection.disconnect().await;
        };
        let _gone_either_way = tokio::time::timeout(FAREWELL_MAX, farewell).await;
        let reason = shell.ended().map_or("interrupted", |ended| ended.reason).to_owned();
        let (bytes_in, bytes_out) = (shell.giving.taken(), shell.output_end());
        let ended = visit::Ended { bytes_in, bytes_out, reason };
        let (visit, visits, stored) = (shell.visit.clone(), app.terminals.visits.clone(), shell.stored());
        let on_record = async move {
            let mut stored = std::pin::pin!(stored);
            let late = tokio::time::timeout(RECORDED_WITHIN, &mut stored).await.is_err();
            visits.closed(&visit, ended).await;
            if late {
                stored.await;
            }
        };
        let lingering = async move {
            linger(app, &shell).await;
            app.terminals.remove(&shell);
            drop(place);
        };
        tokio::join!(on_record, lingering);
    }
}

/// Reads until the shell has ended, in whatever way.
async fn follow(app: &App, shell: &Arc<Shell>, reader: &ChannelReader) {
    let mut errands = shell.errands();
    let mut clock = tokio::time::interval(CLOCK_EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut exit = None;
    while shell.ended().is_none() {
        errands.borrow_and_update();
        tokio::select! {
            next = reader.next(), if shell.may_read() => match next {
                Ok(Some(Output::Data(bytes) | Output::ErrorData(bytes))) => shell.output(&bytes),
                Ok(Some(Output::Exit(Exit::Status(code)))) => exit = Some(code),
                Ok(Some(Output::Exit(Exit::Signal { .. }) | Output::Eof)) => {}
                Ok(None) => shell.end(How::Exited(exit), "exited"),
                Err(lost) => {
                    let (failure, reason) = why(app, shell, &lost).await;
                    shell.end(How::Failed(failure), reason);
                }
            },
            _ = errands.changed() => {}
            _ = clock.tick() => {
                shell.look_at_the_clock(Instant::now());
                share::end_those_over(app, shell, Utc::now());
            }
            () = app.shutdown.cancelled() => {
                let failure = Failure::new("server_restarting", "the server is being restarted");
                shell.end(How::Failed(failure), "server_stopped");
            }
        }
    }
}

/// A connection that breaks says little; what the log has of the environment says more.
async fn why(app: &App, shell: &Shell, lost: &Lost) -> (Failure, &'static str) {
    let visit = &shell.visit;
    let Some(env) = visit.place.env() else {
        let why = format!("the connection to the server broke: {}", lost.why);
        return (Failure::new("server_lost", why), "server_lost");
    };
    let env = app.log.load::<Env>(&visit.tenant, env.as_str());
    let status = match tokio::time::timeout(ASK_WHY_MAX, env).await {
        Ok(Ok(loaded)) => Some(loaded.state.status),
        Ok(Err(_)) | Err(_) => None,
    };
    match status.filter(|status| *status != Status::Running) {
        Some(status) => not_running(status),
        None => {
            let failure = Failure::new(
                "environment_lost",
                format!("the connection to the environment broke: {}", lost.why),
            );
            (failure, "environment_ended")
        }
    }
}

/// Why there is no shell in an environment of this status.
pub fn not_running(status: Status) -> (Failure, &'static str) {
    let failure = match status {
        Status::Failed => Failure::new("environment_lost", "the environment has failed"),
        Status::Absent
        | Status::Creating
        | Status::Running
        | Status::Stopping
        | Status::Stopped
        | Status::Starting
        | Status::Deleting
        | Status::Deleted => {
            Failure::new("environment_stopped", format!("the environment is {}", status.name()))
        }
    };
    (failure, "environment_stopped")
}

/// An owner who is on the way back is shown how it ended.
async fn linger(app: &App, shell: &Shell) {
    let until = Instant::now() + GRACE;
    let mut errands = shell.errands();
    // who did not come back in time is not waited for a second time
    let given_up = shell.ended().is_none_or(|ended| GIVEN_UP.contains(&ended.reason));
    while !given_up && !shell.is_end_told() {
        tokio::select! {
            _ = errands.changed() => {}
            () = tokio::time::sleep_until(until) => return,
            () = app.shutdown.cancelled() => return,
        }
    }
}
