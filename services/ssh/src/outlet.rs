//! Where do the packets of one connection go? To the other one as they are; until that is there they
//! wait, and if it does not come about, the first session is told why.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::packets::{self, Asked};
use crate::stream::{GATE_BYTES_MAX, Gate, held_bytes};
use crate::terminals::{Terminals, Way};

/// Sends a packet on a connection, without waiting; an error means that the connection ended.
pub(crate) type Send = Box<dyn Fn(bytes::Bytes) -> Result<(), russh::Error> + std::marker::Send + Sync>;

/// sshd proves its host keys for its own connection, which is not the one the person has with us.
const NOT_RELAYED: [&[u8]; 1] = [b"hostkeys-00@openssh.com"];
/// What ssh ends with when the connection itself failed.
const STATUS_NO_CONNECTION: u32 = 255;

pub(crate) struct Outlet {
    state: Mutex<State>,
    changed: Notify,
    way: Way,
    terminals: Terminals,
}

enum State {
    Waiting {
        packets: Vec<Vec<u8>>,
        bytes: usize,
    },
    Open {
        send: Arc<Send>,
        gate: Arc<Gate>,
    },
    /// There is nothing behind: answers go back to where the packets come from.
    Explaining {
        why: String,
        back: Arc<Send>,
        told: bool,
    },
}

impl Outlet {
    /// To a server that is not there yet.
    pub(crate) fn waiting(terminals: Terminals) -> Self {
        let state = State::Waiting { packets: Vec::new(), bytes: 0 };
        Self { state: Mutex::new(state), changed: Notify::new(), way: Way::ToServer, terminals }
    }

    /// Back to the client.
    pub(crate) fn open(send: Send, gate: Arc<Gate>, terminals: Terminals) -> Self {
        let state = State::Open { send: Arc::new(send), gate };
        Self { state: Mutex::new(state), changed: Notify::new(), way: Way::ToClient, terminals }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waited goes first.
    pub(crate) fn lead_to(&self, send: Send, gate: Arc<Gate>) -> Result<(), russh::Error> {
        self.become_(State::Open { send: Arc::new(send), gate })
    }

    pub(crate) fn explain(&self, why: &str, back: Send) -> Result<(), russh::Error> {
        self.become_(State::Explaining { why: why.to_owned(), back: Arc::new(back), told: false })
    }

    fn become_(&self, next: State) -> Result<(), russh::Error> {
        // the lock is kept: what comes meanwhile must not overtake what waited
        let mut state = self.state();
        let before = std::mem::replace(&mut *state, next);
        let packets = match before {
            State::Waiting { packets, .. } => packets,
            State::Open { .. } | State::Explaining { .. } => Vec::new(),
        };
        let done = packets.into_iter().try_for_each(|packet| self.pass(&mut state, packet));
        drop(state);
        self.changed.notify_waiters();
        done
    }

    pub(crate) fn deliver(&self, packet: Vec<u8>) -> Result<(), russh::Error> {
        let sent = self.pass(&mut self.state(), packet);
        self.changed.notify_waiters();
        sent
    }

    fn pass(&self, state: &mut State, packet: Vec<u8>) -> Result<(), russh::Error> {
        if matches!(state, State::Open { .. }) {
            self.terminals.saw(self.way, &packet);
        }
        deliver(state, packet)
    }

    /// Resolves when the next packet may come.
    pub(crate) async fn room(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let gate = match &*self.state() {
                State::Waiting { bytes, .. } if *bytes >= GATE_BYTES_MAX => None,
                State::Waiting { .. } | State::Explaining { .. } => return,
                State::Open { gate, .. } => Some(Arc::clone(gate)),
            };
            match gate {
                Some(gate) => return gate.room().await,
                None => changed.await,
            }
        }
    }

    /// Resolves when the reason was said on a session channel.
    pub(crate) async fn explained(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if matches!(&*self.state(), State::Explaining { told: true, .. }) {
                return;
            }
            changed.await;
        }
    }
}

fn deliver(state: &mut State, packet: Vec<u8>) -> Result<(), russh::Error> {
    match state {
        State::Waiting { packets, bytes } => {
            *bytes += held_bytes(&packet);
            packets.push(packet);
            Ok(())
        }
        State::Open { send, gate } => {
            if let Asked::GlobalRequest { name, wants_reply } = packets::read(&packet)
                && NOT_RELAYED.contains(&name)
                && !wants_reply
            {
                return Ok(());
            }
            send(gate.counted(packet))
        }
        State::Explaining { why, back, told } => {
            let answers = explanation(&packet, why);
            *told |= answers.len() > 2;
            answers.into_iter().try_for_each(|answer| back(answer.into()))
        }
    }
}

fn explanation(packet: &[u8], why: &str) -> Vec<Vec<u8>> {
    match packets::read(packet) {
        Asked::OpenSession { channel } => vec![packets::confirm(channel)],
        Asked::OpenOther { channel } => vec![packets::refuse_channel(channel, why)],
        Asked::GlobalRequest { wants_reply: true, .. } => vec![packets::refuse_global()],
        Asked::ChannelRequest { channel, starts, wants_reply } => {
            let mut answers = Vec::new();
            if wants_reply {
                answers.push(packets::granted(channel));
            }
            if starts {
                let text = format!("Portreeve: {why}\r\n");
                answers.extend(packets::say_and_end(channel, &text, STATUS_NO_CONNECTION));
            }
            answers
        }
        Asked::GlobalRequest { .. } | Asked::ChannelClose { .. } | Asked::Other => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn collecting() -> (Send, Arc<Mutex<Vec<Vec<u8>>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        (
            Box::new(move |packet| {
                kept.lock().unwrap().push(packet.to_vec());
                Ok(())
            }),
            seen,
        )
    }

    #[test]
    fn what_waited_is_sent_first_and_host_keys_are_not() {
        let outlet = Outlet::waiting(Terminals::default());
        outlet.deliver(vec![94, 1]).unwrap();
        let (send, seen) = collecting();
        outlet.lead_to(send, Arc::default()).unwrap();
        outlet.deliver(vec![94, 2]).unwrap();
        let mut keys = vec![80, 0, 0, 0, 23];
        keys.extend_from_slice(b"hostkeys-00@openssh.com\0");
        outlet.deliver(keys).unwrap();
        assert_eq!(*seen.lock().unwrap(), [vec![94, 1], vec![94, 2]]);
    }

    #[tokio::test]
    async fn reading_stops_while_too_much_waits_for_the_other_side() {
        let outlet = Outlet::waiting(Terminals::default());
        outlet.room().await;
        outlet.deliver(vec![94; GATE_BYTES_MAX]).unwrap();
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, outlet.room()).await.is_err(), "no room");
        let (send, seen) = collecting();
        outlet.lead_to(send, Arc::default()).unwrap();
        outlet.room().await;
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
}
