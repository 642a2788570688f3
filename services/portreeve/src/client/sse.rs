//! What does a stream of server-sent events say? A parser of the WHATWG format, fed in pieces.

/// The longest event that is put together, in bytes.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// The newest id the stream has named so far.
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// Holds what has arrived of an event until its end arrives.
#[derive(Default)]
pub struct Parser {
    rest: Vec<u8>,
    event: SseEvent,
    has_data: bool,
}

impl Parser {
    /// The events that are whole after these bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLong> {
        self.rest.extend_from_slice(bytes);
        let mut whole = Vec::new();
        let mut from = 0;
        while let Some(length) = self.rest.get(from..).and_then(|rest| rest.iter().position(|b| *b == b'\n'))
        {
            let line = self.rest.get(from..from + length).unwrap_or_default();
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            from += length + 1;
            whole.extend(self.line(&line));
        }
        self.rest.drain(..from);
        if self.rest.len() + self.event.data.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(whole)
    }

    fn line(&mut self, line: &str) -> Option<SseEvent> {
        if line.is_empty() {
            let id = self.event.id.clone();
            let event = std::mem::replace(&mut self.event, SseEvent { id, ..SseEvent::default() });
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "event" => self.event.event = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments keep the connection alive; unknown fields are to be ignored.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_event_in_pieces_is_the_same_event() {
        let stream =
            ": hello\n\nid: 7\r\nevent: PodReady\r\ndata: {\"a\":\ndata: 1}\r\n\r\ndata:x\n\nretry: 5\n\n";
        let mut at_once = Parser::default();
        let whole = at_once.feed(stream.as_bytes()).unwrap();
        let mut in_pieces = Parser::default();
        let pieces: Vec<SseEvent> =
            stream.as_bytes().iter().flat_map(|byte| in_pieces.feed(&[*byte]).unwrap()).collect();
        assert_eq!(whole, pieces);
        let [first, second] = whole.as_slice() else { panic!("{whole:?}") };
        assert_eq!(first.id.as_deref(), Some("7"));
        assert_eq!(first.data, "{\"a\":\n1}");
        assert_eq!((second.id.as_deref(), second.data.as_str()), (Some("7"), "x"), "the id stays");
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        let chunk = vec![b'a'; EVENT_BYTES_MAX / 2 + 1];
        assert!(parser.feed(&chunk).is_ok());
        assert_eq!(parser.feed(&chunk), Err(TooLong));
    }
}
