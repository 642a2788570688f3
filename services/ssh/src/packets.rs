//! Which packets of the connection protocol (RFC 4254) does a relay read or write by itself? The few here.

/// Message numbers.
const GLOBAL_REQUEST: u8 = 80;
const CHANNEL_OPEN: u8 = 90;
const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
const CHANNEL_OPEN_FAILURE: u8 = 92;
const CHANNEL_EXTENDED_DATA: u8 = 95;
const CHANNEL_EOF: u8 = 96;
const CHANNEL_CLOSE: u8 = 97;
const CHANNEL_REQUEST: u8 = 98;
const CHANNEL_SUCCESS: u8 = 99;
const REQUEST_FAILURE: u8 = 82;

const STANDARD_ERROR: u32 = 1;
const REASON_CONNECT_FAILED: u32 = 2;
/// Enough for a message and a status; the peer sends nothing that matters.
const WINDOW: u32 = 64 << 10;
const PACKET: u32 = 32 << 10;

/// What a peer asks for, as far as it is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked<'p> {
    GlobalRequest {
        name: &'p [u8],
        wants_reply: bool,
    },
    OpenSession {
        channel: u32,
    },
    OpenOther {
        channel: u32,
    },
    /// `starts` for a shell, a command or a subsystem.
    ChannelRequest {
        channel: u32,
        starts: bool,
        wants_reply: bool,
    },
    ChannelClose {
        channel: u32,
    },
    /// Anything else, also what cannot be read.
    Other,
}

struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    fn text(&mut self) -> Option<&'p [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }
}

pub(crate) fn read(packet: &[u8]) -> Asked<'_> {
    understood(packet).unwrap_or(Asked::Other)
}

fn understood(packet: &[u8]) -> Option<Asked<'_>> {
    let mut reader = Reader(packet);
    match reader.byte()? {
        GLOBAL_REQUEST => {
            let name = reader.text()?;
            Some(Asked::GlobalRequest { name, wants_reply: reader.byte()? != 0 })
        }
        CHANNEL_OPEN => {
            let kind = reader.text()?;
            let channel = reader.number()?;
            Some(if kind == b"session" {
                Asked::OpenSession { channel }
            } else {
                Asked::OpenOther { channel }
            })
        }
        CHANNEL_REQUEST => {
            let channel = reader.number()?;
            let starts = matches!(reader.text()?, b"shell" | b"exec" | b"subsystem");
            Some(Asked::ChannelRequest { channel, starts, wants_reply: reader.byte()? != 0 })
        }
        CHANNEL_CLOSE => Some(Asked::ChannelClose { channel: reader.number()? }),
        _ => None,
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn text(self, text: &[u8]) -> Self {
        let mut writer = self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        writer.0.extend_from_slice(text);
        writer
    }

    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }
}

/// Our number of a channel is the peer's own: there are no others.
pub(crate) fn confirm(channel: u32) -> Vec<u8> {
    Writer::new(CHANNEL_OPEN_CONFIRMATION).number(channel).number(channel).number(WINDOW).number(PACKET).0
}

pub(crate) fn refuse_channel(channel: u32, why: &str) -> Vec<u8> {
    Writer::new(CHANNEL_OPEN_FAILURE)
        .number(channel)
        .number(REASON_CONNECT_FAILED)
        .text(why.as_bytes())
        .text(b"en")
        .0
}

pub(crate) fn refuse_global() -> Vec<u8> {
    Writer::new(REQUEST_FAILURE).0
}

pub(crate) fn granted(channel: u32) -> Vec<u8> {
    Writer::new(CHANNEL_SUCCESS).number(channel).0
}

/// The text on standard error, a status, and the end.
pub(crate) fn say_and_end(channel: u32, text: &str, status: u32) -> [Vec<u8>; 4] {
    [
        Writer::new(CHANNEL_EXTENDED_DATA).number(channel).number(STANDARD_ERROR).text(text.as_bytes()).0,
        Writer::new(CHANNEL_REQUEST).number(channel).text(b"exit-status").byte(0).number(status).0,
        Writer::new(CHANNEL_EOF).number(channel).0,
        Writer::new(CHANNEL_CLOSE).number(channel).0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_or_unknown_is_something_else() {
        let open = Writer::new(CHANNEL_OPEN).text(b"session").number(7).number(1).number(1).0;
        assert_eq!(read(&open), Asked::OpenSession { channel: 7 });
        for length in 0..12 {
            assert_eq!(read(open.get(..length).unwrap_or_default()), Asked::Other, "{length}");
        }
        assert_eq!(read(&[CHANNEL_OPEN, 0xff, 0xff, 0xff, 0xff, 1]), Asked::Other);
        let keys = Writer::new(GLOBAL_REQUEST).text(b"hostkeys-00@openssh.com").byte(0).text(b"k").0;
        assert_eq!(
            read(&keys),
            Asked::GlobalRequest { name: b"hostkeys-00@openssh.com", wants_reply: false }
        );
    }
}
