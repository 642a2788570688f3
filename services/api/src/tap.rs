//! How does somebody follow the events over HTTP? A stream per reader, as server-sent events or over a WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
pub use crate::event_reader::From;
use crate::event_reader::{Frame, READER_WAIT, Reading, Source, follow};
use crate::position;
use crate::problem::Problem;
use crate::scope::Scope;

/// A comment is sent when there was nothing to send for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Largest message taken from a WebSocket, in bytes; none means anything.
const SOCKET_READ_MAX: usize = 4096;
/// Streams open at once in this process.
pub const TAPS_MAX: usize = 2048;

/// A stream that is open, with its place among the [`TAPS_MAX`].
struct Open {
    source: Source,
    /// What happened up to this sequence was before.
    after: Option<u64>,
    /// Kept until the connection is gone, also when its reader has ended.
    place: OwnedSemaphorePermit,
}

fn begin(app: &App, scope: Scope, from: From, reading: Reading) -> Result<Open, Problem> {
    let busy = |_| Problem::new("busy", format!("{TAPS_MAX} event streams are open; try again later"));
    let place = Arc::clone(&app.taps).try_acquire_owned().map_err(busy)?;
    let (source, after) = follow(app, scope, from, reading)?;
    Ok(Open { source, after, place })
}

/// Opens a stream of server-sent events: `id` is the sequence, `data` a CloudEvent. When it ends for
/// a reason, the last event is `event: end` with `{code, detail}`; connect again with
/// `Last-Event-ID`, at first with the `Portreeve-Position` of the answer.
pub fn open(app: &App, scope: Scope, from: From, headers: HeaderMap) -> Result<Response, Problem> {
    let reading = Reading::of(&scope, headers);
    open_for(app, scope, from, reading)
}

/// The same for somebody who reads in another's name, or not for ever.
pub fn open_for(app: &App, scope: Scope, from: From, reading: Reading) -> Result<Response, Problem> {
    let open = begin(app, scope, from, reading)?;
    let position = open.after.map(position::header);
    let frames = stream::unfold(open, |mut open| async move {
        let frame = open.source.next().await?;
        Some((Ok::<_, Infallible>(show(frame)), open))
    });
    let events = Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok((position, events).into_response())
}

/// The same over WebSocket: a text message a CloudEvent. When it ends for a reason, the close frame
/// carries its code; connect again with `?from=`.
pub fn open_socket(
    app: &App,
    scope: Scope,
    from: From,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let reading = Reading::of(&scope, headers);
    let open = begin(app, scope, from, reading)?;
    Ok(upgrade.max_message_size(SOCKET_READ_MAX).on_upgrade(|socket| pump(socket, open)))
}

/// Until either side has had enough.
async fn pump(mut socket: WebSocket, mut open: Open) {
    let _place = open.place;
    let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
    loop {
        let message = tokio::select! {
            frame = open.source.next() => match frame {
                Some(Frame::Event(event)) => Message::text(event.to_cloudevent().to_string()),
                Some(Frame::End { code, .. }) => Message::Close(Some(CloseFrame {
                    code: close_code(code),
                    reason: code.into(),
                })),
                None => return,
            },
            _ = keep_alive.tick() => Message::Ping(Bytes::new()),
            // what the other side says is not listened to, only that it is there
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let sent = tokio::time::timeout(READER_WAIT, socket.send(message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// RFC 6455, 7.4.1: policy violation when the reader may not read on, else try again later.
fn close_code(code: &str) -> u16 {
    if code == "unauthorized" { close_code::POLICY } else { close_code::AGAIN }
}

fn show(frame: Frame) -> Event {
    match frame {
        Frame::Event(event) => {
            Event::default().id(event.seq.to_string()).data(event.to_cloudevent().to_string())
        }
        Frame::End { code, detail } => {
            Event::default().event("end").data(json!({"code": code, "detail": detail}).to_string())
        }
    }
}
