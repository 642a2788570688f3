//! Which facts exist? The one table; wire names, versions, schemas, docs and golden files derive from it.

use schemars::Schema;
use serde_json::Value;

use crate::access::*;
use crate::aggregate::AggregateEvent;
use crate::batch::*;
use crate::command::*;
use crate::credential::*;
use crate::env::*;
use crate::login::*;
use crate::nats_tap::*;
use crate::ports::*;
use crate::quota::*;
use crate::relay::*;
use crate::request::*;
use crate::schedule::*;
use crate::server::*;
use crate::session::*;
use crate::sign_in::*;
use crate::ssh_key::*;
use crate::subject::InvalidSubject;
use crate::subscription::*;
use crate::tenant::*;
use crate::token::*;
use crate::user::*;

/// A message of the log that cannot be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("header {0} is missing")]
    HeaderMissing(&'static str),
    #[error("header {0} is not readable: {1:?}")]
    HeaderInvalid(&'static str, String),
    #[error("the subject is not readable")]
    Subject(#[from] InvalidSubject),
    #[error("{kind} has no event {name:?}; a newer writer is at work")]
    TypeUnknown { kind: &'static str, name: String },
    #[error("{name} version {version} is newer than the {known} known here")]
    VersionUnknown { name: &'static str, version: u32, known: u32 },
    #[error("the payload of {name} does not fit its schema")]
    Payload {
        name: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// One row of the table.
pub struct EventType {
    pub kind: Kind,
    /// Wire name: the header `ce-type`.
    pub name: &'static str,
    /// The newest version.
    pub version: u32,
    /// The versions it is written with: the newest, and the one before where that says all of some.
    pub written: &'static [u32],
    /// The file of the rule that decides it, below `events/src`.
    pub rule: &'static str,
    /// The services that append it.
    pub appended_by: &'static [&'static str],
    /// The services that react to it (the projector feeds every table).
    pub reacts: &'static [&'static str],
    /// The tables it changes, besides `audit_log`.
    pub tables: &'static [&'static str],
    /// JSON Schema of the payload, as it is written.
    pub schema: fn() -> Schema,
    /// An example of the payload: the golden file of this version.
    pub sample: &'static str,
}

macro_rules! catalogue {
    ($(
        $kind:ident $wire:literal $enum:ident {
            $( $event:ident $version:literal $(unless $older:ident)?, rule $rule:literal, by $by:tt, reacts $reacts:tt, tables $tables:tt; )+
        }
    )+) => {
        /// The kinds of aggregates.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($kind),+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The third token of the subject.
            pub const fn wire_name(self) -> &'static str {
                match self { $(Self::$kind => $wire),+ }
            }

            pub fn from_wire(name: &str) -> Option<Self> {
                match name { $($wire => Some(Self::$kind),)+ _ => None }
            }
        }

        $(
            #[doc = concat!("The events of kind `", $wire, "`.")]
            #[derive(Debug, Clone, PartialEq)]
            pub enum $enum { $($event($event)),+ }

            impl AggregateEvent for $enum {
                const KIND: Kind = Kind::$kind;
                fn from_event(event: &Event) -> Option<&Self> {
                    #[allow(clippy::wildcard_enum_match_arm)] // every other kind alike
                    match event { Event::$kind(event) => Some(event), _ => None }
                }
            }

            impl From<$enum> for Event {
                fn from(event: $enum) -> Self { Self::$kind(event) }
            }

            $(impl From<$event> for $enum {
                fn from(event: $event) -> Self { Self::$event(event) }
            })+
        )+

        /// Any event.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event { $($kind($enum)),+ }

        impl Event {
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),+ }
            }

            /// Wire name.
            pub const fn event_type(&self) -> &'static str {
                match self { $($(Self::$kind($enum::$event(_)) => stringify!($event)),+),+ }
            }

            /// The version it is written with: its newest, or the one before where the row says `unless` so, and every
            /// reader that knows that one reads all of it.
            pub const fn version(&self) -> u32 {
                match self {
                    $($(
                        $(Self::$kind($enum::$event(event)) if event.$older() => $version - 1,)?
                        Self::$kind($enum::$event(_)) => $version,
                    )+)+
                }
            }

            /// The payload.
            pub fn to_json(&self) -> Value {
                match self {
                    $($(Self::$kind($enum::$event(event)) =>
                        serde_json::to_value(event).unwrap_or(Value::Null)),+),+
                }
            }

            /// Reads a payload of this type and version, older versions included.
            pub fn from_wire(kind: Kind, name: &str, version: u32, payload: &[u8]) -> Result<Self, ReadError> {
                match (kind, name) {
                    $($((Kind::$kind, stringify!($event)) => {
                        if version > $version {
                            return Err(ReadError::VersionUnknown { name: stringify!($event), version, known: $version });
                        }
                        let event: $event = serde_json::from_slice(payload)
                            .map_err(|source| ReadError::Payload { name: stringify!($event), source })?;
                        Ok(Self::$kind($enum::$event(event)))
                    })+)+
                    _ => Err(ReadError::TypeUnknown { kind: kind.wire_name(), name: name.to_owned() }),
                }
            }
        }

        /// The table, a row an event type.
        pub const CATALOGUE: &[EventType] = &[$($(EventType {
            kind: Kind::$kind,
            name: stringify!($event),
            version: $version,
                    written: &[$version $(, { let _: fn(&$event) -> bool = $event::$older; $version - 1 })?],
            rule: $rule,
            appended_by: &$by,
            reacts: &$reacts,
            tables: &$tables,
            schema: crate::schema::written::<$event>,
            sample: include_str!(concat!("../wire/", stringify!($event), ".v", $version, ".json")),
        }),+),+];
    };
}

catalogue! {
    Tenant "tenant" TenantEvent {
        TenantRegistered 1, rule "tenant/register.rs", by ["api"], reacts [], tables ["quotas"];
        TenantAllowListSet 1, rule "tenant/allow_list.rs", by ["api"], reacts ["provisioner"], tables [];
        TenantRecordingSet 1, rule "tenant/recording.rs", by ["api"], reacts [], tables ["quotas"];
    }
    Quota "quota" QuotaEvent {
        QuotaSet 1, rule "quota/set.rs", by ["api"], reacts [], tables ["quotas"];
        QuotaClaimed 1, rule "quota/claim.rs", by ["api"], reacts [], tables ["quotas"];
        QuotaReleased 1, rule "quota/release.rs", by ["provisioner"], reacts [], tables ["quotas"];
    }
    Env "env" EnvEvent {
        EnvRequested 1, rule "env/request.rs", by ["api"], reacts ["provisioner"], tables ["environments"];
        PortBound 1, rule "env/bind_port.rs", by ["provisioner"], reacts ["api"], tables ["environments"];
        PodCreated 1, rule "env/observe.rs", by ["provisioner"], reacts [], tables ["environments"];
        PodReady 1, rule "env/observe.rs", by ["provisioner"], reacts [], tables ["environments"];
        PodLost 1, rule "env/observe.rs", by ["provisioner"], reacts ["provisioner"], tables ["environments"];
        EnvProgressed 1, rule "env/progress.rs", by ["provisioner"], reacts [], tables ["environments"];
        EnvFailed 1, rule "env/fail.rs", by ["provisioner"], reacts ["provisioner"], tables ["environments"];
        EnvStopRequested 1, rule "env/stop.rs", by ["api", "provisioner"], reacts ["provisioner"], tables ["environments"];
        EnvStopped 1, rule "env/stop.rs", by ["provisioner"], reacts [], tables ["environments"];
        EnvStartRequested 1, rule "env/start.rs", by ["api"], reacts ["provisioner"], tables ["environments"];
        EnvDeleteRequested 1, rule "env/delete.rs", by ["api", "provisioner"], reacts ["provisioner"], tables ["environments"];
        EnvDeleted 1, rule "env/delete.rs", by ["provisioner"], reacts ["provisioner"], tables ["environments"];
        EnvEndsSoon 1, rule "env/idle.rs", by ["provisioner"], reacts ["provisioner"], tables ["environments"];
        JobMarked 1, rule "env/job.rs", by ["api"], reacts ["provisioner"], tables ["environments"];
        AllowListSet 1, rule "env/allow_list.rs", by ["api"], reacts ["provisioner"], tables ["environments"];
    }
    Port "port" PortEvent {
        PortAllocated 1, rule "ports/allocate.rs", by ["provisioner"], reacts [], tables ["port_mappings"];
        PortReleased 1, rule "ports/release.rs", by ["provisioner"], reacts [], tables ["port_mappings"];
        PortBlocked 1, rule "ports/block.rs", by ["provisioner"], reacts [], tables ["port_mappings"];
    }
    Credential "credential" CredentialEvent {
        PasswordIssued 1, rule "credential/issue.rs", by ["provisioner"], reacts ["api"], tables [];
        PasswordReset 1, rule "credential/reset.rs", by ["api"], reacts ["provisioner"], tables [];
        PasswordApplied 1, rule "credential/applied.rs", by ["provisioner"], reacts ["api"], tables [];
        PasswordRevealed 1, rule "credential/reveal.rs", by ["api"], reacts [], tables [];
        KeysAttached 1, rule "credential/applied.rs", by ["provisioner"], reacts [], tables [];
    }
    SshKey "ssh_key" SshKeyEvent {
        SshKeyAdded 1, rule "ssh_key/add.rs", by ["api"], reacts ["provisioner"], tables ["ssh_keys"];
        SshKeyRemoved 1, rule "ssh_key/remove.rs", by ["api"], reacts ["provisioner"], tables ["ssh_keys"];
    }
    Login "login" LoginEvent {
        LoginSucceeded 1, rule "login/record.rs", by ["provisioner", "gateway", "api"], reacts [], tables ["logins"];
        LoginFailed 1, rule "login/record.rs", by ["provisioner", "gateway"], reacts ["provisioner"], tables ["logins"];
        LoginsRefused 1, rule "login/record.rs", by ["provisioner", "gateway", "api"], reacts [], tables ["logins"];
        LoginLocked 1, rule "login/lockout.rs", by ["provisioner", "gateway"], reacts ["provisioner"], tables ["logins"];
        LoginUnlocked 1, rule "login/unlock.rs", by ["api"], reacts ["provisioner"], tables ["logins"];
    }
    Session "session" SessionEvent {
        SessionOpened 1, rule "session/open.rs", by ["provisioner", "gateway", "api"], reacts [], tables ["sessions"];
        SessionClosed 1, rule "session/close.rs", by ["provisioner", "gateway", "api"], reacts [], tables ["sessions", "recordings"];
        RecordingStarted 1, rule "session/record.rs", by ["gateway", "api"], reacts [], tables ["recordings"];
        RecordingKept 1, rule "session/record.rs", by ["gateway", "api"], reacts [], tables ["recordings"];
        RecordingEnded 1, rule "session/record.rs", by ["gateway", "api"], reacts [], tables ["recordings"];
        RecordingViewed 1, rule "session/view_recording.rs", by ["api"], reacts [], tables [];
        SessionShared 1, rule "session/share.rs", by ["api"], reacts [], tables [];
        SessionUnshared 1, rule "session/share.rs", by ["api"], reacts [], tables [];
        SessionJoined 1, rule "session/join.rs", by ["api"], reacts [], tables [];
        SessionLeft 1, rule "session/join.rs", by ["api"], reacts [], tables [];
    }
    Server "server" ServerEvent {
        ServerRegistered 1, rule "server/register.rs", by ["api"], reacts ["relay"], tables ["servers"];
        ServerChanged 1, rule "server/change.rs", by ["api"], reacts ["relay"], tables ["servers"];
        ServerRemoved 1, rule "server/remove.rs", by ["api"], reacts ["relay"], tables ["servers"];
        HostKeyPinned 1, rule "server/host_key.rs", by ["api", "relay"], reacts [], tables ["servers"];
        HostKeyChangeSeen 1, rule "server/host_key.rs", by ["api", "relay"], reacts [], tables ["servers"];
        HostKeyAccepted 1, rule "server/host_key.rs", by ["api"], reacts [], tables ["servers"];
        ConnectionTested 1, rule "server/test.rs", by ["api"], reacts [], tables ["servers"];
        FactsGathered 1, rule "server/facts.rs", by ["api"], reacts [], tables ["servers"];
        AccountChangeAsked 1, rule "server/account.rs", by ["api"], reacts [], tables ["servers"];
        AccountChangeEnded 1, rule "server/account.rs", by ["api"], reacts [], tables ["servers"];
    }
    Access "access" AccessEvent {
        GrantsSet 1, rule "access/set_grants.rs", by ["api"], reacts ["api"], tables ["grants"];
        PeopleGroupSet 1, rule "access/set_people.rs", by ["api"], reacts ["api"], tables ["people_groups"];
    }
    Relay "relay" RelayEvent {
        RelayRegistered 1, rule "relay/register.rs", by ["api"], reacts ["relay"], tables ["relays"];
        RelayChanged 1, rule "relay/change.rs", by ["api"], reacts ["relay"], tables ["relays"];
        RelayKeyRotated 1, rule "relay/rotate_key.rs", by ["api"], reacts ["relay"], tables ["relays"];
        RelayAccepted 1, rule "relay/accept.rs", by ["api"], reacts ["relay"], tables ["relays"];
        RelayRevoked 1, rule "relay/revoke.rs", by ["api"], reacts ["relay"], tables ["relays"];
        RelayConnected 1, rule "relay/connect.rs", by ["relay"], reacts ["relay"], tables ["relays"];
        RelayDisconnected 1, rule "relay/connect.rs", by ["relay"], reacts ["relay"], tables ["relays"];
    }
    Batch "batch" BatchEvent {
        BatchRequested 2 unless begins_at_once, rule "batch/request.rs", by ["api"], reacts ["relay"], tables ["batches", "commands"];
        BatchCancelled 1, rule "batch/cancel.rs", by ["api"], reacts ["relay"], tables ["batches", "commands"];
        BatchStopped 1, rule "batch/stop.rs", by ["relay"], reacts ["relay"], tables ["batches"];
        BatchApproved 1, rule "batch/approve.rs", by ["api"], reacts ["relay"], tables ["batches", "commands"];
        BatchRejected 1, rule "batch/reject.rs", by ["api"], reacts ["relay"], tables ["batches", "commands"];
        BatchExpired 1, rule "batch/expire.rs", by ["relay"], reacts ["relay"], tables ["batches", "commands"];
    }
    Command "command" CommandEvent {
        CommandRequested 1, rule "command/request.rs", by ["relay"], reacts ["relay"], tables ["commands"];
        CommandDispatched 1, rule "command/dispatch.rs", by ["relay"], reacts ["relay"], tables ["commands"];
        CommandCompleted 1, rule "command/answer.rs", by ["relay"], reacts ["relay"], tables ["commands"];
        CommandFailed 1, rule "command/fail.rs", by ["relay"], reacts ["relay"], tables ["commands"];
        CommandTimedOut 1, rule "command/time_out.rs", by ["relay"], reacts ["relay"], tables ["commands"];
        CommandLost 1, rule "command/lose.rs", by ["relay"], reacts ["relay"], tables ["commands"];
        CommandCancelled 1, rule "command/cancel.rs", by ["relay"], reacts ["relay"], tables ["commands"];
        CommandAnsweredLate 1, rule "command/answer.rs", by ["relay"], reacts [], tables ["commands"];
    }
    Schedule "schedule" ScheduleEvent {
        ScheduleSet 1, rule "schedule/set.rs", by ["api"], reacts [], tables ["schedules"];
        SchedulePaused 1, rule "schedule/pause.rs", by ["api"], reacts [], tables ["schedules"];
        ScheduleResumed 1, rule "schedule/pause.rs", by ["api"], reacts [], tables ["schedules"];
        ScheduleRemoved 1, rule "schedule/remove.rs", by ["api"], reacts [], tables ["schedules"];
        ScheduleFired 1, rule "schedule/fire.rs", by ["api"], reacts [], tables ["schedules", "schedule_runs"];
        ScheduleSkipped 1, rule "schedule/skip.rs", by ["api"], reacts [], tables ["schedules", "schedule_runs"];
    }
    Subscription "subscription" SubscriptionEvent {
        SubscriptionSet 1, rule "subscription/set.rs", by ["api"], reacts ["api"], tables ["subscriptions"];
        SubscriptionPaused 1, rule "subscription/pause.rs", by ["api"], reacts ["api"], tables ["subscriptions"];
        SubscriptionResumed 1, rule "subscription/pause.rs", by ["api"], reacts ["api"], tables ["subscriptions"];
        SubscriptionRemoved 1, rule "subscription/remove.rs", by ["api"], reacts ["api"], tables ["subscriptions"];
        SubscriptionSecretRotated 1, rule "subscription/rotate_secret.rs", by ["api"], reacts ["api"], tables ["subscriptions"];
        DeliveryParked 1, rule "subscription/park.rs", by ["api"], reacts [], tables ["subscriptions"];
        DeliveryRetried 1, rule "subscription/retry.rs", by ["api"], reacts ["api"], tables ["subscriptions"];
        DeliveryReleased 1, rule "subscription/release.rs", by ["api"], reacts [], tables ["subscriptions"];
        DeliveryDropped 1, rule "subscription/retry.rs", by ["api"], reacts [], tables ["subscriptions"];
    }
    User "user" UserEvent {
        UserRegistered 1, rule "user/register.rs", by ["api"], reacts [], tables ["users"];
        UserDisabled 1, rule "user/disable.rs", by ["api"], reacts [], tables ["users"];
    }
    SignIn "sign_in" SignInEvent {
        SignedIn 1, rule "sign_in/begin.rs", by ["api"], reacts [], tables [];
        SignedOut 1, rule "sign_in/end.rs", by ["api"], reacts ["api"], tables [];
        SignInsRefused 1, rule "sign_in/refuse.rs", by ["api"], reacts [], tables [];
    }
    Token "token" TokenEvent {
        TokenIssued 1, rule "token/issue.rs", by ["api"], reacts [], tables ["tokens"];
        TokenRevoked 1, rule "token/revoke.rs", by ["api"], reacts [], tables ["tokens"];
    }
    NatsTap "nats_tap" NatsTapEvent {
        NatsTapIssued 1, rule "nats_tap/issue.rs", by ["api"], reacts ["taps"], tables ["nats_taps"];
        NatsTapRevoked 1, rule "nats_tap/revoke.rs", by ["api"], reacts ["taps"], tables ["nats_taps"];
    }
    Request "request" RequestEvent {
        RequestAccepted 1, rule "request/accept.rs", by ["api"], reacts [], tables [];
    }
}
