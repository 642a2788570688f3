//! What becomes of a command that arrives? Begun once, run within bounds, its result kept until the hub has it.

use std::sync::Arc;
use std::time::Duration;

use kit::error::chain;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::line::{Event, Line, LineError};
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::run;
use crate::spool::Spool;
use crate::tunnels::Tunnels;
use crate::wire::{COMMAND_RESULT, COMMAND_RESULT_RECEIVED, EXECUTE_COMMAND, Ended, Execute, is_command_id};

/// Commands that wait for their turn; the hub gives out fewer.
const WAITING_MAX: usize = 4_096;
/// A result without an answer is sent again after so long.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(30);

pub struct Tasks {
    spool: Arc<Spool>,
    pool: Arc<Pool>,
    metrics: Metrics,
    permits: Arc<Semaphore>,
    ended: mpsc::Sender<String>,
    next_ended: mpsc::Receiver<String>,
    running: usize,
}

impl Tasks {
    pub fn new(spool: Arc<Spool>, pool: Arc<Pool>, metrics: Metrics, commands_max: usize) -> Self {
        let (ended, next_ended) = mpsc::channel(WAITING_MAX);
        let permits = Arc::new(Semaphore::new(commands_max.max(1)));
        Self { spool, pool, metrics, permits, ended, next_ended, running: 0 }
    }

    /// Until the connection or the process ends; answers why.
    pub async fn serve(&mut self, line: &mut Line, shutdown: &CancellationToken, drain: Duration) -> String {
        let mut again = interval(SEND_AGAIN_AFTER);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until: Option<Instant> = None;
        // they end with the connection
        let (mut tunnels, mut words) = Tunnels::new(self.metrics.clone());
        loop {
            let late = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            let done = tokio::select! {
                event = line.next() => match event {
                    Ok(event) => {
                        tunnels.take(&event);
                        self.take(event, until.is_some());
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Some(id) = self.next_ended.recv() => {
                    self.running = self.running.saturating_sub(1);
                    self.send(line, &id).await
                }
                Some((event, said)) = words.recv() => line.emit(event, &said).await,
                // the first time at once: what was not acknowledged over the last connection
                _ = again.tick() => self.send_all(line).await,
                () = shutdown.cancelled(), if until.is_none() => {
                    until = Some(Instant::now() + drain);
                    Ok(())
                }
                () = tokio::time::sleep_until(late) => return "the agent ends".to_owned(),
            };
            if let Err(error) = done {
                return chain(&error);
            }
            if until.is_some() && self.running == 0 {
                return "the agent ends".to_owned();
            }
        }
    }

    fn take(&mut self, event: Event, ending: bool) {
        match event.name.as_str() {
            EXECUTE_COMMAND if !ending => self.begin(event.data),
            // nothing is begun any more: the hub gives it to somebody else, or says that it is lost
            EXECUTE_COMMAND => {}
            COMMAND_RESULT_RECEIVED => self.received(&event.data),
            _ => {}
        }
    }

    fn begin(&mut self, data: Value) {
        let command: Execute = match serde_json::from_value(data) {
            Ok(command) => command,
            Err(error) => return tracing::warn!(%error, "a command cannot be read"),
        };
        let id = command.command_id.clone();
        if !is_command_id(&id) {
            return tracing::warn!("a command has an id that is none");
        }
        match self.spool.begin(&id) {
            Ok(true) => {}
            Ok(false) => {
                return tracing::warn!(command.id = id, "a command that was begun before came again");
            }
            Err(error) => {
                return tracing::error!(command.id = id, error = chain(&error), "a command is not begun");
            }
        }
        self.running += 1;
        let (permits, pool, spool) =
            (Arc::clone(&self.permits), Arc::clone(&self.pool), Arc::clone(&self.spool));
        let (metrics, ended) = (self.metrics.clone(), self.ended.clone());
        tokio::spawn(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            metrics.running.inc();
            let result: Ended = run::run(&pool, command).await;
            metrics.running.dec();
            metrics.ended(result.name());
            if let Err(error) = spool.keep(&id, &result.message(&id)) {
                tracing::error!(command.id = id, error = chain(&error), "a result is not on disk");
            }
            ended.send(id).await.ok();
        });
    }

    fn received(&self, data: &Value) {
        let id = data.get("commandId").and_then(Value::as_str).filter(|id| is_command_id(id));
        let Some(id) = id else { return };
        if data.get("success").and_then(Value::as_bool) != Some(true) {
            let why = data.get("error").and_then(Value::as_str).unwrap_or_default();
            tracing::warn!(command.id = id, why, "the hub does not take a result");
            // what it will not take later either
            if data.get("again").and_then(Value::as_bool) == Some(true) {
                return;
            }
        }
        self.spool.acknowledged(id);
        self.metrics.spooled.dec();
    }

    async fn send(&self, line: &mut Line, id: &str) -> Result<(), LineError> {
        match self.spool.result(id) {
            Some(result) => line.emit(COMMAND_RESULT, &result).await,
            None => Ok(()),
        }
    }

    async fn send_all(&self, line: &mut Line) -> Result<(), LineError> {
        let waiting = self.spool.waiting();
        self.metrics.spooled.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        for id in waiting {
            self.send(line, &id).await?;
        }
        Ok(())
    }
}
