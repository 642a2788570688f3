//! Who may come in over Socket.IO, and what is done with what relays say? The namespace `/proxy`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use chrono::Utc;
use events::Cause;
use events::command::{Command, CommandCompleted, CommandRefusal, Output, Via};
use events::ids::{CommandId, NAMESPACE, RelayId, TenantId};
use events::relay::connect::{Knock, connect, disconnect};
use events::relay::{Relay, RelayEvent, RelayRefusal};
use kit::error::chain;
use nats::DecideError;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::socket::{DisconnectReason, Sid};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::Hub;
use crate::keep::Keeper;
use crate::lines::Line;
use crate::steps::digest_of;
use crate::tunnels;
use crate::wire::{
    self, COMMAND_RESULT, COMMAND_RESULT_RECEIVED, Credentials, How, MESSAGE_BYTES_MAX, Refused, Said,
};

const NAMESPACE_OF_RELAYS: &str = "/proxy";
/// Silence that ends a connection: a question each 25 s, and 20 s for its answer.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages that wait for a relay which does not read.
const WAITING_MESSAGES_MAX: usize = 1_024;
/// Whoever knocks before this process is ready waits so long.
const READY_WAIT: Duration = Duration::from_secs(10);

/// Where relays knock; the hub may come later.
#[derive(Clone)]
pub struct Door {
    io: SocketIo,
    routes: Router,
    hub: watch::Sender<Option<Arc<Hub>>>,
}

impl Default for Door {
    fn default() -> Self {
        Self::new()
    }
}

impl Door {
    pub fn new() -> Self {
        let bytes_max = usize::try_from(MESSAGE_BYTES_MAX).unwrap_or(usize::MAX);
        let (service, io) = SocketIo::builder()
            .ping_interval(PING_INTERVAL)
            .ping_timeout(PING_TIMEOUT)
            .max_payload(MESSAGE_BYTES_MAX)
            .ws_max_message_size(bytes_max)
            .ws_max_frame_size(bytes_max)
            .max_buffer_size(WAITING_MESSAGES_MAX)
            .build_svc();
        let hub = watch::Sender::new(None);
        let arrivals = Arrivals::default();
        let (waiting, arriving) = (hub.clone(), Arc::clone(&arrivals));
        let admit = move |socket: SocketRef, TryData(auth): TryData<Value>| {
            let (waiting, arriving) = (waiting.clone(), Arc::clone(&arriving));
            async move {
                let hub = ready(&waiting).await?;
                let arrival = admit(hub, &socket, auth.unwrap_or_default()).await?;
                // before it is told that it is in: it may have results at hand, and sends them at once
                listen(&socket, &arrival);
                arriving.lock().unwrap_or_else(PoisonError::into_inner).insert(socket.id, arrival);
                Ok::<(), String>(())
            }
        };
        let serve = move |socket: SocketRef| {
            let arrival = arrivals.lock().unwrap_or_else(PoisonError::into_inner).remove(&socket.id);
            async move {
                match arrival {
                    Some(arrival) => come_in(&arrival, socket).await,
                    None => drop(socket.disconnect()),
                }
            }
        };
        io.ns(NAMESPACE_OF_RELAYS, serve.with(admit));
        // clients of Engine.IO 3 are connected to it before they name theirs
        io.ns("/", async |_: SocketRef| {});
        let routes =
            Router::new().route_service("/socket.io/", service.clone()).route_service("/socket.io", service);
        Self { io, routes, hub }
    }

    /// `/socket.io/`.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    pub(crate) fn open(&self, hub: &Arc<Hub>) {
        self.hub.send_replace(Some(Arc::clone(hub)));
    }

    pub(crate) async fn close(&self) {
        self.hub.send_replace(None);
        self.io.close().await;
    }
}

async fn ready(hub: &watch::Sender<Option<Arc<Hub>>>) -> Result<Arc<Hub>, String> {
    let mut hub = hub.subscribe();
    let there = timeout(READY_WAIT, hub.wait_for(Option::is_some)).await;
    let there = there.ok().and_then(Result::ok).and_then(|hub| hub.clone());
    there.ok_or_else(|| "not ready: try again in a moment".to_owned())
}

/// Between being let in and being told so.
type Arrivals = Arc<Mutex<HashMap<Sid, Arc<Arrival>>>>;

/// Who came, and over which connection.
struct Arrival {
    hub: Arc<Hub>,
    tenant: TenantId,
    relay: RelayId,
    knock: Arc<Knock>,
    /// The number of the connection, from its being on record to its end.
    epoch: watch::Sender<Option<u64>>,
}

/// The error is what the relay is told.
async fn admit(hub: Arc<Hub>, socket: &SocketRef, auth: Value) -> Result<Arc<Arrival>, String> {
    let parts = socket.req_parts();
    let address = kit::client_address::of(&parts.extensions, &parts.headers, &hub.trusted_proxies);
    let note = |code: &'static str, relay: &str| {
        hub.metrics.refused(code);
        if hub.turned_away.is_told((address, code), Utc::now()) {
            let address = address.map(|address| address.to_string());
            tracing::warn!(relay.id = relay, address, code, "a relay was turned away");
        }
    };
    let turned_away = |refusal: RelayRefusal, relay: &str| {
        let code = events::aggregate::Refusal::code(&refusal);
        note(code, relay);
        format!("{code}: {refusal}")
    };
    let Credentials { proxy_id, api_key } = wire::credentials(&auth, parts.uri.query().unwrap_or_default())
        .inspect_err(|_| note("credentials_missing", "unknown"))?;
    let unknown = || turned_away(RelayRefusal::KeyRefused, "unknown");
    let relay = RelayId::parse(proxy_id).map_err(|_| unknown())?;
    let away = |error: &dyn std::error::Error| {
        tracing::warn!(relay.id = %relay, why = %error, "a relay cannot be checked");
        "log_unavailable: try again in a moment".to_owned()
    };
    let tenant = hub.lines.tenant_of(&relay, &hub.log).await.map_err(|error| away(&error))?;
    let tenant = tenant.ok_or_else(unknown)?;
    let client = format!("engine.io {} {}", engine(socket), transport(socket));
    let tunnels = wire::carries_tunnels(&auth).then_some(hub.tunnels_at);
    let (id, digest) = (hub.id.clone(), digest_of(&api_key));
    let knock = Arc::new(Knock { hub: id, digest, address, client: Some(client), tunnels });
    let state = hub.log.load::<Relay>(&tenant, relay.as_str()).await.map_err(|error| away(&error))?.state;
    connect(&state, &knock, Utc::now()).map_err(|refusal| turned_away(refusal, relay.as_str()))?;
    let epoch = watch::Sender::new(None);
    Ok(Arc::new(Arrival { hub: Arc::clone(&hub), tenant, relay, knock, epoch }))
}

fn engine(socket: &SocketRef) -> u8 {
    match socket.protocol() {
        socketioxide::ProtocolVersion::V5 => 4,
        socketioxide::ProtocolVersion::V4 => 3,
    }
}

fn transport(socket: &SocketRef) -> &'static str {
    match socket.transport_type() {
        socketioxide::TransportType::Polling => "polling",
        socketioxide::TransportType::Websocket => "websocket",
    }
}

/// The relay is connected; puts that on record, and gives it what it was given already.
async fn come_in(arrival: &Arc<Arrival>, socket: SocketRef) {
    let Arrival { hub, tenant, relay, knock, epoch } = &**arrival;
    let cause = Cause::new(Uuid::now_v7(), format!("relay:{relay}"));
    let rule = |state: &Relay| connect(state, knock, Utc::now());
    let decided = hub.log.decide::<Relay, _>(tenant, relay.as_str(), &cause, 0, rule).await;
    let event = match decided {
        Ok(decided) => decided.appended.map(|recorded| recorded.event),
        Err(error) => {
            tracing::warn!(relay.id = %relay, error = chain(&error), "a relay's connection could not be recorded");
            return drop(socket.disconnect());
        }
    };
    let Some(events::Event::Relay(RelayEvent::RelayConnected(connected))) = event else {
        return drop(socket.disconnect());
    };
    hub.metrics.relays.inc();
    epoch.send_replace(Some(connected.epoch));
    tracing::info!(relay.id = %relay, relay.epoch = connected.epoch, client = knock.client, "a relay is connected");
    let line = Line { epoch: connected.epoch, socket: socket.clone(), knock: Arc::clone(knock) };
    for job in hub.lines.connected(relay, line.clone()) {
        tokio::spawn(crate::send::send(Arc::clone(hub), relay.clone(), line.clone(), job));
    }
    if !socket.connected() {
        leave(arrival, "relay_left").await;
    }
}

fn listen(socket: &SocketRef, arrival: &Arc<Arrival>) {
    if arrival.knock.tunnels.is_some() {
        let epoch = arrival.epoch.subscribe();
        tunnels::listen(socket, &arrival.hub, &arrival.relay, move || *epoch.borrow());
    }
    let whose = Arc::clone(arrival);
    socket.on(COMMAND_RESULT, move |socket: SocketRef, Data(said): Data<Value>, ack: AckSender| {
        let arrival = Arc::clone(&whose);
        async move {
            let answer = take_result(&arrival, &said).await;
            // a relay that is gone sends the result again or does not
            ack.send(&answer).ok();
            if let Err(error) = socket.emit(COMMAND_RESULT_RECEIVED, &answer) {
                tracing::debug!(relay.id = %arrival.relay, %error, "a relay was not told that its result arrived");
            }
        }
    });
    let whose = Arc::clone(arrival);
    socket.on_disconnect(move |reason: DisconnectReason| {
        let arrival = Arc::clone(&whose);
        async move { leave(&arrival, why(reason)).await }
    });
}

/// Says so on record, once; nothing if it was not on record that it came.
async fn leave(arrival: &Arrival, reason: &'static str) {
    let Arrival { hub, tenant, relay, epoch, .. } = arrival;
    let mut came = None;
    epoch.send_modify(|epoch| came = epoch.take());
    let Some(epoch) = came else { return };
    hub.metrics.relays.dec();
    tracing::info!(relay.id = %relay, relay.epoch = epoch, reason, "a relay's connection ended");
    hub.lines.left(relay, epoch);
    hub.tunnels.lost(relay, epoch);
    say_left(hub, tenant, relay, epoch, reason).await;
}

/// Puts the end of a connection on record.
pub async fn say_left(hub: &Hub, tenant: &TenantId, relay: &RelayId, epoch: u64, reason: &str) {
    let command = Uuid::new_v5(&NAMESPACE, format!("disconnect\n{relay}\n{epoch}").as_bytes());
    let cause = Cause::new(command, format!("relay:{relay}"));
    let rule = |state: &Relay| disconnect(state, epoch, reason);
    if let Err(error) = hub.log.decide::<Relay, _>(tenant, relay.as_str(), &cause, 0, rule).await {
        // another hub will miss this one and say it
        tracing::warn!(relay.id = %relay, error = chain(&error), "the end of a relay's connection was not recorded");
    }
}

fn why(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::TransportClose | DisconnectReason::ClientNSDisconnect => "relay_left",
        DisconnectReason::TransportError => "connection_lost",
        DisconnectReason::HeartbeatTimeout => "silent",
        DisconnectReason::MultipleHttpPollingError | DisconnectReason::PacketParsingError => "unreadable",
        DisconnectReason::ServerNSDisconnect => "hung_up",
        DisconnectReason::ClosingServer => "hub_ended",
    }
}

async fn take_result(arrival: &Arrival, said: &Value) -> Value {
    let Arrival { hub, tenant, relay, epoch, .. } = arrival;
    let refused = |why: String, again| Refused { why, again };
    let said = match wire::result(said) {
        Ok(read) => read,
        Err(why) => {
            tracing::warn!(relay.id = %relay, why, "a relay's result cannot be read");
            return wire::received(None, Some(&refused(why, false)));
        }
    };
    let id = said.id.clone();
    let mut known = epoch.subscribe();
    let known = timeout(READY_WAIT, known.wait_for(Option::is_some)).await;
    let Some(epoch) = known.ok().and_then(Result::ok).and_then(|epoch| *epoch) else {
        return wire::received(Some(&id), Some(&refused("not ready: send it again".to_owned(), true)));
    };
    let via = Via::Relay { relay: relay.clone(), epoch };
    match take_in(hub, tenant, &via, said).await {
        Ok(()) => wire::received(Some(&id), None),
        Err(DecideError::Refused(refusal)) => {
            tracing::warn!(relay.id = %relay, command.id = %id, why = %refusal, "a relay's result is refused");
            wire::received(Some(&id), Some(&refused(refusal.to_string(), false)))
        }
        Err(error @ (DecideError::Contended { .. } | DecideError::Log(_))) => {
            tracing::error!(relay.id = %relay, command.id = %id, error = chain(&error), "a relay's result could not be recorded");
            wire::received(Some(&id), Some(&refused("not recorded: send it again".to_owned(), true)))
        }
    }
}

/// Stores what is long and states the result; nothing is stored for a command that was never sent there.
async fn take_in(
    hub: &Hub,
    tenant: &TenantId,
    via: &Via,
    said: Said,
) -> Result<(), DecideError<CommandRefusal>> {
    let Said { id, how } = said;
    let command = hub.log.load::<Command>(tenant, id.as_str()).await?.state;
    if !command.was_sent_to(via) {
        return Err(DecideError::Refused(CommandRefusal::NotYours));
    }
    match how {
        How::Failed(failed) => hub.failed(tenant, &id, via, failed).await,
        How::Lost(reason) => hub.lost(tenant, &id, via, &reason).await,
        How::Ran { exit_code, stdout, stderr } => {
            let stdout = keep(hub, tenant, &id, &stdout).await;
            let stderr = keep(hub, tenant, &id, &stderr).await;
            hub.answered(tenant, &id, via, CommandCompleted { exit_code, stdout, stderr }).await
        }
    }
}

async fn keep(hub: &Hub, tenant: &TenantId, id: &CommandId, bytes: &[u8]) -> Output {
    let mut keeper = Keeper::new(&hub.outputs, tenant, id);
    keeper.take(bytes).await;
    keeper.end().await
}
