//! What does a recording look like? asciicast v2 (docs.asciinema.org/manual/asciicast/v2): a header line, then a
//! line an event.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::Terminal;

/// Writes lines; keeps the beginning of a character whose rest has not come yet.
#[derive(Default)]
pub struct Cast {
    tail: Vec<u8>,
}

impl Cast {
    pub fn header(terminal: &Terminal, at: DateTime<Utc>, into: &mut Vec<u8>) {
        let header = json!({
            "version": 2,
            "width": terminal.cols,
            "height": terminal.rows,
            "timestamp": at.timestamp(),
            "title": terminal.title,
            "env": {"TERM": terminal.term},
        });
        into.extend_from_slice(header.to_string().as_bytes());
        into.push(b'\n');
    }

    /// Bytes that are no UTF-8 become U+FFFD, as a terminal shows them.
    pub fn output(&mut self, at: Duration, bytes: &[u8], into: &mut Vec<u8>) {
        let joined;
        let bytes = if self.tail.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.tail).as_slice(), bytes].concat();
            joined.as_slice()
        };
        let mut text = String::with_capacity(bytes.len());
        let mut parts = bytes.utf8_chunks().peekable();
        while let Some(part) = parts.next() {
            text.push_str(part.valid());
            if parts.peek().is_none() && is_beginning(part.invalid()) {
                self.tail = part.invalid().to_vec();
            } else if !part.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if !text.is_empty() {
            line(at, "o", &text, into);
        }
    }

    pub fn resized(&mut self, at: Duration, cols: u32, rows: u32, into: &mut Vec<u8>) {
        line(at, "r", &format!("{cols}x{rows}"), into);
    }

    /// A word of ours, which players show beside the terminal.
    pub fn mark(&mut self, at: Duration, text: &str, into: &mut Vec<u8>) {
        self.end(at, into);
        line(at, "m", text, into);
    }

    /// The rest of a character does not come any more.
    pub fn end(&mut self, at: Duration, into: &mut Vec<u8>) {
        if !std::mem::take(&mut self.tail).is_empty() {
            line(at, "o", "\u{fffd}", into);
        }
    }
}

/// Whether more bytes could make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn line(at: Duration, code: &str, data: &str, into: &mut Vec<u8>) {
    let data = serde_json::Value::from(data);
    into.extend_from_slice(format!("[{:.6},\"{code}\",{data}]\n", at.as_secs_f64()).as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let (mut cast, mut into) = (Cast::default(), Vec::new());
        for piece in pieces {
            cast.output(Duration::from_millis(1_500), piece, &mut into);
        }
        cast.end(Duration::from_secs(2), &mut into);
        let lines = String::from_utf8(into).unwrap();
        lines
            .lines()
            .map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(event[1], "o");
                event[2].as_str().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn a_character_cut_anywhere_is_whole_again() {
        let text = "a\u{e9}\u{20ac}\u{1f6a2}\u{1b}[0m\"\\\r\n".as_bytes();
        for cut in 0..=text.len() {
            let (one, two) = text.split_at(cut);
            assert_eq!(shown(&[one, two]).as_bytes(), text, "cut at {cut}");
        }
        let each: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(shown(&each).as_bytes(), text);
    }

    #[test]
    fn what_is_no_text_is_replaced_and_nothing_else_is_lost() {
        assert_eq!(shown(&[b"a\xffb"]), "a\u{fffd}b");
        assert_eq!(shown(&[b"a\xe2\x82", b"b"]), "a\u{fffd}b", "a character that was cut off");
        assert_eq!(shown(&[b"a\xe2\x82"]), "a\u{fffd}", "at the end");
        assert_eq!(shown(&[b"\xf0\x9f", b"\x9a\xa2"]), "\u{1f6a2}");
    }

    #[test]
    fn lines_are_as_the_format_says() {
        let (mut cast, mut into) = (Cast::default(), Vec::new());
        cast.output(Duration::from_micros(1_234_567), b"x\x1b[1m", &mut into);
        cast.resized(Duration::from_secs(2), 100, 50, &mut into);
        cast.mark(Duration::from_secs(3), "lost", &mut into);
        assert_eq!(
            String::from_utf8(into).unwrap(),
            "[1.234567,\"o\",\"x\\u001b[1m\"]\n[2.000000,\"r\",\"100x50\"]\n[3.000000,\"m\",\"lost\"]\n"
        );
    }
}
