//! How is one connection served? Output goes out as the ring has it, input goes to the shell, and nobody leaves
//! without having been told why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use kit::error::chain;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::terminal::failure::{CLOSE_NORMAL, Failure};
use crate::terminal::input::{Given, INPUT_BYTES_MAX};
use crate::terminal::people::{News, Part, Seated};
use crate::terminal::shell::How;
use crate::terminal::wire::{self, Encoder, FromClient};

/// Output is joined up to this size, or for so long since the last piece.
const PIECE_BYTES_MAX: usize = 32 << 10;
const JOIN_FOR: Duration = Duration::from_millis(5);
/// A client is asked whether it is there,
const PING_EVERY: Duration = Duration::from_secs(20);
/// and is gone when nothing was heard of it for so long.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest that saying good-bye takes.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// Answers to one client that wait for its socket.
const ANSWERS_MAX: usize = 16;
/// Between two times that a guest is told that they may not type.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);

type Sink = SplitSink<WebSocket, Message>;
type Stream = SplitStream<WebSocket>;

/// How a connection came to its end.
enum Outcome {
    /// It said good-bye.
    Left,
    /// It broke.
    Lost,
    Over(How),
}

/// Why a seat is empty now.
pub struct Departure {
    pub clean: bool,
    /// For the record.
    pub reason: &'static str,
}

/// From sitting down to having left. The seat is empty afterwards.
pub async fn serve(socket: WebSocket, seated: Seated) -> Departure {
    let (mut sink, mut stream) = socket.split();
    let typed = AtomicBool::new(false);
    let (answers, said) = mpsc::channel(ANSWERS_MAX);
    let outcome = tokio::select! {
        outcome = write(&mut sink, &seated, said, &typed) => outcome,
        outcome = read(&mut stream, &seated, &answers, &typed) => outcome,
    };
    let (departure, last, close) = match outcome {
        Outcome::Left => (Departure { clean: true, reason: "left" }, None, None),
        Outcome::Lost => (Departure { clean: false, reason: "connection_lost" }, None, None),
        Outcome::Over(How::Exited(code)) => {
            let exited = Departure { clean: true, reason: "session_ended" };
            (exited, Some(wire::exit(code)), Some((CLOSE_NORMAL, "exited")))
        }
        Outcome::Over(How::Failed(failure)) => {
            let clean = failure.code != "client_silent";
            let failed = Departure { clean, reason: failure.code };
            (failed, Some(wire::error(&failure)), Some((failure.close, failure.code)))
        }
    };
    // a connection that does not take its good-bye keeps nobody waiting
    seated.shell.stand_up(seated.seat, departure.clean);
    let farewell = farewell(sink, stream, last, close);
    let _gone_either_way = tokio::time::timeout(FAREWELL_MAX, farewell).await;
    departure
}

/// Says why, closes, and waits for the other side to close too, so that nothing said is lost to a reset.
async fn farewell(mut sink: Sink, mut stream: Stream, last: Option<Message>, close: Option<(u16, &str)>) {
    for message in last.into_iter().chain(close.map(|(code, reason)| close_message(code, reason))) {
        if sink.send(message).await.is_err() {
            return;
        }
    }
    while let Some(Ok(_)) = stream.next().await {}
}

fn close_message(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.to_owned().into() }))
}

/// Whoever cannot be let in is told why.
pub async fn refuse(socket: WebSocket, failure: &Failure) {
    let (sink, stream) = socket.split();
    let farewell = farewell(sink, stream, Some(wire::error(failure)), Some((failure.close, failure.code)));
    let _gone_either_way = tokio::time::timeout(FAREWELL_MAX, farewell).await;
}

async fn write(
    sink: &mut Sink,
    seated: &Seated,
    mut said: mpsc::Receiver<Message>,
    typed: &AtomicBool,
) -> Outcome {
    let Seated { shell, seat, .. } = seated;
    let mut news = shell.news();
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shown = Shown {
        encoder: Encoder::new(seated.protocol),
        sent: seated.from,
        people: seated.people_known,
        size: None,
        replay_until: seated.replay_until,
        sent_at: None,
    };
    loop {
        news.borrow_and_update();
        let look = shell.look(*seat, shown.sent);
        if let Some(failure) = &look.dismissed {
            return Outcome::Over(How::Failed(failure.clone()));
        }
        for message in shown.surroundings(seated, &look).into_iter().flatten() {
            if sink.send(message).await.is_err() {
                return Outcome::Lost;
            }
        }
        if look.pending > 0
            && shown.is_due(look.pending, typed.swap(false, Ordering::Relaxed), look.end.is_some())
        {
            match shown.piece(sink, seated).await {
                Ok(()) => continue,
                Err(outcome) => return outcome,
            }
        }
        if let Some(end) = look.end.filter(|_| look.pending == 0) {
            if let Some(rest) = shown.encoder.rest(shown.sent) {
                let _closing_anyway = sink.send(rest).await;
            }
            shell.end_was_told(*seat);
            return Outcome::Over(end);
        }
        if shown.replay_until.is_some_and(|until| shown.sent >= until) {
            shown.replay_until = None;
            if sink.send(shown.encoder.replayed()).await.is_err() {
                return Outcome::Lost;
            }
        }
        let more_at = shown.sent_at.map_or_else(Instant::now, |at| at + JOIN_FOR);
        let message = tokio::select! {
            _ = news.changed() => continue,
            () = tokio::time::sleep_until(more_at), if look.pending > 0 => continue,
            Some(answer) = said.recv() => answer,
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return Outcome::Lost;
        }
    }
}

/// What one client was shown already.
struct Shown {
    encoder: Encoder,
    /// Offset up to which its socket took the output.
    sent: u64,
    people: u64,
    size: Option<wire::Size>,
    replay_until: Option<u64>,
    sent_at: Option<Instant>,
}

impl Shown {
    /// Who is there and how large the owner's terminal is, where that is news.
    fn surroundings(&mut self, seated: &Seated, look: &News) -> [Option<Message>; 2] {
        let people = (look.people != self.people).then(|| wire::people(&seated.shell.people()));
        let resized = seated.part != Part::Owner && self.size != Some(look.size);
        self.people = look.people;
        self.size = Some(look.size);
        [people, resized.then(|| wire::size(look.size))]
    }

    /// What follows silence or a keystroke goes out at once, so that an echo never waits; a stream of
    /// output is joined to larger pieces.
    fn is_due(&self, pending: u64, typed: bool, last: bool) -> bool {
        let quiet = self.sent_at.is_none_or(|at| at.elapsed() >= JOIN_FOR);
        quiet || typed || last || pending >= PIECE_BYTES_MAX as u64
    }

    async fn piece(&mut self, sink: &mut Sink, seated: &Seated) -> Result<(), Outcome> {
        let failed = |failure| Outcome::Over(How::Failed(failure));
        // a replay ends where it was announced to end
        let at_most = match self.replay_until.and_then(|until| until.checked_sub(self.sent)) {
            Some(left @ 1..) => usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX),
            Some(0) | None => PIECE_BYTES_MAX,
        };
        let piece = seated.shell.piece(self.sent, at_most).map_err(failed)?;
        let after = self.sent + piece.len() as u64;
        if let Some(message) = self.encoder.output(&piece, after) {
            sink.send(message).await.map_err(|_| Outcome::Lost)?;
        }
        self.sent = after;
        self.sent_at = Some(Instant::now());
        seated.shell.sent(seated.seat, after);
        if self.replay_until == Some(after) {
            self.replay_until = None;
            sink.send(self.encoder.replayed()).await.map_err(|_| Outcome::Lost)?;
        }
        Ok(())
    }
}

async fn read(
    stream: &mut Stream,
    seated: &Seated,
    answers: &mpsc::Sender<Message>,
    typed: &AtomicBool,
) -> Outcome {
    let Seated { shell, seat, part, protocol, .. } = seated;
    let mut told_at: Option<Instant> = None;
    loop {
        let message = match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
            Ok(Some(Ok(Message::Close(_)))) => return Outcome::Left,
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return unreadable(&error),
            Ok(None) => return Outcome::Lost,
            Err(_) => {
                let why = format!("nothing was heard of the client for {} seconds", SILENCE_MAX.as_secs());
                return Outcome::Over(How::Failed(Failure::new("client_silent", why)));
            }
        };
        match protocol.read(message) {
            Err(failure) => return Outcome::Over(How::Failed(failure)),
            Ok(None) => {}
            Ok(Some(FromClient::Input(bytes))) if part.may_type() => {
                if bytes.len() > INPUT_BYTES_MAX {
                    return too_large();
                }
                typed.store(true, Ordering::Relaxed);
                shell.give(Given::Bytes(bytes)).await;
            }
            Ok(Some(FromClient::Input(_))) => {
                if told_at.is_none_or(|at| at.elapsed() >= TOLD_AGAIN_AFTER) {
                    told_at = Some(Instant::now());
                    let failure = Failure::new("view_only", "this terminal is shared for looking on");
                    // who does not read its answers gets fewer of them
                    let _full = answers.try_send(wire::error(&failure));
                }
            }
            Ok(Some(FromClient::Resize(size))) => shell.resize(*seat, size).await,
            Ok(Some(FromClient::Acknowledged(offset))) => shell.acknowledge(*seat, offset),
            Ok(Some(FromClient::Ping(id))) => {
                if answers.send(wire::pong(&id)).await.is_err() {
                    return Outcome::Lost;
                }
            }
        }
    }
}

fn too_large() -> Outcome {
    let why = format!("a message may have at most {INPUT_BYTES_MAX} bytes");
    Outcome::Over(How::Failed(Failure::new("input_too_large", why)))
}

/// A message beyond the bound shows as an error of that name somewhere in the chain.
fn unreadable(error: &axum::Error) -> Outcome {
    let chain = chain(error);
    tracing::debug!(error = chain, "a terminal's connection broke");
    if chain.contains("too long") { too_large() } else { Outcome::Lost }
}
