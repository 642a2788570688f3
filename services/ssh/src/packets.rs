//! Which packets of the connection protocol (RFC 4254) does a relay read or write by itself? The few here.

/// Message numbers.
const GLOBAL_REQUEST: u8 = 80;
const CHANNEL_OPEN: u8 = 90;
const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
const CHANNEL_OPEN_FAILURE: u8 = 92;
const CHANNEL_DATA: u8 = 94;
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

/// What passes by of channels, as far as terminals are concerned. `to` is the receiver's number of the channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passing<'p> {
    OpenSession {
        sender: u32,
    },
    Confirmed {
        to: u32,
        sender: u32,
    },
    Refused {
        to: u32,
    },
    /// A terminal is asked for; sizes in characters.
    Terminal {
        to: u32,
        term: &'p [u8],
        cols: u32,
        rows: u32,
    },
    Resized {
        to: u32,
        cols: u32,
        rows: u32,
    },
    /// A shell, a command or a subsystem.
    Starts {
        to: u32,
    },
    Data {
        to: u32,
        bytes: &'p [u8],
    },
    Closed {
        to: u32,
    },
}

/// `None` for everything else, also for what cannot be read.
pub(crate) fn passing(packet: &[u8]) -> Option<Passing<'_>> {
    let mut reader = Reader(packet);
    match reader.byte()? {
        CHANNEL_DATA => Some(Passing::Data { to: reader.number()?, bytes: reader.text()? }),
        CHANNEL_EXTENDED_DATA => {
            let (to, _) = (reader.number()?, reader.number()?);
            Some(Passing::Data { to, bytes: reader.text()? })
        }
        CHANNEL_OPEN => {
            let session = reader.text()? == b"session";
            let sender = reader.number()?;
            session.then_some(Passing::OpenSession { sender })
        }
        CHANNEL_OPEN_CONFIRMATION => {
            Some(Passing::Confirmed { to: reader.number()?, sender: reader.number()? })
        }
        CHANNEL_OPEN_FAILURE => Some(Passing::Refused { to: reader.number()? }),
        CHANNEL_CLOSE => Some(Passing::Closed { to: reader.number()? }),
        CHANNEL_REQUEST => {
            let (to, name, _) = (reader.number()?, reader.text()?, reader.byte()?);
            match name {
                b"pty-req" => {
                    let term = reader.text()?;
                    Some(Passing::Terminal { to, term, cols: reader.number()?, rows: reader.number()? })
                }
                b"window-change" => {
                    Some(Passing::Resized { to, cols: reader.number()?, rows: reader.number()? })
                }
                b"shell" | b"exec" | b"subsystem" => Some(Passing::Starts { to }),
                _ => None,
            }
        }
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

/// Packets as a client and a server send them.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub fn open_session(sender: u32) -> Vec<u8> {
        open_other(sender, "session")
    }

    pub fn open_other(sender: u32, kind: &str) -> Vec<u8> {
        Writer::new(CHANNEL_OPEN).text(kind.as_bytes()).number(sender).number(WINDOW).number(PACKET).0
    }

    pub fn confirmation(to: u32, sender: u32) -> Vec<u8> {
        Writer::new(CHANNEL_OPEN_CONFIRMATION).number(to).number(sender).number(WINDOW).number(PACKET).0
    }

    pub fn refusal(to: u32) -> Vec<u8> {
        refuse_channel(to, "no")
    }

    pub fn request(to: u32, name: &str) -> Vec<u8> {
        Writer::new(CHANNEL_REQUEST).number(to).text(name.as_bytes()).byte(1).0
    }

    fn sized(packet: Vec<u8>, cols: u32, rows: u32) -> Vec<u8> {
        Writer(packet).number(cols).number(rows).number(0).number(0).0
    }

    pub fn pty(to: u32, term: &str, cols: u32, rows: u32) -> Vec<u8> {
        let named = Writer(request(to, "pty-req")).text(term.as_bytes()).0;
        Writer(sized(named, cols, rows)).text(b"\0").0
    }

    pub fn window_change(to: u32, cols: u32, rows: u32) -> Vec<u8> {
        sized(request(to, "window-change"), cols, rows)
    }

    pub fn data(to: u32, bytes: &[u8]) -> Vec<u8> {
        Writer::new(CHANNEL_DATA).number(to).text(bytes).0
    }

    pub fn extended(to: u32, bytes: &[u8]) -> Vec<u8> {
        Writer::new(CHANNEL_EXTENDED_DATA).number(to).number(STANDARD_ERROR).text(bytes).0
    }

    pub fn close(to: u32) -> Vec<u8> {
        Writer::new(CHANNEL_CLOSE).number(to).0
    }
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
