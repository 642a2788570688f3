//! Which of the packets that pass by in a relay belong to terminals, and what do these show? Looked at, never
//! changed, and never kept waiting; what cannot be read is passed over.
//!
//! A channel is a terminal from the moment that something runs in it (RFC 4254, section 6.5) after a terminal was
//! asked for (6.2), until the server closes it. What the person types is not looked at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::packets::{self, Passing};

/// What a terminal of a connection does. Terminals are counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'p> {
    Opened { terminal: u32, cols: u32, rows: u32, term: String },
    Output { terminal: u32, bytes: &'p [u8] },
    Resized { terminal: u32, cols: u32, rows: u32 },
    Closed { terminal: u32 },
}

/// Is told in the order in which packets pass. It must return at once: packets wait for it.
pub type Watcher = Box<dyn Fn(Seen<'_>) + Send + Sync>;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// Channels that are open at the same time; further ones are not looked at.
const CHANNELS_MAX: usize = 1_000;

/// Both directions of one relay share it; looks at nothing until somebody watches.
#[derive(Clone, Default)]
pub(crate) struct Terminals(Arc<OnceLock<Watched>>);

struct Watched {
    watcher: Watcher,
    channels: Mutex<Channels>,
}

#[derive(Default)]
struct Channels {
    /// By the client's number, which the packets to the client carry.
    of_client: HashMap<u32, Channel>,
    /// From the server's number, which the packets to the server carry.
    of_server: HashMap<u32, u32>,
    counted: u32,
}

#[derive(Default)]
struct Channel {
    server: Option<u32>,
    asked: Option<Asked>,
    terminal: Option<u32>,
}

struct Asked {
    cols: u32,
    rows: u32,
    term: String,
}

impl Terminals {
    /// Before packets pass; only the first watcher counts.
    pub(crate) fn watch(&self, watcher: Watcher) {
        let watched = Watched { watcher, channels: Mutex::default() };
        self.0.set(watched).ok();
    }

    pub(crate) fn saw(&self, way: Way, packet: &[u8]) {
        let Some(watched) = self.0.get() else { return };
        let Some(passing) = packets::passing(packet) else { return };
        if way == Way::ToServer && matches!(passing, Passing::Data { .. }) {
            return; // what is typed
        }
        let mut channels = watched.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = match way {
            Way::ToServer => channels.going_to_server(passing),
            Way::ToClient => channels.going_to_client(passing),
        };
        if let Some(seen) = seen {
            (watched.watcher)(seen);
        }
    }
}

impl Channels {
    fn going_to_server(&mut self, passing: Passing<'_>) -> Option<Seen<'static>> {
        match passing {
            Passing::OpenSession { sender } => {
                if self.of_client.len() < CHANNELS_MAX {
                    self.of_client.insert(sender, Channel::default());
                }
                None
            }
            Passing::Terminal { to, term, cols, rows } => {
                let term = String::from_utf8_lossy(term).into_owned();
                self.named(to)?.asked = Some(Asked { cols, rows, term });
                None
            }
            Passing::Starts { to } => {
                let terminal = self.counted + 1;
                let channel = self.named(to)?;
                let Asked { cols, rows, term } = channel.asked.take()?;
                channel.terminal = Some(terminal);
                self.counted = terminal;
                Some(Seen::Opened { terminal, cols, rows, term })
            }
            Passing::Resized { to, cols, rows } => {
                let channel = self.named(to)?;
                if let Some(asked) = &mut channel.asked {
                    (asked.cols, asked.rows) = (cols, rows);
                }
                channel.terminal.map(|terminal| Seen::Resized { terminal, cols, rows })
            }
            // what is typed is not looked at; the rest is about channels that the server opened
            Passing::Confirmed { .. }
            | Passing::Refused { .. }
            | Passing::Data { .. }
            | Passing::Closed { .. } => None,
        }
    }

    fn going_to_client<'p>(&mut self, passing: Passing<'p>) -> Option<Seen<'p>> {
        match passing {
            Passing::Confirmed { to, sender } => {
                self.of_client.get_mut(&to)?.server = Some(sender);
                self.of_server.insert(sender, to);
                None
            }
            Passing::Refused { to } => {
                self.of_client.remove(&to);
                None
            }
            Passing::Data { to, bytes } => {
                let terminal = self.of_client.get(&to)?.terminal?;
                Some(Seen::Output { terminal, bytes })
            }
            Passing::Closed { to } => {
                let channel = self.of_client.remove(&to)?;
                if let Some(server) = channel.server {
                    self.of_server.remove(&server);
                }
                channel.terminal.map(|terminal| Seen::Closed { terminal })
            }
            // a server asks for none of these
            Passing::OpenSession { .. }
            | Passing::Terminal { .. }
            | Passing::Starts { .. }
            | Passing::Resized { .. } => None,
        }
    }

    fn named(&mut self, server: u32) -> Option<&mut Channel> {
        self.of_client.get_mut(self.of_server.get(&server)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::packets::samples::*;

    #[derive(Default)]
    struct Story {
        terminals: Terminals,
        told: Arc<Mutex<Vec<String>>>,
    }

    impl Story {
        fn new() -> Self {
            let story = Self::default();
            let told = Arc::clone(&story.told);
            story.terminals.watch(Box::new(move |seen| told.lock().unwrap().push(format!("{seen:?}"))));
            story
        }

        fn client(&self, packet: Vec<u8>) {
            self.terminals.saw(Way::ToServer, &packet);
        }

        fn server(&self, packet: Vec<u8>) {
            self.terminals.saw(Way::ToClient, &packet);
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut self.told.lock().unwrap())
        }

        /// A session channel: the client's number, the server's.
        fn open(&self, client: u32, server: u32) {
            self.client(open_session(client));
            self.server(confirmation(client, server));
        }
    }

    #[test]
    fn a_terminal_is_seen_from_its_shell_to_its_close() {
        let story = Story::new();
        story.open(7, 3);
        story.client(pty(3, "xterm-256color", 120, 40));
        story.client(window_change(3, 121, 41));
        assert!(story.told().is_empty(), "nothing runs yet");
        story.client(request(3, "shell"));
        assert_eq!(story.told(), ["Opened { terminal: 1, cols: 121, rows: 41, term: \"xterm-256color\" }"]);
        story.client(data(3, b"typed"));
        story.server(data(7, b"hi"));
        story.server(extended(7, b"oh"));
        story.client(window_change(3, 80, 24));
        story.client(close(3));
        story.server(close(7));
        story.server(data(7, b"after its close"));
        assert_eq!(
            story.told(),
            [
                "Output { terminal: 1, bytes: [104, 105] }",
                "Output { terminal: 1, bytes: [111, 104] }",
                "Resized { terminal: 1, cols: 80, rows: 24 }",
                "Closed { terminal: 1 }"
            ]
        );
        // the numbers are used again
        story.open(7, 3);
        story.client(request(3, "exec"));
        story.server(data(7, b"no terminal"));
        assert!(story.told().is_empty());
    }

    #[test]
    fn channels_of_other_kinds_and_of_the_server_are_none() {
        let story = Story::new();
        // a forward, whose numbers are those of nothing that we know
        story.client(open_other(1, "direct-tcpip"));
        story.server(confirmation(1, 1));
        story.server(data(1, b"a forward"));
        // sftp beside a terminal whose numbers are the other way round
        story.open(2, 5);
        story.client(request(5, "subsystem"));
        story.open(5, 2);
        story.client(pty(2, "vt100", 80, 24));
        story.client(request(2, "shell"));
        story.server(data(2, b"files"));
        story.server(data(5, b"shown"));
        // the server opens one: the person's confirmation names its number
        story.server(open_other(9, "auth-agent@openssh.com"));
        story.client(confirmation(9, 6));
        story.server(data(6, b"agent"));
        let told = story.told();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].starts_with("Output { terminal: 1"), "{told:?}");
    }

    #[test]
    fn refused_channels_and_broken_packets_are_passed_over() {
        let story = Story::new();
        story.client(open_session(1));
        story.server(refusal(1));
        story.client(pty(0, "xterm", 80, 24));
        story.client(request(0, "shell"));
        story.open(1, 0);
        let whole = pty(0, "xterm", 80, 24);
        // up to the sizes: what follows them is not looked at
        for length in 0..whole.len() - 13 {
            story.client(whole[..length].to_vec());
        }
        story.server(data(1, b"nothing was asked for"));
        assert!(story.told().is_empty());
        for number in 0..5_000 {
            story.client(open_session(number));
        }
        story.client(pty(0, "xterm", 80, 24));
        story.client(request(0, "shell"));
        assert!(story.terminals.0.get().unwrap().channels.lock().unwrap().of_client.len() <= CHANNELS_MAX);
    }

    #[test]
    fn without_a_watcher_nothing_is_kept() {
        let story = Story::default();
        story.open(1, 1);
        assert!(story.terminals.0.get().is_none());
    }
}
