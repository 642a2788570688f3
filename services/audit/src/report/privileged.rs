//! `privileged`: what was done that not everybody may do, or that changes what others may? By whom, to what, when.
//! Every event is named here: what is added to the catalogue has to say whether it belongs.

use events::access::AccessEvent;
use events::batch::BatchEvent;
use events::env::EnvEvent;
use events::ids::TenantId;
use events::login::LoginEvent;
use events::nats_tap::NatsTapEvent;
use events::quota::QuotaEvent;
use events::relay::RelayEvent;
use events::schedule::{ScheduleEvent, When};
use events::server::{ServerEvent, Settings};
use events::session::SessionEvent;
use events::subscription::{Delivery, SubscriptionEvent};
use events::tenant::TenantEvent;
use events::token::TokenEvent;
use events::user::UserEvent;
use events::{Event, Kind, Recorded};

use super::people::People;
use super::rows::Rows;
use super::{Fold, Report, words};

pub const REPORT: Report = Report {
    name: "privileged",
    about: "what not everybody may do, and what changes what others may",
    version: 1,
    columns: &[
        "tenant",
        "action",
        "time",
        "by",
        "person",
        "on",
        "detail",
        "sequence",
        "event_id",
        "correlation_id",
    ],
    kinds: &[
        Kind::Tenant,
        Kind::Quota,
        Kind::Env,
        Kind::Login,
        Kind::Session,
        Kind::Server,
        Kind::Access,
        Kind::Relay,
        Kind::Batch,
        Kind::Schedule,
        Kind::Subscription,
        Kind::User,
        Kind::Token,
        Kind::NatsTap,
    ],
    fold: || Box::<Privileged>::default(),
};

/// Each row is one event; who people are is known from before.
#[derive(Default)]
struct Privileged {
    people: People,
}

/// What was acted on, and what else there is to say.
type Done = (String, String);

impl Fold for Privileged {
    fn take(&mut self, event: &Recorded, rows: &mut Rows) {
        self.people.take(event);
        if !rows.has(event.seq) {
            return;
        }
        let Some((on, detail)) = done(event) else { return };
        let tenant: TenantId = self.people.tenant_of(event);
        let people = &self.people;
        rows.event(event.seq, &tenant, || {
            vec![
                tenant.as_str().into(),
                event.event.event_type().into(),
                event.meta.time.into(),
                event.meta.actor.as_str().into(),
                people.person(&event.meta.actor).into(),
                on.into(),
                detail.into(),
                event.seq.into(),
                event.meta.id.to_string().into(),
                event.meta.correlation.to_string().into(),
            ]
        });
    }

    fn finish(&mut self, _: &mut Rows) {}
}

fn done(event: &Recorded) -> Option<Done> {
    let id = event.subject.id.as_str();
    let detail = match &event.event {
        Event::Tenant(tenant) => Some(of_tenant(tenant)),
        Event::Quota(quota) => of_quota(quota),
        Event::Env(env) => of_env(env),
        Event::Login(login) => of_login(login),
        Event::Session(session) => return of_session(session),
        Event::Server(server) => of_server(server),
        Event::Access(access) => return Some(of_access(access)),
        Event::Relay(relay) => of_relay(relay),
        Event::Batch(batch) => of_batch(batch),
        Event::Schedule(schedule) => of_schedule(schedule),
        Event::Subscription(subscription) => of_subscription(subscription),
        Event::User(user) => Some(of_user(user)),
        Event::Token(token) => Some(of_token(token)),
        Event::NatsTap(tap) => Some(of_nats_tap(tap)),
        Event::Port(_)
        | Event::Credential(_)
        | Event::SshKey(_)
        | Event::Command(_)
        | Event::SignIn(_)
        | Event::Request(_) => None,
    };
    detail.map(|detail| (id.to_owned(), detail))
}

fn of_tenant(event: &TenantEvent) -> String {
    match event {
        TenantEvent::TenantRegistered(registered) => registered.name.clone(),
        TenantEvent::TenantAllowListSet(set) => words::ranges(&set.ranges),
        TenantEvent::TenantRecordingSet(set) if set.enabled => "on".to_owned(),
        TenantEvent::TenantRecordingSet(_) => "off".to_owned(),
    }
}

fn of_quota(event: &QuotaEvent) -> Option<String> {
    match event {
        QuotaEvent::QuotaSet(set) => Some(serde_json::to_string(&set.limits).unwrap_or_default()),
        QuotaEvent::QuotaClaimed(_) | QuotaEvent::QuotaReleased(_) => None,
    }
}

fn of_env(event: &EnvEvent) -> Option<String> {
    match event {
        EnvEvent::AllowListSet(set) => Some(words::ranges(&set.ranges)),
        EnvEvent::EnvRequested(_)
        | EnvEvent::PortBound(_)
        | EnvEvent::PodCreated(_)
        | EnvEvent::PodReady(_)
        | EnvEvent::PodLost(_)
        | EnvEvent::EnvProgressed(_)
        | EnvEvent::EnvFailed(_)
        | EnvEvent::EnvStopRequested(_)
        | EnvEvent::EnvStopped(_)
        | EnvEvent::EnvStartRequested(_)
        | EnvEvent::EnvDeleteRequested(_)
        | EnvEvent::EnvDeleted(_)
        | EnvEvent::EnvEndsSoon(_)
        | EnvEvent::JobMarked(_) => None,
    }
}

fn of_login(event: &LoginEvent) -> Option<String> {
    match event {
        LoginEvent::LoginUnlocked(unlocked) => {
            Some(unlocked.ip.map_or_else(|| "every address".to_owned(), |ip| ip.to_string()))
        }
        LoginEvent::LoginSucceeded(_)
        | LoginEvent::LoginFailed(_)
        | LoginEvent::LoginsRefused(_)
        | LoginEvent::LoginLocked(_) => None,
    }
}

fn of_session(event: &SessionEvent) -> Option<Done> {
    match event {
        SessionEvent::RecordingViewed(viewed) => {
            Some((viewed.place.to_string(), format!("recording {}", viewed.recording)))
        }
        SessionEvent::SessionOpened(_)
        | SessionEvent::SessionClosed(_)
        | SessionEvent::RecordingStarted(_)
        | SessionEvent::RecordingKept(_)
        | SessionEvent::RecordingEnded(_)
        | SessionEvent::SessionShared(_)
        | SessionEvent::SessionUnshared(_)
        | SessionEvent::SessionJoined(_)
        | SessionEvent::SessionLeft(_) => None,
    }
}

fn of_server(event: &ServerEvent) -> Option<String> {
    match event {
        ServerEvent::ServerRegistered(registered) => Some(server(&registered.settings)),
        ServerEvent::ServerChanged(changed) => Some(server(&changed.settings)),
        ServerEvent::ServerRemoved(_) => Some(String::new()),
        ServerEvent::HostKeyAccepted(accepted) => Some(accepted.host_key.fingerprint.clone()),
        ServerEvent::AccountChangeAsked(asked) => Some(format!("{} {}", asked.action.name(), asked.account)),
        // what a machine said, or how something ended
        ServerEvent::HostKeyPinned(_)
        | ServerEvent::HostKeyChangeSeen(_)
        | ServerEvent::ConnectionTested(_)
        | ServerEvent::FactsGathered(_)
        | ServerEvent::AccountChangeEnded(_) => None,
    }
}

/// Where it is and how one gets in; nothing of where its secret lies.
fn server(settings: &Settings) -> String {
    let Settings { name, host, port, username, credential, zone, relay, groups, labels } = settings;
    let mut text = format!("{name}: {username} at {host} port {port} by {}", credential.method.name());
    let mut add = |what: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!(", {what} {value}"));
        }
    };
    add("zone", words::joined(zone));
    add("relay", words::joined(relay));
    add("groups", words::joined(groups));
    add("labels", words::joined(labels.iter().map(|(key, value)| format!("{key}={value}"))));
    text
}

fn of_access(event: &AccessEvent) -> Done {
    match event {
        AccessEvent::GrantsSet(set) => {
            (words::scope(&set.servers), serde_json::to_string(&set.grants).unwrap_or_default())
        }
        AccessEvent::PeopleGroupSet(set) => (format!("people {}", set.group), words::joined(&set.members)),
    }
}

fn of_relay(event: &RelayEvent) -> Option<String> {
    match event {
        RelayEvent::RelayRegistered(registered) => {
            let waits = if registered.pending { ", waits to be accepted" } else { "" };
            Some(format!("{}{waits}", registered.settings.name))
        }
        RelayEvent::RelayChanged(changed) => {
            let settings = &changed.settings;
            Some(format!("{} from {}", settings.name, words::ranges(&settings.addresses)))
        }
        RelayEvent::RelayKeyRotated(rotated) => {
            Some(format!("the key before counts until {}", rotated.previous_until))
        }
        RelayEvent::RelayAccepted(_) | RelayEvent::RelayRevoked(_) => Some(String::new()),
        RelayEvent::RelayConnected(_) | RelayEvent::RelayDisconnected(_) => None,
    }
}

fn of_batch(event: &BatchEvent) -> Option<String> {
    match event {
        BatchEvent::BatchApproved(_) => Some(String::new()),
        BatchEvent::BatchRejected(rejected) => Some(rejected.reason.clone().unwrap_or_default()),
        BatchEvent::BatchRequested(_)
        | BatchEvent::BatchCancelled(_)
        | BatchEvent::BatchStopped(_)
        | BatchEvent::BatchExpired(_) => None,
    }
}

fn of_schedule(event: &ScheduleEvent) -> Option<String> {
    match event {
        ScheduleEvent::ScheduleSet(set) => {
            let when = match &set.when {
                When::At(at) => at.to_string(),
                When::Cron { fields, time_zone } => format!("{fields} {time_zone}"),
            };
            Some(format!("{} ({when}): {}", set.name, words::command(&set.run.command)))
        }
        ScheduleEvent::SchedulePaused(_)
        | ScheduleEvent::ScheduleResumed(_)
        | ScheduleEvent::ScheduleRemoved(_) => Some(String::new()),
        ScheduleEvent::ScheduleFired(_) | ScheduleEvent::ScheduleSkipped(_) => None,
    }
}

fn of_subscription(event: &SubscriptionEvent) -> Option<String> {
    match event {
        SubscriptionEvent::SubscriptionSet(set) => Some(match &set.delivery {
            Delivery::Pull => set.name.clone(),
            Delivery::Webhook { url, .. } => format!("{} to {url}", set.name),
        }),
        SubscriptionEvent::SubscriptionPaused(paused) => Some(paused.why.name().to_owned()),
        SubscriptionEvent::SubscriptionResumed(_)
        | SubscriptionEvent::SubscriptionRemoved(_)
        | SubscriptionEvent::SubscriptionSecretRotated(_) => Some(String::new()),
        SubscriptionEvent::DeliveryRetried(retried) => Some(retried.sequence.to_string()),
        SubscriptionEvent::DeliveryDropped(dropped) => Some(dropped.sequence.to_string()),
        SubscriptionEvent::DeliveryParked(_) | SubscriptionEvent::DeliveryReleased(_) => None,
    }
}

fn of_user(event: &UserEvent) -> String {
    match event {
        UserEvent::UserRegistered(registered) => registered.role.name().to_owned(),
        UserEvent::UserDisabled(_) => String::new(),
    }
}

fn of_token(event: &TokenEvent) -> String {
    match event {
        TokenEvent::TokenIssued(issued) => {
            let until = issued.expires_at.map_or_else(String::new, |until| format!(", until {until}"));
            format!("{} of {}: {}{until}", issued.role.name(), issued.owner, issued.name)
        }
        TokenEvent::TokenRevoked(_) => String::new(),
    }
}

fn of_nats_tap(event: &NatsTapEvent) -> String {
    match event {
        NatsTapEvent::NatsTapIssued(issued) => format!("{}: {}", issued.name, words::joined(&issued.kinds)),
        NatsTapEvent::NatsTapRevoked(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::ids::UserName;
    use events::login::LoginUnlocked;
    use events::token::{TokenIssued, TokenRevoked};
    use events::user::Role;

    use super::super::testing::{ENV, at, cells, columns, of};
    use super::*;

    fn story() -> Vec<Recorded> {
        let issued = TokenIssued {
            tenant: TenantId::parse("blue").unwrap(),
            name: "ci".into(),
            role: Role::Operator,
            owner: UserName::parse("alice").unwrap(),
            digest: "d".into(),
            expires_at: None,
        };
        let unlocked = LoginEvent::LoginUnlocked(LoginUnlocked { ip: Some("192.0.2.7".parse().unwrap()) });
        let mut by_token = at(2, Kind::Login, ENV, unlocked);
        by_token.meta.actor = "token:tok-abcdefghijkl".into();
        vec![
            of("_sys", 1, Kind::Token, "tok-abcdefghijkl", TokenEvent::TokenIssued(issued)),
            by_token,
            of("_sys", 3, Kind::Token, "tok-abcdefghijkl", TokenEvent::TokenRevoked(TokenRevoked {})),
        ]
    }

    #[test]
    fn who_did_what_to_what_is_told() {
        let rows = cells(&REPORT, 1, None, &story());
        let seen = columns(&REPORT, &rows, &["tenant", "action", "by", "person", "on", "detail"]);
        let token = "tok-abcdefghijkl";
        let expected = [
            ["blue", "TokenIssued", "user:olga", "olga", token, "operator of alice: ci"],
            ["acme", "LoginUnlocked", "token:tok-abcdefghijkl", "alice", ENV, "192.0.2.7"],
            ["blue", "TokenRevoked", "user:olga", "olga", token, ""],
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_token_is_its_tenants_also_when_it_was_issued_before_the_range() {
        let seen = |tenant| {
            let rows = cells(&REPORT, 2, Some(tenant), &story());
            columns(&REPORT, &rows, &["action"]).concat()
        };
        assert_eq!(seen("blue"), ["TokenRevoked"]);
        assert_eq!(seen("acme"), ["LoginUnlocked"]);
        assert!(seen("other").is_empty());
    }
}
