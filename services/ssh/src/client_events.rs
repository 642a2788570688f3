//! What does a server tell us? russh's callbacks, kept where connection and channels look.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, Sig};
use tokio_util::sync::CancellationToken;

use crate::held_output::{Exit, HeldOutput};
use crate::keys::PublicLine;
use crate::outlet::Outlet;

/// What was passed on the way in, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    Name,
    Network,
    Identification,
    KeyExchange,
    Login,
}

/// Shared by the connection, its channels and the callbacks.
#[derive(Default)]
pub(crate) struct Told {
    /// Only this host key is accepted.
    pub(crate) expected: Option<PublicLine>,
    inner: Mutex<Inner>,
    pub(crate) ended: CancellationToken,
}

#[derive(Default)]
struct Inner {
    host_key: Option<PublicLine>,
    identification: Option<String>,
    addresses: Vec<SocketAddr>,
    passed: Vec<(Passed, Instant)>,
    channels: HashMap<u32, Arc<HeldOutput>>,
    why: Option<String>,
}

impl Told {
    pub(crate) fn expecting(expected: Option<PublicLine>) -> Self {
        Self { expected, ..Self::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that the server showed.
    pub(crate) fn host_key(&self) -> Option<PublicLine> {
        self.inner().host_key.clone()
    }

    /// What the server says it is, before anything else.
    pub(crate) fn identified(&self, identification: &str) {
        self.inner().identification = Some(identification.to_owned());
    }

    /// To where the name leads.
    pub(crate) fn resolved(&self, addresses: &[SocketAddr]) {
        self.inner().addresses = addresses.to_vec();
        self.passed(Passed::Name);
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.inner().addresses.clone()
    }

    pub(crate) fn passed(&self, what: Passed) {
        self.inner().passed.push((what, Instant::now()));
    }

    pub(crate) fn all_passed(&self) -> Vec<(Passed, Instant)> {
        self.inner().passed.clone()
    }

    pub(crate) fn identification(&self) -> Option<String> {
        self.inner().identification.clone()
    }

    /// Why the connection ended; what the server said, if it said something.
    pub(crate) fn why(&self) -> String {
        self.inner().why.clone().unwrap_or_else(|| "the server closed it".into())
    }

    /// Made when it is asked for first, by whichever side is faster.
    pub(crate) fn channel(&self, id: ChannelId) -> Arc<HeldOutput> {
        let channel = Arc::clone(self.inner().channels.entry(id.number()).or_default());
        if self.ended.is_cancelled() {
            channel.lose(&self.why());
        }
        channel
    }

    pub(crate) fn forget(&self, id: ChannelId) {
        self.inner().channels.remove(&id.number());
    }

    fn end(&self, why: Option<String>) {
        let channels: Vec<_> = {
            let mut inner = self.inner();
            if inner.why.is_none() {
                inner.why = why;
            }
            inner.channels.drain().map(|(_, channel)| channel).collect()
        };
        self.ended.cancel();
        let why = self.why();
        for channel in channels {
            channel.lose(&why);
        }
    }
}

/// What russh calls; its end is the connection's end.
pub(crate) struct ClientEvents {
    pub(crate) told: Arc<Told>,
    /// Where all packets go; without it they are for our own channels.
    pub(crate) relay: Option<Arc<Outlet>>,
}

impl Drop for ClientEvents {
    fn drop(&mut self) {
        self.told.end(None);
    }
}

impl Handler for ClientEvents {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let shown = PublicLine(shown.public_key());
        let fits = self.told.expected.as_ref().is_none_or(|expected| expected.is_same_key(&shown));
        self.told.inner().host_key = Some(shown);
        Ok(fits)
    }

    async fn packet(&mut self, payload: Vec<u8>, _: &mut Session) -> Result<Option<Vec<u8>>, Self::Error> {
        match &self.relay {
            None => Ok(Some(payload)),
            Some(relay) => relay.deliver(payload).map(|()| None),
        }
    }

    async fn packet_room(&mut self) {
        if let Some(relay) = &self.relay {
            relay.room().await;
        }
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        self.told.channel(channel).data(false, data);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        _: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.told.channel(channel).data(true, data);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.told.channel(channel).eof();
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.told.channel(channel).close();
        self.told.forget(channel);
        Ok(())
    }

    async fn channel_success(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.told.channel(channel).reply(true);
        Ok(())
    }

    async fn channel_failure(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.told.channel(channel).reply(false);
        Ok(())
    }

    async fn exit_status(
        &mut self,
        channel: ChannelId,
        status: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.told.channel(channel).exit(Exit::Status(status));
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        core_dumped: bool,
        message: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let (name, message) = (signal_name(&signal).to_owned(), message.to_owned());
        self.told.channel(channel).exit(Exit::Signal { name, core_dumped, message });
        Ok(())
    }

    // A server opens no channels here: nothing was asked for that could need one. A handle that is
    // dropped refuses.

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                self.told.end(Some(said.message));
                Ok(())
            }
            DisconnectReason::Error(error) => {
                let says_nothing = matches!(error, russh::Error::Disconnect);
                self.told.end((!says_nothing).then(|| error.to_string()));
                Err(error)
            }
        }
    }
}

fn signal_name(signal: &Sig) -> &str {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
}
