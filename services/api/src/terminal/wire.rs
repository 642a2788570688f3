//! What do a terminal's client and we say to each other? Two protocols, one meaning.
//!
//! JSON, without a subprotocol; text frames:
//!
//! ```text
//! server  {type:"message", data}              a status line
//!         {type:"session", session, offset}   which shell, and the offset of the next output in all of its output
//!         {type:"output", data, offset}       text, and the offset after it
//!         {type:"replayed"}                   what follows is new (after coming back)
//!         {type:"size", cols, rows}           to guests: how large the owner's terminal is
//!         {type:"people", people:[{user, mode}]}   who is there, when it changes; mode owner, write or view
//!         {type:"error", code, reason, suggestion, retryable}
//!         {type:"exit", code}                 the shell has ended; null when a signal ended it
//!         {type:"pong", id}
//! client  {type:"input", data}  {type:"resize", cols, rows}  {type:"ping", id?}
//! ```
//!
//! `portreeve.terminal.v1`: output, input, resize, acknowledgements and the end of a replay are binary,
//! `[op][payload]`; all else stays JSON text.

use axum::extract::ws::Message;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::terminal::failure::Failure;
use crate::terminal::utf8_tail::Utf8Tail;

pub const SUBPROTOCOL: &str = "portreeve.terminal.v1";

mod op {
    pub const DATA: u8 = 0;
    pub const RESIZE: u8 = 1;
    pub const ACKNOWLEDGED: u8 = 2;
    pub const REPLAYED: u8 = 3;
}

/// Columns and rows at most; what a screen can show is far below.
pub const SIDE_MAX: u32 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Json,
    Binary,
}

/// In characters; both from 1 to [`SIDE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub cols: u32,
    pub rows: u32,
}

impl Size {
    pub fn new(cols: u64, rows: u64) -> Option<Self> {
        let side = |value: u64| u32::try_from(value).ok().filter(|side| (1..=SIDE_MAX).contains(side));
        Some(Self { cols: side(cols)?, rows: side(rows)? })
    }
}

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromClient {
    Input(Bytes),
    Resize(Size),
    /// Output up to this offset was drawn.
    Acknowledged(u64),
    /// Answered with its id.
    Ping(Value),
}

fn invalid(why: impl Into<String>) -> Failure {
    Failure::new("message_invalid", why)
}

impl Protocol {
    /// What a message says; `None` when it says nothing to the shell.
    pub fn read(self, message: Message) -> Result<Option<FromClient>, Failure> {
        match (self, message) {
            (_, Message::Text(text)) => read_text(text.as_str()).map(Some),
            (Self::Binary, Message::Binary(frame)) => read_binary(frame).map(Some),
            (Self::Json, Message::Binary(_)) => {
                Err(invalid(format!("binary messages belong to the subprotocol {SUBPROTOCOL}")))
            }
            (_, Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => Ok(None),
        }
    }
}

fn read_text(text: &str) -> Result<FromClient, Failure> {
    let mut said: Value =
        serde_json::from_str(text).map_err(|error| invalid(format!("this is not JSON: {error}")))?;
    match said["type"].as_str() {
        Some("input") => {
            let Value::String(data) = said["data"].take() else {
                return Err(invalid("input needs a text in `data`"));
            };
            Ok(FromClient::Input(Bytes::from(data)))
        }
        Some("resize") => {
            let side = |name: &str| said[name].as_u64().unwrap_or_default();
            resized(side("cols"), side("rows"))
        }
        Some("ping") => Ok(FromClient::Ping(said["id"].take())),
        Some(_) | None => Err(invalid("`type` must be input, resize or ping")),
    }
}

fn resized(cols: u64, rows: u64) -> Result<FromClient, Failure> {
    let size = Size::new(cols, rows);
    size.map(FromClient::Resize)
        .ok_or_else(|| invalid(format!("`cols` and `rows` must be from 1 to {SIDE_MAX}")))
}

fn read_binary(mut frame: Bytes) -> Result<FromClient, Failure> {
    if frame.is_empty() {
        return Err(invalid("a binary message begins with its kind"));
    }
    let payload = frame.split_off(1);
    match (frame[0], payload.len()) {
        (op::DATA, _) => Ok(FromClient::Input(payload)),
        (op::RESIZE, 4) => {
            let side = |at: usize| u64::from(u16::from_be_bytes([payload[at], payload[at + 1]]));
            resized(side(0), side(2))
        }
        (op::ACKNOWLEDGED, 8) => {
            let offset = payload.iter().fold(0_u64, |offset, byte| (offset << 8) | u64::from(*byte));
            Ok(FromClient::Acknowledged(offset))
        }
        (op, length) => Err(invalid(format!("a client sends no message {op} with {length} bytes"))),
    }
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

pub fn status_line(data: &str) -> Message {
    text(&json!({"type": "message", "data": data}))
}

pub fn session(session: &str, offset: u64) -> Message {
    text(&json!({"type": "session", "session": session, "offset": offset}))
}

pub fn size(size: Size) -> Message {
    text(&json!({"type": "size", "cols": size.cols, "rows": size.rows}))
}

pub fn people(people: &[(String, &'static str)]) -> Message {
    let people: Vec<_> = people.iter().map(|(user, mode)| json!({"user": user, "mode": mode})).collect();
    text(&json!({"type": "people", "people": people}))
}

pub fn exit(code: Option<u32>) -> Message {
    text(&json!({"type": "exit", "code": code}))
}

pub fn pong(id: &Value) -> Message {
    text(&json!({"type": "pong", "id": id}))
}

pub fn error(failure: &Failure) -> Message {
    text(&failure.to_json())
}

/// How one client is shown output.
pub struct Encoder {
    protocol: Protocol,
    tail: Utf8Tail,
}

impl Encoder {
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, tail: Utf8Tail::default() }
    }

    /// `after` is the offset behind these bytes. `None`: they are the beginning of a character.
    pub fn output(&mut self, bytes: &[u8], after: u64) -> Option<Message> {
        match self.protocol {
            Protocol::Binary => {
                let mut frame = Vec::with_capacity(1 + bytes.len());
                frame.push(op::DATA);
                frame.extend_from_slice(bytes);
                Some(Message::binary(frame))
            }
            Protocol::Json => {
                let data = self.tail.text(bytes);
                let offset = after - self.tail.len() as u64;
                (!data.is_empty()).then(|| text(&json!({"type": "output", "data": data, "offset": offset})))
            }
        }
    }

    /// What is left when no more output comes, up to this offset.
    pub fn rest(&mut self, after: u64) -> Option<Message> {
        let data = self.tail.end()?;
        Some(text(&json!({"type": "output", "data": data, "offset": after})))
    }

    pub fn replayed(&self) -> Message {
        match self.protocol {
            Protocol::Binary => Message::binary(vec![op::REPLAYED]),
            Protocol::Json => text(&json!({"type": "replayed"})),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn json_says(text: &str) -> Result<Option<FromClient>, &'static str> {
        Protocol::Json.read(Message::text(text)).map_err(|failure| failure.code)
    }

    fn binary_says(frame: &[u8]) -> Result<Option<FromClient>, &'static str> {
        Protocol::Binary.read(Message::binary(frame.to_vec())).map_err(|failure| failure.code)
    }

    fn resize(cols: u32, rows: u32) -> FromClient {
        FromClient::Resize(Size { cols, rows })
    }

    #[test]
    fn both_protocols_mean_the_same() {
        let input = FromClient::Input(Bytes::from_static("ls 日\r".as_bytes()));
        assert_eq!(json_says("{\"type\":\"input\",\"data\":\"ls 日\\r\"}"), Ok(Some(input.clone())));
        assert_eq!(binary_says(&[&[0], "ls 日\r".as_bytes()].concat()), Ok(Some(input)));
        assert_eq!(json_says("{\"type\":\"resize\",\"cols\":132,\"rows\":50}"), Ok(Some(resize(132, 50))));
        assert_eq!(binary_says(&[1, 0, 132, 0, 50]), Ok(Some(resize(132, 50))));
        assert_eq!(binary_says(&[2, 0, 0, 0, 0, 0, 1, 0, 2]), Ok(Some(FromClient::Acknowledged(65_538))));
        assert_eq!(json_says("{\"type\":\"ping\",\"id\":7}"), Ok(Some(FromClient::Ping(json!(7)))));
        let text = Protocol::Binary.read(Message::text("{\"type\":\"ping\"}")).unwrap();
        assert_eq!(text, Some(FromClient::Ping(Value::Null)), "control is text in both");
    }

    #[test]
    fn what_is_not_readable_is_told() {
        for wrong in [
            "",
            "[]",
            "{}",
            "{\"type\":\"sing\"}",
            "{\"type\":\"input\"}",
            "{\"type\":\"resize\",\"cols\":0,\"rows\":5}",
            "{\"type\":\"resize\",\"cols\":80,\"rows\":99999}",
        ] {
            assert_eq!(json_says(wrong), Err("message_invalid"), "{wrong}");
        }
        for wrong in [&[][..], &[1, 0, 80], &[2, 1], &[3], &[9, 9], &[1, 0, 0, 0, 0]] {
            assert_eq!(binary_says(wrong), Err("message_invalid"), "{wrong:?}");
        }
        assert!(Protocol::Json.read(Message::binary(vec![0, b'a'])).is_err());
    }

    #[test]
    fn json_output_keeps_half_a_character_for_the_next_piece() {
        let mut encoder = Encoder::new(Protocol::Json);
        let said = "文".as_bytes();
        assert_eq!(encoder.output(&said[..1], 1), None);
        let message = encoder.output(&[&said[1..], b"!"].concat(), 4).unwrap();
        let shown: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!(shown, json!({"type": "output", "data": "文!", "offset": 4}));
        let message = encoder.output(b"a\xe6", 6).unwrap();
        assert!(message.to_text().unwrap().contains("\"offset\":5"), "{message:?}");
        assert!(encoder.rest(6).unwrap().to_text().unwrap().contains('\u{fffd}'));
    }

    #[test]
    fn binary_output_is_as_it_came() {
        let mut encoder = Encoder::new(Protocol::Binary);
        assert_eq!(encoder.output(b"\xff", 1), Some(Message::binary(vec![0, 0xff])));
        assert_eq!(encoder.replayed(), Message::binary(vec![3]));
        assert_eq!(encoder.rest(1), None);
    }
}
