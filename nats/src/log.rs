//! How is an event appended, and what is true of one aggregate now? `load`, `append`, `decide`.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use chrono::{SubsecRound, Utc};
use events::aggregate::Refusal;
use events::ids::{EventId, TenantId};
use events::{
    Aggregate, AggregateEvent, Cause, Decision, Event, Meta, ReadError, Recorded, Subject, envelope,
};
use tokio::time::{Instant, sleep};

use crate::BoxError;
use crate::cache::{Cache, Known};
use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::read::{BatchError, Wanted, batch};
use crate::tail::{Start, Tail};
use crate::wire::{self, ApiError, PublishAnswer};

/// Decisions on one command before it is given up as contended.
pub const ATTEMPTS_MAX: u32 = 32;
/// Longest pause between two attempts; grows from a thousandth, drawn at random.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// From the first attempt of a decision to the last.
const DECIDE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Batches read of one aggregate: more than a hundred million events are no aggregate.
const BATCHES_MAX: usize = 50_000;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log could not be read")]
    Read(#[source] BoxError),
    #[error("the event at sequence {seq} of {subject} cannot be read")]
    Unreadable {
        seq: u64,
        subject: String,
        #[source]
        source: ReadError,
    },
    #[error(
        "event id {id} stands at sequence {seq} of another aggregate: a command has one aggregate an index"
    )]
    IdTaken { id: EventId, seq: u64 },
    #[error("{0} is longer than a history may be")]
    TooLong(String),
    #[error("the event could not be appended")]
    Append(#[source] AppendError),
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was appended: the subject has moved on.
    #[error("the subject's last sequence is not {expected}")]
    Lost { expected: u64 },
    /// An event with this id was appended before, at this sequence, not necessarily here.
    #[error("the event id was appended before, at sequence {seq}")]
    Duplicate { seq: u64 },
    /// Appended or not: read the subject.
    #[error("it is unclear whether the event was appended")]
    Unclear(#[source] BoxError),
    /// Nothing was appended: no server takes the subject now.
    #[error("no server takes the event now")]
    Unavailable,
    /// Nothing was appended, and trying again will not help.
    #[error("the event is refused")]
    Refused(#[source] ApiError),
    /// Nothing was appended: the event is larger than a message may be.
    #[error("the event is too large")]
    TooLarge,
}

#[derive(Debug, thiserror::Error)]
pub enum DecideError<R: std::error::Error + 'static> {
    /// The business said no, looking at the state as it is now.
    #[error(transparent)]
    Refused(R),
    /// Others kept appending first.
    #[error("lost {attempts} races for the aggregate")]
    Contended { attempts: u32 },
    #[error("the log failed")]
    Log(#[from] LogError),
}

/// An aggregate as it is.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    pub state: A,
    /// Last sequence of this subject; 0 if there is no event.
    pub seq: u64,
}

/// An aggregate after a decision.
#[derive(Debug, Clone)]
pub struct Decided<A> {
    pub state: A,
    /// Last sequence of the subject.
    pub seq: u64,
    /// The event of this command: appended now, or found because the command came before.
    /// `None` if the rule had nothing to add.
    pub appended: Option<Recorded>,
}

/// The log of all events.
#[derive(Clone)]
pub struct Log {
    client: Client,
    api: Api,
    cache: Arc<Cache>,
}

impl Log {
    pub(crate) fn new(client: Client, api: Api, cache: Arc<Cache>) -> Self {
        Self { client, api, cache }
    }

    /// The aggregate as it is now: what is not in the process's memory is read, one round trip
    /// per 2000 events.
    pub async fn load<A: Aggregate>(&self, tenant: &TenantId, id: &str) -> Result<Loaded<A>, LogError> {
        let subject = Subject::new(tenant.clone(), A::Event::KIND, id).to_string();
        let _turn = self.cache.turn(&subject).await;
        let mut known = self.cache.take::<A>(&subject).unwrap_or_default();
        self.refresh(&subject, &mut known).await?;
        let loaded = Loaded { state: (*known.state).clone(), seq: known.seq };
        self.cache.put(&subject, known);
        Ok(loaded)
    }

    /// Loads the aggregate, asks the rule, and appends its event if nobody was faster; otherwise
    /// asks again on the new state.
    ///
    /// The event's id derives from the command and `index`. A command that comes again gets the
    /// event it made before: within the server's duplicate window (2 minutes) always, afterwards
    /// as long as the event is among the newest 1024 of its aggregate. Beyond, the rule itself
    /// must see in the state that nothing is left to do.
    pub async fn decide<A: Aggregate, R: Refusal>(
        &self,
        tenant: &TenantId,
        id: &str,
        cause: &Cause,
        index: u32,
        mut rule: impl FnMut(&A) -> Decision<A::Event, R>,
    ) -> Result<Decided<A>, DecideError<R>> {
        let subject = Subject::new(tenant.clone(), A::Event::KIND, id);
        let text = subject.to_string();
        // Deciders of one process queue here instead of racing at the server.
        let _turn = self.cache.turn(&text).await;
        // An aggregate that is not in memory is taken for new until the log says otherwise: the
        // append of a first event then needs no reading, and any other answer reads first.
        let mut known = self.cache.take::<A>(&text).unwrap_or_default();
        let command = Command { subject, text: &text, cause, index };
        let result = self.decide_on(&command, &mut known, &mut rule).await;
        self.cache.put(command.text, known);
        result
    }

    async fn decide_on<A: Aggregate, R: Refusal>(
        &self,
        command: &Command<'_>,
        known: &mut Known<A>,
        rule: &mut impl FnMut(&A) -> Decision<A::Event, R>,
    ) -> Result<Decided<A>, DecideError<R>> {
        let own = EventId::derive(&command.cause.command, command.index);
        let began = Instant::now();
        let mut attempts = 0;
        let mut fresh = false;
        loop {
            if let Some(seq) = known.sequence_of(own) {
                let found = self.recorded_at(command.text, seq).await?;
                return Ok(decided(known, Some(found)));
            }
            let event: Event = match rule(&known.state) {
                Ok(Some(event)) => event.into(),
                // An answer without an append is no better than the state it was given on.
                Ok(None) | Err(_) if !fresh => {
                    self.refresh(command.text, known).await?;
                    fresh = true;
                    continue;
                }
                Ok(None) => return Ok(decided(known, None)),
                Err(refusal) => return Err(DecideError::Refused(refusal)),
            };
            attempts += 1;
            // The log holds microseconds: what is folded now and what is folded later is the same.
            let meta = command.cause.meta(command.index, Utc::now().trunc_subsecs(6));
            let failed = match self.append_at(&command.subject, command.text, known.seq, &meta, &event).await
            {
                Ok(seq) => {
                    evolve(known, &event, &meta, seq);
                    let recorded = Recorded { seq, subject: command.subject.clone(), meta, event };
                    return Ok(decided(known, Some(recorded)));
                }
                Err(refused @ (AppendError::Refused(_) | AppendError::TooLarge)) => {
                    return Err(LogError::Append(refused).into());
                }
                Err(failed) => failed,
            };
            if attempts >= ATTEMPTS_MAX || began.elapsed() >= DECIDE_WAIT_MAX {
                return Err(given_up(failed, attempts));
            }
            tracing::debug!(subject = command.text, attempts, reason = %failed, "deciding again");
            pause(attempts).await;
            self.refresh(command.text, known).await?;
            fresh = true;
            if let AppendError::Duplicate { seq } = failed
                && known.sequence_of(own).is_none()
                && self.stands_elsewhere(seq, command.text).await?
            {
                return Err(LogError::IdTaken { id: own, seq }.into());
            }
        }
    }

    async fn stands_elsewhere(&self, seq: u64, subject: &str) -> Result<bool, LogError> {
        let mut wanted = Wanted::from(seq, None);
        wanted.batch = 1;
        let batch = self.batch(&wanted).await.map_err(|error| LogError::Read(error.into()))?;
        let headers = batch.messages.first().and_then(|message| message.headers.as_ref());
        Ok(wire::server_number(headers, "Nats-Sequence") == Some(seq)
            && wire::server_header(headers, "Nats-Subject") != Some(subject))
    }

    /// Appends if `expected` is the last sequence of the subject (0: it has no event yet).
    /// Answers the event's sequence.
    pub async fn append(
        &self,
        subject: &Subject,
        expected: u64,
        meta: &Meta,
        event: &Event,
    ) -> Result<u64, AppendError> {
        self.append_at(subject, &subject.to_string(), expected, meta, event).await
    }

    async fn append_at(
        &self,
        subject: &Subject,
        text: &str,
        expected: u64,
        meta: &Meta,
        event: &Event,
    ) -> Result<u64, AppendError> {
        let unclear = |error: BoxError| AppendError::Unclear(error);
        let payload: Bytes =
            serde_json::to_vec(&event.to_json()).map_err(|error| unclear(error.into()))?.into();
        let headers = headers_of(subject, expected, meta, event);
        let request = Request::new().headers(headers).payload(payload).timeout(Some(REQUEST_TIMEOUT));
        let answer = match self.client.send_request(text.to_owned(), request).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(AppendError::Unavailable);
            }
            Err(error) if error.kind() == RequestErrorKind::MaxPayloadExceeded => {
                return Err(AppendError::TooLarge);
            }
            Err(error) => return Err(unclear(error.into())),
        };
        let answer: PublishAnswer =
            serde_json::from_slice(&answer.payload).map_err(|error| unclear(error.into()))?;
        match answer.error {
            None if answer.duplicate => Err(AppendError::Duplicate { seq: answer.seq }),
            None => Ok(answer.seq),
            Some(error) => Err(match error.err_code {
                wire::WRONG_LAST_SEQUENCE | wire::WRONG_LAST_SEQUENCE_UNKNOWN => {
                    AppendError::Lost { expected }
                }
                wire::DUPLICATE_IN_PROCESS => unclear(error.into()),
                _ => AppendError::Refused(error),
            }),
        }
    }

    /// Last sequence of the whole log; 0 when it is empty.
    pub async fn head(&self) -> Result<u64, LogError> {
        crate::tail::head(&self.client, &self.api).await.map_err(|error| LogError::Read(error.into()))
    }

    /// All events from `start` on, in order, for ever. `subjects` may have wildcards; none means all.
    pub fn tail(&self, start: Start, subjects: Vec<String>) -> Tail {
        Tail::new(self.client.clone(), self.api, start, subjects)
    }

    /// Folds what came after `known.seq`.
    async fn refresh<A: Aggregate>(&self, subject: &str, known: &mut Known<A>) -> Result<(), LogError> {
        for _ in 0..BATCHES_MAX {
            let wanted = Wanted::from(known.seq + 1, Some(subject));
            let batch = self.batch(&wanted).await.map_err(|error| LogError::Read(error.into()))?;
            for message in &batch.messages {
                let recorded = read(message, subject)?;
                evolve(known, &recorded.event, &recorded.meta, recorded.seq);
            }
            if batch.pending == 0 || batch.messages.is_empty() {
                return Ok(());
            }
        }
        Err(LogError::TooLong(subject.to_owned()))
    }

    async fn recorded_at(&self, subject: &str, seq: u64) -> Result<Recorded, LogError> {
        let mut wanted = Wanted::from(seq, Some(subject));
        wanted.batch = 1;
        let batch = self.batch(&wanted).await.map_err(|error| LogError::Read(error.into()))?;
        let message = batch.messages.first().ok_or_else(|| LogError::Read("a replica lags behind".into()))?;
        read(message, subject)
    }

    pub(crate) async fn batch(&self, wanted: &Wanted) -> Result<crate::read::Batch, BatchError> {
        batch(&self.client, &self.direct_get(), wanted).await
    }

    pub(crate) fn direct_get(&self) -> String {
        self.api.direct_get(wire::EVENTS)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

struct Command<'c> {
    subject: Subject,
    /// `subject`, written once.
    text: &'c str,
    cause: &'c Cause,
    index: u32,
}

fn evolve<A: Aggregate>(known: &mut Known<A>, event: &Event, meta: &Meta, seq: u64) {
    if let Some(own) = A::Event::from_event(event) {
        // Copies the state only if somebody else still looks at it.
        Arc::make_mut(&mut known.state).evolve(own, meta.time);
    }
    known.remember(meta.id, seq);
}

fn decided<A: Aggregate>(known: &Known<A>, appended: Option<Recorded>) -> Decided<A> {
    Decided { state: (*known.state).clone(), seq: known.seq, appended }
}

fn given_up<R: Refusal>(failed: AppendError, attempts: u32) -> DecideError<R> {
    match failed {
        AppendError::Lost { .. } => DecideError::Contended { attempts },
        failed @ (AppendError::Duplicate { .. }
        | AppendError::Unclear(_)
        | AppendError::Unavailable
        | AppendError::Refused(_)
        | AppendError::TooLarge) => DecideError::Log(LogError::Append(failed)),
    }
}

async fn pause(attempts: u32) {
    let most = Duration::from_millis(1 << attempts.min(8)).min(PAUSE_MAX);
    sleep(most.mul_f64(rand::random::<f64>())).await;
}

fn headers_of(subject: &Subject, expected: u64, meta: &Meta, event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in envelope::headers(subject, meta, event) {
        headers.insert(name, value);
    }
    headers.insert("Nats-Msg-Id", meta.id.to_string());
    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
    headers
}

/// Reads a message that a direct get delivered.
pub(crate) fn read(message: &Message, subject: &str) -> Result<Recorded, LogError> {
    let headers = message.headers.as_ref();
    let seq = wire::server_number(headers, "Nats-Sequence")
        .ok_or_else(|| LogError::Read("the server named no sequence".into()))?;
    Recorded::read(seq, subject, |name| headers?.get(name).map(|value| value.as_str()), &message.payload)
        .map_err(|source| LogError::Unreadable { seq, subject: subject.to_owned(), source })
}
