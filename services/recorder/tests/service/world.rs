//! Where does a test record? On a real nats-server with the product's users, in a session that is open.

use std::time::Duration;

use chrono::Utc;
use events::Cause;
use events::ids::{EnvId, SessionId, TenantId};
use events::login::Entrance;
use events::session::open::open;
use events::session::{Session, SessionOpened, SessionRefusal};
use harness::nats::{NatsServer, password_of};
use nats::{Connection, Log, MasterKeys, RecordingId, Recordings};
use recorder::playback::{self, Checked, PlaybackError};
use recorder::{Recorders, Terminal};
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

/// The longest anything here may take.
pub const SOON: Duration = Duration::from_secs(30);

pub struct World {
    pub nats: NatsServer,
    pub recorders: Recorders,
    pub log: Log,
    /// As the API reads it.
    pub store: Recordings,
    session: SessionId,
}

async fn connect(server: &NatsServer, user: &str) -> Connection {
    let password = SecretString::from(password_of(user));
    let config = nats::Config { url: server.url(), user: user.into(), password, name: user.into() };
    nats::connect(&config).await.unwrap()
}

pub fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn env() -> EnvId {
    EnvId::from_seed(&Uuid::nil())
}

pub async fn world() -> World {
    let nats = NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap();
    connect(&nats, "setup").await.setup(1).await.unwrap();
    let (keys, _) = MasterKeys::generate().unwrap();
    let gateway = connect(&nats, "gateway").await;
    let recorders = Recorders::new(gateway.log(), gateway.recordings(keys.clone()), "service:test");
    let store = connect(&nats, "api").await.recordings(keys);
    let session = SessionId::from_seed(&Uuid::from_u128(1));
    let world = World { nats, recorders, log: gateway.log(), store, session };
    let opened = SessionOpened {
        place: env().into(),
        ip: [192, 0, 2, 1].into(),
        entrance: Entrance::Gateway,
        user: "alice".into(),
        method: "password".into(),
        client: None,
        at: Utc::now(),
    };
    let cause = Cause::new(Uuid::new_v4(), "service:test");
    let id = world.session.as_str();
    let rule = |state: &Session| -> events::Decision<_, SessionRefusal> { open(state, opened.clone()) };
    world.log.decide(&tenant(), id, &cause, 0, rule).await.unwrap();
    world
}

impl World {
    pub fn id(&self, number: u32) -> RecordingId {
        RecordingId { tenant: tenant(), session: self.session.clone(), number }
    }

    pub fn terminal(&self, number: u32) -> Terminal {
        Terminal {
            id: self.id(number),
            place: env().into(),
            user: "alice".into(),
            entrance: Entrance::Gateway,
            cols: 100,
            rows: 30,
            term: "xterm-256color".into(),
            title: "a test".into(),
        }
    }

    pub async fn told(&self, number: u32) -> Option<events::session::Recording> {
        let session = self.log.load::<Session>(&tenant(), self.session.as_str()).await.unwrap().state;
        session.recordings.get(&number).cloned()
    }

    pub async fn check(&self, number: u32) -> Result<Checked, PlaybackError> {
        let told = self.told(number).await.expect("the log knows of it");
        playback::check(&self.store, &self.id(number), &told, Utc::now()).await
    }

    pub async fn cast(&self, number: u32) -> Cast {
        let mut reading = self.store.read(&self.id(number));
        let mut text = Vec::new();
        while let Some(chunk) = reading.next().await.unwrap() {
            text.extend_from_slice(&chunk);
        }
        Cast::parse(&String::from_utf8(text).unwrap())
    }
}

/// What a player reads.
pub struct Cast {
    pub header: Value,
    pub events: Vec<(f64, String, String)>,
}

impl Cast {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let header = lines.next().unwrap();
        let event = |line: Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (line[0].as_f64().unwrap(), text(&line[1]), text(&line[2]))
        };
        let events: Vec<_> = lines.map(event).collect();
        assert!(events.is_sorted_by_key(|event| event.0), "time goes on");
        Self { header, events }
    }

    pub fn of(&self, code: &str) -> String {
        self.events.iter().filter(|event| event.1 == code).map(|event| event.2.as_str()).collect()
    }
}
