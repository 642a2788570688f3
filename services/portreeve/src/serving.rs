//! How do services run in one process? Each as a task; the first that ends by itself ends the others.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt;
use kit::error::chain;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long services may take to finish what is under way.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(20);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    #[error("{service} ended with an error")]
    Failed {
        service: &'static str,
        #[source]
        source: BoxError,
    },
    #[error("{0} ended although nobody asked it to")]
    EndedEarly(&'static str),
    #[error("{0} panicked; its log line says where")]
    Panicked(&'static str),
}

/// Services that run, and the token that ends them.
pub struct Services {
    tasks: JoinSet<(&'static str, Option<Result<(), BoxError>>)>,
    drain: CancellationToken,
}

impl Services {
    pub fn new() -> Self {
        Self { tasks: JoinSet::new(), drain: CancellationToken::new() }
    }

    /// Starts a service; `run` gets the token that asks it to end.
    pub fn start<E, F>(&mut self, service: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        E: Into<BoxError>,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        // A child token: a service that cancels its own does not end the others behind our back.
        let running = run(self.drain.child_token());
        self.tasks.spawn(async move {
            let ended = std::panic::AssertUnwindSafe(running).catch_unwind().await;
            (service, ended.ok().map(|ended| ended.map_err(Into::into)))
        });
    }

    /// Resolves when a service ends by itself, which none should.
    pub async fn first_end(&mut self) -> ServingError {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Err(_)) => ServingError::EndedEarly("a service"),
            Some(Ok((service, None))) => ServingError::Panicked(service),
            Some(Ok((service, Some(Ok(()))))) => ServingError::EndedEarly(service),
            Some(Ok((service, Some(Err(source))))) => ServingError::Failed { service, source },
        }
    }

    /// Asks all to end and waits, at most so long. Returns the first error.
    pub async fn drain(mut self, within: Duration) -> Result<(), ServingError> {
        self.drain.cancel();
        let mut first = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok((service, Some(Err(source)))) = ended {
                    tracing::error!(service, error = %chain(&*source), "a service did not end well");
                    if first.is_ok() {
                        first = Err(ServingError::Failed { service, source });
                    }
                }
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(within_s = within.as_secs(), "services did not finish in time; ending them");
            self.tasks.abort_all();
        }
        first
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("it broke")]
    struct Broke;

    #[tokio::test]
    async fn a_service_that_fails_is_named_and_the_others_are_drained() {
        let mut services = Services::new();
        services.start("steady", |drain| async move {
            drain.cancelled().await;
            Ok::<_, Broke>(())
        });
        services.start("shaky", |_| async { Err(Broke) });
        let ended = services.first_end().await;
        assert_eq!(chain(&ended), "shaky ended with an error: it broke");
        assert!(services.drain(DRAIN_WITHIN).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_an_end_too() {
        let mut services = Services::new();
        services.start("wild", |_| async {
            assert!(std::process::id() == 0, "not so");
            Ok::<_, Broke>(())
        });
        assert!(matches!(services.first_end().await, ServingError::Panicked("wild")));
    }
}
