//! What is done about one webhook now? What is true of it is read from the log, then its events are posted one after
//! the other, from its position on.
//!
//! The effect comes first and the position after it: whoever is killed in between posts the event again, under the same
//! id. That a delivery is parked is a fact before the position passes it, so none is lost in between.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{SubscriptionId, TenantId};
use events::subscription::park::park;
use events::subscription::pause::pause;
use events::subscription::release::release;
use events::subscription::retry::give_up;
use events::subscription::{
    Delivery, DeliveryParked, Failure, Subscription, SubscriptionEvent, SubscriptionRefusal, Why,
};
use events::{Cause, Decision, Kind, Recorded, Subject};
use futures_util::FutureExt;
use nats::DecideError;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval_at};
use uuid::Uuid;

use super::back_off::back_off;
use super::send::{Answer, Link};
use super::signature::Secrets;
use super::target::Target;
use crate::app::App;
use crate::event_reader::{self, Frame, From, Reading, Source};
use crate::idempotency::index;
use crate::metrics::Attempted;
use crate::problem::Problem;
use crate::scope::Scope;
use crate::subscriptions::kept::{self, Held, Trouble};
use crate::subscriptions::{is_over, standing};

/// After something else than the receiver failed.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// After the events ended, before they are opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// So often the position passes events that are for nobody.
const PASSED_EVERY: Duration = Duration::from_secs(30);
const ACTOR: &str = "service:api";

/// What comes next.
enum Turn {
    /// Nothing: it is not to be delivered.
    Over,
    /// A look at what is true now.
    Again,
    /// The next event.
    On,
}

struct Deliverer {
    app: App,
    tenant: TenantId,
    id: SubscriptionId,
    subject: Subject,
    news: broadcast::Receiver<Arc<Recorded>>,
    link: Option<Link>,
}

/// Where it is posted, and signed with what.
struct Endpoint {
    target: Target,
    secrets: Secrets,
}

/// Until it is not to be delivered any more.
pub async fn keep_delivering(app: App, tenant: TenantId, id: SubscriptionId) {
    let news = app.live.listen().receiver;
    let subject = Subject::new(tenant.clone(), Kind::Subscription, id.as_str());
    let mut deliverer = Deliverer { app, tenant, id, subject, news, link: None };
    loop {
        match deliverer.turn().await {
            Ok(Turn::Over) => return,
            Ok(Turn::Again | Turn::On) => {}
            Err(problem) => {
                let (code, detail, cause) = (problem.code(), problem.detail(), problem.cause());
                tracing::warn!(subscription.id = %deliverer.id, code, detail, cause, "a webhook was not delivered; tried again");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
        }
    }
}

impl Deliverer {
    /// From a look at what is true to the next one.
    async fn turn(&mut self) -> Result<Turn, Problem> {
        let state = self.app.log.load::<Subscription>(&self.tenant, self.id.as_str()).await?.state;
        let Some(set) = state.active() else { return Ok(Turn::Over) };
        let Delivery::Webhook { url, .. } = &set.delivery else { return Ok(Turn::Over) };
        let caller = match standing(&self.app, &self.tenant, set).await {
            Ok(caller) => caller,
            Err(problem) if is_over(&problem) => return self.pause(Why::NotAllowed).await,
            Err(problem) => return Err(problem),
        };
        let target = Target::parse(url).map_err(|why| Problem::new("internal", why))?;
        let endpoint = Endpoint { target, secrets: self.secrets(&state).await? };
        let mut scope = Scope::subscription(caller.clone(), set.filter.clone());
        if let Some((sequence, parked)) = state.to_retry() {
            return self.retry(&mut scope, &endpoint, sequence, parked.attempts).await;
        }
        let mut held = kept::load(&self.app, &self.tenant, &self.id, set).await?;
        let reading = Reading { caller, headers: None, until: std::future::pending().boxed() };
        let from = From::Sequence(held.kept.position.saturating_add(1));
        let (mut source, _) = event_reader::follow(&self.app, scope, from, reading)?;
        let mut passing = interval_at(Instant::now() + PASSED_EVERY, PASSED_EVERY);
        loop {
            let frame = tokio::select! {
                biased;
                () = changed(&mut self.news, &self.subject) => return Ok(Turn::Again),
                frame = source.next() => frame,
                _ = passing.tick() => {
                    self.pass(&source, &mut held).await?;
                    continue;
                }
            };
            let Some(Frame::Event(event)) = frame else {
                // too slow, or closing, or whoever set it was shut out: the next look tells
                tokio::time::sleep(REOPEN_AFTER).await;
                return Ok(Turn::Again);
            };
            match self.deliver(&state, &endpoint, &mut held, &event).await? {
                Turn::On => {}
                Turn::Over => return Ok(Turn::Over),
                Turn::Again => {
                    // nothing is read while it waits
                    drop(source);
                    if let Some(trouble) = held.kept.trouble {
                        self.wait_until(trouble.next_at).await;
                    }
                    return Ok(Turn::Again);
                }
            }
        }
    }

    /// Signing with what was kept is looked up each time anew: whoever rotates is heard.
    async fn secrets(&self, state: &Subscription) -> Result<Secrets, Problem> {
        let missing = || Problem::new("internal", "the webhook's secret is not in the vault; rotate it");
        let current = state.secret().ok_or_else(missing)?;
        let current = self.app.vault.get(current).await?.ok_or_else(missing)?;
        let previous = match state.previous.as_ref().filter(|previous| previous.until > Utc::now()) {
            Some(previous) => self.app.vault.get(&previous.secret).await?.map(|text| (text, previous.until)),
            None => None,
        };
        Ok(Secrets { current, previous })
    }

    /// The position passes what is for nobody.
    async fn pass(&self, source: &Source, held: &mut Held) -> Result<(), Problem> {
        match source.passed() {
            Some(passed) if passed > held.kept.position => self.move_to(held, passed).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn move_to(&self, held: &mut Held, position: u64) -> Result<(), Problem> {
        (held.kept.position, held.kept.trouble) = (position, None);
        self.store(held).await
    }

    async fn store(&self, held: &mut Held) -> Result<(), Problem> {
        kept::store(&self.app, &self.tenant, &self.id, held).await
    }

    /// One attempt, if it is time for one.
    async fn deliver(
        &mut self,
        state: &Subscription,
        endpoint: &Endpoint,
        held: &mut Held,
        event: &Recorded,
    ) -> Result<Turn, Problem> {
        let counts = |trouble: &Trouble| trouble.sequence == event.seq && trouble.at >= state.fresh_since;
        let before = held.kept.trouble.filter(counts);
        held.kept.trouble = before;
        if before.is_some_and(|trouble| trouble.next_at > Utc::now()) {
            return Ok(Turn::Again);
        }
        let failure = match self.attempt(endpoint, event).await {
            Answer::Delivered => {
                self.move_to(held, event.seq).await?;
                return Ok(Turn::On);
            }
            Answer::Gone => return self.pause(Why::Gone).await,
            Answer::Failed(failure) => failure,
        };
        let attempts = before.map_or(0, |trouble| trouble.attempts).saturating_add(1);
        let schedule = &self.app.postman.settings().retry_after;
        let Some(wait) = back_off(schedule, attempts, &event.meta.id) else {
            return match self.park(event, attempts, failure).await? {
                Turn::On => self.move_to(held, event.seq).await.map(|()| Turn::On),
                turn @ (Turn::Over | Turn::Again) => Ok(turn),
            };
        };
        let at = Utc::now();
        let next_at = at + TimeDelta::from_std(wait).unwrap_or_default();
        held.kept.trouble = Some(Trouble { sequence: event.seq, attempts, at, next_at, failure });
        self.store(held).await?;
        Ok(Turn::Again)
    }

    async fn attempt(&mut self, endpoint: &Endpoint, event: &Recorded) -> Answer {
        let Endpoint { target, secrets } = endpoint;
        let app = self.app.clone();
        let answer = app.postman.post(&mut self.link, target, secrets, event).await;
        let outcome = match answer {
            Answer::Delivered => "delivered",
            Answer::Gone => "gone",
            Answer::Failed(_) => "failed",
        };
        self.count(outcome);
        if let Answer::Failed(failure) = answer {
            let (class, status) = (failure.class.name(), failure.status);
            tracing::info!(subscription.id = %self.id, event.seq = event.seq, class, status, "a webhook's receiver did not take an event");
        }
        answer
    }

    fn count(&self, outcome: &'static str) {
        self.app.metrics.webhook_attempts.get_or_create(&Attempted { outcome }).inc();
    }

    /// One attempt for a delivery that was parked; what is not to be told any more is given up.
    async fn retry(
        &mut self,
        scope: &mut Scope,
        endpoint: &Endpoint,
        sequence: u64,
        attempts: u32,
    ) -> Result<Turn, Problem> {
        let found = self.app.log.event_at(sequence).await?;
        let is_told = match &found {
            Some(event) => scope.shows(&self.app, event).await?,
            None => false,
        };
        let Some(event) = found.filter(|_| is_told) else {
            self.decide(None, |state| give_up(state, sequence)).await?;
            return Ok(Turn::Again);
        };
        match self.attempt(endpoint, &event).await {
            Answer::Gone => self.pause(Why::Gone).await,
            Answer::Delivered => {
                self.decide(Some(&event), |state| release(state, sequence)).await?;
                Ok(Turn::Again)
            }
            Answer::Failed(failure) => {
                self.park(&event, attempts.saturating_add(1), failure).await?;
                Ok(Turn::Again)
            }
        }
    }

    /// `On` when it is parked; whoever came first.
    async fn park(&self, event: &Recorded, attempts: u32, failure: Failure) -> Result<Turn, Problem> {
        let parked = DeliveryParked { sequence: event.seq, event_id: event.meta.id, attempts, failure };
        match self.decide(Some(event), |state| park(state, parked.clone())).await {
            Ok(()) => {
                self.count("parked");
                Ok(Turn::On)
            }
            Err(DecideError::Refused(SubscriptionRefusal::TooManyParked)) => {
                self.pause(Why::TooManyParked).await
            }
            Err(DecideError::Refused(_)) => Ok(Turn::Over),
            Err(error) => Err(error.into()),
        }
    }

    /// What failed is not passed: it is the first to be tried when somebody resumes it.
    async fn pause(&self, why: Why) -> Result<Turn, Problem> {
        match self.decide(None, |state| pause(state, why)).await {
            Ok(()) | Err(DecideError::Refused(_)) => {
                tracing::warn!(subscription.id = %self.id, why = why.name(), "a webhook is paused");
                Ok(Turn::Over)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The rules look at the state, so that what was decided before is not decided again.
    async fn decide(
        &self,
        event: Option<&Recorded>,
        rule: impl FnMut(&Subscription) -> Decision<SubscriptionEvent, SubscriptionRefusal>,
    ) -> Result<(), DecideError<SubscriptionRefusal>> {
        let causation = event.map(|event| event.meta.id);
        let cause = Cause { causation, ..Cause::new(Uuid::now_v7(), ACTOR) };
        let (tenant, id) = (&self.tenant, self.id.as_str());
        self.app.log.decide::<Subscription, _>(tenant, id, &cause, index::FIRST, rule).await.map(drop)
    }

    /// Or until something else is true of it.
    async fn wait_until(&mut self, at: DateTime<Utc>) {
        let wait = (at - Utc::now()).to_std().unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = changed(&mut self.news, &self.subject) => {}
        }
    }
}

/// Something happened to the subscription, or may have.
async fn changed(news: &mut broadcast::Receiver<Arc<Recorded>>, subject: &Subject) {
    loop {
        match news.recv().await {
            Ok(event) if event.subject == *subject => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // the process ends, and this with it
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
