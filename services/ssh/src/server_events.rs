//! What does a client ask of us? russh's callbacks as one closed enum: every question has an answer.

use std::sync::Arc;

use russh::server::{Auth, Handler, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{MethodKind, MethodSet};
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};

use crate::keys::PublicLine;
use crate::outlet::Outlet;

/// What a client wants to know before it is let in, and that it is.
#[derive(Debug)]
pub enum Event {
    Password {
        user: String,
        password: SecretString,
        answer: Answer,
    },
    /// May this key be used? Nothing is proven, and nothing counts.
    KeyOffered {
        user: String,
        key: PublicLine,
        answer: Answer,
    },
    /// The client holds this key.
    KeyProven {
        user: String,
        key: PublicLine,
        answer: Answer,
    },
    /// The client was let in.
    LetIn {
        client: String,
    },
}

/// Answers one question; dropped, it says no.
#[derive(Debug)]
pub struct Answer(oneshot::Sender<Said>);

#[derive(Debug)]
enum Said {
    Yes,
    No,
    Go(String),
}

impl Answer {
    pub fn yes(self) {
        self.0.send(Said::Yes).ok();
    }

    pub fn no(self) {
        self.0.send(Said::No).ok();
    }

    /// Ends the connection; the person reads why.
    pub fn go(self, why: &str) {
        self.0.send(Said::Go(why.to_owned())).ok();
    }
}

pub(crate) struct ServerEvents {
    events: mpsc::Sender<Event>,
    outlet: Arc<Outlet>,
    parting: Option<String>,
}

/// Offered until the end: a method that failed may be tried again.
pub(crate) fn methods() -> MethodSet {
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    methods.push(MethodKind::Password);
    methods
}

fn refused() -> Auth {
    Auth::Reject { proceed_with_methods: Some(methods()), partial_success: false }
}

impl ServerEvents {
    pub(crate) fn new(events: mpsc::Sender<Event>, outlet: Arc<Outlet>) -> Self {
        Self { events, outlet, parting: None }
    }

    async fn ask(&mut self, event: impl FnOnce(Answer) -> Event) -> Result<Auth, russh::Error> {
        let (answer, answered) = oneshot::channel();
        // nobody listens any more: the connection is at its end
        self.events.send(event(Answer(answer))).await.map_err(|_| russh::Error::Disconnect)?;
        Ok(match answered.await.unwrap_or(Said::No) {
            Said::Yes => Auth::Accept,
            Said::No => refused(),
            Said::Go(why) => {
                self.parting = Some(why);
                refused()
            }
        })
    }
}

impl Handler for ServerEvents {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(refused())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let (user, password) = (user.to_owned(), SecretString::from(password));
        self.ask(|answer| Event::Password { user, password, answer }).await
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if is_sha1(offer.algorithm) {
            return Ok(refused());
        }
        let (user, key) = (user.to_owned(), PublicLine(offer.public_key.clone()));
        self.ask(|answer| Event::KeyOffered { user, key, answer }).await
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        if is_sha1(key.algorithm) {
            return Ok(refused());
        }
        let (user, key) = (user.to_owned(), PublicLine(key.public_key.clone()));
        self.ask(|answer| Event::KeyProven { user, key, answer }).await
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let client = String::from_utf8_lossy(session.remote_sshid()).into_owned();
        self.events.send(Event::LetIn { client }).await.map_err(|_| russh::Error::Disconnect)
    }

    async fn packet(&mut self, payload: Vec<u8>, _: &mut Session) -> Result<Option<Vec<u8>>, Self::Error> {
        self.outlet.deliver(payload)?;
        Ok(None)
    }

    fn parting_words(&mut self) -> Option<String> {
        self.parting.take()
    }

    async fn packet_room(&mut self) {
        self.outlet.room().await;
    }
}

/// `ssh-rsa` signs with SHA-1.
fn is_sha1(algorithm: &russh::keys::Algorithm) -> bool {
    matches!(algorithm, russh::keys::Algorithm::Rsa { hash: None })
}
